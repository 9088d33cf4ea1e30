/**
 * Reverse-mode differentiation over tfjs's tape, freeing as it goes. tfjs's own `grads` keeps every activation, every
 * intermediate gradient and every result until all is done, about twice what a step needs at any one time. Here what a
 * node saved goes when the node is done, its gradients as well, and each result leaves when its last use is behind it.
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

/**
 * Value of the scalar `f()`; d value / d xs[i] goes to `take(gradient, i)` once, in any order, and is freed behind it.
 * The caller owns the value. Throws where an x has no part in it, and inside another tape.
 */
export function differentiate(
  f: () => tf.Scalar,
  xs: readonly tf.Tensor[],
  take: (gradient: tf.Tensor, index: number) => void,
): tf.Scalar {
  const engine = tf.engine() as unknown as TapeEngine;
  if (engine.state.activeTape) throw new Error("differentiate: a tape is open already; it does not nest");
  engine.startTape();
  const tape = engine.state.activeTape as unknown as TapeNode[];
  try {
    let value: tf.Scalar;
    try {
      value = tf.tidy(f);
    } finally {
      engine.endTape();
      engine.state.activeTape = null;
    }
    tf.tidy(() => walk(tape, value, xs, take));
    return value;
  } finally {
    // Where all went well nothing is left of these.
    for (const { saved } of tape) tf.dispose(saved);
  }
}

function walk(
  tape: TapeNode[],
  value: tf.Tensor,
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

  const idle = xs.findIndex(({ id }) => !uses.has(id));
  if (idle >= 0) throw new Error(`differentiate: x ${idle} has no part in the value`);

  const gradients = new Map<number, tf.Tensor>([[value.id, tf.onesLike(value)]]);
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
    if (!gradient) throw new Error(`differentiate: no gradient reaches x ${index.get(id)}`);
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
        const of = node.gradient?.(dys) as Record<string, () => tf.Tensor>;
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
}
