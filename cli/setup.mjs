// Brings a fresh clone to where Bun can run it, then runs a script of ours under Bun with the arguments given.
// Plain Node without packages, because nothing is installed yet. Runs under Bun as well (`bun run demo`).
//
//   node cli/setup.mjs [script] [arguments…]
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const BUN_VERSION = "1.4.5";
const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const tools = join(root, ".tools");

const say = (text) => process.stderr.write(`setup: ${text}\n`);
const fail = (text) => {
  process.stderr.write(`setup: ${text}\n`);
  process.exit(1);
};
const run = (command, args, options = {}) => spawnSync(command, args, { encoding: "utf8", ...options });
const onPath = (command) => run("sh", ["-c", `command -v ${command}`]).status === 0;

/** A Bun that starts and is new enough, or undefined. */
function usable(binary) {
  const { status, stdout } = run(binary, ["--version"]);
  if (status !== 0) return false;
  const [a, b] = stdout.trim().split(".").map(Number);
  const [needA, needB] = BUN_VERSION.split(".").map(Number);
  return a > needA || (a === needA && b >= needB);
}

/** npm's `bun` keeps its binaries in packages of their own (@oven/bun-*); the first that this machine can run. */
function bunFromNpm() {
  const folder = join(tools, "node_modules", "@oven");
  if (!existsSync(folder)) return undefined;
  return readdirSync(folder)
    .sort()
    .map((name) => join(folder, name, "bin", "bun"))
    .find((binary) => existsSync(binary) && usable(binary));
}

function findBun() {
  if (process.versions.bun && usable(process.execPath)) return process.execPath;
  if (usable("bun")) return "bun";
  const found = bunFromNpm();
  if (found) return found;
  say(`installing Bun ${BUN_VERSION} from npm into .tools`);
  mkdirSync(tools, { recursive: true });
  // --ignore-scripts: Bun's own postinstall would fetch a binary where the optional package is missing.
  const args = [
    "install",
    "--prefix",
    tools,
    "--no-save",
    "--no-package-lock",
    "--ignore-scripts",
    "--no-audit",
    "--no-fund",
  ];
  const { status } = run("npm", [...args, `bun@${BUN_VERSION}`], { stdio: ["ignore", 2, 2] });
  const bun = status === 0 ? bunFromNpm() : undefined;
  return (
    bun ?? fail(`could not install Bun ${BUN_VERSION} from npm; install it by hand (https://bun.sh) and try again`)
  );
}

/** `everything`: what tests, lint and benchmarks need as well (ONNX Runtime alone is 140 MB). */
function installPackages(bun, everything) {
  const lock = join(root, "bun.lock");
  const stampOf = (name) => join(root, "node_modules", `.mocod-${name}`);
  const wanted = readFileSync(lock, "utf8");
  // Everything serves the lesser wish too; installing less would remove the rest.
  const isThere = (name) => existsSync(stampOf(name)) && readFileSync(stampOf(name), "utf8") === wanted;
  if (isThere("everything") || (!everything && isThere("production"))) return;
  const stamp = stampOf(everything ? "everything" : "production");
  say("installing packages");
  const { status } = run(bun, ["install", "--frozen-lockfile", ...(everything ? [] : ["--production"])], {
    cwd: root,
    stdio: ["ignore", 2, 2],
  });
  if (status !== 0) fail("`bun install` failed, see above");
  writeFileSync(stamp, wanted);
}

/** The prefix that lets us install Debian packages, or undefined. */
function aptPrefix() {
  if (!onPath("apt-get")) return undefined;
  if (process.getuid?.() === 0) return [];
  return onPath("sudo") && run("sudo", ["-n", "true"]).status === 0 ? ["sudo", "-n"] : undefined;
}

function apt(packages) {
  const prefix = aptPrefix();
  if (!prefix) return false;
  say(`installing ${packages.join(", ")} with apt-get`);
  const get = (...args) => {
    const [command, ...rest] = [...prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", ...args];
    return run(command, rest, { stdio: ["ignore", "ignore", 2] }).status === 0;
  };
  const install = () => get("install", "-y", "--no-install-recommends", ...packages);
  return install() || (get("update") && install());
}

function ensureRedis() {
  const there = () => onPath("redis-server") || onPath("valkey-server");
  if (process.env.REDIS_URL || there()) return;
  if (!apt(["redis-server"]) || !there()) {
    fail("no Redis found: install it (Debian: apt-get install redis-server) or set REDIS_URL to a running one");
  }
}

/** Debian packs Fashion-MNIST; without it the images are downloaded from their official address. */
function ensureFashionMnist() {
  if (existsSync("/usr/share/datasets/fashion-mnist")) return;
  if (!apt(["dataset-fashion-mnist"])) say("Fashion-MNIST will be downloaded from its official address");
}

/** Tests of WebGPU run on SwiftShader, which chromium brings, through the Vulkan loader. */
function ensureSwiftShader() {
  const there = () => existsSync("/usr/lib/chromium/vk_swiftshader_icd.json");
  if (process.env.VK_ICD_FILENAMES || process.env.VK_DRIVER_FILES || there()) return;
  if (!apt(["chromium", "libvulkan1"]) || !there()) {
    fail("no chromium found, whose SwiftShader the tests of WebGPU run on: apt-get install chromium libvulkan1");
  }
}

/** The storm makes clocks jump with it; without it that one fault is left out, and the report says so. */
function ensureFaketime() {
  if (!existsSync("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")) apt(["libfaketime"]);
}

const [script, ...rest] = process.argv.slice(2);
const isExample = script?.startsWith("examples/");
const bun = findBun();
installPackages(bun, !script?.startsWith("cli/") && !isExample);
if (!isExample) ensureRedis();
if (script?.startsWith("test/")) {
  ensureSwiftShader();
  ensureFaketime();
}
if (rest[0] === "demo" || script?.startsWith("test/")) ensureFashionMnist();
if (script) {
  const child = spawn(bun, [join(root, script), ...rest], { stdio: "inherit", cwd: root });
  // Ctrl-C reaches the child by itself; we wait for it to clean up.
  process.on("SIGINT", () => {});
  process.on("SIGTERM", () => child.kill("SIGTERM"));
  child.on("exit", (code, signal) => process.exit(code ?? (signal ? 1 : 0)));
}
