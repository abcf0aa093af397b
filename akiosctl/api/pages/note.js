// Checkpoints: signed notes (c2sp.org/signed-note, c2sp.org/tlog-checkpoint), Ed25519 (RFC 8032).

const ED25519 = 1;

const bytesOf = (base64) => Uint8Array.from(atob(base64), (one) => one.charCodeAt(0));

// name+keyid+base64(type, key)
export function parseKey(vkey) {
  const [name, id, ...rest] = vkey.split("+");
  const data = bytesOf(rest.join("+"));
  if (!/^[0-9a-f]{8}$/.test(id) || data[0] !== ED25519 || data.length !== 33) throw new Error("the key has no form that is known here");
  return { name, id, key: data.slice(1) };
}

export function parseNote(text) {
  const end = text.lastIndexOf("\n\n");
  if (end < 0) throw new Error("the checkpoint is not signed");
  const signed = text.slice(0, end + 1);
  const [origin, size, root] = signed.split("\n");
  if (!/^(0|[1-9][0-9]{0,15})$/.test(size || "")) throw new Error("the checkpoint has no size");
  const signatures = text.slice(end + 2).split("\n").filter(Boolean).map((line) => {
    const found = /^— (\S+) ([A-Za-z0-9+/=]+)$/.exec(line);
    if (!found) throw new Error("a signature has no form that is known here");
    const data = bytesOf(found[2]);
    return { name: found[1], id: Array.from(data.slice(0, 4), (byte) => byte.toString(16).padStart(2, "0")).join(""), signature: data.slice(4) };
  });
  return { signed, origin, size: Number(size), root: bytesOf(root), signatures };
}

// "good", "bad", or why it cannot be said.
export async function checkSignature(note, vkey) {
  const key = parseKey(vkey);
  if (note.origin !== key.name) return "bad";
  const own = note.signatures.filter((one) => one.name === key.name && one.id === key.id);
  if (!own.length) return "bad";
  let opened;
  try {
    opened = await crypto.subtle.importKey("raw", key.key, { name: "Ed25519" }, false, ["verify"]);
  } catch {
    return "this browser has no Ed25519";
  }
  const data = new TextEncoder().encode(note.signed);
  const all = await Promise.all(own.map((one) => crypto.subtle.verify({ name: "Ed25519" }, opened, one.signature, data)));
  return all.every(Boolean) ? "good" : "bad";
}
