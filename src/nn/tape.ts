/**
 * Reverse-mode differentiation over tfjs's tape, freeing as it goes. tfjs's own `grads` keeps every activation, every
 * intermediate gradient and every result until all is done, about twice what a step needs at any one time. Here what a
 * node saved is freed when the node is done, its gradients as well, and each result is handed over when its last use is
 * done. Recording and going back are apart, so that a loss over the whole batch can be computed in between.
 */
import * as tf from "@tensorflow/tfjs-core";

/** What tfjs-core 4.22 records of an operation (tape.ts; private there, which is why that version is pinned). */
interface TapeNode {
  kernelName: string;
  inputs: tf.NamedTensorMap;
  outputs: tf.Tensor[];
  saved: tf.Tensor[];
  gradient?: (dys: (tf.Tensor | null)[]) => Record<string, () => tf.Tensor>;
}

interface TapeEngine {
  state: { activeTape: TapeNode[] | null };
  startTape(): void;
  endTape(): void;
}

/** Receives d value / d xs[index], once for each x that has a part in the value, in any order. Freed after the call. */
export type Take = (gradient: tf.Tensor, index: number) => void;

/** What was computed, and all that its gradient needs. Go back over it once, or dispose of it. */
export class Tape {
  private constructor(
    private readonly nodes: TapeNode[],
    /** What `f` gave. The caller owns them. */
    readonly outputs: readonly tf.Tensor[],
  ) {}

  /**
   * Computes `f` and records it.
   * @throws inside another recording: tapes do not nest.
   */
  static record(f: () => readonly tf.Tensor[]): Tape {
    const engine = tf.engine() as unknown as TapeEngine;
    if (engine.state.activeTape) throw new Error("a tape is being recorded already; tapes do not nest");
    engine.startTape();
    const nodes = engine.state.activeTape as unknown as TapeNode[];
    try {
      // Of the caller's scope, so that they outlive a tidy around the recording.
      const outputs = tf.tidy(() => [...f()]);
      return new Tape(nodes, outputs);
    } catch (error) {
      for (const { saved } of nodes) tf.dispose(saved);
      throw error;
    } finally {
      engine.endTape();
      engine.state.activeTape = null;
    }
  }

  /**
   * Gradients of the sum over outputs of output * seed. `seeds`: one for each output, of its shape, undefined for one that
   * counts as a constant; they stay the caller's. An x that has no part in the other outputs is never taken.
   */
  back(seeds: readonly (tf.Tensor | undefined)[], xs: readonly tf.Tensor[], take: Take): void {
    try {
      tf.tidy(() => {
        const seeded = new Map<number, tf.Tensor>();
        this.outputs.forEach(({ id }, i) => {
          const seed = seeds[i];
          const before = seeded.get(id);
          if (seed) seeded.set(id, before ? tf.add(before, seed) : seed);
        });
        walk(this.nodes, seeded, xs, take);
      });
    } finally {
      this.dispose();
    }
  }

  /** Frees what was kept for the gradient. */
  dispose(): void {
    // Where all went well nothing is left of these.
    for (const { saved } of this.nodes) tf.dispose(saved);
  }
}

/** The scalar `f()`, which is the caller's, and its gradients by `xs`. */
export function differentiate(f: () => tf.Scalar, xs: readonly tf.Tensor[], take: Take): tf.Scalar {
  const tape = Tape.record(() => [f()]);
  const [value] = tape.outputs as [tf.Scalar];
  tf.tidy(() => tape.back([tf.onesLike(value)], xs, take));
  return value;
}

function walk(
  tape: TapeNode[],
  seeds: ReadonlyMap<number, tf.Tensor>,
  xs: readonly tf.Tensor[],
  take: (gradient: tf.Tensor, index: number) => void,
): void {
  const index = new Map(xs.map((x, i) => [x.id, i]));
  const uses = new Map<number, number>();
  const varies = new Set(index.keys());
  for (const { inputs, outputs } of tape) {
    const ids = Object.values(inputs).map((input) => input.id);
    for (const id of ids) if (index.has(id)) uses.set(id, (uses.get(id) ?? 0) + 1);
    if (ids.some((id) => varies.has(id))) for (const output of outputs) varies.add(output.id);
  }

  // Our kernels take the gradient of their first output alone. tfjs would make zeros for the others, as large as they are.
  const none = tf.keep(tf.scalar(0));
  const gradients = new Map<number, tf.Tensor>([...seeds].map(([id, seed]) => [id, tf.keep(seed.clone())]));
  const arrive = (id: number, gradient: tf.Tensor) => {
    const there = gradients.get(id);
    gradients.set(id, tf.keep(there ? tf.add(there, gradient) : gradient));
    if (there) tf.dispose([there, gradient]);
  };
  const used = (id: number) => {
    const left = (uses.get(id) as number) - 1;
    uses.set(id, left);
    if (left > 0) return;
    const gradient = gradients.get(id);
    if (!gradient) return; // it is used for something else than the outputs
    take(gradient, index.get(id) as number);
    gradient.dispose();
    gradients.delete(id);
  };

  for (const node of tape.toReversed()) {
    const dys = node.outputs.map((output) => gradients.get(output.id) ?? null);
    const inputs = Object.entries(node.inputs).filter(([, input]) => varies.has(input.id));
    if (inputs.length > 0 && dys.some((dy) => dy)) {
      if (!node.gradient) throw new Error(`differentiate: ${node.kernelName} has no gradient`);
      tf.tidy(() => {
        const given = node.kernelName.startsWith("Mocod") ? dys.map((dy) => dy ?? none) : dys;
        const of = node.gradient?.(given) as Record<string, () => tf.Tensor>;
        for (const [name, input] of inputs) {
          const dx = tf.tidy(() => (of[name] as () => tf.Tensor)());
          // One that passes dy through as it is would have it freed below.
          arrive(input.id, dys.includes(dx) ? dx.clone() : dx);
        }
      });
    }
    for (const [, input] of inputs) if (index.has(input.id)) used(input.id);
    tf.dispose(node.saved);
    for (const [i, output] of node.outputs.entries()) {
      dys[i]?.dispose();
      gradients.delete(output.id);
    }
  }
  none.dispose();
  // Outputs that no recorded operation made: an x that is an output as it is has its seed for a gradient.
  for (const [id, gradient] of gradients) {
    if (index.has(id) && !uses.has(id)) take(gradient, index.get(id) as number);
    gradient.dispose();
  }
}
