/**
 * What is made of a parameter once and used by every split of a batch: transformed or packed filters, the queue in panels.
 * Kept in the device's memory while a task runs, in which parameters do not change.
 */
import type * as tf from "@tensorflow/tfjs-core";
import { allocate, pointer, wasmDevice } from "../backend/wasm.ts";

/** By the parameter's data, then by what was made of it; undefined: nothing is kept. */
let kept: Map<object, Map<string, tf.TensorInfo>> | undefined;

/** While `use` runs, what is made of a parameter is kept. The parameters may not change meanwhile. */
export function keepingDerived(use: () => void): void {
  if (kept) {
    use();
    return;
  }
  kept = new Map();
  try {
    use();
  } finally {
    const { backend } = wasmDevice();
    for (const made of kept.values()) for (const info of made.values()) backend.disposeData(info.dataId);
    kept = undefined;
  }
}

/** Runs `use` with the address of `bytes` that `make` filled from the parameter, now or earlier. */
export function withDerived(
  parameter: tf.TensorInfo,
  name: string,
  bytes: number,
  make: (to: number) => void,
  use: (address: number) => void,
): void {
  const fresh = () => {
    const info = allocate([Math.ceil(bytes / 4)]);
    make(pointer(info));
    return info;
  };
  if (!kept) {
    const info = fresh();
    use(pointer(info));
    wasmDevice().backend.disposeData(info.dataId);
    return;
  }
  const own = kept.get(parameter.dataId) ?? new Map<string, tf.TensorInfo>();
  kept.set(parameter.dataId, own);
  const info = own.get(name) ?? fresh();
  own.set(name, info);
  use(pointer(info));
}
