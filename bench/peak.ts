/** Measures the roofs of one thread: GFLOP/s of WASM's SIMD, GB/s of its memory (Williams et al. 2009). */
import { tmpdir } from "node:os";
import { join } from "node:path";
import { median } from "./compare.ts";

export interface Roof {
  /** 10^9 multiplications and additions a second, none of them waiting. */
  gflops: number;
  /** 10^9 bytes a second, read and written, of a copy that no cache holds. */
  gigabytes: number;
}

export async function measureRoof(): Promise<Roof> {
  const asc = await import("assemblyscript/asc");
  const out = join(tmpdir(), `mocod-peak-${process.pid}.wasm`);
  const flags = [
    "-O3",
    "--noAssert",
    "--runtime",
    "stub",
    "--enable",
    "simd",
    "--importMemory",
    "--initialMemory",
    "1",
  ];
  const source = join(import.meta.dir, "assembly/peak.ts");
  const { error, stderr } = await asc.main([source, "-o", out, ...flags, "--use", "abort="]);
  if (error) throw new Error(`compiling the peak loops failed: ${error.message}\n${stderr.toString()}`);
  const MEGABYTES = 64;
  const memory = new WebAssembly.Memory({ initial: 2 * MEGABYTES * 16 });
  const module = await WebAssembly.compile(await Bun.file(out).arrayBuffer());
  await Bun.file(out).delete();
  const { exports } = await WebAssembly.instantiate(module, { env: { memory } });
  const { arithmetic, copy } = exports as unknown as {
    arithmetic(turns: number): number;
    copy(from: number, to: number, bytes: number): void;
  };
  const rate = (amount: number, work: () => void) => {
    const seconds = Array.from({ length: 15 }, () => {
      const start = performance.now();
      work();
      return (performance.now() - start) / 1000;
    });
    return amount / median(seconds) / 1e9;
  };
  const turns = 1_000_000;
  const bytes = MEGABYTES * 2 ** 20;
  return {
    gflops: rate(48 * turns, () => arithmetic(turns)),
    gigabytes: rate(2 * bytes, () => copy(0, bytes, bytes)),
  };
}
