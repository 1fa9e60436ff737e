import { createReadStream, openAsBlob } from 'node:fs';
import { basename } from 'node:path';

import { type Command, InvalidArgumentError } from 'commander';

import type { Upload } from '#sdk';
import { runningSha256 } from '../../crypto/hash.ts';
import { FluxError } from '../../errors.ts';
import { type ApiOptions, withApi, withApiOptions } from '../api.ts';
import { formatBar } from '../demo/screen.ts';
import { print, printJson } from '../output.ts';
import { stopSignal } from '../stop-signal.ts';

interface PutOptions extends ApiOptions {
  name?: string;
  pieceBytes?: number;
}

export function addUploads(program: Command): void {
  const uploads = program.command('uploads').description('Files that runs read as upload://NAME.');
  withApiOptions(uploads.command('put'))
    .description(
      'Send a file. Broken off and repeated, it goes on where it stands; the API checks the whole by its SHA-256.',
    )
    .argument('<file>', 'the file')
    .option('--name <name>', 'its name at Flux; the file’s own if absent')
    .option('--piece-bytes <count>', 'bytes of one request, for slow lines', pieceBytes)
    .action(put);
  withApiOptions(uploads.command('show'))
    .description('Say how much of a file has arrived.')
    .argument('<name>', 'its name at Flux')
    .action(async (name: string, options: ApiOptions) => {
      await withApi(options, async ({ flux }) => {
        const upload = await flux.uploads.find(name);
        if (!upload) throw new FluxError('NOT_FOUND', `There is no upload ${name}. Send it with flux uploads put.`);
        if (options.json) printJson(upload);
        else print(sentenceOf(upload));
      });
    });
}

async function put(file: string, options: PutOptions): Promise<void> {
  const { name = basename(file), pieceBytes: piece } = options;
  const signal = stopSignal();
  const content = await open(file);
  const sha256 = await digestOf(file, signal);
  await withApi(options, async ({ flux }) => {
    const show = options.json !== true && process.stdout.isTTY ? terminalBar(name) : jsonLines(name);
    const upload = await flux.uploads.put(name, content, {
      sha256,
      signal,
      onProgress: show.progress,
      ...(piece === undefined ? {} : { pieceBytes: piece }),
    });
    show.end(upload);
  });
}

/** @throws NOT_FOUND */
async function open(file: string): Promise<Blob> {
  try {
    return await openAsBlob(file);
  } catch (cause) {
    throw new FluxError('NOT_FOUND', `The file ${file} cannot be read. Name one that is there.`, { cause });
  }
}

interface View {
  progress(received: number, byteCount: number): void;
  end(upload: Upload): void;
}

/** One JSON object a line, for programs. */
function jsonLines(name: string): View {
  return {
    progress: (received, byteCount) => print(JSON.stringify({ event: 'progress', name, received, byteCount })),
    end: (upload) => print(JSON.stringify({ event: 'complete', name, ...upload })),
  };
}

/** A line that is drawn over. */
function terminalBar(name: string): View {
  const draw = (text: string): void => void process.stdout.write(`\r\u001B[2K${text}`);
  return {
    progress(received, byteCount) {
      const share = received / byteCount;
      draw(`${name}  ${formatBar(share)}  ${String(Math.floor(share * 100))} %  ${megabytes(received)}`);
    },
    end(upload) {
      draw('');
      print(sentenceOf(upload));
    },
  };
}

function sentenceOf({ source, status, byteCount, received, sha256 }: Upload): string {
  return status === 'COMPLETE'
    ? `${source} is complete: ${megabytes(byteCount)}, SHA-256 ${sha256 ?? ''}`
    : `${source} has ${String(received)} of ${String(byteCount)} bytes. Send the file again to go on.`;
}

function megabytes(bytes: number): string {
  return `${(bytes / 1_000_000).toFixed(bytes < 10_000_000 ? 3 : 1)} MB`;
}

async function digestOf(file: string, signal: AbortSignal): Promise<string> {
  const hash = runningSha256();
  for await (const piece of createReadStream(file, { signal })) hash.update(piece as Buffer);
  return hash.digest().toString('hex');
}

function pieceBytes(text: string): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= 1) return value;
  throw new InvalidArgumentError('It should be a whole number of bytes.');
}
