/**
 * Packs the benchmark of a GPU for a machine that has one and nothing else, no network and no Bun:
 *
 *     bun bench/carry.ts                     # -> .carry/: a script and one archive (45 MB)
 *     sh .carry/run.sh [--rounds 3 ...]      # there: unpacks and prints bench/step_gpu.ts's table
 *
 * In the archive: Bun, Dawn, the bundled programs, their peers in Python, and where apt-get gives them Debian's Vulkan loader and libglvnd.
 */
import { cpSync, existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dir, "..");
const to = join(root, ".carry");
const inside = join(to, "mocod");
rmSync(to, { recursive: true, force: true });
mkdirSync(inside, { recursive: true });

const programs = ["step_gpu.ts", "gpu_ours.ts", "step_stock.ts"].map((name) => join(import.meta.dir, name));
const built = await Bun.build({
  entrypoints: programs,
  outdir: join(inside, "bench"),
  target: "bun",
  external: ["webgpu", "@tensorflow/tfjs-backend-wasm"],
});
if (!built.success) throw new AggregateError(built.logs, "the programs could not be bundled");
cpSync(process.execPath, join(inside, "bun"));
cpSync(join(import.meta.dir, "peers"), join(inside, "bench/peers"), { recursive: true });
cpSync(join(root, "test/golden/nets.py"), join(inside, "test/golden/nets.py"));
for (const file of ["package.json", "index.js", `dist/linux-${process.arch}`]) {
  cpSync(join(root, "node_modules/webgpu", file), join(inside, "node_modules/webgpu", file), { recursive: true });
}
// NVIDIA's driver loads libraries of libglvnd.
const loader = ["libvulkan1", "libglvnd0", "libegl1", "libgl1", "libglx0", "libgles2", "libopengl0"];
Bun.spawnSync(["apt-get", "download", ...loader], { cwd: inside, stdio: ["ignore", "ignore", "inherit"] });
const packed = Bun.spawnSync(["tar", "-cJf", join(to, "mocod.tar.xz"), "-C", to, "mocod"], {
  stdio: ["ignore", "inherit", "inherit"],
});
if (packed.exitCode !== 0 || !existsSync(join(to, "mocod.tar.xz"))) throw new Error("tar failed");
rmSync(inside, { recursive: true });
writeFileSync(
  join(to, "run.sh"),
  `#!/bin/sh
# Unpacks what bench/carry.ts packed, and measures.
set -e
here=$(cd "$(dirname "$0")" && pwd)
there=$(mktemp -d)
tar -xJf "$here/mocod.tar.xz" -C "$there"
if ! ldconfig -p | grep -q libvulkan.so.1; then
  for deb in "$there"/mocod/*.deb; do dpkg -x "$deb" "$there/loader"; done
  LD_LIBRARY_PATH="$(dirname "$(find "$there/loader" -name libvulkan.so.1)"):$LD_LIBRARY_PATH" # all of them are there
  export LD_LIBRARY_PATH
fi
exec "$there/mocod/bun" "$there/mocod/bench/step_gpu.js" "$@"
`,
);
console.log(`${to}: run.sh, mocod.tar.xz (${(Bun.file(join(to, "mocod.tar.xz")).size / 1e6).toFixed(0)} MB)`);
