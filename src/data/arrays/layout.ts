/** What the sides of an array of images mean. */
import { FileError } from "../../util/errors.ts";

export interface Layout {
  readonly count: number;
  readonly height: number;
  readonly width: number;
  readonly channels: number;
  /** Turns planes into pixels, image by image in their own place. */
  readonly turn: (pixels: Uint8Array) => void;
}

function channelsLast(pixels: Uint8Array, plane: number, channels: number): void {
  const bytes = plane * channels;
  for (let at = 0; at < pixels.length; at += bytes) {
    const planes = pixels.slice(at, at + bytes);
    for (let k = 0; k < channels; k++) {
      for (let p = 0; p < plane; p++) pixels[at + p * channels + k] = planes[k * plane + p] as number;
    }
  }
}

/** Throws FileError unless it is [N,H,W], [N,H,W,C] or [N,C,H,W] of 8 bits, with as many labels. */
export function layoutOf(
  file: string,
  { shape, type }: { readonly shape: readonly number[]; readonly type: string },
  labels: Int32Array | undefined,
): Layout {
  const refuse = (got: string) =>
    new FileError(file, `has ${got}; allowed: 8-bit images [N,H,W], [N,H,W,C] or [N,C,H,W] of 1 or 3 channels`);
  if (type !== "|u1" && type !== "|b1") throw refuse(`numbers of type ${type}`);
  if (shape.length !== 3 && shape.length !== 4) throw refuse(`the shape [${shape.join(",")}]`);
  const [count, a, b, c = 1] = shape as [number, number, number, number | undefined];
  const isColour = (channels: number) => channels === 1 || channels === 3;
  const first = shape.length === 4 && !isColour(c);
  const [height, width, channels] = first ? [b, c, a] : [a, b, c];
  if (!isColour(channels) || count === 0) throw refuse(`the shape [${shape.join(",")}]`);
  if (labels && labels.length !== count) throw new FileError(file, `has ${count} images and ${labels.length} labels`);
  const turn = (pixels: Uint8Array) => {
    if (first) channelsLast(pixels, height * width, channels);
  };
  return { count, height, width, channels, turn };
}
