import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';

import { createAuthority } from './certificates.ts';
import type { KmsMode } from './kms-process.ts';

/** A key management service of the test's own, in a process of its own, over https. */
export interface TestKms {
  readonly url: string;
  readonly token: string;
  /** PEM file of the authority that its certificate is of. */
  readonly caFile: string;
  set(mode: KmsMode): Promise<void>;
  /** Ends its process; it is then not to be reached. */
  stop(): Promise<void>;
  /** Starts it again on its port. @param keys `others`: with other keys under the same names */
  restart(keys?: 'same' | 'others'): Promise<void>;
}

export async function startKms(folder: string): Promise<TestKms> {
  const authority = await createAuthority('KMS');
  const { cert, key } = await authority.issue({ ip: '127.0.0.1' });
  const caFile = path.join(folder, 'kms-ca.pem');
  await writeFile(caFile, authority.ca);
  const token = 'of the kms';
  let child: ChildProcess | undefined;
  let port = 0;
  const start = async (file: string): Promise<void> => {
    child = fork(path.join(import.meta.dirname, 'kms-process.ts'), { stdio: 'inherit' });
    child.send({ cert, key, file: path.join(folder, file), token, port });
    const [ready] = (await once(child, 'message')) as [{ port: number }];
    port = ready.port;
  };
  await start('kms-keys.json');
  const kms: TestKms = {
    get url() {
      return `https://127.0.0.1:${String(port)}/v1`;
    },
    token,
    caFile,
    async set(mode) {
      child?.send({ mode });
      if (child) await once(child, 'message');
    },
    async stop() {
      if (!child) return;
      const exited = once(child, 'exit');
      child.kill('SIGKILL');
      await exited;
      child = undefined;
    },
    async restart(keys = 'same') {
      await kms.stop();
      await start(keys === 'same' ? 'kms-keys.json' : 'other-keys.json');
    },
  };
  return kms;
}
