import type { DatasetSpec } from "../schema/dataset.ts";
import { Stream } from "../util/random.ts";
import { loadCifar } from "./cifar.ts";
import { loadFashionMnist } from "./fashion_mnist.ts";
import { loadImageFiles } from "./image_files.ts";
import { expectWithin } from "./roots.ts";
import type { DataContext, Dataset } from "./types.ts";

type Loaders = {
  [K in DatasetSpec["kind"]]: (spec: Extract<DatasetSpec, { kind: K }>, context: DataContext) => Promise<Dataset>;
};

/** To add a dataset: its loader, and one line here. */
const loaders = {
  "fashion-mnist": (spec, context) => loadFashionMnist(spec.path, context),
  cifar10: (spec, context) => loadCifar("cifar10", spec.path, context),
  cifar100: (spec, context) => loadCifar("cifar100", spec.path, context),
  folder: loadImageFiles,
  tar: loadImageFiles,
} satisfies Loaders;

/** Throws FileError for a path outside of where the context allows it. */
export async function loadDataset(spec: DatasetSpec, context: DataContext): Promise<Dataset> {
  for (const path of [spec.path, "test" in spec ? spec.test : undefined]) {
    if (path !== undefined) expectWithin(path, context.roots);
  }
  return (loaders[spec.kind] as (s: DatasetSpec, c: DataContext) => Promise<Dataset>)(spec, context);
}

/**
 * Parts `count` training images: `holdout` for choosing and watching, the rest for training, of which at most `images`.
 * The parts depend on dataset size and seed only, so a probe never trains on what the monitor judged.
 */
export function partition(count: number, holdout: number, images: number | undefined, seed: number) {
  const order = new Stream(seed, "subset").permutation(count);
  const held = Math.min(holdout, Math.floor(count / 5));
  const used = Math.min(images ?? count, count - held);
  return { holdout: order.slice(0, held), train: order.slice(held, held + used) };
}
