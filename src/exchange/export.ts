/** What a run gives to others: files for PyTorch and ONNX. */
import { TEXT } from "../nn/layout.ts";
import { encodeImageTower, encodeTextTower } from "../nn/onnx/index.ts";
import { isVit } from "../schema/encoder.ts";
import type { ExportFormat, WhichEncoder } from "../schema/evaluation.ts";
import type { PretrainSpec } from "../schema/pretrain.ts";
import { vocabularyOf } from "../schema/text_encoder.ts";
import { decodeSafetensors, encodeSafetensors, type Stored } from "../store/safetensors.ts";
import { huggingFaceFile } from "../text/hugging_face.ts";
import { tokenizerOf } from "../train/checkpoint.ts";
import { FileError, UserError } from "../util/errors.ts";
import { modelConfig, openClipTensors } from "./open_clip.ts";
import { SavedNetwork } from "./saved_network.ts";
import { expectTorchvision, torchvisionName } from "./vit_names.ts";

/** Of the names of facebookresearch/moco's files. */
const MOCO_PREFIX = "module.";

/** A file of an export. */
export interface Exported {
  /** What follows the run's id in its name. */
  readonly suffix: string;
  readonly bytes: Uint8Array;
}

/**
 * The files of an export, the main one first.
 * - `torchvision`: safetensors of the backbone with torchvision's names, for `load_state_dict(strict=True)` into a
 *   `torchvision.models.resnet*` whose `fc`, or a `VisionTransformer` whose `heads`, is `nn.Identity()`.
 * - `timm`: the same with timm's names, for a model with `num_classes=0`; those of ResNets are torchvision's.
 * - `moco`: safetensors with facebookresearch/moco's names: both encoders with their heads, the queue.
 * - `openclip`: safetensors of both towers with OpenCLIP's names, and in the metadata `model_cfg`; see `modelConfig`.
 * - `onnx`: the backbone in evaluation mode; input f32[N,C,S,S] of normalised pixels, output f32[N,F]. Of a method on pairs two files:
 *   the tower for images with its projection, and the tower for texts; see `encodeTextTower`.
 *
 * With a tower for texts comes its tokenizer: as `openTokenizer` reads it, and as Hugging Face's `tokenizers` does.
 *
 * @throws UserError where the method has no such network, or no such format.
 */
export function exportCheckpoint(
  bytes: Uint8Array,
  file: string,
  spec: PretrainSpec,
  format: ExportFormat,
  which: WhichEncoder,
): readonly [Exported, ...Exported[]] {
  const stored = decodeSafetensors(bytes, file);
  const { tensors } = stored;
  const metadata = { source: "mocod", spec: JSON.stringify(spec) };
  const suffix = `.${format}.safetensors`;
  if (format === "moco") {
    const named = [...tensors].filter(([name]) => name.startsWith(MOCO_PREFIX));
    if (named.length > 0) return [{ suffix, bytes: encodeSafetensors(new Map(named), metadata) }];
    const others = `"torchvision", "timm", ${"text" in spec ? '"openclip", ' : ""}"onnx"`;
    throw new UserError(`spec.format: got "moco", allowed: ${others}; method ${spec.method} is not MoCo's`);
  }
  if (format === "torchvision") expectTorchvision(spec.encoder);
  const network = new SavedNetwork(tensors, file, spec, which);
  if (format === "openclip") {
    const trained = new SavedNetwork(tensors, file, spec, "trained");
    const towers = { suffix, bytes: openClipOf(network, trained, spec, metadata) };
    return [towers, ...tokenizersOf(network, stored, file)];
  }
  if (format === "onnx") return [...onnxOf(network, spec), ...tokenizersOf(network, stored, file)];
  const backbone = network.parts("backbone");
  const renamed = format === "torchvision" && isVit(spec.encoder);
  const named = renamed ? new Map([...backbone].map(([name, tensor]) => [torchvisionName(name), tensor])) : backbone;
  return [{ suffix, bytes: encodeSafetensors(named, metadata) }];
}

function openClipOf(
  network: SavedNetwork,
  trained: SavedNetwork,
  spec: PretrainSpec,
  metadata: Record<string, string>,
): Uint8Array {
  const { pairs, channels } = network;
  if (!pairs) {
    throw new UserError(
      `spec.format: got "openclip", allowed: "torchvision", "timm", "onnx"; method ${spec.method} has no tower for texts`,
    );
  }
  const { context, tokens } = pairs.text.encoder;
  const tensors = openClipTensors(network, pairs, trained);
  return encodeSafetensors(tensors, {
    ...metadata,
    context_length: String(context),
    vocabulary: String(vocabularyOf(tokens)),
    model_cfg: JSON.stringify(modelConfig(spec, pairs, channels, tensors.get("logit_bias"))),
  });
}

function onnxOf(
  network: SavedNetwork,
  { encoder, augmentation: { size: side } }: PretrainSpec,
): readonly [Exported, ...Exported[]] {
  const { pairs } = network;
  if (!pairs) return [{ suffix: ".onnx", bytes: encodeImageTower({ encoder, side }, network.parts("backbone")) }];
  const { projection, text } = pairs;
  const images = network.parts("backbone", projection.name);
  return [
    { suffix: ".image.onnx", bytes: encodeImageTower({ encoder, side, projection }, images) },
    { suffix: ".text.onnx", bytes: encodeTextTower(text, network.parts(TEXT)) },
  ];
}

/** None where there is no tower for texts. */
function tokenizersOf({ pairs }: SavedNetwork, stored: Stored, file: string): Exported[] {
  if (!pairs) return [];
  const tokenizer = tokenizerOf(stored);
  if (!tokenizer) throw new FileError(file, "holds no tokenizer");
  const theirs = huggingFaceFile(tokenizer, pairs.text.encoder.context);
  const json = (suffix: string, value: object) => ({
    suffix,
    bytes: new TextEncoder().encode(`${JSON.stringify(value)}\n`),
  });
  return [json(".tokenizer.json", tokenizer), ...(theirs ? [json(".huggingface.json", theirs)] : [])];
}
