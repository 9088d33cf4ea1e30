/** Finds and opens WebGPU devices outside a browser, by Dawn (npm's `webgpu`). */
import { dlopen } from "bun:ffi";
import { messageOf } from "../util/errors.ts";
import type { GpuBackend } from "./gpu_backend.ts";
import { useDevice } from "./webgpu.ts";

/** What a machine offers to compute on. */
export interface AdapterDescription {
  readonly name: string;
  readonly vendor: string;
  readonly architecture: string;
  readonly driver: string;
  /** Computes on the CPU: for tests only. */
  readonly software: boolean;
  readonly features: readonly string[];
  readonly limits: Readonly<Record<string, number>>;
}

export interface FoundAdapter {
  readonly adapter: GPUAdapter;
  readonly description: AdapterDescription;
}

/** Of a device: asked for where the adapter has them. */
const WANTED = ["shader-f16", "subgroups", "timestamp-query", "chromium-experimental-subgroup-matrix"] as const;

/** Limits that our kernels may come near to. */
const LIMITS = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxStorageBuffersPerShaderStage",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
  "maxComputeWorkgroupsPerDimension",
] as const;

/**
 * Indices are ours and proven by tests, so they are not clamped; timestamps are not rounded; subgroup matrices are still
 * behind the switch for what may change. Dawn keeps float16 from NVIDIA's cards as some of its tests crash their compiler
 * (crbug.com/tint/2164); only products on tensor cores need it, and they are not used before they come out right.
 */
const FLAGS = [
  "enable-dawn-features=allow_unsafe_apis,disable_robustness,vulkan_enable_f16_on_nvidia",
  "disable-dawn-features=timestamp_quantization",
];

let gpu: Promise<GPU> | undefined;

/** Dawn must not be collected while a device of it lives, so there is one for the whole process. */
function dawn(): Promise<GPU> {
  gpu ??= import("webgpu").then(({ create, globals }) => {
    Object.assign(globalThis, globals);
    const made = create(FLAGS);
    // tfjs asks the navigator whether there is such a thing as WebGPU.
    Object.defineProperty(globalThis.navigator, "gpu", { value: made, configurable: true });
    return made;
  });
  return gpu;
}

/** What an adapter says of itself. */
export function describe(adapter: GPUAdapter): AdapterDescription {
  const { vendor, architecture, device, description, isFallbackAdapter } = adapter.info;
  return {
    name: device || description || architecture,
    vendor,
    architecture,
    driver: description,
    software:
      isFallbackAdapter || /swiftshader|llvmpipe|basic render|cpu/i.test(`${architecture} ${device} ${description}`),
    features: [...adapter.features].sort(),
    limits: Object.fromEntries(LIMITS.map((name) => [name, adapter.limits[name]])),
  };
}

/** The adapters of this machine, the fastest one first. Dawn gives one for each wish, so two of a kind are one. */
export async function findAdapters(): Promise<FoundAdapter[]> {
  let found: (GPUAdapter | null)[];
  try {
    const made = await dawn();
    found = await Promise.all([
      made.requestAdapter({ powerPreference: "high-performance" }),
      made.requestAdapter({ powerPreference: "low-power" }),
    ]);
  } catch (error) {
    throw new Error(`WebGPU cannot be loaded here: ${messageOf(error)}`);
  }
  const described = found.flatMap((adapter) => (adapter ? [{ adapter, description: describe(adapter) }] : []));
  const key = ({ description }: FoundAdapter) => JSON.stringify(description);
  return [...new Map(described.map((one) => [key(one), one])).values()];
}

/** Why there may be no adapter, and what to do about it. */
export function missingHint(platform: NodeJS.Platform = process.platform, load = loadsVulkan): string {
  if (platform !== "linux") return "no WebGPU adapter: is the graphics driver installed?";
  if (!load()) {
    return "the Vulkan loader (libvulkan.so.1) is missing: apt-get install libvulkan1, or your system's vulkan-loader";
  }
  return (
    "Vulkan found no device: is the GPU's driver installed, and its file in /usr/share/vulkan/icd.d? " +
    "NVIDIA's loads libraries of libglvnd, without which it says nothing: apt-get install libegl1 libgl1 libgles2 libopengl0"
  );
}

function loadsVulkan(): boolean {
  try {
    dlopen("libvulkan.so.1", { vkGetInstanceProcAddr: { args: ["ptr", "cstring"], returns: "ptr" } }).close();
    return true;
  } catch {
    // That it cannot be loaded is the answer.
    return false;
  }
}

/** Opens an adapter's device with all that it has to offer, and makes it tfjs's backend `webgpu`. */
export async function openAdapter({ adapter, description }: FoundAdapter): Promise<GpuBackend> {
  const features = WANTED.filter((name) => adapter.features.has(name));
  const device = await adapter.requestDevice({
    requiredFeatures: features as GPUFeatureName[],
    requiredLimits: { ...description.limits },
  });
  return useDevice(device, adapter.info, !description.software);
}
