/**
 * What is computed from a parameter once and used by every split of a batch: transformed or packed filters, the queue in
 * panels. Kept in the device's memory while a task runs, in which parameters do not change.
 */
import type * as tf from "@tensorflow/tfjs-core";
import { allocate, pointer, wasmDevice } from "../backend/wasm.ts";

/** While `use` runs, what is computed from a parameter is kept. The parameters may not change meanwhile. */
export function keepingDerived(use: () => void): void {
  const device = wasmDevice();
  if (device.derived) {
    use();
    return;
  }
  const derived = new Map<object, Map<string, tf.TensorInfo>>();
  device.derived = derived;
  try {
    use();
  } finally {
    for (const made of derived.values()) for (const info of made.values()) device.backend.disposeData(info.dataId);
    device.derived = undefined;
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
  const { derived, backend } = wasmDevice();
  const fresh = () => {
    const info = allocate([Math.ceil(bytes / 4)]);
    make(pointer(info));
    return info;
  };
  if (!derived) {
    const info = fresh();
    use(pointer(info));
    backend.disposeData(info.dataId);
    return;
  }
  const own = derived.get(parameter.dataId) ?? new Map<string, tf.TensorInfo>();
  derived.set(parameter.dataId, own);
  const info = own.get(name) ?? fresh();
  own.set(name, info);
  use(pointer(info));
}
