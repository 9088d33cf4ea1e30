/** Which ResNet, head and queue a checkpoint of facebookresearch/moco holds, read off its tensors' names and shapes. */
import { resnetNames } from "../nn/encoders/index.ts";
import { buildNetwork } from "../nn/network.ts";
import type { EncoderSpec } from "../schema/pretrain.ts";
import type { Tensors } from "../train/checkpoint.ts";
import { FileError } from "../util/errors.ts";

export interface Inferred {
  readonly encoder: EncoderSpec;
  readonly channels: number;
  readonly head: "mlp" | "linear";
  readonly dim: number;
  readonly queueSize: number;
}

const PREFIX = "module.encoder_q.";

/** Throws FileError that names the tensor which is missing, or the shape that fits no encoder of ours. */
export function inferEncoder(tensors: Tensors, file: string): Inferred {
  const shapeOf = (name: string): readonly number[] => {
    const shape = tensors.get(PREFIX + name)?.shape;
    if (!shape) throw new FileError(file, `tensor ${PREFIX}${name}: expected f32, got none: not a checkpoint of MoCo`);
    return shape;
  };
  const [width, channels, size] = shapeOf("conv1.weight") as [number, number, number];
  if (size !== 3 && size !== 7) {
    throw new FileError(file, `tensor ${PREFIX}conv1.weight: expected a kernel of 3 or 7, got ${size}`);
  }
  const has = (name: string) => tensors.has(PREFIX + name);
  const stem = size === 3 ? ("cifar" as const) : ("imagenet" as const);
  const own = [...tensors.keys()].filter((name) => name.startsWith(PREFIX)).map((name) => name.slice(PREFIX.length));
  const convolutions = (names: readonly string[]) => names.filter((name) => /conv\d\.weight$/.test(name)).sort();
  const present = convolutions(own).join();
  // The one with just these convolutions; what else is missing is named when it is read.
  const arch = resnetNames.find((candidate) => {
    const { params } = buildNetwork({ arch: candidate, stem, width }, channels, 32);
    return convolutions(params.entries.map(({ name }) => name)).join() === present;
  });
  if (!arch) {
    const blocks = [1, 2, 3, 4].map(
      (layer) => own.filter((name) => name.match(`^layer${layer}\\.\\d+\\.conv1\\.weight`)).length,
    );
    const kind = has("layer1.0.conv3.weight") ? "bottleneck" : "basic";
    throw new FileError(file, `its blocks [${blocks}] (${kind}) are none of ${resnetNames.join(", ")}`);
  }
  const head = has("fc.2.weight") ? "mlp" : "linear";
  const dim = shapeOf(head === "mlp" ? "fc.2.weight" : "fc.weight")[0] as number;
  const queueSize = tensors.get("module.queue")?.shape[1] ?? 65_536;
  return { encoder: { arch, width, stem }, channels, head, dim, queueSize };
}
