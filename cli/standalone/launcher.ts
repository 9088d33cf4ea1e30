/**
 * The entry point of `dist/mocod`: unpacks the embedded app into the user's cache folder, once per version, and becomes
 * Bun running it. A deleted folder is unpacked again.
 */
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, utimesSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
// @ts-expect-error made by build.ts, next to a copy of this file
import packed from "./app.tar.zst" with { type: "file" };

const KERNELS = "src/kernels/wasm/mocod.wasm";

function cacheFolder(): string {
  const { XDG_CACHE_HOME, LOCALAPPDATA } = process.env;
  if (XDG_CACHE_HOME) return join(XDG_CACHE_HOME, "mocod");
  if (process.platform === "win32" && LOCALAPPDATA) return join(LOCALAPPDATA, "mocod", "cache");
  return join(homedir(), process.platform === "darwin" ? "Library/Caches" : ".cache", "mocod");
}

/** Unpacks the app atomically, even where several processes start at once. */
async function unpacked(): Promise<string> {
  const bytes = await Bun.file(packed).bytes();
  const name = new Bun.CryptoHasher("sha256").update(bytes).digest("hex").slice(0, 16);
  const cache = cacheFolder();
  const folder = join(cache, name);
  if (existsSync(folder)) return folder;
  mkdirSync(cache, { recursive: true, mode: 0o700 });
  const partial = mkdtempSync(join(cache, ".unpacking-"));
  try {
    await new Bun.Archive(Bun.zstdDecompressSync(bytes)).extract(partial);
    // Newer than their sources, or they would be compiled again.
    const soon = new Date(Date.now() + 1000);
    utimesSync(join(partial, KERNELS), soon, soon);
    renameSync(partial, folder);
  } catch (error) {
    rmSync(partial, { recursive: true, force: true });
    if (!existsSync(folder)) throw error; // else another process was first
  }
  return folder;
}

let folder: string;
try {
  folder = await unpacked();
} catch (error) {
  console.error(`mocod unpacks itself into ${cacheFolder()}, and could not: ${(error as Error).message}`);
  console.error("Make room there, or set XDG_CACHE_HOME to a folder that may be written to.");
  process.exit(1);
}

const self = process.execPath;
const args = [join(folder, "cli/main.ts"), ...process.argv.slice(2)];
const env = { ...process.env, BUN_BE_BUN: "1" };
if (process.platform !== "win32") {
  process.execve?.(self, [self, ...args], env as Record<string, string>);
}
// Windows cannot replace a process: this one waits, and Ctrl-C reaches both.
process.on("SIGINT", () => undefined);
const child = Bun.spawn([self, ...args], { env, stdio: ["inherit", "inherit", "inherit"] });
process.exit(await child.exited);
