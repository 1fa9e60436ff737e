import { sha256 } from '../crypto/hash.ts';

/** RFC 6962 section 2.1: hashes are 32 bytes; a tree of no leaves has the hash of nothing. */
export const hashByteCount = 32;

export function hashLeaf(entry: Uint8Array): Buffer {
  const bytes = Buffer.allocUnsafe(entry.length + 1);
  bytes[0] = 0x00;
  bytes.set(entry, 1);
  return sha256(bytes);
}

const pair = Buffer.alloc(1 + 2 * hashByteCount);
pair[0] = 0x01;

export function hashNode(left: Uint8Array, right: Uint8Array): Buffer {
  pair.set(left, 1);
  pair.set(right, 1 + hashByteCount);
  return sha256(pair);
}

/**
 * Whether `proof` leads from a leaf to a root.
 *
 * @param index of the leaf, from 0
 * @param proof sibling hashes, from the leaf upwards (RFC 6962 section 2.1.1)
 */
export function verifyInclusion(
  { index, size, leaf, root }: { index: number; size: number; leaf: Uint8Array; root: Uint8Array },
  proof: readonly Uint8Array[],
): boolean {
  if (!isCount(index) || !isCount(size) || index >= size || !areHashes([leaf, root, ...proof])) return false;
  const path = inclusionPath(index, size);
  if (path.length !== proof.length) return false;
  let at: Uint8Array = leaf;
  path.forEach((side, i) => {
    const sibling = proof[i] as Uint8Array;
    at = side === 'left' ? hashNode(sibling, at) : hashNode(at, sibling);
  });
  return equal(at, root);
}

/**
 * Whether `proof` shows that the tree of `size2` grew from the tree of `size1` (RFC 6962 section 2.1.2). From a tree
 * without leaves nothing is shown: every tree grew from it.
 */
export function verifyConsistency(
  { size1, root1, size2, root2 }: { size1: number; root1: Uint8Array; size2: number; root2: Uint8Array },
  proof: readonly Uint8Array[],
): boolean {
  if (!isCount(size1) || !isCount(size2) || size1 === 0 || size1 > size2) return false;
  if (size1 === size2) return proof.length === 0 && equal(root1, root2);
  if (!areHashes([root1, root2, ...proof])) return false;
  // A power of two is a whole subtree of the later tree, so its root is the start and is left out of the proof.
  const whole = isPowerOfTwo(size1);
  const start = whole ? root1 : proof[0];
  const rest = whole ? proof : proof.slice(1);
  if (!start) return false;
  const level = trailingZeros(size1);
  const path = inclusionPath(size1 / 2 ** level - 1, Math.ceil(size2 / 2 ** level));
  if (path.length !== rest.length) return false;
  let [old, now]: [Uint8Array, Uint8Array] = [start, start];
  path.forEach((side, i) => {
    const sibling = rest[i] as Uint8Array;
    if (side === 'left') [old, now] = [hashNode(sibling, old), hashNode(sibling, now)];
    else now = hashNode(now, sibling);
  });
  return equal(old, root1) && equal(now, root2);
}

/** On which side each sibling stands, from node `index` of a level upwards. A last node without sibling rises unpaired. */
function inclusionPath(index: number, nodeCount: number): ('left' | 'right')[] {
  const path: ('left' | 'right')[] = [];
  let [at, last] = [index, nodeCount - 1];
  while (last > 0) {
    if (at % 2 === 1) path.push('left');
    else if (at < last) path.push('right');
    at = Math.floor(at / 2);
    last = Math.floor(last / 2);
  }
  return path;
}

export function isPowerOfTwo(n: number): boolean {
  return n > 0 && trailingZeros(n) === Math.log2(n);
}

function trailingZeros(n: number): number {
  let zeros = 0;
  for (let rest = n; rest % 2 === 0; rest /= 2) zeros += 1;
  return zeros;
}

function isCount(n: number): boolean {
  return Number.isSafeInteger(n) && n >= 0;
}

function areHashes(values: readonly Uint8Array[]): boolean {
  return values.every((value) => value.length === hashByteCount);
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}
