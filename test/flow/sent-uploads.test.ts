/** Files as integrators and operators send them: the SDK and the command, over connections that break. */
import { createHash, randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { createFlux, type Flux, FluxError } from '#sdk';
import { receiveUpload, uploadOf } from '../../src/domain/receive-upload.ts';
import { createFileStore } from '../../src/objects/file-store.ts';
import { type ApiServer, startApiServer } from '../support/api-server.ts';
import { apiDeps } from '../support/api.ts';
import { useDatabase } from '../support/database.ts';
import { testDataKey, useSealedBench } from '../support/encryption.ts';
import { flux as run, temporaryFolder } from '../support/flux.ts';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts';
import { createTestIssuer, type TestIssuer } from '../support/tokens.ts';

const database = useDatabase();
const bench = useSealedBench(database, ['noaa']);
let api: ApiServer;
let issuer: TestIssuer;
let proxy: TcpProxy;
const clients: Flux[] = [];

beforeAll(async () => {
  issuer = await createTestIssuer('https://issuer.example.gov');
  const deps = {
    ...apiDeps(database, { keys: bench.keyRing() }),
    objects: createFileStore({ folder: bench.objects, dataKey: testDataKey }),
    byteCountMax: 4_000_000,
  };
  api = await startApiServer(database, {
    issuers: [{ issuer, agencies: ['noaa'] }],
    uploads: {
      receive: (context, upload) => receiveUpload(deps, context, upload),
      find: (context, name) => uploadOf(deps, context, name),
    },
  });
  proxy = await startTcpProxy(() => Number(new URL(api.url).port));
});
afterAll(async () => {
  for (const client of clients) client.close();
  await proxy.close();
  await api.stop();
});

async function client(role = 'operator'): Promise<Flux> {
  const flux = createFlux({ url: proxy.url, token: await issuer.sign({ agency: 'noaa', role }) });
  clients.push(flux);
  return flux;
}

const digestOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
const pieceBytes = 100_000;
const file = (bytes = randomBytes(950_000)) => ({ content: new Blob([bytes]), sha256: digestOf(bytes), bytes });

describe('the SDK', () => {
  it('sends a file in pieces that arrive as they were', async () => {
    const { content, sha256 } = file();
    const seen: number[] = [];
    const upload = await (
      await client()
    ).uploads.put('whole.bin', content, {
      pieceBytes,
      sha256,
      onProgress: (received) => seen.push(received),
    });
    expect(upload).toEqual({
      source: 'upload://whole.bin',
      status: 'COMPLETE',
      byteCount: 950_000,
      received: 950_000,
      sha256,
    });
    expect(seen).toEqual([...Array.from({ length: 9 }, (_, i) => (i + 1) * pieceBytes), 950_000]);
  });

  it.each([true, false])('goes on where connections break and replies are lost (digest known: %s)', async (known) => {
    const { content, sha256 } = file();
    let pieces = 0;
    const upload = await (
      await client()
    ).uploads.put(`broken-${String(known)}.bin`, content, {
      pieceBytes,
      ...(known ? { sha256 } : {}),
      onProgress(received) {
        pieces += 1;
        if (pieces === 2) proxy.cut();
        if (pieces === 4) proxy.loseNextReply();
        expect(received % pieceBytes === 0 || received === 950_000).toBe(true);
      },
    });
    expect(upload).toMatchObject({ status: 'COMPLETE', sha256 });
    // The piece whose reply was lost had arrived: it is not sent again.
    expect(pieces).toBe(9);
  });

  it('takes the last piece for done when only the reply to it was lost', async () => {
    const { content, sha256 } = file();
    const upload = await (
      await client()
    ).uploads.put('last.bin', content, {
      pieceBytes: 500_000,
      sha256,
      onProgress: (received) => {
        if (received === 500_000) proxy.loseNextReply();
      },
    });
    expect(upload).toMatchObject({ status: 'COMPLETE', received: 950_000, sha256 });
  });

  it('goes on with what an earlier process began, and sends nothing that is there already', async () => {
    const { content, sha256 } = file();
    const leaving = new AbortController();
    const first = (await client()).uploads.put('later.bin', content, {
      pieceBytes,
      sha256,
      signal: leaving.signal,
      onProgress: (received) => {
        if (received === 3 * pieceBytes) leaving.abort();
      },
    });
    await expect(first).rejects.toThrow(/abort/i);
    const flux = await client();
    expect(await flux.uploads.find('later.bin')).toMatchObject({ status: 'OPEN', received: 3 * pieceBytes });
    const seen: number[] = [];
    const options = { pieceBytes, sha256, onProgress: (received: number) => seen.push(received) };
    expect(await flux.uploads.put('later.bin', content, options)).toMatchObject({ status: 'COMPLETE' });
    expect(seen[0]).toBe(4 * pieceBytes);
    seen.length = 0;
    expect(await flux.uploads.put('later.bin', content, options)).toMatchObject({ status: 'COMPLETE', sha256 });
    expect(seen).toEqual([]);
  });

  it('sends all of it where what was begun turns out to be another file of that size', async () => {
    const [other, mine] = [file(), file()];
    const flux = await client();
    const leaving = new AbortController();
    const begun = flux.uploads.put('mixed.bin', other.content, {
      pieceBytes,
      sha256: other.sha256,
      signal: leaving.signal,
      onProgress: () => leaving.abort(),
    });
    await expect(begun).rejects.toThrow(/abort/i);
    const upload = await flux.uploads.put('mixed.bin', mine.content, { pieceBytes, sha256: mine.sha256 });
    expect(upload).toMatchObject({ status: 'COMPLETE', sha256: mine.sha256 });
  });

  it('tells as typed errors what the API refuses', async () => {
    const { content, sha256 } = file();
    const codeOf = (work: Promise<unknown>): Promise<unknown> =>
      work.then(
        () => 'done',
        (cause: unknown) => (cause instanceof FluxError ? [cause.code, cause.class] : cause),
      );
    const [operator, viewer] = [await client(), await client('viewer')];
    expect(await codeOf(operator.uploads.put('wrong.bin', content, { sha256: '0'.repeat(64) }))).toEqual([
      'INVALID_INPUT',
      'VALIDATION',
    ]);
    expect(await codeOf(operator.uploads.put('empty.bin', new Blob([])))).toEqual(['INVALID_INPUT', 'VALIDATION']);
    expect(await codeOf(operator.uploads.put('.hidden', content))).toEqual(['INVALID_INPUT', 'VALIDATION']);
    const forbidden = ['FORBIDDEN', 'AUTHORIZATION'];
    expect(await codeOf(viewer.uploads.put('viewer.bin', content))).toEqual(forbidden);
    expect(await codeOf(viewer.uploads.put('viewer.bin', content, { sha256 }))).toEqual(forbidden);
    expect(await codeOf(viewer.uploads.find('viewer.bin'))).toEqual(forbidden);
    expect(await operator.uploads.find('nowhere.bin')).toBeNull();
  });
});

describe('the command', () => {
  it('sends a file with a line for each piece, says how it stands, and what it cannot read', async () => {
    const home = await temporaryFolder('uploads');
    try {
      const { bytes, sha256 } = file();
      const name = path.join(home.folder, 'sent.bin');
      await writeFile(name, bytes);
      const token = await issuer.sign({ agency: 'noaa', role: 'operator' });
      const uploads = (...args: string[]) =>
        run(['uploads', ...args, '--url', api.url, '--token', token], { home: home.folder });
      const put = await uploads('put', name, '--piece-bytes', '400000');
      expect([put.code, put.stderr]).toEqual([0, '']);
      const lines = put.stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as Record<string, unknown>);
      expect(lines.map(({ event, received }) => [event, received])).toEqual([
        ['progress', 400_000],
        ['progress', 800_000],
        ['progress', 950_000],
        ['complete', 950_000],
      ]);
      expect(lines.at(-1)).toMatchObject({ source: 'upload://sent.bin', sha256 });
      const shown = await uploads('show', 'sent.bin');
      expect(shown.stdout).toBe(`upload://sent.bin is complete: 0.950 MB, SHA-256 ${sha256}\n`);
      expect(await uploads('show', 'nowhere.bin')).toMatchObject({
        code: 1,
        stderr: expect.stringMatching(/^NOT_FOUND/) as string,
      });
      expect(await uploads('put', path.join(home.folder, 'missing'))).toMatchObject({
        code: 1,
        stderr: expect.stringMatching(/^NOT_FOUND: The file .*missing cannot be read/) as string,
      });
    } finally {
      await home.remove();
    }
  });
});
