/**
 * `npm run test:standalone`: the one file, as on a machine without Bun and npm. Built, started several times at once with an
 * empty cache, then a service with a worker that trains, stopped like one. Half a minute and 130 MB, so it is no part of
 * `npm test`.
 */
import { strict as assert } from "node:assert";
import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { $ } from "bun";
import { Client } from "../../cli/client.ts";
import { eventually, processes, temporaryFolder, writeFashionLike } from "../support/helpers.ts";
import { tinySpec } from "../support/service.ts";

using folder = temporaryFolder();
const at = (name: string) => join(folder.path, name);
const mocod = at("mocod");
const root = join(import.meta.dir, "../..");
await $`${process.execPath} cli/standalone/build.ts --out ${mocod}`.cwd(root);
mkdirSync(at("work"));
mkdirSync(at("home"));
writeFashionLike(at("images"), 260, 40);

// No Bun, no Node; Redis is of the system.
const redis = Bun.which("redis-server") ?? Bun.which("valkey-server");
assert(redis, "needs a redis-server");
mkdirSync(at("bin"));
await $`ln -s ${redis} ${at("bin")}/redis-server`;
const env = { PATH: at("bin"), HOME: at("home"), TMPDIR: at("home"), MOCOD_THREADS: "2" };
const start = (...args: string[]) =>
  Bun.spawn([mocod, ...args], { cwd: at("work"), env, stdio: ["ignore", "pipe", "pipe"] });
const say = (what: string) => console.log(`(pass) ${what}`);

const { version } = await Bun.file(join(root, "package.json")).json();
const several = Array.from({ length: 4 }, () => start("--version"));
for (const one of several) assert.equal((await new Response(one.stdout).text()).trim(), version);
assert.equal(readdirSync(at("home/.cache/mocod")).length, 1);
say("four at once, with an empty cache: each prints the version, and one app lies there");

const wrong = start("jobs", "--port", "1");
assert.equal(await wrong.exited, 1);
assert.match(await new Response(wrong.stderr).text(), /no API at/);
say("exit codes and errors are the command's own");

const nowhere = Bun.spawn([mocod, "--version"], {
  cwd: at("work"),
  stdio: ["ignore", "pipe", "pipe"],
  env: { ...env, XDG_CACHE_HOME: "/proc/nowhere" },
});
assert.equal(await nowhere.exited, 1);
assert.match(await new Response(nowhere.stderr).text(), /set XDG_CACHE_HOME/);
say("a cache that cannot be written is said, with what to do");

const port = 20_000 + (process.pid % 10_000);
const up = start("up", "--port", String(port));
await using _ended = {
  // Where an assertion fails, too.
  [Symbol.asyncDispose]: async () => {
    up.kill("SIGTERM");
    await up.exited;
  },
};
const url = `http://127.0.0.1:${port}`;
await eventually(async () => (await fetch(`${url}/readyz`).catch(() => undefined))?.ok);
const client = new Client(url);
const { id } = await client.submit("pretrain", tinySpec(at("images"), { epochs: 2 }));
const job = await eventually(async () => {
  const seen = await client.job(id);
  return seen.finishedAt !== null && seen;
});
assert.equal(job.status, "succeeded");
say("a service: its API, a worker, its child and its threads train a run");
for (const path of ["/", "/assets/page.js", "/assets/style.css", "/docs"]) {
  assert.equal((await fetch(url + path)).status, 200, path);
}
say("the page is built and served, and the docs");

up.kill("SIGTERM");
assert.equal(await up.exited, 0);
assert.deepEqual(
  processes().filter(({ state, args }) => state !== "Z" && args.includes(folder.path)),
  [],
);
say("SIGTERM ends it with code 0, and nothing is left running");
