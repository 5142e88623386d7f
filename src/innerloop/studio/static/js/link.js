/** Examples in a link: what a small task was taught, compressed, in the part of the address that no server sees. */

import { KINDS } from "./kinds.js";
import { base64, now, sendable, state, valueOf } from "./state.js";

const MOST = 30_000;

async function through(stream, bytes) {
  return new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough(stream)).arrayBuffer());
}

const text = (bytes) => base64(bytes).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
const bytesOf = (packed) => Uint8Array.from(atob(packed.replaceAll("-", "+").replaceAll("_", "/")), (one) => one.charCodeAt(0));

/** The open task as a link, or nothing where it is too large for one. */
export async function packed() {
  const here = now();
  const examples = [];
  for (const one of here.examples) examples.push([here.order.indexOf(one.label), await sendable(await valueOf(one.id))]);
  const plain = JSON.stringify({ kind: state.kind, order: here.order, examples });
  const made = text(await through(new CompressionStream("deflate-raw"), new TextEncoder().encode(plain)));
  return made.length > MOST ? null : `${location.origin}${location.pathname}#examples=${made}`;
}

/** Kind, order and examples of a link. */
export async function unpacked(part) {
  const plain = new TextDecoder().decode(await through(new DecompressionStream("deflate-raw"), bytesOf(part)));
  const { kind, order, examples } = JSON.parse(plain);
  const picture = (value) => new Blob([bytesOf(value)], { type: "image/png" });
  return { kind, order, examples: examples.map(([place, value]) => ({ label: order[place], value: KINDS[kind].pictures ? picture(value) : value })) };
}
