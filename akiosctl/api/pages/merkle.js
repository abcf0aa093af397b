// Merkle trees over SHA-256 (RFC 6962, 2.1), read from tiles (c2sp.org/tlog-tiles).  Numbers are
// below 2^53: no operator of 32 bits is used on them.

const WIDTH = 256, HASH = 32;

export const hasDigest = () => Boolean(globalThis.crypto && crypto.subtle);

async function sha256(prefix, ...parts) {
  const data = new Uint8Array(1 + parts.reduce((all, one) => all + one.length, 0));
  data[0] = prefix;
  let at = 1;
  for (const part of parts) { data.set(part, at); at += part.length; }
  return new Uint8Array(await crypto.subtle.digest("SHA-256", data));
}

export const leafHash = (entry) => sha256(0, entry);
const nodeHash = (left, right) => sha256(1, left, right);

export const same = (one, other) => one.length === other.length && one.every((byte, at) => byte === other[at]);
export const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
export const unhex = (text) => Uint8Array.from(text.match(/../g) || [], (pair) => parseInt(pair, 16));

// Where a tile of a tree of `size` leaves lies; level "entries" is a bundle of entries.
export function tilePath(level, index, size) {
  const hashes = Math.floor(size / WIDTH ** (level === "entries" ? 0 : level));
  const width = Math.min(WIDTH, hashes - index * WIDTH);
  const digits = String(index).padStart(Math.ceil(String(index).length / 3) * 3, "0").match(/.../g);
  const name = digits.map((three, at) => (at < digits.length - 1 ? `x${three}` : three)).join("/");
  return `tile/${level}/${name}${width < WIDTH ? `.p/${width}` : ""}`;
}

// The largest power of two below n (RFC 6962: where a tree is split).
function split(n) {
  let k = 1;
  while (k * 2 < n) k *= 2;
  return k;
}

const isPower = (n) => Number.isInteger(Math.log2(n)) && 2 ** Math.log2(n) === n;

// A tree of `size` leaves; read(path) gives the bytes of a file of the log.  Each tile is read once.
export class Tree {
  constructor(size, read) {
    this.size = size;
    this.tiles = new Map();
    this.read = read;
  }

  tile(level, index) {
    const path = tilePath(level, index, this.size);
    if (!this.tiles.has(path)) this.tiles.set(path, this.read(path));
    return this.tiles.get(path);
  }

  // The hash that stands in a tile: of 256^level leaves.
  async stored(level, index) {
    const data = await this.tile(level, Math.floor(index / WIDTH));
    const at = (index % WIDTH) * HASH;
    if (data.length < at + HASH) throw new Error(`${tilePath(level, Math.floor(index / WIDTH), this.size)} is too short`);
    return data.slice(at, at + HASH);
  }

  // The hash over leaves from..to, as the tiles have it.
  async range(from, to) {
    const n = to - from;
    if (isPower(n) && from % n === 0) {
      const height = Math.log2(n), level = Math.floor(height / 8);
      const hashes = 2 ** (height % 8), first = from / 256 ** level;
      return this.fold(level, first, hashes);
    }
    const k = split(n);
    return nodeHash(await this.range(from, from + k), await this.range(from + k, to));
  }

  async fold(level, first, hashes) {
    if (hashes === 1) return this.stored(level, first);
    const half = hashes / 2;
    return nodeHash(await this.fold(level, first, half), await this.fold(level, first + half, half));
  }

  // The root to which a leaf leads, and how many hashes beside it were needed.
  async rootFrom(leaf, index, from = 0, to = this.size) {
    if (to - from === 1) return { root: leaf, steps: 0 };
    const middle = from + split(to - from);
    const left = index < middle;
    const below = left ? await this.rootFrom(leaf, index, from, middle) : await this.rootFrom(leaf, index, middle, to);
    const other = left ? await this.range(middle, to) : await this.range(from, middle);
    return { root: left ? await nodeHash(below.root, other) : await nodeHash(other, below.root), steps: below.steps + 1 };
  }
}

// Whether the tree of `old` leaves is the beginning of the one of `size` (RFC 9162, 2.1.4.2).
export async function isConsistent(old, size, oldRoot, root, path) {
  if (old === size) return path.length === 0 && same(oldRoot, root);
  const rest = isPower(old) ? [oldRoot, ...path] : [...path];
  let node = old - 1, last = size - 1;
  while (node % 2 === 1) { node = (node - 1) / 2; last = Math.floor(last / 2); }
  let first = rest.shift(), second = first;
  if (first === undefined) return false;
  for (const one of rest) {
    if (last === 0) return false;
    if (node % 2 === 1 || node === last) {
      first = await nodeHash(one, first);
      second = await nodeHash(one, second);
      while (node !== 0 && node % 2 === 0) { node /= 2; last = Math.floor(last / 2); }
    } else {
      second = await nodeHash(second, one);
    }
    node = Math.floor(node / 2);
    last = Math.floor(last / 2);
  }
  return last === 0 && same(first, oldRoot) && same(second, root);
}

// Entry `at` of a bundle: each stands behind its length of two bytes.
export function entryOf(bundle, at) {
  let place = 0;
  for (let number = 0; place + 2 <= bundle.length; number += 1) {
    const length = bundle[place] * 256 + bundle[place + 1];
    if (number === at && place + 2 + length <= bundle.length) return bundle.slice(place + 2, place + 2 + length);
    place += 2 + length;
  }
  throw new Error("the bundle of entries is too short");
}
