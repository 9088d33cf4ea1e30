/** A deep image at another size. */
import sharp, { type ResizeOptions } from "sharp";
import { inParallel } from "../../util/parallel.ts";
import type { ValueBytes } from "../types.ts";
import { toLevels } from "./levels.ts";
import { interleaved } from "./planes.ts";
import type { NumberImage, Range } from "./types.ts";

export interface Levels {
  readonly values: Uint8Array | Uint16Array;
  readonly height: number;
  readonly width: number;
}

/** Levels at `size`, as `options` say. libvips resizes up to four channels together: bands go one by one. */
export async function resized(
  image: NumberImage,
  ranges: readonly Range[] | undefined,
  valueBytes: ValueBytes,
  size: number,
  options: ResizeOptions,
): Promise<Levels> {
  const { channels, height, width } = image;
  const levels = toLevels(image, ranges, valueBytes);
  if (height === size && width === size) return { values: levels, height, width };
  const Values = levels.constructor as Uint16ArrayConstructor;
  const [space, depth] = valueBytes === 2 ? (["grey16", "ushort"] as const) : (["b-w", "uchar"] as const);
  let [toHeight, toWidth] = [0, 0];
  const planes: Uint16Array[] = [];
  await inParallel(channels, async (c) => {
    const plane = Values.from({ length: height * width }, (_, p) => levels[p * channels + c] as number);
    const { data, info } = await sharp(plane, { raw: { width, height, channels: 1 } })
      .resize(size, size, options)
      .toColourspace(space)
      .raw({ depth })
      .toBuffer({ resolveWithObject: true });
    planes[c] = new Values(data.buffer as ArrayBuffer, data.byteOffset, data.length / valueBytes);
    [toHeight, toWidth] = [info.height, info.width];
  });
  return { values: interleaved(planes), height: toHeight, width: toWidth };
}
