import type { IncomingMessage, Server } from 'node:http';
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';

/**
 * Connections that have not asked anything yet: clients and load balancers open some ahead. Node counts them neither as idle nor as
 * over, so a server that stops would wait for each as long as a request's headers may take.
 *
 * @returns end: cuts them off
 */
export function silentConnections(server: Server): { end(): void } {
  const silent = new Set<Socket>();
  let over = false;
  const opened = (socket: Socket): void => {
    if (over) socket.destroy();
    silent.add(socket);
    socket.once('close', () => silent.delete(socket));
  };
  const asks = ({ socket }: IncomingMessage): void => void silent.delete(socket);
  server.on('connection', opened);
  server.on('secureConnection', opened);
  server.on('request', asks);
  server.on('upgrade', asks);
  return {
    end() {
      over = true;
      // Beneath TLS, and while a request is coming in, something was read already.
      for (const socket of silent) if (socket instanceof TLSSocket || socket.bytesRead === 0) socket.destroy();
    },
  };
}
