/**
 * SCRAM bound to the TLS connection (RFC 5929, tls-server-end-point). The driver uses it where the server offers it. Whoever stands in
 * between with a certificate that is believed could offer less; `channel_binding=require` in the URL, as libpq has it, refuses less.
 */
import pg from 'pg';

import { FluxError } from '../errors.ts';

const bound = 'SCRAM-SHA-256-PLUS';
/** What a server may ask for instead: a password in the clear, or a hash of one. */
const weaker = ['authenticationCleartextPassword', 'authenticationMD5Password'];

/** The driver's client for a URL: one that refuses a login without channel binding where the URL requires it. */
export function clientOf(url: string): typeof pg.Client {
  return new URL(url).searchParams.get('channel_binding') === 'require' ? BoundClient : pg.Client;
}

/** What the driver says of a login, by the names of the protocol's messages. */
interface Protocol {
  prependListener(name: string, listener: (message: { mechanisms?: string[] }) => void): void;
  stream: { destroy(cause: Error): void };
}

class BoundClient extends pg.Client {
  constructor(config?: string | pg.ClientConfig) {
    super(config);
    const { connection } = this as unknown as { connection: Protocol };
    let isBound = false;
    let isProved = false;
    const refuse = (found: string): void => {
      connection.stream.destroy(
        new FluxError(
          'UNAVAILABLE',
          `The database ${found}, and channel_binding=require expects ${bound}. Give it TLS and SCRAM, or find out who answers in its place.`,
        ),
      );
    };
    // Before the driver answers: nothing of the password may leave for a server that asks for less.
    connection.prependListener('authenticationSASL', ({ mechanisms = [] }) => {
      isBound = mechanisms.includes(bound);
      if (!isBound) refuse(`offers no more than ${mechanisms.join(', ')}`);
    });
    connection.prependListener('authenticationSASLFinal', () => {
      isProved = isBound;
    });
    for (const name of weaker) connection.prependListener(name, () => refuse('asks for the password itself'));
    connection.prependListener('authenticationOk', () => {
      if (!isProved) refuse('lets us in without a proof that it knows the password');
    });
  }
}
