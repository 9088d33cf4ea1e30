/** What of a retrieval is looked at: some images with their texts and the nearest ones, and some texts with the nearest images. */
import { nearest, type Rows, type UniqueTexts } from "../evaluate/retrieval.ts";
import type { Gallery } from "../schema/evaluation.ts";
import { THUMBNAIL } from "../train/views.ts";
import { Numbering } from "../util/numbering.ts";
import { Stream } from "../util/random.ts";

/** Images in the gallery, and texts of which the nearest images are. */
const [SHOWN, QUERIES] = [1000, 24];
/** Texts that are named for each image, and images for each of those texts; all of these are in the gallery. */
const [TEXTS, IMAGES] = [5, 12];

/** What a retrieval is among. */
export interface Pairs {
  /** i32[N], numbers in the split. */
  readonly chosen: Int32Array;
  readonly images: Rows;
  readonly texts: Rows;
  readonly unique: UniqueTexts;
  readonly dim: number;
  readonly seed: number;
}

/** Features of some rows, in the order of `places`. */
function rowsAt({ features }: Rows, places: readonly number[], dim: number): Rows {
  const some = new Float32Array(places.length * dim);
  for (const [i, place] of places.entries()) some.set(features.subarray(place * dim, (place + 1) * dim), i * dim);
  return { features: some, count: places.length };
}

/** The images nearest to some texts that `seed` draws, and others drawn by it. */
export function galleryOf({ chosen, images, texts, unique, dim, seed }: Pairs): Gallery {
  const drawn = (count: number, draw: number) => new Stream(seed, "subset", draw).permutation(count);
  const asked = [...drawn(texts.count, 1).slice(0, QUERIES)];
  const found = nearest(rowsAt(texts, asked, dim), images, Math.min(IMAGES, images.count), dim);
  const shown = new Set(found.flatMap((of) => of.map(([image]) => image)));
  for (const image of drawn(images.count, 2)) {
    if (shown.size >= SHOWN) break;
    shown.add(image);
  }
  const rows = [...shown].sort((a, b) => a - b);
  const near = nearest(rowsAt(images, rows, dim), texts, Math.min(TEXTS, texts.count), dim);
  const named = new Numbering<number>();
  const placeOf = new Map(rows.map((row, place) => [row, place]));
  const gallery = {
    images: rows.map((row) => chosen[row] as number),
    own: rows.map((row) => Array.from(unique.own[row] as Int32Array, named.of)),
    nearest: near.map((of) => of.map(([text, cosine]): [number, number] => [named.of(text), cosine])),
    queries: asked.map((text, i) => ({
      text: named.of(text),
      images: (found[i] ?? []).map(([row, cosine]): [number, number] => [placeOf.get(row) as number, cosine]),
    })),
    thumbnails: { size: THUMBNAIL, columns: Math.ceil(Math.sqrt(rows.length)) },
  };
  return { ...gallery, texts: named.values.map((text) => unique.texts[text] as string) };
}
