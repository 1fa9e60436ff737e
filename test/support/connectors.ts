import { createHash } from 'node:crypto';
import { appendFile, mkdtemp, mkdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { PutObjectCommand, S3Client } from '@aws-sdk/client-s3';

import { createFileSource } from '../../src/connectors/file-source.ts';
import { createHttpsSource } from '../../src/connectors/https/https-source.ts';
import { createS3Source } from '../../src/connectors/s3/s3-source.ts';
import type { SourceConnector, SourceRequest } from '../../src/connectors/source.ts';
import { startBreakingNetwork } from './breaking-network.ts';
import { startS3Server } from './s3-server.ts';
import { startWebServer } from './web-server.ts';

/** One kind of source for the conformance suite: a system that holds what the test puts there, and the connector for it. */
export interface ConnectorBench {
  connector: SourceConnector;
  connection: SourceRequest['connection'];
  put(name: string, content: Uint8Array): Promise<void>;
  /** Paths that lead out of what the connection may read. */
  escapes: readonly string[];
  /** What no origin and no message may hold. */
  secrets: readonly string[];
  /** Breaks the next transfer off after about so many bytes; absent where nothing can break. */
  breakAfter?(bytes: number, then?: () => Promise<void>): void;
  /** The same connection that takes no more than so many bytes; absent where the kind has no such limit. */
  limited?(maxBytes: number): SourceRequest['connection'];
  close(): Promise<void>;
}

const atOnce = (): Promise<void> => Promise.resolve();

export async function fileBench(): Promise<ConnectorBench> {
  const folder = await mkdtemp(path.join(tmpdir(), 'flux connector '));
  const root = path.join(folder, 'agency');
  await mkdir(root);
  await writeFile(path.join(folder, 'secret.csv'), 'not yours\n');
  return {
    connector: createFileSource({ test: [root] }),
    connection: { name: 'files', kind: 'file', config: { roots: ['.'] } },
    put: (name, content) => writeFile(path.join(root, name), content),
    escapes: ['../secret.csv', 'a/../../secret.csv', path.join(folder, 'secret.csv')],
    secrets: [folder],
    close: () => rm(folder, { recursive: true, force: true }),
  };
}

/** A file has no connection that breaks; what can happen is that somebody goes on writing. */
export function appendTo(bench: ConnectorBench, name: string): Promise<void> {
  return appendFile(path.join(String(bench.secrets[0]), 'agency', name), 'more');
}

export async function httpsBench(): Promise<ConnectorBench> {
  const server = await startWebServer();
  server.put('other/secret.csv', Buffer.from('not yours\n'));
  const config = { baseUrl: `${server.url}data/` };
  const secret = { headers: { Authorization: 'Bearer s3cr3t-header' }, query: { api_key: 's3cr3t-query' } };
  return {
    connector: createHttpsSource({ privateHosts: { test: ['127.0.0.1'] }, pause: atOnce }),
    connection: { name: 'web', kind: 'https', config, secret },
    put: (name, content) => Promise.resolve(server.put(`data/${name}?api_key=s3cr3t-query`, content)),
    escapes: [
      '../other/secret.csv',
      '%2e%2e/other/secret.csv',
      '..%2fother%2fsecret.csv',
      `${server.url}other/secret.csv`,
      '//127.0.0.1/x',
    ],
    secrets: ['s3cr3t-header', 's3cr3t-query'],
    breakAfter: (bytes, then) => server.breakAfter(bytes, () => void then?.()),
    limited: (maxBytes) => ({ name: 'web', kind: 'https', config: { ...config, maxBytes }, secret }),
    close: () => server.close(),
  };
}

export async function s3Bench(program: string): Promise<ConnectorBench> {
  const server = await startS3Server(program);
  const network = await startBreakingNetwork(Number(new URL(server.url).port));
  const { credentials } = server;
  const admin = new S3Client({
    endpoint: server.url,
    forcePathStyle: true,
    region: 'us-east-1',
    credentials,
    requestChecksumCalculation: 'WHEN_REQUIRED',
  });
  const put = async (key: string, content: Uint8Array): Promise<void> => {
    await admin.send(new PutObjectCommand({ Bucket: server.bucket, Key: key, Body: content }));
  };
  await put('other/secret.csv', Buffer.from('not yours\n'));
  const config = { bucket: server.bucket, region: 'us-east-1', prefix: 'landing/', endpoint: network.url };
  return {
    connector: createS3Source({ privateHosts: { test: ['127.0.0.1'] }, pause: atOnce }),
    connection: { name: 'bucket', kind: 's3', config, secret: credentials },
    put: (name, content) => put(`landing/${name}`, content),
    // A key is a text: what climbs in a path is a name here, below the prefix.
    escapes: ['../other/secret.csv', '/other/secret.csv'],
    secrets: [credentials.secretAccessKey],
    breakAfter: (bytes, then) => network.breakAfter(bytes, then),
    limited: (maxBytes) => ({ name: 'bucket', kind: 's3', config: { ...config, maxBytes }, secret: credentials }),
    async close() {
      admin.destroy();
      await network.close();
      await server.close();
    },
  };
}

export function sha256Of(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
