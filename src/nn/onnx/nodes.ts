/** Collects the nodes of a graph and the constants that they need: a value is the name of an output, a weight has its own name. */
import { type Attribute, FLOAT, INT64, type NodeProto, type TensorProto } from "./format.ts";

export class Nodes {
  readonly all: NodeProto[] = [];
  private readonly named = new Map<string, TensorProto>();

  get constants(): TensorProto[] {
    return [...this.named.values()];
  }

  add(op_type: string, output: string, input: string[], attribute: Attribute[] = []): string {
    this.all.push({ op_type, name: output, input, output: [output], attribute });
    return output;
  }

  /** i64[n] */
  integers(...values: number[]): string {
    return this.constant(`ints:${values}`, [values.length], INT64, BigInt64Array.from(values, BigInt));
  }

  /** f32[] */
  scalar(value: number): string {
    return this.constant(`float:${value}`, [], FLOAT, Float32Array.of(value));
  }

  /** i64[] */
  index(value: number): string {
    return this.constant(`index:${value}`, [], INT64, BigInt64Array.of(BigInt(value)));
  }

  floats(name: string, shape: number[], values: Float32Array): string {
    return this.constant(name, shape, FLOAT, values);
  }

  private constant(name: string, dims: number[], data_type: number, values: BigInt64Array | Float32Array): string {
    this.named.set(name, { name, dims, data_type, raw_data: new Uint8Array(values.buffer) });
    return name;
  }
}
