/** What a run gives to others: files for PyTorch and ONNX. */
import { Networks } from "../engine/state.ts";
import { stemOf } from "../nn/encoders/index.ts";
import { encodeOnnx } from "../nn/onnx/index.ts";
import { isVit } from "../schema/encoder.ts";
import type { ExportFormat, WhichEncoder } from "../schema/evaluation.ts";
import type { PretrainSpec } from "../schema/pretrain.ts";
import { decodeSafetensors, encodeSafetensors, type StoredTensor } from "../store/safetensors.ts";
import { FileError, UserError } from "../util/errors.ts";
import { expectTorchvision, torchvisionName } from "./vit_names.ts";

/** Of the names of facebookresearch/moco's files. */
const MOCO_PREFIX = "module.";

/**
 * - `torchvision`: safetensors of the backbone with torchvision's names, for `load_state_dict(strict=True)` into a
 *   `torchvision.models.resnet*` whose `fc`, or a `VisionTransformer` whose `heads`, is `nn.Identity()`.
 * - `timm`: the same with timm's names, for a model with `num_classes=0`; those of ResNets are torchvision's.
 * - `moco`: safetensors with facebookresearch/moco's names: both encoders with their heads, the queue.
 * - `onnx`: the backbone in evaluation mode; input f32[N,C,S,S] of normalised pixels, output f32[N,F].
 *
 * @throws UserError where the method has no such network, or no such format.
 */
export function exportCheckpoint(
  bytes: Uint8Array,
  file: string,
  spec: PretrainSpec,
  format: ExportFormat,
  which: WhichEncoder,
): Uint8Array {
  const { tensors } = decodeSafetensors(bytes, file);
  const metadata = { source: "mocod", spec: JSON.stringify(spec) };
  if (format === "moco") {
    const named = [...tensors].filter(([name]) => name.startsWith(MOCO_PREFIX));
    if (named.length > 0) return encodeSafetensors(new Map(named), metadata);
    throw new UserError(
      `spec.format: got "moco", allowed: "torchvision", "timm", "onnx"; method ${spec.method} is not MoCo's`,
    );
  }
  if (format === "torchvision") expectTorchvision(spec.encoder);
  const backbone = backboneOf(tensors, file, spec, which);
  if (format === "onnx") return encodeOnnx(spec.encoder, spec.augmentation.size, backbone);
  const renamed = format === "torchvision" && isVit(spec.encoder);
  const named = renamed ? new Map([...backbone].map(([name, tensor]) => [torchvisionName(name), tensor])) : backbone;
  return encodeSafetensors(named, metadata);
}

/** The tensors of a network's encoder, without the network's prefix and its heads. */
function backboneOf(
  tensors: ReadonlyMap<string, StoredTensor>,
  file: string,
  spec: PretrainSpec,
  which: WhichEncoder,
): Map<string, StoredTensor> {
  const stem = `${stemOf(spec.encoder)}.weight`;
  const first = [...tensors].find(([name]) => name.endsWith(stem));
  if (!first) throw new FileError(file, `holds no tensor …${stem}`);
  const networks = new Networks(spec, first[1].shape[1] as number);
  const name = which === "trained" ? networks.trained : networks.followers[0];
  if (name === undefined) {
    throw new UserError(`spec.encoder: got "average", allowed: "trained"; ${spec.method} keeps no moving average`);
  }
  const { prefix } = networks.specOf(name);
  const { params, stats } = networks.get(name);
  const wanted = [...params.entries, ...stats.entries]
    .filter(({ part }) => part === "backbone")
    .flatMap(({ name: own }) =>
      own.endsWith("running_var") ? [own, own.replace("running_var", "num_batches_tracked")] : [own],
    );
  return new Map(
    wanted.map((own) => {
      const tensor = tensors.get(prefix + own);
      if (!tensor) throw new FileError(file, `holds no tensor ${prefix}${own}`);
      return [own, tensor];
    }),
  );
}

export const exportedName = (id: string, format: ExportFormat): string =>
  `${id}.${format === "onnx" ? "onnx" : `${format}.safetensors`}`;
