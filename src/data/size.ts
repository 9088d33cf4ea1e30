/** How many images a dataset has and what they take, without decoding or downloading any. */
import type { DatasetSpec } from "../schema/dataset.ts";
import { formatOf } from "./deep/depth.ts";
import { isFiles, isStreamed, listParts, located } from "./image_files.ts";
import { loadDataset } from "./index.ts";
import { LONGEST } from "./reader.ts";
import { type DataContext, isHeld, pixelBytes } from "./types.ts";

export interface DatasetSize {
  /** Training images. */
  images: number;
  channels: number;
  /** Resident bytes of all held images; of streamed ones, bytes of the largest decoded image. */
  bytes: number;
  streamed: boolean;
  /** Bytes that decoded images may take on disk. */
  disk: number;
}

/** Training and test images of the published datasets. */
const PUBLISHED = {
  "fashion-mnist": { images: 60_000, test: 10_000, side: 28, channels: 1 },
  cifar10: { images: 50_000, test: 10_000, side: 32, channels: 3 },
  cifar100: { images: 50_000, test: 10_000, side: 32, channels: 3 },
} as const;

export async function datasetSize(spec: DatasetSpec, context: DataContext): Promise<DatasetSize> {
  if (isFiles(spec)) {
    const files = await located(spec, context);
    const parts = await listParts(files, context);
    const format = (await formatOf(files.path, parts.train, spec)) ?? { channels: 3, valueBytes: 1 };
    const [images, test] = [parts.train.length, parts.test?.length ?? 0];
    const pixels = spec.size ** 2 * pixelBytes(format);
    const streamed = isStreamed(spec, images + test, pixelBytes(format));
    const disk = streamed && spec.cache === "disk" ? (images + test) * LONGEST * pixels : 0;
    return {
      images,
      channels: format.channels,
      disk,
      bytes: streamed ? LONGEST * pixels : (images + test) * pixels,
      streamed,
    };
  }
  if (spec.kind === "array" || spec.kind === "stl10" || spec.path !== undefined) {
    const { train, test } = await loadDataset(spec, context);
    if (!isHeld(train))
      return { images: train.count, channels: train.channels, bytes: train.slotBytes, streamed: true, disk: 0 };
    const bytes = [train, test].reduce((sum, part) => sum + (part && isHeld(part) ? part.pixels.length : 0), 0);
    return { images: train.count, channels: train.channels, bytes, streamed: false, disk: 0 };
  }
  const { images, test, side, channels } = PUBLISHED[spec.kind];
  return { images, channels, bytes: (images + test) * side * side * channels, streamed: false, disk: 0 };
}
