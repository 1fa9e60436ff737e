import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { sql } from '../../src/db/sql.ts';
import { compileCache } from '../support/code-folder.ts';
import type { Arena } from './arena.ts';
import type { Command, FailpointAction, JournalLine } from './failpoints.ts';
import type { WorkerProcessConfig } from './worker-process.ts';

/** A partition that a worker held when something was done to it. */
export interface Lost {
  fault: string;
  worker: string;
  /** Milliseconds since 1970, by the clock that the server shares. */
  at: number;
  runId: string;
  partition: number;
  epoch: number;
}

export interface Member {
  readonly id: string;
  readonly child: ChildProcess;
  readonly alive: boolean;
  command(command: Command): void;
  kill(signal: NodeJS.Signals): Promise<void>;
  journal(): Promise<JournalLine[]>;
}

/** The workers of a fault run: started, armed, killed, and replaced. */
export interface Herd {
  start(more?: { url?: string; files?: WorkerProcessConfig['files'] }): Promise<Member>;
  members(): Member[];
  /** Arms a new worker, and waits until it has reached the point. @returns null when it was never reached in time */
  sacrifice(point: string, action: FailpointAction, more?: { skip?: number; waitMs?: number }): Promise<Member | null>;
  /** Notes a fault and what the worker holds, before or after it was done. */
  noteLoss(fault: string, member: Member, at?: number): Promise<void>;
  readonly losses: Lost[];
  /** All journals, of the dead too. */
  journals(): Promise<JournalLine[]>;
  endAll(): Promise<void>;
}

export function createHerd(arena: Arena): Herd {
  const all: Member[] = [];
  const losses: Lost[] = [];
  let serial = 0;
  const herd: Herd = {
    losses,
    members: () => all.filter(({ alive }) => alive),
    async start({ url, files } = {}) {
      serial += 1;
      const id = `w${String(serial)}`;
      const folder = path.join(arena.folder, 'work', id);
      await mkdir(folder, { recursive: true });
      const config: WorkerProcessConfig = {
        databaseUrl: url ?? arena.workerUrl,
        contextKey: arena.contextKey.toString('hex'),
        workFolder: folder,
        id,
        journal: path.join(folder, 'journal.ndjson'),
        ...(files ? { files } : {}),
      };
      const script = fileURLToPath(new URL('worker-process.ts', import.meta.url));
      const child = fork(script, [JSON.stringify(config)], {
        execArgv: [],
        env: { ...process.env, ...compileCache },
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      });
      const member: Member = {
        id,
        child,
        get alive() {
          return child.exitCode === null && child.signalCode === null;
        },
        command: (command) => void child.send(command, () => undefined),
        async kill(signal) {
          if (!member.alive) return;
          const gone = once(child, 'exit');
          child.kill(signal);
          await gone;
        },
        journal: () => readJournal(config.journal),
      };
      all.push(member);
      return member;
    },
    async sacrifice(point, action, { skip = 0, waitMs = 45_000 } = {}) {
      const member = await herd.start();
      member.command({ arm: point, action, skip });
      const until = performance.now() + waitMs;
      for (;;) {
        const hit = (await member.journal()).find(({ kind }) => kind === 'hit');
        if (hit?.kind === 'hit') {
          await herd.noteLoss(`${action === 'kill' ? 'SIGKILL' : 'SIGSTOP'} ${point}`, member, hit.at);
          return member;
        }
        if (performance.now() > until || !member.alive) {
          await member.kill('SIGKILL');
          return null;
        }
        await new Promise((resolve) => setTimeout(resolve, 25));
      }
    },
    async noteLoss(fault, member, at = Date.now()) {
      const rows = await arena.ask<{ runId: string; partition: number; epoch: number }>(sql`
        select run_id as "runId", partition_no as partition, epoch
        from flux.run_partitions
        where leased_by = ${member.id} and status = 'EXECUTING'
      `);
      for (const row of rows) losses.push({ fault, worker: member.id, at, ...row });
    },
    async journals() {
      return (await Promise.all(all.map((member) => member.journal()))).flat();
    },
    async endAll() {
      for (const member of all) member.child.kill('SIGCONT');
      await Promise.all(all.map((member) => member.kill('SIGKILL')));
    },
  };
  return herd;
}

async function readJournal(file: string): Promise<JournalLine[]> {
  const text = await readFile(file, 'utf8').catch(() => '');
  // A line that was being written when its process died does not count.
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as JournalLine);
}
