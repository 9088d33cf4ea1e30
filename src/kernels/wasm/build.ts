/**
 * Compiles `assembly/` to `mocod.wasm` with AssemblyScript, when a source is newer than the module.
 * AssemblyScript was chosen because it comes whole from npm: no clang on the user's machine.
 */
import { existsSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";

const assembly = join(import.meta.dir, "assembly");
export const modulePath = join(import.meta.dir, "mocod.wasm");

const flags = [
  "-O3",
  "--noAssert",
  "--runtime",
  "stub",
  "--enable",
  "simd,bulk-memory",
  "--importMemory",
  "--noExportMemory",
  "--initialMemory",
  "1",
  "--use",
  "abort=",
];

/** Builds the module if it is missing or stale. Throws with the compiler's own message when it fails. */
export async function buildKernels(): Promise<void> {
  const newest = Math.max(...readdirSync(assembly).map((name) => statSync(join(assembly, name)).mtimeMs));
  if (existsSync(modulePath) && statSync(modulePath).mtimeMs > newest) return;
  const asc = await import("assemblyscript/asc");
  const temporary = `${modulePath}.${process.pid}`;
  try {
    const { error, stderr } = await asc.main([join(assembly, "index.ts"), "-o", temporary, ...flags]);
    if (error) throw new Error(`compiling the WASM kernels failed: ${error.message}\n${stderr.toString()}`);
    refuseStaticData(new Uint8Array(await Bun.file(temporary).arrayBuffer()));
    renameSync(temporary, modulePath);
  } finally {
    rmSync(temporary, { force: true });
  }
}

/** The memory belongs to tfjs: a data segment (a table inside Math.exp, say) would overwrite its heap. */
function refuseStaticData(module: Uint8Array): void {
  const DATA_SECTION = 11;
  for (let at = 8; at < module.length; ) {
    const id = module[at++];
    let size = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = module[at++] ?? 0;
      size |= (byte & 0x7f) << shift;
      if (byte < 0x80) break;
    }
    if (id === DATA_SECTION) throw new Error("the WASM kernels hold static data; tfjs owns that memory");
    at += size;
  }
}

if (import.meta.main) await buildKernels();
