/**
 * Trusted documents: operations that are known beforehand, by the SHA-256 of their text. A client may send the id instead of the text
 * (`documentId`, or Apollo's `extensions.persistedQuery.sha256Hash`), alike on every transport.
 *
 * `off` takes any text, `log` too and tells of each that is not in the manifest, `enforce` executes only what is in it.
 */
import { readFileSync } from 'node:fs';

import { sha256Hex } from '../crypto/hash.ts';
import { FluxError } from '../errors.ts';
import type { Logger } from '../telemetry/logger.ts';
import { metrics } from '../telemetry/metrics.ts';

export type TrustedDocumentsMode = 'off' | 'log' | 'enforce';

/** A request as a transport got it, before it is known to be one. */
export interface AskedDocument {
  query?: unknown;
  documentId?: unknown;
  extensions?: unknown;
}

export interface TrustedDocuments {
  /**
   * The text to execute; what was sent where that is no text, for the transport to refuse.
   *
   * @throws DOCUMENT_NOT_TRUSTED the id is unknown, or with `enforce` the text; INVALID_INPUT id and text are not of one document
   */
  textOf(asked: AskedDocument): unknown;
}

export interface TrustedDocumentsOptions {
  mode: TrustedDocumentsMode;
  /** Texts by `sha256:<64 hex digits>`. */
  manifest: ReadonlyMap<string, string>;
  logger: Logger;
}

export function createTrustedDocuments({ mode, manifest, logger }: TrustedDocumentsOptions): TrustedDocuments {
  return {
    textOf(asked) {
      const id = idOf(asked);
      const { query } = asked;
      const hasText = typeof query === 'string' && query !== '';
      if (id !== undefined) {
        const known = manifest.get(id);
        if (hasText && `sha256:${sha256Hex(query)}` !== id) throw otherDocument();
        if (known !== undefined) return known;
        if (!hasText) throw unknownDocument(id);
      }
      if (mode === 'off' || !hasText) return query;
      const sent = `sha256:${sha256Hex(query)}`;
      if (manifest.has(sent)) return query;
      metrics.untrustedDocuments.inc();
      if (mode === 'enforce') throw unknownDocument(sent);
      logger.warn({ documentId: sent }, 'a document is not in the manifest of trusted ones');
      return query;
    },
  };
}

/**
 * Reads a manifest: a JSON object of texts by `sha256:<hex>` (the SDK's build writes one), or by the bare hex digits.
 *
 * @throws CONFIG_INVALID it cannot be read, or an id is not that of its text
 */
export function readManifest(file: string): Map<string, string> {
  let entries: [string, unknown][];
  try {
    entries = Object.entries(JSON.parse(readFileSync(file, 'utf8')) as object);
  } catch (cause) {
    throw new FluxError(
      'CONFIG_INVALID',
      `FLUX_TRUSTED_DOCUMENTS_MANIFEST names ${file}, which cannot be read as JSON. Write it with the SDK’s build, or as {"sha256:<hex>": "<document>"}.`,
      { cause },
    );
  }
  return new Map(
    entries.map(([id, text]) => {
      const hex = id.replace(/^sha256:/, '');
      if (typeof text === 'string' && sha256Hex(text) === hex) return [`sha256:${hex}`, text];
      throw new FluxError(
        'CONFIG_INVALID',
        `${file}: ${id} is not the SHA-256 of its document. Generate the manifest anew.`,
      );
    }),
  );
}

function idOf({ documentId, extensions }: AskedDocument): string | undefined {
  const { persistedQuery } = (typeof extensions === 'object' && extensions !== null ? extensions : {}) as {
    persistedQuery?: { sha256Hash?: unknown };
  };
  const given = documentId ?? persistedQuery?.sha256Hash;
  if (typeof given !== 'string') return undefined;
  return `sha256:${given.replace(/^sha256:/, '').toLowerCase()}`;
}

function unknownDocument(id: string): FluxError {
  return new FluxError(
    'DOCUMENT_NOT_TRUSTED',
    `The document ${id.slice(0, 80)} is not among those that this server knows. Send one of the manifest, or ask the operator to add it.`,
  );
}

function otherDocument(): FluxError {
  return new FluxError(
    'INVALID_INPUT',
    'The id is not that of the text that came with it. Send one of both, or the id of the text.',
  );
}
