/** Towers for images (NCHW) and for texts as ONNX: the operations of `ops.ts` as nodes of a graph. */
import { isVit } from "../../schema/encoder.ts";
import type { EncoderSpec } from "../../schema/pretrain.ts";
import type { StoredTensor } from "../../store/safetensors.ts";
import { encode, featuresOf, stemOf } from "../encoders/index.ts";
import { textTransformer } from "../encoders/text.ts";
import { applyHead, dimensionOfHead, type HeadSpec } from "../heads.ts";
import type { TextTower } from "../network.ts";
import { encodeModel, FLOAT, type GraphProto, INT64, type TensorProto } from "./format.ts";
import { graph } from "./graph.ts";
import { Nodes } from "./nodes.ts";
import { Texts } from "./text.ts";

/** The first with layer norm. */
const LAYER_NORM_OPSET = 17;
const opsetOf = (spec: EncoderSpec): number => (isVit(spec) ? LAYER_NORM_OPSET : 13);

type Tensors = ReadonlyMap<string, StoredTensor>;

/** Weights by their names, without the counters of batch norms. */
const weightsOf = (tensors: Tensors): TensorProto[] =>
  [...tensors]
    .filter(([name]) => !name.endsWith("num_batches_tracked"))
    .map(([name, { shape, data }]) => {
      const raw_data = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      return { name, dims: [...shape], data_type: FLOAT, raw_data };
    });

/** A head after the encoder, by the name of its tensors. */
export interface Projection {
  readonly name: string;
  readonly head: HeadSpec;
}

/**
 * Input `images` f32[N,C,H,W] (normalised), output `features` f32[N,F], not of unit length. `tensors`: the backbone and the projection
 * in PyTorch's layout. `side` of the images: a ViT takes those alone. `projection` unset: the features are the backbone's.
 */
export function encodeImageTower(
  { encoder, side, projection }: { encoder: EncoderSpec; side: number; projection?: Projection | undefined },
  tensors: Tensors,
): Uint8Array {
  const nodes = new Nodes();
  const ops = graph(nodes);
  const channels = tensors.get(`${stemOf(encoder)}.weight`)?.shape[1] as number;
  const backbone = featuresOf(encoder);
  let [last, dim] = [encode(ops, encoder, channels, side, "images"), backbone];
  if (projection) {
    last = applyHead(ops, projection.name, projection.head, backbone, last);
    dim = dimensionOfHead(projection.head, backbone);
  }
  return encodeTower(nodes, last, tensors, {
    name: encoder.arch,
    opset: opsetOf(encoder),
    input: { name: "images", type: FLOAT, dims: ["N", channels, ...(isVit(encoder) ? [side, side] : ["H", "W"])] },
    dim,
  });
}

/**
 * Input `tokens` i64[N,context]: start, those of the text, end, then padding of 0; output `features` f32[N,dim], not of unit length.
 * `tensors`: the tower's, in PyTorch's layout.
 */
export function encodeTextTower({ encoder, dim }: TextTower, tensors: Tensors): Uint8Array {
  const nodes = new Nodes();
  const { context } = encoder;
  const last = textTransformer(graph(nodes, new Texts(nodes, "tokens", context)), encoder, dim, "tokens");
  const input = { name: "tokens", type: INT64, dims: ["N", context] };
  return encodeTower(nodes, last, tensors, { name: "text", opset: LAYER_NORM_OPSET, input, dim });
}

function encodeTower(
  nodes: Nodes,
  last: string,
  tensors: Tensors,
  { dim, ...of }: Pick<GraphProto, "name" | "opset" | "input"> & { dim: number },
): Uint8Array {
  nodes.add("Identity", "features", [last]);
  return encodeModel({
    ...of,
    nodes: nodes.all,
    tensors: [...weightsOf(tensors), ...nodes.constants],
    output: { name: "features", type: FLOAT, dims: ["N", dim] },
  });
}
