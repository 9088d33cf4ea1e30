/**
 * An encoder as ONNX (NCHW): the operations of `ops.ts` as nodes of a graph, batch norm by running statistics.
 * Only what is written here of the format's protobuf is declared; field numbers are onnx.proto's.
 */
import protobuf from "protobufjs";
import { isVit } from "../schema/encoder.ts";
import type { EncoderSpec } from "../schema/pretrain.ts";
import type { StoredTensor } from "../store/safetensors.ts";
import { encode, featuresOf, stemOf } from "./encoders/index.ts";
import { LAYER_NORM_EPSILON, type Ops } from "./ops.ts";

const { root } = protobuf.parse(
  `
  syntax = "proto3";
  message OperatorSet { string domain = 1; int64 version = 2; }
  message Attribute { string name = 1; float f = 2; int64 i = 3; repeated int64 ints = 8; int32 type = 20; }
  message Node { repeated string input = 1; repeated string output = 2; string name = 3; string op_type = 4;
                 repeated Attribute attribute = 5; }
  message Tensor { repeated int64 dims = 1; int32 data_type = 2; string name = 8; bytes raw_data = 9; }
  message Dimension { int64 dim_value = 1; string dim_param = 2; }
  message Shape { repeated Dimension dim = 1; }
  message TensorType { int32 elem_type = 1; Shape shape = 2; }
  message Type { TensorType tensor_type = 1; }
  message ValueInfo { string name = 1; Type type = 2; }
  message Graph { repeated Node node = 1; string name = 2; repeated Tensor initializer = 5;
                  repeated ValueInfo input = 11; repeated ValueInfo output = 12; }
  message Model { int64 ir_version = 1; string producer_name = 2; Graph graph = 7; repeated OperatorSet opset_import = 8; }
`,
  { keepCase: true },
);
const Model = root.lookupType("Model");

const [FLOAT, INT64, IR_VERSION] = [1, 7, 8];
/** 17 is the first with layer norm. */
const opsetOf = (spec: EncoderSpec): number => (isVit(spec) ? 17 : 13);
const [ATTRIBUTE_FLOAT, ATTRIBUTE_INT, ATTRIBUTE_INTS] = [1, 2, 7];

interface NodeProto {
  op_type: string;
  name: string;
  input: string[];
  output: string[];
  attribute: { name: string; type: number; f?: number; i?: number; ints?: number[] }[];
}

interface TensorProto {
  name: string;
  dims: number[];
  data_type: number;
  raw_data: Uint8Array;
}

const int = (name: string, i: number) => ({ name, type: ATTRIBUTE_INT, i });
const ints = (name: string, ...values: number[]) => ({ name, type: ATTRIBUTE_INTS, ints: values });
const float = (name: string, f: number) => ({ name, type: ATTRIBUTE_FLOAT, f });

