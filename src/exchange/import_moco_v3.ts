/** What is taken of facebookresearch/moco-v3's files. */
import { startPosition } from "../engine/metrics.ts";
import { allocateModel } from "../engine/state.ts";
import { isVit } from "../schema/encoder.ts";
import { parseSpec } from "../schema/job.ts";
import { encodeCheckpoint } from "../train/checkpoint.ts";
import { FileError } from "../util/errors.ts";
import { inferEncoder } from "./infer.ts";
import { readNetwork } from "./network.ts";
import { positionsFor } from "./positions.ts";
import type { Given, Imported, Source } from "./source.ts";

export const BASE = "module.base_encoder.";
const [MOMENTUM, PREDICTOR] = ["module.momentum_encoder.", "module.predictor."];
/** Of its ViT-S and ViT-B, the latter as everybody's. */
const HEADS = 12;

/**
 * `checkpoint_*.pth.tar` of moco-v3 (`r-50-*`, `vit-s-*`, `vit-b-*`).
 * @throws FileError that names the tensor, what was expected and what was got.
 */
export function importMocoV3(source: Source, { fields, side, heads = HEADS, interpolate }: Given): Imported {
  const { file, epochs } = source;
  const tensors = interpolate ? positionsFor(side, source.tensors) : source.tensors;
  const { encoder, channels } = inferEncoder({ tensors, file, prefix: BASE, side, heads }, "a checkpoint of MoCo v3");
  // The projector takes the classifier's place, and its name.
  const head = isVit(encoder) ? "head" : "fc";
  const layers = isVit(encoder) ? 3 : 2;
  const sideOf = (layer: number, axis: number): number => {
    const name = `${BASE}${head}.${3 * layer}.weight`;
    const size = tensors.get(name)?.shape[axis];
    if (size === undefined)
      throw new FileError(file, `tensor ${name}: expected f32, got none: not a checkpoint of MoCo v3`);
    return size;
  };
  const spec = parseSpec("pretrain", {
    preset: "imagenet",
    method: "moco-v3",
    ...fields,
    epochs: Math.max(1, epochs),
    encoder: isVit(encoder) ? { ...encoder, freezePatches: encoder.stem === "patch" } : { ...encoder, zeroInit: true },
    hidden: sideOf(0, 0),
    dim: sideOf(layers - 1, 0),
    batchSize: 256,
    splits: 1,
    optimizer: { warmup: 0 },
  });
  const model = allocateModel(spec, channels, 1);
  const { networks } = model;
  const read = (network: string, prefix: string) =>
    readNetwork(model, network, { tensors, file }, ({ name, part }) => {
      if (part === "backbone") return prefix + name;
      const inner = name.slice(part.length + 1);
      return part === "projector" ? `${prefix}${head}.${inner}` : PREDICTOR + inner;
    });
  read(networks.trained, BASE);
  const momentum = [...tensors.keys()].some((name) => name.startsWith(MOMENTUM)) ? MOMENTUM : BASE;
  for (const average of networks.followers) read(average, momentum);
  return { spec, epochs, checkpoint: encodeCheckpoint(model, startPosition(spec, [])) };
}
