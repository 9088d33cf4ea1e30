/**
 * Packs a program for a machine that has a GPU and nothing else, no network and no Bun:
 *
 *     bun bench/carry.ts                            # -> .carry/: a script and one archive (45 MB)
 *     sh .carry/run.sh [--rounds 3 ...]             # there: prints bench/step_gpu.ts's table
 *
 *     bun bench/carry.ts --cifar <folder>           # with train.tar and test.tar of CIFAR-10 -> .carry-cifar/
 *     sh .carry-cifar/run.sh --bring $OUT [...]     # there: trains the authors' CIFAR demo, see bench/carried/cifar.ts
 *
 * In an archive: Bun, Dawn, the programs, and where apt-get gives them Debian's Vulkan loader and libglvnd; with `--cifar` the images as
 * another one. Files are at most `--piece` MB (60), for transfers that take no larger ones: some may be carried by one call, some by the next.
 */
import { cpSync, mkdirSync, rmSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { parseArgs } from "node:util";
import { buildKernels } from "../src/kernels/wasm/build.ts";
import { archive, root, take, takePackages, takeRuntime, writeScript } from "./carried/pack.ts";

const { values } = parseArgs({
  options: { cifar: { type: "string" }, piece: { type: "string", default: "60" }, out: { type: "string" } },
});
const to = values.out ?? join(root, values.cifar === undefined ? ".carry" : ".carry-cifar");
const inside = join(to, "mocod");
rmSync(to, { recursive: true, force: true });
takeRuntime(inside);

/** The benchmark of a step, bundled, with its peers in Python. */
async function takeSteps(): Promise<void> {
  const programs = ["step_gpu.ts", "gpu_ours.ts", "step_stock.ts"].map((name) => join(import.meta.dir, name));
  const built = await Bun.build({
    entrypoints: programs,
    outdir: join(inside, "bench"),
    target: "bun",
    external: ["webgpu", "@tensorflow/tfjs-backend-wasm"],
  });
  if (!built.success) throw new AggregateError(built.logs, "the programs could not be bundled");
  for (const path of ["bench/peers", "test/golden/nets.py"]) take(inside, path);
}

/** Sources as they are, because threads are opened by their paths; the images beside. */
async function takeDemo(images: string): Promise<void> {
  await buildKernels();
  for (const path of ["src", "bench/carried", "bench/seeds.ts", "package.json", "tsconfig.json"]) take(inside, path);
  const programs = ["bench/carried/cifar.ts", "src/train/publisher_thread.ts", "src/engine/threads/thread.ts"];
  await takePackages(
    inside,
    programs.map((name) => join(root, name)),
  );
  mkdirSync(join(to, "images"));
  for (const name of ["train.tar", "test.tar"]) cpSync(join(images, name), join(to, "images", name));
}

const folders = ["mocod", ...(values.cifar === undefined ? [] : ["images"])];
if (values.cifar === undefined) await takeSteps();
else await takeDemo(values.cifar);
const files = folders.flatMap((folder) => archive(to, folder, Number(values.piece)));
const program =
  values.cifar === undefined
    ? '"$there/mocod/bench/step_gpu.js"'
    : '"$there/mocod/bench/carried/cifar.ts" --data "$there/images" --out "$here/run"';
writeScript(to, folders, program);
const sizes = files.map((file) => `${basename(file)} (${(statSync(file).size / 1e6).toFixed(0)} MB)`);
console.log(`${to}: run.sh, ${sizes.join(", ")}`);
