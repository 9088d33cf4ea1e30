/** Which ResNet, head and queue a checkpoint of facebookresearch/moco holds, read off its tensors' names and shapes. */
import { architectures } from "../nn/encoders/resnet.ts";
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
  const blocks = [1, 2, 3, 4].map((layer) => {
    let count = 0;
    while (has(`layer${layer}.${count}.conv1.weight`)) count++;
    return count;
  });
  const expansion = has("layer1.0.conv3.weight") ? 4 : 1;
  const arch = Object.entries(architectures).find(
    ([, a]) => a.expansion === expansion && a.blocks.join() === blocks.join(),
  )?.[0] as EncoderSpec["arch"] | undefined;
  if (!arch) {
    throw new FileError(
      file,
      `its blocks [${blocks}] (${expansion === 4 ? "bottleneck" : "basic"}) are none of ${Object.keys(architectures).join(", ")}`,
    );
  }
  const head = has("fc.2.weight") ? "mlp" : "linear";
  const dim = shapeOf(head === "mlp" ? "fc.2.weight" : "fc.weight")[0] as number;
  const queueSize = tensors.get("module.queue")?.shape[1] ?? 65_536;
  const encoder = { arch, width, stem: size === 3 ? ("cifar" as const) : ("imagenet" as const) };
  return { encoder, channels, head, dim, queueSize };
}
