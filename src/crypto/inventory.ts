/**
 * The cryptographic inventory (SC-13): what this folder offers, by export, and what others do for us. docs/cryptography.md is
 * generated from it together with the files that use each entry, and an export that is missing here fails the generator.
 */
export interface InventoryEntry {
  /** The exports of src/crypto that this entry describes. */
  exports: readonly string[];
  algorithm: string;
  standard: string;
  /** Bits of the key, or of the digest where there is no key. */
  bits: string;
  /** `approved`: an approved security function; `refused`: not to be had in FIPS mode; `none`: no security function. */
  fips: 'approved' | 'refused' | 'none';
  purposes: readonly string[];
}

export const inventory: readonly InventoryEntry[] = [
  {
    exports: ['sha256', 'sha256Hex', 'runningSha256'],
    algorithm: 'SHA-256',
    standard: 'FIPS 180-4',
    bits: '256 (digest)',
    fips: 'approved',
    purposes: [
      'content of pinned sources, definitions, checkpoints, migrations',
      'leaves and nodes of the audit log (RFC 6962)',
      'requests under an idempotency key',
      'short suffixes of long identifiers (no security function)',
    ],
  },
  {
    exports: ['hmacSha256', 'hmacSha256Kept'],
    algorithm: 'HMAC-SHA-256',
    standard: 'FIPS 198-1',
    bits: '256',
    fips: 'approved',
    purposes: [
      'seal of the tenant context',
      'page and event cursors',
      'keys derived from FLUX_CONTEXT_KEY and FLUX_DATA_KEY: one label per purpose (SP 800-108, one block)',
      'passwords of the database logins',
      'identifiers hashed by sterilisation, under a salt of the agency’s or of a linkage (FLUX_SALT_KEY, FLUX_LINKAGE_SALTS)',
      'object addresses, keyed per agency',
    ],
  },
  {
    exports: [
      'sealBox',
      'openBox',
      'sealWith',
      'openWith',
      'prepareKey',
      'keyByteCount',
      'tagByteCount',
      'boxOverhead',
    ],
    algorithm: 'AES-256-GCM',
    standard: 'SP 800-38D',
    bits: '256',
    fips: 'approved',
    purposes: [
      'run payloads and raw rejected records',
      'headers of sealed objects',
      'data keys under the key encryption key',
    ],
  },
  {
    exports: ['sealSegment', 'openSegment', 'noncePrefixByteCount', 'segmentOverhead'],
    algorithm: 'AES-256-GCM in segments (STREAM, CRYPTO 2015)',
    standard: 'SP 800-38D',
    bits: '256',
    fips: 'approved',
    purposes: ['pinned and staged objects'],
  },
  {
    exports: ['deriveKey'],
    algorithm: 'HKDF-SHA-256',
    standard: 'SP 800-56C, RFC 5869',
    bits: '256',
    fips: 'approved',
    purposes: ['one key for every object, and for the records of every source and run'],
  },
  {
    exports: ['fipsActive', 'fipsProblem', 'refuseUnapproved'],
    algorithm: 'FIPS mode',
    standard: 'FIPS 140-3, by OpenSSL’s provider',
    bits: '-',
    fips: 'none',
    purposes: ['FLUX_FIPS=1 starts only under the provider'],
  },
  {
    exports: ['certificateEnd'],
    algorithm: 'X.509 certificates',
    standard: 'RFC 5280',
    bits: '-',
    fips: 'none',
    purposes: ['when the API’s certificate ends, for `flux doctor`; it is read, nothing is verified by it'],
  },
  {
    exports: ['equalSecrets'],
    algorithm: 'comparison in constant time',
    standard: '-',
    bits: '-',
    fips: 'none',
    purposes: ['authentication codes'],
  },
  {
    exports: ['randomBytes', 'randomHex', 'randomUuid', 'timeOrderedUuid'],
    algorithm: 'CTR_DRBG of OpenSSL, seeded by the operating system',
    standard: 'SP 800-90A',
    bits: '256',
    fips: 'approved',
    purposes: ['keys, nonces', 'request, error and object ids, names of temporary files (no security function)'],
  },
  {
    exports: ['ed25519Signer', 'verifyEd25519'],
    algorithm: 'Ed25519',
    standard: 'RFC 8032',
    bits: '256',
    fips: 'refused',
    purposes: ['signed checkpoints of the audit log (FLUX_AUDIT_ALGORITHM=ed25519)'],
  },
  {
    exports: ['ecdsaSigner', 'verifyEcdsa', 'isEcdsaPublicKey', 'ecdsaPublicKeyByteCount'],
    algorithm: 'ECDSA P-256 with SHA-256',
    standard: 'FIPS 186-5',
    bits: '256',
    fips: 'approved',
    purposes: ['signed checkpoints of the audit log (FLUX_AUDIT_ALGORITHM=ecdsa-p256, the default in FIPS mode)'],
  },
];

/** Cryptography that others do for us: named, because it is in no file of src/crypto. */
export const elsewhere: readonly { by: string; what: string; bits: string; purpose: string }[] = [
  {
    by: 'jose (Web Crypto), in src/auth',
    what: 'ES256, PS256, RS256; EdDSA outside FIPS mode',
    bits: '256 (EC), 2048 and more (RSA)',
    purpose: 'tokens; development’s own issuer signs with ES256',
  },
  {
    by: 'Node’s TLS (OpenSSL), in src/server, pg and @redis/client',
    what: 'TLS 1.2 and 1.3, ECDHE with AES-GCM (clients); verify-full, with SCRAM channel binding where the server offers it or `channel_binding=require` asks for it (PostgreSQL); certificate and name verified (Redis)',
    bits: '128 and 256',
    purpose: 'everything that travels',
  },
  {
    by: 'PostgreSQL, sha256() in migrations',
    what: 'SHA-256, HMAC-SHA-256 built of it',
    bits: '256',
    purpose: 'the other side of the sealed tenant context; digests of checkpoints',
  },
  {
    by: 'PostgreSQL and pg',
    what: 'SCRAM-SHA-256 (PBKDF2, HMAC-SHA-256), RFC 7677',
    bits: '256',
    purpose: 'logins of the database roles',
  },
];
