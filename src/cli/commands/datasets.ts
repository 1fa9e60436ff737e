import { createWriteStream } from 'node:fs';
import { rename, rm, stat } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ReadableStream } from 'node:stream/web';

import type { Command } from 'commander';

import { everyPage } from '#sdk';

import { FluxError } from '../../errors.ts';
import { type Measured, Sha256Meter } from '../../packages/sha256-meter.ts';
import { type ApiOptions, withApi, withApiOptions } from '../api.ts';
import { print, printJson } from '../output.ts';
import { stopSignal } from '../stop-signal.ts';

interface PackageOptions extends ApiOptions {
  output?: string;
  force?: boolean;
}

export function addDatasets(program: Command): void {
  const datasets = program.command('datasets').description('The datasets of the agency’s lake.');
  withApiOptions(datasets.command('list'))
    .description('List them by name, with the records that stand in them.')
    .action(list);
  withApiOptions(datasets.command('package'))
    .description('Download one as a Frictionless Data Package, a ZIP archive, and print its SHA-256.')
    .argument('<name>', 'the dataset')
    .option('--output <file>', 'where to; NAME.zip in this folder if absent')
    .option('--force', 'replace a file that is there')
    .action(save);
}

async function list(options: ApiOptions): Promise<void> {
  await withApi(options, async ({ flux }) => {
    const found: { name: string; recordCount: string; loadCount: number }[] = [];
    for await (const one of everyPage((after) => flux.api.datasets({ first: 100, after }))) found.push(one);
    if (options.json) return printJson(found);
    for (const { name, recordCount, loadCount } of found)
      print(`${name}  ${recordCount} records, ${String(loadCount)} loads`);
  });
}

/** Whatever ends it early leaves no file that could be taken for the package. */
async function save(name: string, options: PackageOptions): Promise<void> {
  const signal = stopSignal();
  await withApi(options, async ({ flux }) => {
    const file = options.output ?? `${name}.zip`;
    await refuseExisting(file, options.force === true);
    const { content } = await flux.datasets.package(name, { signal });
    const part = `${file}.${String(process.pid)}.part`;
    const meter = new Sha256Meter();
    try {
      await pipeline(Readable.fromWeb(content as ReadableStream), meter, createWriteStream(part, { flags: 'wx' }), {
        signal,
      }).catch((cause: unknown) => {
        throw brokenOff(name, cause);
      });
      // It may have come to be there meanwhile.
      await refuseExisting(file, options.force === true);
      await rename(part, file);
    } finally {
      await rm(part, { force: true });
    }
    const { bytes, sha256 } = meter.measured as Measured;
    if (options.json) printJson({ dataset: name, file, bytes, sha256 });
    else print(`${file}: ${String(bytes)} bytes, SHA-256 ${sha256}`);
  });
}

/** Before anything is sent: a package may take long. @throws INVALID_INPUT */
async function refuseExisting(file: string, force: boolean): Promise<void> {
  if (!force && (await stat(file).catch(() => null)) !== null) throw isThere(file);
}

function isThere(file: string): FluxError {
  return new FluxError(
    'INVALID_INPUT',
    `${file} is there already. Name another with --output, or replace it with --force.`,
  );
}

function brokenOff(name: string, cause: unknown): unknown {
  const { code } = cause as NodeJS.ErrnoException;
  // The disk's own words are better than ours.
  if (typeof code === 'string' && /^E[A-Z]+$/.test(code) && 'syscall' in (cause as object) && code !== 'ECONNRESET') {
    return new FluxError('INVALID_INPUT', `The file cannot be written (${code}). Name one that can with --output.`, {
      cause,
    });
  }
  return new FluxError(
    'UNAVAILABLE',
    `The package of ${name} broke off before its end; nothing of it was kept. Download it again.`,
    { cause },
  );
}
