/** `mocod up`: a service in one command, which restarts its workers and leaves no process. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { Client } from "../../cli/client.ts";
import { childrenOf, eventually, processes, temporaryFolder } from "../support/helpers.ts";

test("two workers, one that dies is replaced; SIGTERM ends all of it with code 0", async () => {
  using folder = temporaryFolder();
  const main = join(import.meta.dir, "../../cli/main.ts");
  const up = Bun.spawn([process.execPath, main, "up", "--workers", "2", "--port", "0", "--data-dir", folder.path], {
    env: { ...process.env, MOCOD_THREADS: "2", MOCOD_LOG: "error" },
    stdio: ["ignore", "ignore", "pipe"],
  });
  let said = "";
  const decoder = new TextDecoder();
  const reading = (async () => {
    for await (const chunk of up.stderr) said += decoder.decode(chunk, { stream: true });
  })();
  const [, url = "", workers, threads] = await eventually(
    async () => said.match(/mocod is up at (\S+) with (\d) workers of (\d) threads/) ?? undefined,
  );
  expect([workers, threads]).toEqual(["2", "1"]);
  const client = new Client(url);
  const pids = async () => (await client.workers()).map(({ pid }) => pid);
  const [first = 0, second = 0] = await eventually(async () => {
    const found = await pids();
    return found.length === 2 && found;
  });
  process.kill(first, "SIGKILL");
  const now = await eventually(async () => {
    const found = await pids();
    return found.length === 2 && !found.includes(first) && found;
  });
  expect(now).toContain(second);
  const children = childrenOf(up.pid);
  up.kill("SIGTERM");
  expect(await up.exited).toBe(0);
  await reading;
  const left = processes().filter(({ pid, state, args }) => {
    return state !== "Z" && (children.includes(pid) || args.includes(folder.path));
  });
  expect(left).toEqual([]);
}, 60_000);
