import { blockNames, floatsOf, type Model } from "../engine/state.ts";
import type { Entry } from "../nn/layout.ts";
import { readTensor, type Tensors } from "../train/checkpoint.ts";

/**
 * Fills a network of `model` from a file's tensors. `nameOf`: what the file calls a tensor; undefined: it has none, and what is
 * there stays.
 * @throws FileError that names the tensor which is missing or has another shape.
 */
export function readNetwork(
  model: Model,
  network: string,
  { tensors, file }: { tensors: Tensors; file: string },
  nameOf: (entry: Entry) => string | undefined,
): void {
  const { params, stats } = model.networks.get(network);
  for (const [layout, block] of [
    [params, blockNames.params(network)],
    [stats, blockNames.stats(network)],
  ] as const) {
    const values = floatsOf(model.state, block);
    for (const entry of layout.entries) {
      const name = nameOf(entry);
      if (name !== undefined) values.set(readTensor(tensors, file, name, entry), entry.offset);
    }
  }
}
