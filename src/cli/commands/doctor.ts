import { access, constants, statfs } from 'node:fs/promises';

import type { Command } from 'commander';

import { type Config, loadConfig, requireIssuers } from '../../config.ts';
import { checkInstallation } from '../../db/installation.ts';
import { ensureHome } from '../../home.ts';
import { requireFreePort } from '../../supervisor/free-port.ts';
import { readRunFile } from '../../supervisor/run-file.ts';
import { print, printJson } from '../output.ts';

interface Finding {
  check: string;
  ok: boolean;
  message: string;
}

const diskByteCountMin = 1024 ** 3;

export function addDoctor(program: Command): void {
  program
    .command('doctor')
    .description(
      'Check what Flux needs here: configuration, folders, port, database. Exit code 1 if something is wrong.',
    )
    .option('--json', 'print JSON')
    .action(async ({ json }: { json?: boolean }) => {
      const config = loadConfig();
      const running = await readRunFile(config.home);
      const findings = [
        await check('node', () => nodeVersion()),
        await check('configuration', () => configuration(config)),
        await check('home', () => home(config)),
        await check('api', () => api(config, running?.apiUrl)),
        ...(await database(config.databaseUrl ?? running?.adminUrl)),
      ];
      if (json) printJson(findings);
      else
        for (const { check: name, ok, message } of findings)
          print(`${ok ? 'ok   ' : 'WRONG'}  ${name.padEnd(14)} ${message}`);
      if (findings.some(({ ok }) => !ok)) process.exitCode = 1;
    });
}

async function check(name: string, work: () => Promise<string> | string): Promise<Finding> {
  try {
    return { check: name, ok: true, message: await work() };
  } catch (cause) {
    return { check: name, ok: false, message: (cause as Error).message };
  }
}

function nodeVersion(): string {
  return `Node ${process.versions.node} on ${process.platform}-${process.arch}`;
}

function configuration(config: Config): string {
  requireIssuers(config);
  const keys = [config.contextKey, config.dataKey].length;
  return [`${config.environment}, ${String(keys)} keys present`, ...config.warnings].join('; ');
}

async function home(config: Config): Promise<string> {
  await ensureHome(config.home);
  await access(config.home, constants.R_OK | constants.W_OK | constants.X_OK);
  const { bavail, bsize } = await statfs(config.home);
  const free = bavail * bsize;
  if (free < diskByteCountMin)
    throw new Error(
      `${config.home} has ${gigabytes(free)} free; Flux needs room for sources and data. Free some, or set FLUX_HOME.`,
    );
  return `${config.home}, ${gigabytes(free)} free`;
}

async function api(config: Config, running: string | undefined): Promise<string> {
  if (running === undefined) {
    await requireFreePort(config.host, config.port);
    return `not running; ${config.host}:${String(config.port)} is free`;
  }
  const response = await fetch(new URL('/health/ready', running), { signal: AbortSignal.timeout(3_000) }).catch(
    () => undefined,
  );
  if (!response?.ok)
    throw new Error(
      `${running}/health/ready ${response ? `answers ${String(response.status)}` : 'does not answer'}. Its log says why.`,
    );
  return `ready at ${running}`;
}

async function database(adminUrl: string | undefined): Promise<Finding[]> {
  if (adminUrl === undefined)
    return [{ check: 'database', ok: true, message: 'embedded, not running; flux up starts it' }];
  try {
    const { server, version, canSignal } = await checkInstallation(adminUrl);
    const installed = version === 0 ? 'nothing installed yet; run flux migrate' : `migration ${String(version)}`;
    return [
      { check: 'database', ok: true, message: `PostgreSQL ${server}, ${installed}` },
      ...(version === 0 || canSignal
        ? []
        : [
            {
              check: 'rescue',
              ok: true,
              message: 'pg_signal_backend is not granted: a frozen worker’s partition waits until the server notices',
            },
          ]),
    ];
  } catch (cause) {
    return [{ check: 'database', ok: false, message: (cause as Error).message }];
  }
}

function gigabytes(bytes: number): string {
  return `${(bytes / 1024 ** 3).toFixed(1)} GB`;
}