/** Collects nodes, and the constants that they need: a value is the name of an output, a weight is referred to by its own name. */
function graph(nodes: NodeProto[], constants: Map<string, TensorProto>): Ops<string> {
  const add = (op_type: string, output: string, input: string[], attribute: NodeProto["attribute"] = []): string => {
    nodes.push({ op_type, name: output, input, output: [output], attribute });
    return output;
  };
  const constant = (name: string, dims: number[], data_type: number, values: BigInt64Array | Float32Array): string => {
    constants.set(name, { name, dims, data_type, raw_data: new Uint8Array(values.buffer) });
    return name;
  };
  const integers = (...values: number[]) =>
    constant(`ints:${values}`, [values.length], INT64, BigInt64Array.from(values, BigInt));
  const scalar = (value: number) => constant(`float:${value}`, [], FLOAT, Float32Array.of(value));
  const index = (value: number) => constant(`index:${value}`, [], INT64, BigInt64Array.of(BigInt(value)));
  /** x * Phi(x) */
  const gelu = (name: string, x: string): string => {
    const below = add("Erf", `${name}:erf`, [add("Mul", `${name}:scaled`, [x, scalar(Math.SQRT1_2)])]);
    const share = add("Mul", `${name}:share`, [add("Add", `${name}:above`, [below, scalar(1)]), scalar(0.5)]);
    return add("Mul", `${name}:gelu`, [x, share]);
  };
  return {
    conv(name, x, { size, stride }) {
      const pad = (size - 1) / 2;
      const shape = [
        ints("kernel_shape", size, size),
        ints("strides", stride, stride),
        ints("pads", pad, pad, pad, pad),
      ];
      return add("Conv", `${name}:out`, [x, `${name}.weight`], shape);
    },
    norm(name, x, { relu = false, affine = true, residual }) {
      if (!affine) throw new Error(`ONNX: ${name} has no gain and bias to write`); // of heads, which are not exported
      const inputs = ["weight", "bias", "running_mean", "running_var"].map((part) => `${name}.${part}`);
      // ONNX has channels second, and so has all that this encoder norms but the tokens of ViT-BN.
      const tokens = name.startsWith("blocks.");
      const turn = (of: string, as: string) => (tokens ? add("Transpose", as, [of], [ints("perm", 0, 2, 1)]) : of);
      const normal = add(
        "BatchNormalization",
        `${name}:out`,
        [turn(x, `${name}:turned`), ...inputs],
        [float("epsilon", 1e-5)],
      );
      let y = turn(normal, `${name}:back`);
      if (residual) y = add("Add", `${name}:sum`, [y, residual()]);
      return relu ? add("Relu", `${name}:relu`, [y]) : y;
    },
    linear(name, x, { bias, gelu: wanted = false }) {
      if (!bias || !name.startsWith("blocks.")) {
        const weights = [`${name}.weight`, ...(bias ? [`${name}.bias`] : [])];
        return add("Gemm", `${name}:out`, [x, ...weights], [int("transB", 1)]);
      }
      // Of tokens, which have three axes.
      const weight = add("Transpose", `${name}:weight`, [`${name}.weight`], [ints("perm", 1, 0)]);
      const y = add("Add", `${name}:out`, [add("MatMul", `${name}:product`, [x, weight]), `${name}.bias`]);
      return wanted ? gelu(name, y) : y;
    },
    relu: (name, x) => add("Relu", `${name}:relu`, [x]),
    patches(name, x, { size, to }) {
      const shape = [ints("kernel_shape", size, size), ints("strides", size, size)];
      const places = add("Conv", `${name}:out`, [x, `${name}.weight`, `${name}.bias`], shape); // [N,to,H,W]
      const rows = add("Reshape", `${name}:rows`, [places, integers(0, to, -1)]); // [N,to,T]
      return add("Transpose", `${name}:tokens`, [rows], [ints("perm", 0, 2, 1)]);
    },
    place(x, { position, token }) {
      let y = x;
      if (token) {
        const count = add("Slice", "images:count", [
          add("Shape", "images:shape", [x]),
          integers(0),
          integers(1),
          integers(0),
        ]);
        const shape = add("Concat", "cls_token:shape", [count, integers(1, 1)], [int("axis", 0)]);
        const first = add("Expand", "cls_token:all", ["cls_token", shape]); // [N,1,C]
        y = add("Concat", "tokens", [first, x], [int("axis", 1)]);
      }
      return position === "none" ? y : add("Add", "tokens:placed", [y, "pos_embed"]);
    },
    layerNorm: (name, x, _, epsilon = LAYER_NORM_EPSILON) =>
      add(
        "LayerNormalization",
        `${name}:out`,
        [x, `${name}.weight`, `${name}.bias`],
        [int("axis", -1), float("epsilon", epsilon)],
      ),
    attention(qkv, { heads, width }) {
      const name = (part: string) => `${qkv}:${part}`;
      const parts = add("Reshape", name("heads"), [qkv, integers(0, 0, 3, heads, width / heads)]); // [N,T,3,H,D]
      const turned = add("Transpose", name("turned"), [parts], [ints("perm", 2, 0, 3, 1, 4)]); // [3,N,H,T,D]
      const [q, k, v] = ["q", "k", "v"].map((part, i) =>
        add("Gather", name(part), [turned, index(i)], [int("axis", 0)]),
      );
      const keys = add("Transpose", name("keys"), [k as string], [ints("perm", 0, 1, 3, 2)]);
      const product = add("MatMul", name("product"), [q as string, keys]); // [N,H,T,T]
      const scores = add("Mul", name("scores"), [product, scalar(1 / Math.sqrt(width / heads))]);
      const shares = add("Softmax", name("shares"), [scores], [int("axis", -1)]);
      const out = add("MatMul", name("out"), [shares, v as string]); // [N,H,T,D]
      const tokens = add("Transpose", name("tokens"), [out], [ints("perm", 0, 2, 1, 3)]);
      return add("Reshape", name("attended"), [tokens, integers(0, 0, width)]);
    },
    embedTokens: () => {
      throw new Error("ONNX: text towers are not written");
    },
    poolTokens: () => {
      throw new Error("ONNX: text towers are not written");
    },
    add: (name, x, y) => add("Add", name, [x, y]),
    firstToken: (x) => add("Gather", "token", [x, index(0)], [int("axis", 1)]),
    concat: (xs) => add("Concat", "features", [...xs], [int("axis", 1)]),
    meanTokens: (x) => add("ReduceMean", "features", [x], [ints("axes", 1), int("keepdims", 0)]),
    maxPool: (x) =>
      add("MaxPool", "maxpool:out", [x], [ints("kernel_shape", 3, 3), ints("strides", 2, 2), ints("pads", 1, 1, 1, 1)]),
    meanPlaces: (x) => add("ReduceMean", "features", [x], [ints("axes", 2, 3), int("keepdims", 0)]),
    stem: (x, layers) => layers(x),
    block: (x, layers) => layers(x),
  };
}

