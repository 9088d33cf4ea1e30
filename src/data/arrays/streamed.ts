/** Arrays of more bytes than one buffer may have: each image is read from the file when it is needed. */
import type { FiledImages } from "../types.ts";

/** A SharedArrayBuffer holds 2^32 bytes in JavaScriptCore. */
export const MOST_HELD = 2 ** 32;

/** Those of the images whose indices are given. */
export function subsetOf(images: FiledImages, indices: readonly number[]): FiledImages {
  const { labels } = images;
  return {
    ...images,
    count: indices.length,
    labels: labels && Int32Array.from(indices, (i) => labels[i] as number),
    decode: (index) => images.decode(indices[index] as number),
  };
}

/** Images that mean and deviation are taken over: a deviation is then within half a percent. */
const SAMPLE = 10_000;

/** The pixels of up to 10,000 images, evenly from all of them. */
export async function* sampled(images: FiledImages): AsyncGenerator<Uint8Array> {
  const step = Math.max(1, images.count / SAMPLE);
  for (let at = 0; at < images.count; at += step) yield (await images.decode(Math.floor(at))).pixels;
}
