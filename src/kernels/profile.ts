/** Where the time of a thread goes, kernel by kernel and shape by shape. Costs nothing until it is switched on. */
import * as tf from "@tensorflow/tfjs-core";

const spent = new Map<string, number>();
let on = false;
let path = "";

/** Says which way the kernel that is running went, where there is more than one; the profile shows it. */
export function via(name: string): void {
  path = name;
}

const add = (name: string, since: number) => spent.set(name, (spent.get(name) ?? 0) + performance.now() - since);

/** Measures every kernel of the WASM backend from now on. */
export function startProfile(): void {
  if (on) return;
  on = true;
  for (const { kernelName, kernelFunc, ...rest } of tf.getKernelsForBackend("wasm")) {
    tf.unregisterKernel(kernelName, "wasm");
    tf.registerKernel({
      ...rest,
      kernelName,
      backendName: "wasm",
      kernelFunc: (args) => {
        path = "";
        const since = performance.now();
        const out = kernelFunc(args);
        const shapes = Object.values(args.inputs).map((t) => (t as tf.TensorInfo | undefined)?.shape.join("x") ?? "-");
        add(`${kernelName} ${shapes.slice(0, 2).join(" ")}${path && ` (${path})`}`, since);
        return out;
      },
    });
  }
}

/** Measures what is no kernel of tfjs. */
export function measured<T>(name: string, work: () => T): T {
  if (!on) return work();
  const since = performance.now();
  try {
    return work();
  } finally {
    add(name, since);
  }
}

/** Milliseconds by name since the last time it was asked for. */
export function takeProfile(): Record<string, number> {
  const out = Object.fromEntries(spent);
  spent.clear();
  return out;
}