/**
 * Input `images` f32[N,C,H,W] (normalised), output f32[N,F]. `tensors`: the backbone, in PyTorch's layout. `side` of the images: a ViT
 * takes those alone.
 */
export function encodeOnnx(spec: EncoderSpec, side: number, tensors: ReadonlyMap<string, StoredTensor>): Uint8Array {
  const nodes: NodeProto[] = [];
  const constants = new Map<string, TensorProto>();
  const channels = tensors.get(`${stemOf(spec)}.weight`)?.shape[1] as number;
  const last = encode(graph(nodes, constants), spec, channels, side, "images");
  const output = "features";
  if (last !== output)
    nodes.push({ op_type: "Identity", name: output, input: [last], output: [output], attribute: [] });
  const initializer = [...tensors]
    .filter(([name]) => !name.endsWith("num_batches_tracked"))
    .map(([name, { shape, data }]) => {
      const raw_data = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      return { name, dims: [...shape], data_type: FLOAT, raw_data };
    });
  const value = (name: string, dims: (number | string)[]) => {
    const dim = dims.map((d) => (typeof d === "string" ? { dim_param: d } : { dim_value: d }));
    return { name, type: { tensor_type: { elem_type: FLOAT, shape: { dim } } } };
  };
  const model = {
    ir_version: IR_VERSION,
    producer_name: "mocod",
    opset_import: [{ domain: "", version: opsetOf(spec) }],
    graph: {
      name: spec.arch,
      node: nodes,
      initializer: [...initializer, ...constants.values()],
      input: [value("images", ["N", channels, ...(isVit(spec) ? [side, side] : ["H", "W"])])],
      output: [value(output, ["N", featuresOf(spec)])],
    },
  };
  return Model.encode(Model.fromObject(model)).finish();
}
