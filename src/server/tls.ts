import { unwatchFile, watchFile } from 'node:fs';
import { readFileSync } from 'node:fs';
import type { Server } from 'node:https';
import { createSecureContext, type SecureContextOptions } from 'node:tls';

import { FluxError } from '../errors.ts';
import type { Logger } from '../telemetry/logger.ts';

/** Paths of PEM files: the certificate with its chain, and its private key. */
export interface TlsFiles {
  cert: string;
  key: string;
}

/**
 * TLS 1.2 and 1.3, forward secrecy and authenticated encryption only (SP 800-52r2 3.3.1). No ChaCha20: it is not approved, and
 * what offers it offers AES-GCM too.
 */
const rules: SecureContextOptions = {
  minVersion: 'TLSv1.2',
  ciphers: [
    'TLS_AES_256_GCM_SHA384',
    'TLS_AES_128_GCM_SHA256',
    'ECDHE-ECDSA-AES256-GCM-SHA384',
    'ECDHE-RSA-AES256-GCM-SHA384',
    'ECDHE-ECDSA-AES128-GCM-SHA256',
    'ECDHE-RSA-AES128-GCM-SHA256',
  ].join(':'),
  honorCipherOrder: true,
};

/** @throws CONFIG_INVALID a file cannot be read, is no PEM, or the key is not the certificate's */
export function readTls(files: TlsFiles): SecureContextOptions {
  try {
    const options = { ...rules, cert: readFileSync(files.cert), key: readFileSync(files.key) };
    createSecureContext(options);
    return options;
  } catch (cause) {
    throw new FluxError(
      'CONFIG_INVALID',
      `The certificate ${files.cert} and key ${files.key} cannot be used (${(cause as Error).message}). Correct FLUX_TLS_CERT and FLUX_TLS_KEY.`,
      { cause },
    );
  }
}

/**
 * Takes a renewed certificate without a restart, when a file changes or the process gets SIGHUP. Open connections go on as they
 * are; a pair that cannot be used is logged, and the present one stays.
 *
 * @returns ends the watching
 */
export function watchTls(
  server: Pick<Server, 'setSecureContext'>,
  files: TlsFiles,
  { logger, everyMs = 5_000 }: { logger: Pick<Logger, 'info' | 'error'>; everyMs?: number },
): () => void {
  const reload = (): void => {
    try {
      server.setSecureContext(readTls(files));
      logger.info({ cert: files.cert }, 'the TLS certificate was read again');
    } catch (err) {
      logger.error({ err }, 'the new TLS certificate cannot be used; the present one stays');
    }
  };
  // Polled: a secret that an orchestrator mounts changes by a link in the path, which no watch of the file sees.
  for (const file of [files.cert, files.key]) watchFile(file, { interval: everyMs, persistent: false }, reload);
  process.on('SIGHUP', reload);
  return () => {
    for (const file of [files.cert, files.key]) unwatchFile(file, reload);
    process.off('SIGHUP', reload);
  };
}
