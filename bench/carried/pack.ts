/** Packs programs, in archives of pieces, with the script that unpacks them. */
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { writePieces } from "./pieces.ts";

export const root = join(import.meta.dir, "../..");

/** What no program opens: types, maps, tests, and other bundles of tfjs. */
const UNUSED = /\.(map|md|d\.[cm]?ts|flow)$|\.(min|fesm|es2017)\b.*\.js$|_test\.js$/;

/** Copies a file or folder of the repository, by its place in it. */
export function take(inside: string, path: string): void {
  mkdirSync(dirname(join(inside, path)), { recursive: true });
  const filter = (source: string) => !UNUSED.test(source);
  cpSync(join(root, path), join(inside, path), {
    recursive: true,
    dereference: true,
    preserveTimestamps: true,
    filter,
  });
}

/** Bun, Dawn, and where apt-get gives them Debian's Vulkan loader and what NVIDIA's driver loads of libglvnd. */
export function takeRuntime(inside: string): void {
  mkdirSync(inside, { recursive: true });
  cpSync(process.execPath, join(inside, "bun"));
  for (const file of ["package.json", "index.js", `dist/linux-${process.arch}`])
    take(inside, `node_modules/webgpu/${file}`);
  const loader = ["libvulkan1", "libglvnd0", "libegl1", "libgl1", "libglx0", "libgles2", "libopengl0"];
  Bun.spawnSync(["apt-get", "download", ...loader], { cwd: inside, stdio: ["ignore", "ignore", "inherit"] });
}

/** The package that a file of `node_modules` lies in. */
const packageOf = (file: string): string => (file.match(/^(?:@[^/]+\/)?[^/]+/) as RegExpMatchArray)[0];

/** Names of the packages that one depends on, as far as they are here. */
function dependenciesOf(name: string): string[] {
  const { dependencies = {}, optionalDependencies = {} } = JSON.parse(
    readFileSync(join(root, "node_modules", name, "package.json"), "utf8"),
  ) as Record<"dependencies" | "optionalDependencies", Record<string, string> | undefined>;
  const names = Object.keys({ ...dependencies, ...optionalDependencies });
  return names.filter((of) => existsSync(join(root, "node_modules", of)) && !of.startsWith("@types/"));
}

/** The packages that programs import, and those that these depend on. */
export async function takePackages(inside: string, programs: readonly string[]): Promise<void> {
  const { metafile, success, logs } = await Bun.build({
    entrypoints: [...programs],
    target: "bun",
    metafile: true,
    external: ["sharp", "webgpu", "assemblyscript"],
    throw: false,
  });
  if (!success || !metafile) throw new AggregateError(logs, "the programs could not be read");
  const imported = Object.keys(metafile.inputs).flatMap((input) => input.match(/node_modules\/(.*)/)?.[1] ?? []);
  const packages = new Set(["sharp", ...imported.map(packageOf)]);
  // A set gives what is added while it is walked, too.
  for (const name of packages) for (const of of dependenciesOf(name)) packages.add(of);
  for (const name of packages) take(inside, `node_modules/${name}`);
}

/** Compresses `folder` of `to` into `<folder>.tar.xz`, or into pieces of it where it is larger than `megabytes`. */
export function archive(to: string, folder: string, megabytes: number): string[] {
  const file = join(to, `${folder}.tar.xz`);
  const packed = Bun.spawnSync(["tar", "-cJf", file, "-C", to, folder], {
    stdio: ["ignore", "inherit", "inherit"],
    env: { ...process.env, XZ_OPT: "-T0 -6" },
  });
  if (packed.exitCode !== 0) throw new Error("tar failed");
  rmSync(join(to, folder), { recursive: true });
  if (statSync(file).size <= megabytes * 1e6) return [file];
  const bytes = readFileSync(file);
  rmSync(file);
  return writePieces(file, bytes, megabytes);
}

/** `run.sh`: unpacks `folders`, each once, and becomes Bun running `command` with the script's own arguments behind. */
export function writeScript(to: string, folders: readonly string[], command: string): void {
  writeFileSync(
    join(to, "run.sh"),
    `#!/bin/sh
# Unpacks what bench/carry.ts packed, once, and runs it.
set -e
here=$(cd "$(dirname "$0")" && pwd)
there="$here/unpacked"
mkdir -p "$there"
for name in ${folders.join(" ")}; do
  [ -e "$there/.$name" ] && continue
  cat "$here/$name".tar.xz* | tar -xJf - -C "$there"
  touch "$there/.$name"
done
if ! ldconfig -p 2>/dev/null | grep -q libvulkan.so.1; then
  if [ ! -e "$there/loader" ]; then
    for deb in "$there"/mocod/*.deb; do if [ -e "$deb" ]; then dpkg -x "$deb" "$there/loader"; fi; done
  fi
  found=$(find "$there/loader" -name libvulkan.so.1 2>/dev/null | head -n 1)
  [ -z "$found" ] || LD_LIBRARY_PATH="$(dirname "$found")\${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" # all of them are there
  export LD_LIBRARY_PATH
fi
exec "$there/mocod/bun" ${command} "$@"
`,
  );
}
