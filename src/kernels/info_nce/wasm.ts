/** InfoNCE on WASM; the meaning is in `index.ts`. */
import * as tf from "@tensorflow/tfjs-core";
import { allocate, floatsOf, heap, pointer, wasmDevice, withScratch } from "../../backend/wasm.ts";
import { withDerived } from "../derived.ts";
import { INFO_NCE, type InfoNceAttrs } from "./index.ts";

/** Numbers of each query that the kernel gives. */
const RESULTS = 5;

export function registerInfoNceWasm(): void {
  tf.registerKernel({
    kernelName: INFO_NCE,
    backendName: "wasm",
    kernelFunc: ({ inputs, attrs }) => {
      const { kernels } = wasmDevice();
      const { q, k, queue, ids, queueIds } = inputs as Record<string, tf.TensorInfo>;
      const { temperature } = attrs as unknown as InfoNceAttrs;
      const [n, c] = (q as tf.TensorInfo).shape as [number, number];
      const keys = (queue as tf.TensorInfo).shape[0] as number;
      const [loss, metrics, dq] = [allocate([]), allocate([3]), allocate([n, c])];
      const pack = (to: number) => kernels.packQueue(pointer(queue as tf.TensorInfo), to, keys, c);
      const mask = ids && queueIds && maskOf(integersOf(ids), integersOf(queueIds));
      withDerived(queue as tf.TensorInfo, "panels", kernels.queuePanelBytes(keys, c), pack, (panels) =>
        withScratch(n * RESULTS * 8, (results) => {
          withScratch(kernels.infoNceScratchBytes(n, keys, c), (scratch) =>
            kernels.infoNce(
              pointer(q as tf.TensorInfo),
              pointer(k as tf.TensorInfo),
              panels,
              mask ? pointer(mask) : 0,
              results,
              pointer(dq),
              scratch,
              n,
              c,
              keys,
              temperature,
            ),
          );
          const means = summarise(new Float64Array(heap().buffer, results, n * RESULTS));
          floatsOf(loss).set(means.slice(0, 1));
          floatsOf(metrics).set(means.slice(1));
        }),
      );
      if (mask) wasmDevice().backend.disposeData(mask.dataId);
      return [loss, metrics, dq];
    },
  });
}

const integersOf = (tensor: tf.TensorInfo) => wasmDevice().backend.typedArrayFromHeap(tensor) as Int32Array;

/** Cosines, or cosines over a temperature that is a tensor: this far below them exp gives 0, and no gradient. */
const MASKED = -1e6;

/** f32[N,K], added to cosines; undefined where no key in the queue is of an image of the queries. */
function maskOf(ids: Int32Array, queueIds: Int32Array): tf.TensorInfo | undefined {
  const rows = new Map(Array.from(ids, (id, row) => [id, row]));
  const found = Array.from(queueIds, (id, column) => [rows.get(id), column] as const).filter(
    ([row]) => row !== undefined,
  );
  if (found.length === 0) return undefined;
  const mask = allocate([ids.length, queueIds.length]);
  const values = floatsOf(mask).fill(0);
  for (const [row, column] of found) values[(row as number) * queueIds.length + column] = MASKED;
  return mask;
}

/** Means over the queries: loss, top1, positive, negative. */
function summarise(results: Float64Array): number[] {
  const means = [0, 0, 0, 0];
  const n = results.length / RESULTS;
  for (let i = 0; i < n; i++) {
    const [sum, , gap, cosine, negative] = results.subarray(i * RESULTS) as unknown as [
      number,
      number,
      number,
      number,
      number,
    ];
    for (const [m, value] of [Math.log(sum) + gap, gap === 0 ? 1 : 0, cosine, negative].entries()) {
      means[m] = (means[m] as number) + value / n;
    }
  }
  return means;
}
