import { type DatasetSpec, pathsOf } from "../schema/dataset.ts";
import { loadArrays } from "./arrays/index.ts";
import { loadCifar } from "./cifar.ts";
import { loadFashionMnist } from "./fashion_mnist.ts";
import { loadImageFiles, located } from "./image_files.ts";
import { expectWithin } from "./roots.ts";
import { loadStl10 } from "./stl10.ts";
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
  archive: loadImageFiles,
  tar: loadImageFiles,
  bucket: loadImageFiles,
  table: loadImageFiles,
  array: loadArrays,
  stl10: loadStl10,
  stored: async (spec, context) => ({
    ...(await loadImageFiles(await located(spec, context), context)),
    name: spec.id,
  }),
} satisfies Loaders;

/** Throws FileError for a path outside of where the context allows it. */
export async function loadDataset(spec: DatasetSpec, context: DataContext): Promise<Dataset> {
  for (const path of pathsOf(spec)) expectWithin(path, context.roots);
  return (loaders[spec.kind] as (s: DatasetSpec, c: DataContext) => Promise<Dataset>)(spec, context);
}
