import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { FileError, messageOf } from "../util/errors.ts";
import { decodeIdx, isIdx } from "./arrays/idx.ts";
import type { NumberArray } from "./arrays/npy.ts";
import { download } from "./download.ts";
import { type DataContext, type Dataset, type HeldImages, sharedBytes } from "./types.ts";

const DEBIAN = "/usr/share/datasets/fashion-mnist";
const ADDRESS = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com";

/** The official files' SHA-256. (Debian packs the same images anew, so its files have other sums.) */
const files = {
  "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
  "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
  "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
  "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
};

/** Reads a gzipped IDX file of unsigned bytes. Throws FileError when it is damaged. */
async function readIdx(file: string): Promise<NumberArray> {
  let raw: Buffer;
  try {
    raw = gunzipSync(await readFile(file));
  } catch (error) {
    throw new FileError(file, "cannot be read as a gzipped IDX file", { cause: error });
  }
  if (!isIdx(raw)) throw new FileError(file, "is not an IDX file of unsigned bytes");
  try {
    return decodeIdx(raw);
  } catch (error) {
    throw new FileError(file, messageOf(error));
  }
}

async function readPair(folder: string, prefix: string): Promise<HeldImages> {
  const images = await readIdx(join(folder, `${prefix}-images-idx3-ubyte.gz`));
  const labelFile = join(folder, `${prefix}-labels-idx1-ubyte.gz`);
  const [count, height, width] = images.shape as [number, number, number];
  const pixels = sharedBytes(images.values.length);
  pixels.set(images.values);
  let labels: Int32Array | undefined;
  if (existsSync(labelFile)) {
    labels = Int32Array.from((await readIdx(labelFile)).values);
    if (labels.length !== count) throw new FileError(labelFile, `expected ${count} labels, got ${labels.length}`);
  }
  return { pixels, labels, count, height, width, channels: 1 };
}

/** Fashion-MNIST (Xiao et al. 2017): 60,000 + 10,000 grey images of 28x28 in 10 classes. */
export async function loadFashionMnist(
  path: string | undefined,
  { cache, log }: DataContext,
  address = ADDRESS,
  expected: Record<string, string> = files,
): Promise<Dataset<HeldImages>> {
  let folder = path ?? DEBIAN;
  if (path === undefined && !existsSync(DEBIAN)) {
    folder = join(cache, "fashion-mnist");
    for (const [name, sha256] of Object.entries(expected)) {
      await download({ url: `${address}/${name}`, file: join(folder, name), sha256 }, log);
    }
  }
  const [train, test] = await Promise.all([readPair(folder, "train"), readPair(folder, "t10k")]);
  return {
    name: "Fashion-MNIST",
    train,
    test,
    classes: "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot".split(","),
    mean: [0.286],
    std: [0.353],
    skipped: 0,
  };
}
