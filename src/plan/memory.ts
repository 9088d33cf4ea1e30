/** What memory a run would take on threads of WASM: computed, so of a run that does not fit here as well. */
import { type DatasetSize, datasetSize } from "../data/size.ts";
import type { DataContext } from "../data/types.ts";
import type { Tapes } from "../engine/open.ts";
import { methodOf } from "../methods/index.ts";
import type { MemoryPlan, Plan } from "../schema/plan.ts";
import type { PretrainSpec } from "../schema/pretrain.ts";
import { type Footprint, footprint } from "./footprint.ts";

/** With the images that are held, or the ring that streams them. */
export function withImages(
  { tapes, ...bytes }: Footprint & { gpu: number },
  { batchSize }: PretrainSpec,
  size: DatasetSize,
): Plan["memory"] {
  const images = size.streamed ? 3 * batchSize * size.bytes : size.bytes;
  return { ...bytes, images, total: bytes.total + images };
}

/** Null where each split has a loss of its own. */
export const tapesOf = (spec: PretrainSpec, tapes: Tapes): Plan["tapes"] =>
  methodOf(spec).couples === "batch" ? tapes : null;

/** Takes a second or a few. Nothing of the run's own size is allocated but the rows of a coupled loss. */
export async function planMemory(spec: PretrainSpec, threads: number, context: DataContext): Promise<MemoryPlan> {
  const size = await datasetSize(spec.dataset, context);
  const needed = await footprint(spec, size.channels, threads);
  return { threads, tapes: tapesOf(spec, needed.tapes), memory: withImages({ ...needed, gpu: 0 }, spec, size) };
}
