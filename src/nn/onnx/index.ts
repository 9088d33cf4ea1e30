/** An encoder as ONNX (NCHW): the operations of `ops.ts` as nodes of a graph. */
import { isVit } from "../../schema/encoder.ts";
import type { EncoderSpec } from "../../schema/pretrain.ts";
import type { StoredTensor } from "../../store/safetensors.ts";
import { encode, featuresOf, stemOf } from "../encoders/index.ts";
import { encodeModel, FLOAT, type TensorProto } from "./format.ts";
import { graph } from "./graph.ts";
import { Nodes } from "./nodes.ts";

/** 17 is the first with layer norm. */
const opsetOf = (spec: EncoderSpec): number => (isVit(spec) ? 17 : 13);

/** Weights by their names, without the counters of batch norms. */
const weightsOf = (tensors: ReadonlyMap<string, StoredTensor>): TensorProto[] =>
  [...tensors]
    .filter(([name]) => !name.endsWith("num_batches_tracked"))
    .map(([name, { shape, data }]) => {
      const raw_data = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      return { name, dims: [...shape], data_type: FLOAT, raw_data };
    });

/**
 * Input `images` f32[N,C,H,W] (normalised), output `features` f32[N,F]. `tensors`: the backbone, in PyTorch's layout. `side` of the
 * images: a ViT takes those alone.
 */
export function encodeOnnx(spec: EncoderSpec, side: number, tensors: ReadonlyMap<string, StoredTensor>): Uint8Array {
  const nodes = new Nodes();
  const channels = tensors.get(`${stemOf(spec)}.weight`)?.shape[1] as number;
  const last = encode(graph(nodes), spec, channels, side, "images");
  if (last !== "features") nodes.add("Identity", "features", [last]);
  return encodeModel({
    name: spec.arch,
    opset: opsetOf(spec),
    nodes: nodes.all,
    tensors: [...weightsOf(tensors), ...nodes.constants],
    input: { name: "images", type: FLOAT, dims: ["N", channels, ...(isVit(spec) ? [side, side] : ["H", "W"])] },
    output: { name: "features", type: FLOAT, dims: ["N", featuresOf(spec)] },
  });
}
