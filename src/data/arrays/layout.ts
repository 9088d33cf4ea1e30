/** What the sides of an array of images mean. */
import { FileError } from "../../util/errors.ts";
import type { NumberValues } from "../deep/types.ts";

export interface Layout {
  readonly count: number;
  readonly height: number;
  readonly width: number;
  readonly channels: number;
  /** Turns planes into pixels, image by image in their own place. */
  readonly turn: (values: NumberValues) => void;
}

/** Channels that images may have. */
const MOST_CHANNELS = 64;

function channelsLast(values: NumberValues, plane: number, channels: number): void {
  const size = plane * channels;
  for (let at = 0; at < values.length; at += size) {
    const planes = values.slice(at, at + size);
    for (let k = 0; k < channels; k++) {
      for (let p = 0; p < plane; p++) values[at + p * channels + k] = planes[k * plane + p] as number;
    }
  }
}

/** Whether the channels of four sides come right after the images: where those are 1 or 3, else where fewer than are last. */
function isPlanes([, first, , last]: readonly number[]): boolean {
  const isColour = (channels: number | undefined) => channels === 1 || channels === 3;
  return !isColour(last) && (isColour(first) || (first as number) < (last as number));
}

/** Throws FileError unless it is [N,H,W], [N,H,W,C] or [N,C,H,W], with as many labels. */
export function layoutOf(file: string, shape: readonly number[], labels: Int32Array | undefined): Layout {
  const refuse = () =>
    new FileError(
      file,
      `has the shape [${shape.join(",")}]; allowed: images [N,H,W], [N,H,W,C] or [N,C,H,W] of 1 to ${MOST_CHANNELS} channels`,
    );
  if (shape.length !== 3 && shape.length !== 4) throw refuse();
  const [count, a, b, c = 1] = shape as [number, number, number, number | undefined];
  const planes = shape.length === 4 && isPlanes(shape);
  const [height, width, channels] = planes ? [b, c, a] : [a, b, c];
  if (channels > MOST_CHANNELS || shape.includes(0)) throw refuse();
  if (labels && labels.length !== count) throw new FileError(file, `has ${count} images and ${labels.length} labels`);
  const turn = (values: NumberValues) => {
    if (planes) channelsLast(values, height * width, channels);
  };
  return { count, height, width, channels, turn };
}
