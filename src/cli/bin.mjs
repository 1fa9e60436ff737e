#!/usr/bin/env node
// Plain JavaScript that any Node from 20 on can read: Flux itself needs 22.18, which strips types from .ts files. An older
// Node hands over to the one that npm installed beside us.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const entry = new URL('./cli.ts', import.meta.url);
const [major, minor] = process.versions.node.split('.').map(Number);

if (major > 22 || (major === 22 && minor >= 18)) {
  const { traceProcess } = await import(new URL('./trace-process.ts', import.meta.url).href);
  await traceProcess(process.argv, async () => {
    const { main } = await import(entry.href);
    return () => main(process.argv);
  });
} else {
  const node = newerNode();
  if (node === undefined) {
    process.stderr.write(
      `Flux needs Node 22.18 or newer; this is ${process.versions.node}. Run npm ci, or update Node.\n`,
    );
    process.exit(1);
  }
  // The channel's end tells the real process that this one is gone.
  const child = spawn(node, [fileURLToPath(import.meta.url), ...process.argv.slice(2)], {
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
  });
  // Ctrl-C reaches both; the child decides how to end.
  process.on('SIGINT', () => undefined);
  for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  child.on('error', (error) => {
    process.stderr.write(`Cannot run ${node}: ${error.message}\n`);
    process.exit(1);
  });
  child.on('exit', (code, signal) => process.exit(signal === null ? code : 1));
}

function newerNode() {
  const require = createRequire(import.meta.url);
  try {
    const candidate = path.join(path.dirname(require.resolve('node/package.json')), 'bin', 'node');
    return existsSync(candidate) ? candidate : undefined;
  } catch {
    // Not installed: an installation without devDependencies brings its own Node.
    return undefined;
  }
}
