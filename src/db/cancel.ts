import { connect as connectTcp, type Socket } from 'node:net';

import type pg from 'pg';

/** The request code of CancelRequest (PostgreSQL's protocol, "Canceling Requests in Progress"). */
const cancelRequestCode = 80_877_102;
const waitMs = 2_000;

/**
 * Asks the server to end what a connection is doing, over a connection of its own as the protocol has it: no pool is needed, and a
 * transaction pooler in between passes it on. Resolves when the request has been sent, or could not be; never throws. The request
 * may come too late and would then end the connection's next statement, so nobody may be lent that connection any more.
 */
export async function cancelStatement(client: pg.ClientBase): Promise<void> {
  const { host, port, processID, secretKey } = client as pg.ClientBase & {
    host: string;
    port: number;
    processID: number | null;
    secretKey: number | null;
  };
  if (processID === null || secretKey === null) return;
  const message = Buffer.alloc(16);
  message.writeInt32BE(16, 0);
  message.writeInt32BE(cancelRequestCode, 4);
  message.writeInt32BE(processID, 8);
  message.writeInt32BE(secretKey, 12);
  await new Promise<void>((resolve) => {
    const socket: Socket = host.startsWith('/')
      ? connectTcp(`${host}/.s.PGSQL.${String(port)}`)
      : connectTcp({ host, port });
    socket.setTimeout(waitMs, () => socket.destroy());
    socket.on('error', () => socket.destroy());
    socket.once('close', () => resolve());
    socket.once('connect', () => socket.end(message));
    socket.resume();
  });
}
