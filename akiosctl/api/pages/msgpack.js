// Reads the bytes of a record (msgpack), so that what was proved is what is shown.

const DEEPEST = 32;

export function decode(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const text = new TextDecoder("utf-8", { fatal: false });
  let at = 0;

  function take(length) {
    if (at + length > bytes.length) throw new Error("the record ends too early");
    at += length;
    return at - length;
  }

  const number = (length, signed) => {
    const place = take(length);
    if (length === 8) return signed ? view.getBigInt64(place) : view.getBigUint64(place);
    return view[`get${signed ? "Int" : "Uint"}${8 * length}`](place);
  };
  const raw = (length) => { const place = take(length); return bytes.slice(place, place + length); };
  const string = (length) => text.decode(raw(length));
  const list = (length, depth) => Array.from({ length }, () => value(depth + 1));
  const map = (length, depth) => {
    const found = [];
    for (let one = 0; one < length; one += 1) found.push([String(value(depth + 1)), value(depth + 1)]);
    return new Map(found);
  };

  function value(depth) {
    if (depth > DEEPEST) throw new Error("the record is nested too deeply");
    const kind = number(1, false);
    if (kind < 0x80) return kind;
    if (kind < 0x90) return map(kind - 0x80, depth);
    if (kind < 0xa0) return list(kind - 0x90, depth);
    if (kind < 0xc0) return string(kind - 0xa0);
    if (kind >= 0xe0) return kind - 0x100;
    switch (kind) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xc4: case 0xc5: case 0xc6: return raw(Number(number(2 ** (kind - 0xc4), false)));
      case 0xca: return view.getFloat32(take(4));
      case 0xcb: return view.getFloat64(take(8));
      case 0xcc: case 0xcd: case 0xce: case 0xcf: return number(2 ** (kind - 0xcc), false);
      case 0xd0: case 0xd1: case 0xd2: case 0xd3: return number(2 ** (kind - 0xd0), true);
      case 0xd9: case 0xda: case 0xdb: return string(Number(number(2 ** (kind - 0xd9), false)));
      case 0xdc: case 0xdd: return list(number(2 * (kind - 0xdb), false), depth);
      case 0xde: case 0xdf: return map(number(2 * (kind - 0xdd), false), depth);
      default: throw new Error(`the record holds a value of a kind unknown here (${kind})`);
    }
  }

  const found = value(0);
  if (at !== bytes.length) throw new Error("something stands behind the record");
  return found;
}

// A value as one line; bytes as text where they are such.
export function tell(value) {
  if (value instanceof Uint8Array) {
    const printable = value.every((byte) => byte >= 32 && byte < 127);
    return printable ? JSON.stringify(String.fromCharCode(...value.slice(0, 4096))) : Array.from(value.slice(0, 64), (byte) => byte.toString(16).padStart(2, "0")).join("") + (value.length > 64 ? "…" : "");
  }
  if (Array.isArray(value)) return `[${value.slice(0, 64).map(tell).join(", ")}${value.length > 64 ? ", …" : ""}]`;
  if (value instanceof Map) return `{${[...value].slice(0, 64).map(([name, one]) => `${name}: ${tell(one)}`).join(", ")}}`;
  return typeof value === "string" ? JSON.stringify(value) : String(value);
}
