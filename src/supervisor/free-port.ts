import { createServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

import { FluxError } from '../errors.ts';

/** The children of a supervisor that was killed a moment ago hold its port until they notice, which takes milliseconds. */
const patienceMs = 1_500;

/** @throws PORT_IN_USE another program listens there; CONFIG_INVALID the address cannot be listened on */
export async function requireFreePort(host: string, port: number): Promise<void> {
  if (port === 0) return;
  const until = Date.now() + patienceMs;
  for (;;) {
    const code = await tryToListen(host, port);
    if (code === undefined) return;
    if (code !== 'EADDRINUSE') {
      throw new FluxError(
        'CONFIG_INVALID',
        `Cannot listen on ${host}:${String(port)} (${code}). Set FLUX_HOST and FLUX_PORT to an address of this machine.`,
      );
    }
    if (Date.now() >= until) {
      throw new FluxError(
        'PORT_IN_USE',
        `Another program listens on ${host}:${String(port)}. Stop it, or set FLUX_PORT to a free port.`,
        {
          details: { host, port },
        },
      );
    }
    await delay(100);
  }
}

function tryToListen(host: string, port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    probe.listen({ host, port, exclusive: true }, () => probe.close(() => resolve(undefined)));
  });
}
