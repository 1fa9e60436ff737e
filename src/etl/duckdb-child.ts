/**
 * The process in which DuckDB works, one for a partition. A crash here, a hostile query or too much memory ends this process
 * and not the worker. It knows nothing but its job: no database, no key, no environment.
 */
import { flushCompileCache } from 'node:module';
import { toFluxError } from '../errors.ts';
import { BatchSession } from './batch-session.ts';
import { ReadAhead } from './read-ahead.ts';
import { SetSession } from './set-session.ts';
import type { ChildReply, ChildRequest } from './protocol.ts';

let session: BatchSession | SetSession | null = null;
let ahead: ReadAhead | null = null;
let turn: Promise<void> = Promise.resolve();

process.on('message', (request: ChildRequest) => {
  turn = turn.then(() => answer(request));
});
// The parent is gone, whether it ended or was killed: so is the reason to work.
process.on('disconnect', () => process.exit(0));

async function answer(request: ChildRequest): Promise<void> {
  let reply: ChildReply;
  try {
    reply = { id: request.id, ok: true, value: await perform(request) };
  } catch (cause) {
    const { code, message, details } = toFluxError(cause);
    reply = { id: request.id, ok: false, error: { code, message, details } };
  }
  // What does not fit into the channel would wait for as long as the next batch is being made.
  await new Promise((sent) => process.send?.(reply, undefined, undefined, sent));
  if (reply.ok && (request.ask === 'next' || (request.ask === 'start' && request.likely))) ahead?.begin();
  // This process is killed when it has done its work, so what it compiled has to be written before: once, after it has loaded what it needs.
  if (request.id === 1) flushCompileCache();
}

async function perform(request: ChildRequest): Promise<unknown> {
  if (request.ask === 'open') {
    session = SetSession.isNeeded(request.job)
      ? await SetSession.open(request.job)
      : await BatchSession.open(request.job);
    return null;
  }
  if (session === null) throw new Error('asked before it was opened');
  if (request.ask === 'describe') return session.describe();
  if (request.ask === 'discover') return session instanceof BatchSession ? session.discover(request.known) : [];
  if (request.ask === 'newest') return session instanceof BatchSession ? session.newest(request.range) : null;
  if (request.ask === 'survey') return session.survey();
  if (request.ask === 'sample') return session.sample(request.range, request.surveyed, request.records);
  if (request.ask === 'start') return start(session, request);
  if (ahead === null) throw new Error('asked before it was started');
  return ahead.take();
}

async function start(of: BatchSession | SetSession, { range, cursor }: ChildRequest & { ask: 'start' }): Promise<void> {
  await ahead?.drop();
  ahead = null;
  await of.start(range, cursor);
  ahead = new ReadAhead(() => of.next());
}
