/** The WebGPU device of this thread, and how our kernels are launched on it. Runs in browsers as well. */
import "@tensorflow/tfjs-backend-webgpu/dist/flags_webgpu";
import * as tf from "@tensorflow/tfjs-core";
import { GpuBackend } from "./gpu_backend.ts";

let opened: GpuBackend | undefined;

/** Makes the device tfjs's backend `webgpu` of this thread. `foldsNumbers`: see GpuBackend. */
export function useDevice(device: GPUDevice, info: GPUAdapterInfo, foldsNumbers: boolean): GpuBackend {
  if (opened) tf.removeBackend("webgpu");
  const backend = new GpuBackend(device, info);
  backend.foldsNumbers = foldsNumbers;
  opened = backend;
  tf.registerBackend("webgpu", () => backend);
  return backend;
}

/** Throws before `useDevice`. */
export function webgpu(): GpuBackend {
  if (!opened) throw new Error("no WebGPU device is open in this thread");
  return opened;
}

/** How WGSL sees a tensor: its elements' type and whether it is written. */
export interface Bound {
  readonly tensor: tf.TensorInfo;
  readonly type: string;
  readonly written: boolean;
  /** That are read, where it is less than all of it: for counting. */
  readonly bytes?: number;
}

type Element = "f32" | "vec4f" | "i32" | "u32" | "vec4u" | "vec2u";
export const reads = (tensor: tf.TensorInfo, type: Element = "f32"): Bound => ({ tensor, type, written: false });
export const writes = (tensor: tf.TensorInfo, type: Element = "f32"): Bound => ({ tensor, type, written: true });

export interface Launch {
  readonly name: string;
  /** Each is `var<storage>` of its key's name, an array. Two may not be parts of one buffer if one is written. */
  readonly bind: Readonly<Record<string, Bound>>;
  /** WGSL before the bindings: what a module has to begin with. */
  readonly before?: string;
  /** WGSL behind the bindings: an entry point, `@compute`. */
  readonly code: string;
  readonly groups: readonly number[];
  readonly flops?: number;
  /**
   * Found in WGSL as `its.name`, u32, or f32 where the name ends in F: compiled once for all their values. Those with names
   * in capitals, i32, are found by that name alone, and are constants of the code where the backend folds them.
   */
  readonly numbers?: Readonly<Record<string, number>>;
}

/** Throws Error where a dispatch is larger than the device allows. */
export function launch({ name, bind, before = "", code, groups, flops = 0, numbers = {} }: Launch): void {
  const backend = webgpu();
  const entries = Object.entries(bind);
  const header = entries.map(
    ([key, { type, written }], i) =>
      `@group(0) @binding(${i}) var<storage, ${written ? "read_write" : "read"}> ${key}: array<${type}>;`,
  );
  const [x = 1, y = 1, z = 1] = groups;
  const most = backend.device.limits.maxComputeWorkgroupsPerDimension;
  if (Math.max(x, y, z) > most) throw new Error(`${name}: ${[x, y, z]} workgroups, ${most} are allowed each way`);
  const isConstant = (key: string) => backend.foldsNumbers && /^[A-Z]+$/.test(key);
  const given = Object.entries(numbers);
  const constants = given.filter(([key]) => isConstant(key)).map(([key, value]) => `const ${key} = ${value};`);
  const fields = given.filter(([key]) => !isConstant(key));
  const typeOf = (key: string) => (key.endsWith("F") ? "f32" : /^[A-Z]+$/.test(key) ? "i32" : "u32");
  const values = new DataView(new ArrayBuffer(4 * fields.length));
  for (const [i, [key, value]] of fields.entries()) {
    if (typeOf(key) === "f32") values.setFloat32(4 * i, value, true);
    else values.setInt32(4 * i, value, true);
  }
  if (fields.length > 0) {
    header.push(`struct Numbers { ${fields.map(([key]) => `${key}: ${typeOf(key)}`).join(", ")} }`);
    header.push(`@group(0) @binding(${entries.length}) var<uniform> its: Numbers;`);
  }
  const capitals = fields.map(([key]) => key).filter((key) => typeOf(key) === "i32");
  const body = capitals.length > 0 ? code.replace(new RegExp(`\\b(${capitals.join("|")})\\b`, "g"), "its.$1") : code;
  const whole = [before, ...header, ...constants, body].join("\n");
  backend.launch(
    { name, code: whole, groups: [x, y, z], flops, numbers: new Uint8Array(values.buffer) },
    entries.map(([, bound]) => bound),
  );
}

/** Workgroups of `size` threads, for `count` of them, as a line that is folded where one dimension is too short. */
export function folded(count: number, size: number): [number, number] {
  const groups = Math.ceil(count / size);
  const wide = Math.min(groups, 32_768);
  return [wide, Math.ceil(groups / wide)];
}

/**
 * WGSL of an entry point of `size` threads that knows its place `i` in a line dispatched by `folded`, below `count`: a number,
 * or an expression of WGSL.
 */
export function lineKernel(count: number | string, size: number, body: string): string {
  return `
@compute @workgroup_size(${size})
fn main(
  @builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let i = (workgroup.y * workgroups.x + workgroup.x) * ${size}u + local;
  if (i >= ${typeof count === "number" ? `${count}u` : count}) { return; }
  ${body}
}`;
}
