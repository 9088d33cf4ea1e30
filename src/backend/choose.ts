/** Which device to compute on, and why. */
import { messageOf, UserError } from "../util/errors.ts";
import { type FoundAdapter, findAdapters, missingHint } from "./adapters.ts";

/** auto: a real GPU if there is one. webgpu: any adapter, also one that computes on the CPU. */
export type DeviceWish = "auto" | "webgpu" | "wasm";

export interface Choice {
  /** Undefined: WASM. */
  readonly found: FoundAdapter | undefined;
  /** For the log. */
  readonly why: string;
}

/** What a spec and a process that may use `allowed` agree on. Throws UserError where they do not. */
export function agreed(asked: DeviceWish, allowed: DeviceWish): DeviceWish {
  if (asked === "webgpu" && allowed === "wasm") {
    throw new UserError("spec.device: webgpu is asked for, and this worker computes on WASM only (MOCOD_DEVICE)");
  }
  if (asked === "wasm" || allowed === "wasm") return "wasm";
  return asked === "webgpu" || allowed === "webgpu" ? "webgpu" : "auto";
}

/** Throws UserError where WebGPU is asked for and there is no adapter. */
export async function chooseDevice(
  wish: DeviceWish,
  find: () => Promise<FoundAdapter[]> = findAdapters,
  hint: () => string = missingHint,
): Promise<Choice> {
  if (wish === "wasm") return { found: undefined, why: "WASM, as asked for" };
  let adapters: FoundAdapter[] = [];
  let missing: string | undefined;
  try {
    adapters = await find();
  } catch (error) {
    missing = messageOf(error);
  }
  const real = adapters.find(({ description }) => !description.software);
  if (real) return { found: real, why: `WebGPU on ${real.description.name} (${real.description.driver})` };
  const [software] = adapters;
  if (wish === "webgpu") {
    if (!software) throw new UserError(`no WebGPU: ${missing ?? hint()}`);
    return { found: software, why: `WebGPU on ${software.description.name}, which is no GPU: as asked for, and slow` };
  }
  const why = software ? `the only WebGPU adapter, ${software.description.name}, is no GPU` : (missing ?? hint());
  return { found: undefined, why: `WASM: ${why}` };
}
