/** Weights of an encoder alone, by torchvision's or timm's names: to probe, or to begin a run from. */
import { startPosition } from "../engine/metrics.ts";
import { createModel, ringsOf } from "../engine/state.ts";
import { isVit, vits } from "../schema/encoder.ts";
import { parseSpec } from "../schema/job.ts";
import { encodeCheckpoint, type Tensors } from "../train/checkpoint.ts";
import { FileError } from "../util/errors.ts";
import { inferEncoder } from "./infer.ts";
import { readNetwork } from "./network.ts";
import { positionsFor } from "./positions.ts";
import { bareName, type Given, type Imported, type Source } from "./source.ts";
import { timmName } from "./vit_names.ts";

/**
 * Every network gets the encoder; heads are new, drawn by the spec's seed. A classifier in the file is left out.
 * @throws FileError that names the tensor, what was expected and what was got.
 */
export function importBackbone(source: Source, { fields, side, heads, interpolate }: Given): Imported {
  const { file } = source;
  const named = bare(source.tensors);
  const tensors = interpolate ? positionsFor(side, named) : named;
  const { encoder, channels } = inferEncoder({ tensors, file, prefix: "", side, heads }, "the weights of an encoder");
  if (isVit(encoder) && heads === undefined && encoder.width === vits["vit-small"].width) {
    throw new FileError(
      file,
      `its ViT of width ${encoder.width} may have 6 heads (timm) or 12 (MoCo v3): give its number of heads`,
    );
  }
  const spec = parseSpec("pretrain", {
    preset: "imagenet",
    method: isVit(encoder) ? "moco-v3" : "moco-v2",
    ...fields,
    epochs: 1,
    encoder,
    splits: 1,
    batchSize: 256,
    optimizer: { warmup: 0 },
  });
  const model = createModel(spec, channels, 1);
  for (const network of model.networks.names) {
    readNetwork(model, network, { tensors, file }, ({ name, part }) => (part === "backbone" ? name : undefined));
  }
  const position = startPosition(spec, Object.keys(ringsOf(spec)));
  return { spec, epochs: 0, checkpoint: encodeCheckpoint(model, position) };
}

/** Without what wrappers put before the names, and a ViT of torchvision by timm's names. */
function bare(tensors: Tensors): Tensors {
  const plain: Tensors = new Map([...tensors].map(([name, tensor]) => [bareName(name), tensor]));
  if (!plain.has("conv_proj.weight")) return plain;
  return new Map(
    [...plain].flatMap(([name, tensor]) => {
      const own = timmName(name);
      return own === undefined ? [] : [[own, tensor]];
    }),
  );
}
