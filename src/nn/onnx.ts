/**
 * An encoder as ONNX (opset 13, NCHW): the operations of `ops.ts` as nodes of a graph, batch norm by running statistics.
 * Only what is written here of the format's protobuf is declared; field numbers are onnx.proto's.
 */
import protobuf from "protobufjs";
import type { EncoderSpec } from "../schema/pretrain.ts";
import type { StoredTensor } from "../store/safetensors.ts";
import { encode, featuresOf } from "./encoders/index.ts";
import type { Ops } from "./ops.ts";

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

const [FLOAT, IR_VERSION, OPSET] = [1, 8, 13];
const [ATTRIBUTE_FLOAT, ATTRIBUTE_INT, ATTRIBUTE_INTS] = [1, 2, 7];

interface NodeProto {
  op_type: string;
  name: string;
  input: string[];
  output: string[];
  attribute: { name: string; type: number; f?: number; i?: number; ints?: number[] }[];
}

const ints = (name: string, ...values: number[]) => ({ name, type: ATTRIBUTE_INTS, ints: values });

/** Collects nodes: a value is the name of an output, a weight is referred to by its own name. */
function graph(nodes: NodeProto[]): Ops<string> {
  const add = (op_type: string, output: string, input: string[], attribute: NodeProto["attribute"] = []): string => {
    nodes.push({ op_type, name: output, input, output: [output], attribute });
    return output;
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
      const epsilon = { name: "epsilon", type: ATTRIBUTE_FLOAT, f: 1e-5 };
      let y = add("BatchNormalization", `${name}:out`, [x, ...inputs], [epsilon]);
      if (residual) y = add("Add", `${name}:sum`, [y, residual()]);
      return relu ? add("Relu", `${name}:relu`, [y]) : y;
    },
    linear: (name, x, { bias }) =>
      add(
        "Gemm",
        `${name}:out`,
        [x, `${name}.weight`, ...(bias ? [`${name}.bias`] : [])],
        [{ name: "transB", type: ATTRIBUTE_INT, i: 1 }],
      ),
    relu: (name, x) => add("Relu", `${name}:relu`, [x]),
    maxPool: (x) =>
      add("MaxPool", "maxpool:out", [x], [ints("kernel_shape", 3, 3), ints("strides", 2, 2), ints("pads", 1, 1, 1, 1)]),
    meanPlaces: (x) =>
      add("ReduceMean", "features", [x], [ints("axes", 2, 3), { name: "keepdims", type: ATTRIBUTE_INT, i: 0 }]),
    stem: (x, layers) => layers(x),
    block: (x, layers) => layers(x),
  };
}

/** Input `images` f32[N,C,H,W] (normalised), output `features` f32[N,F]. `tensors`: the backbone, in PyTorch's layout. */
export function encodeOnnx(spec: EncoderSpec, tensors: ReadonlyMap<string, StoredTensor>): Uint8Array {
  const nodes: NodeProto[] = [];
  const channels = tensors.get("conv1.weight")?.shape[1] as number;
  const output = encode(graph(nodes), spec, channels, "images");
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
    opset_import: [{ domain: "", version: OPSET }],
    graph: {
      name: spec.arch,
      node: nodes,
      initializer,
      input: [value("images", ["N", channels, "H", "W"])],
      output: [value(output, ["N", featuresOf(spec)])],
    },
  };
  return Model.encode(Model.fromObject(model)).finish();
}
