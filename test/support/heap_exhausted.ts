/** Takes the device's heap until there is none: in a process of its own, which has no heap afterwards. See heap.test.ts. */
import * as tf from "@tensorflow/tfjs-core";
import { allocate } from "../../src/backend/wasm.ts";
import { openDevice } from "../../src/kernels/index.ts";

await openDevice();
const failure = (work: () => unknown) => {
  try {
    work();
    return "none";
  } catch (error) {
    return String(error);
  }
};
const small = tf.tensor1d([1, 2, 3]);
const atOnce = failure(() => allocate([2 ** 29]));
const together = failure(() => {
  for (let i = 0; i < 3; i++) allocate([400_000_000]);
});
const afterwards = failure(() => allocate([4]));
console.log(JSON.stringify({ atOnce, together, afterwards, kept: [...small.dataSync()] }));
process.exit(0);
