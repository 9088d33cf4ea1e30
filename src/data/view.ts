/** Augmentation parameters: one row of floats for each view, drawn by counter, so any view can be drawn again. */
import { isBands } from "../schema/colours.ts";
import type { AugmentationSpec } from "../schema/common.ts";
import { Stream } from "../util/random.ts";

/** Floats of the row of a grey or RGB image. */
export const ROW = 17;

/** Floats of a row for images of so many channels. */
export const rowFloats = (channels: number): number => (isBands(channels) ? ROW + 2 * channels : ROW);

/**
 * Writes the row of (seed, epoch, sample, view):
 * 0 top, 1 left, 2 height, 3 width of the crop, 4 flip, 5 jitter?, 6 brightness, 7 contrast, 8 saturation, 9 hue,
 * 10..13 order of the four (0 brightness, 1 contrast, 2 saturation, 3 hue), 14 grey (0: no, 1: after the jitter, 2: before it),
 * 15 blur sigma (0: none), 16 solarise (128 and more inverted). Bands: brightness of each, contrast of each, in place of 6 and 7.
 * The distributions are torchvision's RandomResizedCrop and ColorJitter, and SimCLR's blur.
 */
export function viewRow(
  out: Float32Array,
  offset: number,
  key: { seed: number; epoch: number; sample: number; view: number },
  spec: AugmentationSpec,
  height: number,
  width: number,
  channels: number,
): void {
  const random = new Stream(key.seed, "view", key.epoch, key.sample, key.view);
  const [top, left, h, w] = cropBox(random, height, width, spec.cropScale);
  const factor = (s: number) => random.uniform(Math.max(0, 1 - s), 1 + s);
  const { jitter } = spec;
  out.set(
    [top, left, h, w, random.uniform() < spec.flip ? 1 : 0, random.uniform() < jitter.probability ? 1 : 0],
    offset,
  );
  out.set([factor(jitter.brightness), factor(jitter.contrast), factor(jitter.saturation)], offset + 6);
  out[offset + 9] = random.uniform(-jitter.hue, jitter.hue);
  out.set(random.permutation(4), offset + 10);
  out[offset + 14] = random.uniform() < spec.grey ? (spec.greyFirst ? 2 : 1) : 0;
  out[offset + 15] = random.uniform() < spec.blur ? random.uniform(0.1, 2) : 0;
  out[offset + 16] = random.uniform() < spec.solarise ? 1 : 0;
  if (!isBands(channels)) return;
  for (let c = 0; c < channels; c++) {
    out[offset + ROW + c] = factor(jitter.brightness);
    out[offset + ROW + channels + c] = factor(jitter.contrast);
  }
}

/** torchvision's RandomResizedCrop.get_params: ten tries, then the largest allowed centre crop. Ratio 3/4..4/3. */
function cropBox(random: Stream, height: number, width: number, [low, high]: readonly [number, number]) {
  const area = height * width;
  const logRatio = Math.log(4 / 3);
  for (let attempt = 0; attempt < 10; attempt++) {
    const target = area * random.uniform(low, high);
    const ratio = Math.exp(random.uniform(-logRatio, logRatio));
    const w = Math.round(Math.sqrt(target * ratio));
    const h = Math.round(Math.sqrt(target / ratio));
    if (w > 0 && w <= width && h > 0 && h <= height) {
      return [random.int(height - h + 1), random.int(width - w + 1), h, w] as const;
    }
  }
  const ratio = width / height;
  const w = ratio > 4 / 3 ? Math.round((height * 4) / 3) : width;
  const h = ratio < 3 / 4 ? Math.round((width * 4) / 3) : height;
  return [Math.floor((height - h) / 2), Math.floor((width - w) / 2), h, w] as const;
}

/** The row of evaluation: no jitter, the central `share` of the shorter side (0.875: 224 of 256) as a square. */
export function centreRow(
  out: Float32Array,
  offset: number,
  height: number,
  width: number,
  channels: number,
  share: number,
): void {
  const side = Math.round(share * Math.min(height, width));
  out.fill(0, offset, offset + rowFloats(channels));
  out.set([Math.floor((height - side) / 2), Math.floor((width - side) / 2), side, side], offset);
}

/** How to look at an image: plainly, or by chance as `spec` says. */
export type Look =
  | { kind: "centre"; share: number }
  | { kind: "random"; seed: number; epoch: number; view: number; spec: AugmentationSpec };

export function lookRow(
  out: Float32Array,
  offset: number,
  look: Look,
  sample: number,
  height: number,
  width: number,
  channels: number,
): void {
  if (look.kind === "centre") centreRow(out, offset, height, width, channels, look.share);
  else viewRow(out, offset, { ...look, sample }, look.spec, height, width, channels);
}
