/**
 * `npm run compile`: the service as one file, `dist/mocod`, for a machine that has neither Bun nor npm.
 *
 * A bundle by Bun would not work, because threads, children and native modules are opened by their paths. So the file
 * is Bun, a launcher, and the files of this repository, packed; see launcher.ts.
 */
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative, resolve } from "node:path";
import { parseArgs } from "node:util";
import { buildKernels } from "../../src/kernels/wasm/build.ts";
import { messageOf, UserError } from "../../src/util/errors.ts";

const root = join(import.meta.dir, "../..");
const FOLDERS = ["src", "api", "workers", "cli", "studies"];
/** Packages that only builds need: the compiler of the WASM kernels, types. */
const BUILD_ONLY = /^(\.bin|assemblyscript|binaryen|long|typescript|@typescript|@types|bun-types)(\/|$)/;
/** Platform -> folder of `webgpu/dist` with its library of Dawn. */
const DAWN = {
  "linux-x64": "linux-x64",
  "linux-arm64": "linux-arm64",
  "darwin-x64": "darwin-universal",
  "darwin-arm64": "darwin-universal",
  "windows-x64": "win32-x64",
} as const;
type Target = keyof typeof DAWN;
const targets = Object.keys(DAWN) as Target[];

const here = `${process.platform === "win32" ? "windows" : process.platform}-${process.arch}`;

/** Whether the target needs a file. `path` is relative to node_modules. */
function isNeeded(path: string, target: Target): boolean {
  if (BUILD_ONLY.test(path) || /\.(map|d\.[cm]?ts)$/.test(path)) return false;
  const [, platform] = path.match(/^webgpu\/dist\/([^/]+)/) ?? [];
  return platform === undefined || !/^(linux|darwin|win32)-/.test(platform) || platform === DAWN[target];
}

/** Installs the packages of the target into `folder`, as the lock file pins them. */
function installPackages(folder: string, target: Target): void {
  const [os, cpu] = target.replace("windows", "win32").split("-") as [string, string];
  for (const file of ["package.json", "bun.lock"]) cpSync(join(root, file), join(folder, file));
  const { exitCode, stderr } = Bun.spawnSync(
    [process.execPath, "install", "--production", "--frozen-lockfile", "--ignore-scripts", "--os", os, "--cpu", cpu],
    { cwd: folder, stderr: "pipe" },
  );
  if (exitCode !== 0) throw new UserError(`the packages could not be installed:\n${stderr.toString()}`);
}

/** Lists the files in `folder`, as relative paths with `/`. */
const filesOf = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)).replaceAll("\\", "/"));

/** Packs the app into a compressed tar. */
async function pack(folder: string, target: Target): Promise<Uint8Array> {
  await buildKernels();
  installPackages(folder, target);
  const app = FOLDERS.flatMap((name) => filesOf(join(root, name)).map((file) => `${name}/${file}`));
  const modules = filesOf(join(folder, "node_modules")).filter((file) => isNeeded(file, target));
  const files: Record<string, Uint8Array> = {};
  const add = async (name: string, from: string) => {
    files[name] = await Bun.file(join(from, name)).bytes();
  };
  // The page is built on the target, with the settings of tsconfig.json.
  for (const name of ["package.json", "tsconfig.json", "LICENSE", ...app]) await add(name, root);
  for (const name of modules) await add(`node_modules/${name}`, folder);
  return Bun.zstdCompressSync(await new Bun.Archive(files).bytes(), { level: 12 });
}

async function compile(target: Target, outfile: string): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "mocod-compile-"));
  try {
    await Bun.write(join(folder, "app.tar.zst"), await pack(folder, target));
    cpSync(join(import.meta.dir, "launcher.ts"), join(folder, "launcher.ts"));
    mkdirSync(dirname(outfile), { recursive: true });
    const { logs, success } = await Bun.build({
      entrypoints: [join(folder, "launcher.ts")],
      compile: { target: `bun-${target}`, outfile, autoloadBunfig: false, autoloadDotenv: false },
      throw: false,
    });
    if (!success) throw new UserError(logs.map(messageOf).join("\n"));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

if (import.meta.main) {
  try {
    const { values } = parseArgs({
      options: { target: { type: "string", default: here }, out: { type: "string", default: "dist/mocod" } },
    });
    const target = targets.find((known) => known === values.target);
    if (!target) throw new UserError(`--target: got ${values.target}, allowed: ${targets.join(", ")}`);
    const out = resolve(values.out);
    await compile(target, out);
    const file = existsSync(out) ? out : `${out}.exe`;
    console.log(`${relative(process.cwd(), file)}: ${(statSync(file).size / 2 ** 20).toFixed(0)} MB for ${target}`);
  } catch (error) {
    if (!(error instanceof UserError || error instanceof TypeError)) throw error;
    console.error(error.message);
    process.exit(1);
  }
}
