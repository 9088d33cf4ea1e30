/**
 * The layers of a text tower that depend on its texts. A graph has their tokens alone, i64[N,L], of which 0 is padding: how long a text is
 * comes from them. L tokens of a text, C width, H heads.
 */
import { BOOL, FLOAT, INT64, int } from "./format.ts";
import type { Nodes } from "./nodes.ts";

/** Added to the score of a key that a query does not see: its share is 0 in float32, and no score is infinite. */
const UNSEEN = -1e9;

export class Texts {
  private mask: string | undefined;
  private inside: string | undefined;

  constructor(
    private readonly nodes: Nodes,
    /** The input. */
    private readonly tokens: string,
    private readonly context: number,
  ) {}

  /** f32[N,L,C] */
  embed(): string {
    const rows = this.nodes.add("Gather", "token_embedding:out", ["token_embedding.weight", this.tokens]);
    return this.nodes.add("Add", "tokens:placed", [rows, "positional_embedding"]);
  }

  /** `scores` f32[N,H,L,L], of keys that a query does not see lowered. A mask is computed once for all blocks. */
  hide(name: string, scores: string, causal: boolean): string {
    // A causal tower's features are those of the last token, before which there is no padding.
    this.mask ??= causal ? this.later() : this.padding();
    return this.nodes.add("Add", name, [scores, this.mask]);
  }

  /** [N,L,C] -> [N,C] */
  pool(x: string, causal: boolean): string {
    const { nodes } = this;
    const lengths = nodes.add("ReduceSum", "lengths", [this.isInside(), nodes.integers(1)]); // [N,1]
    if (causal) {
      const counts = nodes.add("Cast", "lengths:whole", [lengths], [int("to", INT64)]);
      const last = nodes.add("Sub", "last", [counts, nodes.index(1)]);
      return nodes.add("GatherND", "pooled", [x, last], [int("batch_dims", 1)]);
    }
    const shares = nodes.add("Div", "shares", [this.isInside(), lengths]); // [N,L]
    const rows = nodes.add("Unsqueeze", "shares:rows", [shares, nodes.integers(1)]); // [N,1,L]
    const sums = nodes.add("MatMul", "pooled:rows", [rows, x]); // [N,1,C]
    return nodes.add("Squeeze", "pooled", [sums, nodes.integers(1)]);
  }

  /** f32[L,L]: of the keys after a query. */
  private later(): string {
    const l = this.context;
    const values = Float32Array.from({ length: l * l }, (_, i) => (i % l > Math.floor(i / l) ? UNSEEN : 0));
    return this.nodes.floats("later", [l, l], values);
  }

  /** f32[N,1,1,L]: of the keys that are padding. */
  private padding(): string {
    const { nodes } = this;
    const outside = nodes.add("Sub", "outside", [nodes.scalar(1), this.isInside()]); // [N,L]
    const lowered = nodes.add("Mul", "padding", [outside, nodes.scalar(UNSEEN)]);
    return nodes.add("Unsqueeze", "padding:keys", [lowered, nodes.integers(1, 2)]);
  }

  /** f32[N,L]: 1 at a text's tokens, 0 at padding. */
  private isInside(): string {
    if (this.inside) return this.inside;
    const { nodes, tokens } = this;
    const is = nodes.add("Cast", "inside:is", [tokens], [int("to", BOOL)]);
    this.inside = nodes.add("Cast", "inside", [is], [int("to", FLOAT)]);
    return this.inside;
  }
}
