import { createHash, createPublicKey, verify } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';

import { CompactRange } from '../../src/audit/compact-range.ts';
import { hashLeaf, hashNode, verifyConsistency, verifyInclusion } from '../../src/audit/merkle.ts';
import { proofsOver } from '../../src/audit/proofs.ts';
import { createSigner, openNote, publicKeyOf, readNote } from '../../src/audit/signed-note.ts';

const vectors = path.join(import.meta.dirname, '..', '..', '..', 'shared', 'data', 'merkle', 'testdata');

function readVectors(folder: string): Record<string, unknown>[] {
  try {
    return readdirSync(path.join(vectors, folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && entry.name.endsWith('.json'))
      .map(
        (entry) => JSON.parse(readFileSync(path.join(entry.parentPath, entry.name), 'utf8')) as Record<string, unknown>,
      );
  } catch {
    return [];
  }
}
const bytes = (text: unknown): Buffer => Buffer.from((text ?? '') as string, 'base64');
const list = (texts: unknown): Buffer[] => ((texts ?? []) as string[]).map(bytes);

describe('the vectors of transparency-dev/merkle', () => {
  const inclusion = readVectors('inclusion');
  const consistency = readVectors('consistency');
  const absent = '../shared/data/merkle is not beside this checkout';
  test('all say of inclusion what we say', ({ skip }) => {
    skip(inclusion.length === 0, absent);
    expect(inclusion).toHaveLength(98);
    for (const { leafIdx, treeSize, root, leafHash, proof, desc, wantErr } of inclusion) {
      const claim = { index: Number(leafIdx), size: Number(treeSize), leaf: bytes(leafHash), root: bytes(root) };
      expect(verifyInclusion(claim, list(proof)), String(desc)).toBe(wantErr !== true);
    }
  });
  test('all say of consistency what we say', ({ skip }) => {
    skip(consistency.length === 0, absent);
    expect(consistency).toHaveLength(98);
    for (const { size1, size2, root1, root2, proof, desc, wantErr } of consistency) {
      const claim = { size1: Number(size1), size2: Number(size2), root1: bytes(root1), root2: bytes(root2) };
      expect(verifyConsistency(claim, list(proof)), `${String(desc)} ${String(size1)}-${String(size2)}`).toBe(
        wantErr !== true,
      );
    }
  });
});

/** RFC 6962 section 2.1, word for word. */
function mth(leaves: readonly Buffer[]): Buffer {
  if (leaves.length === 1) return leaves[0] as Buffer;
  let split = 1;
  while (split * 2 < leaves.length) split *= 2;
  return hashNode(mth(leaves.slice(0, split)), mth(leaves.slice(split)));
}

const leaves = Array.from({ length: 2_000 }, (_, i) => hashLeaf(Buffer.from(`entry ${String(i)}`)));
const tiles = new Map<string, Buffer[]>();
const whole = new CompactRange();
const place = (level: number, index: number, hash: Buffer): void => {
  const key = `${String(level)}/${String(Math.floor(index / 256))}`;
  tiles.set(key, [...(tiles.get(key) ?? []), hash]);
};
leaves.forEach((leaf, i) => {
  place(0, i, leaf);
  whole.append(leaf, place);
});
const proofs = proofsOver((level, tileNo) =>
  Promise.resolve(
    tiles.has(`${String(level)}/${String(tileNo)}`)
      ? Buffer.concat(tiles.get(`${String(level)}/${String(tileNo)}`) ?? [])
      : undefined,
  ),
);

const flip = (hash: Buffer, bit: number): Buffer => {
  const other = Buffer.from(hash);
  other[Math.floor(bit / 8)] = (other[Math.floor(bit / 8)] ?? 0) ^ (1 << (bit % 8));
  return other;
};
const sizes = fc.integer({ min: 1, max: 2_000 });
const bit = fc.integer({ min: 0, max: 255 });

describe('a tree of up to 2000 leaves', () => {
  it('has the root that the RFC defines, from peaks and from tiles', async () => {
    await fc.assert(
      fc.asyncProperty(sizes, async (size) => {
        const range = new CompactRange();
        for (const leaf of leaves.slice(0, size)) range.append(leaf);
        const root = mth(leaves.slice(0, size));
        expect(range.root().equals(root)).toBe(true);
        expect(new CompactRange(size, range.peaks()).root().equals(root)).toBe(true);
        expect((await proofs.rootAt(size)).equals(root)).toBe(true);
      }),
      { numRuns: 60 },
    );
  });

  it('proves every leaf, and nothing when any bit is flipped', async () => {
    await fc.assert(
      fc.asyncProperty(sizes, fc.nat(), bit, fc.nat(), async (size, at, flipped, which) => {
        const index = at % size;
        const claim = { index, size, leaf: leaves[index] as Buffer, root: await proofs.rootAt(size) };
        const proof = await proofs.inclusion(index, size);
        expect(verifyInclusion(claim, proof)).toBe(true);
        expect(verifyInclusion({ ...claim, leaf: flip(claim.leaf, flipped) }, proof)).toBe(false);
        expect(verifyInclusion({ ...claim, root: flip(claim.root, flipped) }, proof)).toBe(false);
        expect(verifyInclusion({ ...claim, index: index + size }, proof)).toBe(false);
        if (proof.length === 0) return;
        const bad = proof.with(which % proof.length, flip(proof[which % proof.length] as Buffer, flipped));
        expect(verifyInclusion(claim, bad)).toBe(false);
        expect(verifyInclusion(claim, proof.slice(1))).toBe(false);
      }),
      { numRuns: 300 },
    );
  });

  it('proves every growth, and nothing when any bit is flipped', async () => {
    await fc.assert(
      fc.asyncProperty(sizes, sizes, bit, fc.nat(), async (a, b, flipped, which) => {
        const [size1, size2] = [Math.min(a, b), Math.max(a, b)];
        const claim = { size1, size2, root1: await proofs.rootAt(size1), root2: await proofs.rootAt(size2) };
        const proof = await proofs.consistency(size1, size2);
        expect(verifyConsistency(claim, proof)).toBe(true);
        expect(verifyConsistency({ ...claim, root1: flip(claim.root1, flipped) }, proof)).toBe(false);
        expect(verifyConsistency({ ...claim, root2: flip(claim.root2, flipped) }, proof)).toBe(false);
        if (proof.length === 0) return;
        const bad = proof.with(which % proof.length, flip(proof[which % proof.length] as Buffer, flipped));
        expect(verifyConsistency(claim, bad)).toBe(false);
      }),
      { numRuns: 300 },
    );
  });

  it('says which tile is missing', async () => {
    await expect(proofs.rootAt(2_049)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });
});

describe.each(['ed25519', 'ecdsa-p256'] as const)('a checkpoint signed with %s', (algorithm) => {
  const seed = Buffer.alloc(32, 7);
  const signer = createSigner(seed, algorithm);
  const checkpoint = {
    origin: 'flux/test/agencies/nasa',
    size: 5,
    root: hashLeaf(Buffer.from('x')),
    at: '2026-01-02T03:04:05.000Z',
  };
  const note = signer.sign(checkpoint);
  const key = { publicKey: publicKeyOf(seed, algorithm) };

  it('is a note that reads back', () => {
    expect(note.split('\n')).toHaveLength(7);
    expect(readNote(note)).toEqual(checkpoint);
    expect(openNote(note, [key])).toEqual({ checkpoint });
  });

  it('is believed from a trusted key alone, and before its end', () => {
    expect(openNote(note, [{ publicKey: publicKeyOf(Buffer.alloc(32, 8), algorithm) }])).toHaveProperty('problem');
    expect(openNote(note, [{ ...key, until: new Date('2026-01-01') }])).toMatchObject({
      problem: expect.stringContaining('expired') as string,
    });
    expect(openNote(note, [{ ...key, until: new Date('2026-02-01') }])).toEqual({ checkpoint });
  });

  it('is not believed when anything of it is changed', () => {
    for (const other of [
      note.replace('nasa', 'noaa'),
      note.replace('\n5\n', '\n6\n'),
      note.replace('03:04', '03:05'),
      note.replaceAll('nasa', 'noaa'),
      note.replace('\n\n', '\nmore\n\n'),
      '',
      'x\n\n',
    ]) {
      expect(openNote(other, [key]), other).toHaveProperty('problem');
    }
  });
});

describe('checkpoints under the keys of both algorithms', () => {
  const secret = Buffer.alloc(32, 7);
  const [ed25519, ecdsa] = [publicKeyOf(secret, 'ed25519'), publicKeyOf(secret, 'ecdsa-p256')];
  const checkpoint = {
    origin: 'flux/test/agencies/nasa',
    size: 1,
    root: hashLeaf(Buffer.from('x')),
    at: '2026-01-02T03:04:05.000Z',
  };
  const bytesOf = (note: string): Buffer => Buffer.from(note.trimEnd().split(' ').at(-1) ?? '', 'base64');

  it('are each believed from its own, also where both are trusted', () => {
    for (const [algorithm, own, other] of [
      ['ed25519', ed25519, ecdsa],
      ['ecdsa-p256', ecdsa, ed25519],
    ] as const) {
      const note = createSigner(secret, algorithm).sign(checkpoint);
      expect(openNote(note, [{ publicKey: other }, { publicKey: own }])).toEqual({ checkpoint });
      expect(openNote(note, [{ publicKey: other }])).toHaveProperty('problem');
    }
  });

  it('are ECDSA in DER over the text, named by the first bytes of SHA-256 of the SubjectPublicKeyInfo', () => {
    const note = createSigner(secret, 'ecdsa-p256').sign(checkpoint);
    const bytes = bytesOf(note);
    const spki = createPublicKey({ key: ecdsa, format: 'der', type: 'spki' });
    expect(spki.asymmetricKeyDetails).toEqual({ namedCurve: 'prime256v1' });
    expect(bytes.subarray(0, 4)).toEqual(createHash('sha256').update(ecdsa).digest().subarray(0, 4));
    const text = note.slice(0, note.indexOf('\n\n') + 1);
    expect(verify('sha256', Buffer.from(text), spki, bytes.subarray(4))).toBe(true);
  });

  it('have no key in bytes that are none of P-256', () => {
    expect(() => createSigner(Buffer.alloc(32), 'ecdsa-p256')).toThrow(/no private key of P-256/);
    expect(() => createSigner(Buffer.alloc(32, 0xff), 'ecdsa-p256')).toThrow(/no private key of P-256/);
  });
});
