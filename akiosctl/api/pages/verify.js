// Whether a record is in a log, found out here: the server's word is not asked, only its files.

import { ask, Problem, request } from "/ask.js";
import { entryOf, hasDigest, hex, isConsistent, leafHash, same, Tree, unhex } from "/merkle.js";
import { decode } from "/msgpack.js";
import { checkSignature, parseNote } from "/note.js";

const WIDTH = 256;

export const NO_CRYPTO = "This browser gives a page on plain http no WebCrypto, so nothing can be checked here. Open it by https, or on this host as http://127.0.0.1 (ssh -L does that from elsewhere); or ask: akiosctl ledger verify";

// Reads files of the log as they are on disk, past every cache.
const reader = (log) => async (path) => {
  const answer = await request("GET", `/api/v1/ledger/${log}/tlog/${path}`);
  return new Uint8Array(await answer.arrayBuffer());
};

// What was found: state is verified, failed or unknown; steps are [good | bad | unknown, words].
export async function verify(log, index, view) {
  const steps = [];
  if (!hasDigest()) return { state: "unknown", why: NO_CRYPTO, steps, entry: null };
  const found = { state: "failed", why: "", steps, entry: null };
  const step = (state, words) => steps.push([state, words]);
  try {
    const note = parseNote(view.checkpoint);
    const signature = await checkSignature(note, view.vkey);
    if (signature === "bad") return failed(found, `The checkpoint is not signed by the key ${view.vkey}`);
    if (signature === "good") step("good", `The checkpoint over ${note.size} records is signed by the log's key (Ed25519).`);
    else step("unknown", `The signature of the checkpoint was not checked: ${signature}.`);
    if (index >= note.size) {
      return { ...found, state: "unknown", why: `The checkpoint covers ${note.size} records, and record ${index} is not among them yet: ask again in a second.` };
    }
    const tree = new Tree(note.size, reader(log));
    const entry = entryOf(await tree.tile("entries", Math.floor(index / WIDTH)), index % WIDTH);
    const leaf = await leafHash(entry);
    if (!same(leaf, await tree.stored(0, index))) {
      return failed(found, `The bytes of record ${index} are not those that the log's tile of hashes has: one of the two was changed on disk`);
    }
    step("good", `The record's ${entry.length} bytes have the hash ${hex(leaf).slice(0, 16)}…, as the tile says.`);
    const { root, steps: hashes } = await tree.rootFrom(leaf, index);
    if (!same(root, note.root)) {
      return failed(found, `The hashes lead to the root ${hex(root).slice(0, 16)}…, and the checkpoint is signed over ${hex(note.root).slice(0, 16)}…: a tile was changed on disk`);
    }
    step("good", `With ${hashes} more hashes it leads to the root ${hex(root).slice(0, 16)}… that was signed.`);
    const remembered = await checkRemembered(log, note, found, step);
    if (!remembered) return found;
    found.entry = decode(entry);
    if (signature === "good") found.state = "verified";
    else Object.assign(found, { state: "unknown", why: `The proof holds, but nobody checked who signed the root: ${signature}.` });
    return found;
  } catch (problem) {
    if (problem instanceof Problem && problem.status !== 404) {
      return { ...found, state: "unknown", why: `${problem.message}; ${problem.next}` };
    }
    return failed(found, problem.message);
  }
}

function failed(found, why) {
  found.steps.push(["bad", why]);
  found.why = why;
  return found;
}

const place = (origin) => `akios-seen ${origin}`;

function recall(origin) {
  try { return JSON.parse(localStorage.getItem(place(origin))); } catch { return null; }
}

function remember(note) {
  try {
    localStorage.setItem(place(note.origin), JSON.stringify({ size: note.size, root: hex(note.root) }));
  } catch { /* then the next visit compares with nothing */ }
}

// What this browser saw of the log before must be its beginning: else it was rolled back or forked.
async function checkRemembered(log, note, found, step) {
  const before = recall(note.origin);
  if (before && before.size > note.size) {
    failed(found, `This browser saw ${before.size} records of this log before, and now it has ${note.size}: it was rolled back`);
    return false;
  }
  if (before && before.size > 0 && before.size < note.size) {
    const proof = await ask(`/api/v1/ledger/${log}/consistency?from=${before.size}`);
    const later = parseNote(proof.checkpoint);
    if (later.size !== note.size) return true; // it has grown meanwhile: compared the next time
    if (!(await isConsistent(before.size, note.size, unhex(before.root), note.root, proof.path.map(unhex)))) {
      failed(found, `The ${before.size} records that this browser saw before are not the beginning of this log: it is another one`);
      return false;
    }
    step("good", `The ${before.size} records seen by this browser before are its beginning.`);
  } else if (before && !same(unhex(before.root), note.root)) {
    failed(found, `This browser saw another log of ${before.size} records under this name before`);
    return false;
  } else {
    step("good", before ? "It is the log that this browser saw before." : "This browser sees this log for the first time, and remembers its root.");
  }
  remember(note);
  return true;
}
