/** The views that a run trains on, drawn again: any image, any epoch. */
import sharp, { type OverlayOptions } from "sharp";
import { partition } from "../data/partition.ts";
import { openSource, PLACE } from "../data/source.ts";
import type { Dataset, Images } from "../data/types.ts";
import { type Look, lookRow, rowFloats } from "../data/view.ts";
import { augment } from "../kernels/augment/index.ts";
import { openDevice } from "../kernels/index.ts";
import { methodOf } from "../methods/index.ts";
import type { PretrainSpec } from "../schema/pretrain.ts";
import { UserError } from "../util/errors.ts";

/** Pixels between tiles, and the side below which a tile is enlarged without smoothing. */
const [GAP, LEGIBLE] = [4, 96];

/** Side of a thumbnail in pixels. */
export const THUMBNAIL = 32;

/** Channels that are shown of so many: grey, or RGB; of bands the first three, or of two the first. */
const shownOf = (channels: number): 1 | 3 => (channels < 3 ? 1 : 3);

/** u8[size, size, shown] of one image as `look` says. */
async function tile(images: Images, index: number, look: Look, size: number): Promise<Uint8Array> {
  const source = openSource(images, (step) => (step === 0 ? Int32Array.of(index) : undefined), 1);
  const places = new Float64Array(PLACE);
  await source.at(0, places);
  const { channels, valueBytes } = images;
  const rows = new Float32Array(rowFloats(channels));
  lookRow(rows, 0, look, index, places[1] as number, places[2] as number, channels);
  const [mean, std] = [new Array<number>(channels).fill(0), new Array<number>(channels).fill(1)];
  const view = augment({ pixels: source.pixels, places, channels, valueBytes }, rows, size, mean, std);
  const values = view.dataSync();
  view.dispose();
  const shown = shownOf(channels);
  const bytes = Uint8Array.from({ length: size * size * shown }, (_, i) =>
    Math.round(255 * (values[Math.floor(i / shown) * channels + (i % shown)] as number)),
  );
  return bytes;
}

/** A PNG of thumbnails of `side` pixels without gaps, row by row. */
export async function spriteSheet(
  images: Images,
  indices: Int32Array,
  columns: number,
  side = THUMBNAIL,
): Promise<Buffer> {
  await openDevice();
  const channels = shownOf(images.channels);
  const [width, height] = [columns * side, Math.ceil(indices.length / columns) * side];
  const sheet = new Uint8Array(width * height * channels);
  const line = side * channels;
  for (const [i, index] of indices.entries()) {
    const pixels = await tile(images, index, { kind: "centre", share: 1 }, side);
    const corner = (Math.floor(i / columns) * side * width + (i % columns) * side) * channels;
    for (let y = 0; y < side; y++) {
      sheet.set(pixels.subarray(y * line, (y + 1) * line), corner + y * width * channels);
    }
  }
  return sharp(sheet, { raw: { width, height, channels } }).png().toBuffer();
}

/**
 * A PNG: one line for each image and epoch, in it the image as evaluation sees it, then its views.
 * `images` count among those that the run trains on, in the dataset's own numbering. Throws UserError for one that
 * there is not.
 */
export async function contactSheet(
  dataset: Dataset,
  spec: PretrainSpec,
  images: readonly number[],
  epochs: readonly number[],
): Promise<{ png: Buffer; heldOut: number[] }> {
  await openDevice();
  const { count } = dataset.train;
  const channels = shownOf(dataset.train.channels);
  const beyond = images.find((image) => image >= count);
  if (beyond !== undefined) throw new UserError(`--image: ${dataset.name} has images 0 to ${count - 1}, got ${beyond}`);
  const { holdout } = partition(dataset.train.count, spec.monitor.holdout, spec.dataset.images, spec.seed);
  const { size } = spec.augmentation;
  const looks = (epoch: number): Look[] => [
    { kind: "centre", share: 1 },
    ...methodOf(spec)
      .views(spec)
      .flatMap((of, view): Look[] =>
        of === "text" ? [] : [{ kind: "random", seed: spec.seed, epoch, view, spec: of }],
      ),
  ];
  const scale = Math.max(1, Math.ceil(LEGIBLE / size));
  const side = size * scale;
  const tiles: OverlayOptions[] = [];
  const lines = images.flatMap((image) => epochs.map((epoch) => ({ image, epoch })));
  for (const [y, { image, epoch }] of lines.entries()) {
    for (const [x, look] of looks(epoch).entries()) {
      const raw = { width: size, height: size, channels };
      const pixels = sharp(await tile(dataset.train, image, look, size), { raw });
      const input = await pixels.resize(side, side, { kernel: "nearest" }).png().toBuffer();
      tiles.push({ input, left: GAP + x * (side + GAP), top: GAP + y * (side + GAP) });
    }
  }
  const [width, height] = [GAP + looks(0).length * (side + GAP), GAP + lines.length * (side + GAP)];
  const png = await sharp({ create: { width, height, channels: 3, background: "white" } })
    .composite(tiles)
    .png()
    .toBuffer();
  return { png, heldOut: images.filter((image) => holdout.includes(image)) };
}
