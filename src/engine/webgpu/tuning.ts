/** What was measured on a device, kept from run to run. */
import { existsSync, readFileSync } from "node:fs";
import type { GpuBackend } from "../../backend/gpu_backend.ts";
import { matrixTiles } from "../../kernels/webgpu/matrix_product.ts";
import { tiles } from "../../kernels/webgpu/product.ts";
import { askedBy, provenCores, tuneProducts } from "../../kernels/webgpu/tune.ts";
import { tuning } from "../../kernels/webgpu/tuned.ts";
import { writeAtomic } from "../../store/files.ts";

/** Measured for other tiles, it is of no use. */
const VERSION = JSON.stringify([tiles, matrixTiles]);

interface Kept {
  version: string;
  /** Of a device and driver: index of the tile by the product's key. */
  devices: Record<string, Record<string, number>>;
}

function read(file: string): Kept {
  const none: Kept = { version: VERSION, devices: {} };
  if (!existsSync(file)) return none;
  try {
    const kept = JSON.parse(readFileSync(file, "utf8")) as Kept;
    return kept.version === VERSION ? kept : none;
  } catch (error) {
    // It only saves time: what cannot be read is measured again, and said.
    process.emitWarning(`${file}: not readable, measured again: ${error}`);
    return none;
  }
}

/**
 * Measures the products of `work`, or takes what `file` has of this device; finds out whether tensor cores can be used where
 * `work` is in mixed precision.
 */
export async function tune(
  backend: GpuBackend,
  device: string,
  work: () => void,
  { file, mixed, log }: { file: string | undefined; mixed: boolean; log: (message: string) => void },
): Promise<void> {
  const asked = await askedBy(backend, work);
  if (mixed) {
    tuning().tensorCores = await provenCores(backend, backend.info, asked, log);
    if (tuning().tensorCores) log("tensor cores are used: what was computed on them came out right");
  }
  const kept = file ? read(file) : undefined;
  for (const [key, tile] of Object.entries(kept?.devices[device] ?? {})) tuning().choices.set(key, tile);
  const start = performance.now();
  const measured = await tuneProducts(backend, asked.products);
  if (measured === 0) return;
  log(`tuned ${measured} products for ${device} in ${((performance.now() - start) / 1000).toFixed(1)} s`);
  if (!file || !kept) return;
  kept.devices[device] = Object.fromEntries(tuning().choices);
  writeAtomic(file, JSON.stringify(kept));
}
