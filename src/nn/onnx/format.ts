/** The parts of ONNX's protobuf that a graph here needs; field numbers are onnx.proto's. */
import protobuf from "protobufjs";

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

const IR_VERSION = 8;
const [ATTRIBUTE_FLOAT, ATTRIBUTE_INT, ATTRIBUTE_INTS] = [1, 2, 7];
/** Types of elements. */
export const [FLOAT, INT64, BOOL] = [1, 7, 9];

export interface Attribute {
  name: string;
  type: number;
  f?: number;
  i?: number;
  ints?: number[];
}

export const int = (name: string, i: number): Attribute => ({ name, type: ATTRIBUTE_INT, i });
export const ints = (name: string, ...values: number[]): Attribute => ({ name, type: ATTRIBUTE_INTS, ints: values });
export const float = (name: string, f: number): Attribute => ({ name, type: ATTRIBUTE_FLOAT, f });

export interface NodeProto {
  op_type: string;
  name: string;
  input: string[];
  output: string[];
  attribute: Attribute[];
}

export interface TensorProto {
  name: string;
  dims: number[];
  data_type: number;
  raw_data: Uint8Array;
}

/** An input or output; a dimension by its name may have any size. */
export interface ValueInfo {
  name: string;
  type: number;
  dims: (number | string)[];
}

export interface GraphProto {
  name: string;
  opset: number;
  nodes: NodeProto[];
  tensors: TensorProto[];
  input: ValueInfo;
  output: ValueInfo;
}

export function encodeModel({ name, opset, nodes, tensors, input, output }: GraphProto): Uint8Array {
  const value = (of: ValueInfo) => {
    const dim = of.dims.map((d) => (typeof d === "string" ? { dim_param: d } : { dim_value: d }));
    return { name: of.name, type: { tensor_type: { elem_type: of.type, shape: { dim } } } };
  };
  const model = {
    ir_version: IR_VERSION,
    producer_name: "mocod",
    opset_import: [{ domain: "", version: opset }],
    graph: { name, node: nodes, initializer: tensors, input: [value(input)], output: [value(output)] },
  };
  return Model.encode(Model.fromObject(model)).finish();
}
