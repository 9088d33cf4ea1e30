/**
 * The backbone of a ResNet as ONNX (opset 13, NCHW): convolution, batch norm by running statistics, ReLU, pooling.
 * Only what is written here of the format's protobuf is declared; field numbers are onnx.proto's.
 */
import protobuf from "protobufjs";
import type { EncoderSpec } from "../schema/pretrain.ts";
import type { StoredTensor } from "../store/safetensors.ts";
import { architectures } from "./encoders/resnet.ts";

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

/** Collects nodes; every method adds one and returns the name of its output. Weights are referred to by name. */
class GraphBuilder {
  readonly nodes: NodeProto[] = [];

  private add(op_type: string, name: string, input: string[], attribute: NodeProto["attribute"] = []): string {
    this.nodes.push({ op_type, name, input, output: [name], attribute });
    return name;
  }

  private static ints(name: string, ...ints: number[]) {
    return { name, type: ATTRIBUTE_INTS, ints };
  }

  conv(name: string, x: string, size: number, stride: number): string {
    const pad = (size - 1) / 2;
    return this.add(
      "Conv",
      `${name}:out`,
      [x, `${name}.weight`],
      [
        GraphBuilder.ints("kernel_shape", size, size),
        GraphBuilder.ints("strides", stride, stride),
        GraphBuilder.ints("pads", pad, pad, pad, pad),
      ],
    );
  }

  norm(name: string, x: string): string {
    const inputs = ["weight", "bias", "running_mean", "running_var"].map((part) => `${name}.${part}`);
    const epsilon = { name: "epsilon", type: ATTRIBUTE_FLOAT, f: 1e-5 };
    return this.add("BatchNormalization", `${name}:out`, [x, ...inputs], [epsilon]);
  }

  relu(name: string, x: string): string {
    return this.add("Relu", `${name}:relu`, [x]);
  }

  sum(name: string, a: string, b: string): string {
    return this.add("Add", `${name}:sum`, [a, b]);
  }

  maxPool(x: string): string {
    return this.add(
      "MaxPool",
      "maxpool:out",
      [x],
      [
        GraphBuilder.ints("kernel_shape", 3, 3),
        GraphBuilder.ints("strides", 2, 2),
        GraphBuilder.ints("pads", 1, 1, 1, 1),
      ],
    );
  }

  /** Mean over height and width: [N,C,H,W] -> [N,C] */
  mean(x: string): string {
    return this.add(
      "ReduceMean",
      "features",
      [x],
      [GraphBuilder.ints("axes", 2, 3), { name: "keepdims", type: ATTRIBUTE_INT, i: 0 }],
    );
  }
}

/** The same walk as `buildEncoder`, in ONNX's operators. */
function backbone(graph: GraphBuilder, spec: EncoderSpec): string {
  const { blocks, expansion } = architectures[spec.arch];
  const small = spec.stem === "cifar";
  let x = graph.relu("bn1", graph.norm("bn1", graph.conv("conv1", "images", small ? 3 : 7, small ? 1 : 2)));
  if (!small) x = graph.maxPool(x);
  let from = spec.width;
  blocks.forEach((count, stage) => {
    const width = spec.width * 2 ** stage;
    for (let i = 0; i < count; i++) {
      const name = `layer${stage + 1}.${i}`;
      const stride = stage > 0 && i === 0 ? 2 : 1;
      const unit = (n: number, input: string, size: number, step: number) =>
        graph.norm(`${name}.bn${n}`, graph.conv(`${name}.conv${n}`, input, size, step));
      const active = (n: number, input: string) => graph.relu(`${name}.bn${n}`, input);
      const inner =
        expansion === 4
          ? unit(3, active(2, unit(2, active(1, unit(1, x, 1, 1)), 3, stride)), 1, 1)
          : unit(2, active(1, unit(1, x, 3, stride)), 3, 1);
      const changes = from !== width * expansion || stride !== 1;
      const skip = changes ? graph.norm(`${name}.downsample.1`, graph.conv(`${name}.downsample.0`, x, 1, stride)) : x;
      x = graph.relu(name, graph.sum(name, inner, skip));
      from = width * expansion;
    }
  });
  return graph.mean(x);
}

/** Input `images` f32[N,C,H,W] (normalised), output `features` f32[N,F]. `tensors`: the backbone, in PyTorch's layout. */
export function encodeOnnx(spec: EncoderSpec, tensors: ReadonlyMap<string, StoredTensor>): Uint8Array {
  const graph = new GraphBuilder();
  const output = backbone(graph, spec);
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
  const channels = tensors.get("conv1.weight")?.shape[1] as number;
  const features = spec.width * 8 * architectures[spec.arch].expansion;
  const model = {
    ir_version: IR_VERSION,
    producer_name: "mocod",
    opset_import: [{ domain: "", version: OPSET }],
    graph: {
      name: spec.arch,
      node: graph.nodes,
      initializer,
      input: [value("images", ["N", channels, "H", "W"])],
      output: [value(output, ["N", features])],
    },
  };
  return Model.encode(Model.fromObject(model)).finish();
}
