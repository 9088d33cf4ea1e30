/** What can happen to an installation. Each fault is over when it resolves; the jobs have to see to themselves. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Cluster, LOCK_SECONDS } from "./cluster.ts";

/** Uniform in [0, 1). */
export type Draw = () => number;

/** False where there was nothing to hurt just then. */
export type Fault = (cluster: Cluster, draw: Draw) => Promise<boolean>;

const pick = (draw: Draw): 0 | 1 => (draw() < 0.5 ? 0 : 1);
/** Longer than the lock, with time for another worker to notice. */
const beyondLock = LOCK_SECONDS * 1000 + 2500;

async function stopped(pid: number | undefined, ms: number): Promise<boolean> {
  if (pid === undefined) return false;
  try {
    process.kill(pid, "SIGSTOP");
    await Bun.sleep(ms);
    process.kill(pid, "SIGCONT");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
    return false; // it ended by itself meanwhile
  }
  return true;
}

/** Damages the newest checkpoint of a run that is being computed, then kills what computes it. */
function damage(how: (bytes: Buffer, draw: Draw) => Buffer): Fault {
  return async ({ worker, client, storePath }, draw) => {
    const busy = (await client.workers()).filter(({ job }) => job !== null);
    const victim = busy[Math.floor(draw() * busy.length)];
    if (!victim?.job) return false;
    const folder = join(storePath, "runs", victim.job, "checkpoints");
    const newest = readdirSync(folder)
      .filter((name) => /^step-\d+\.safetensors$/.test(name))
      .sort()
      .at(-1);
    if (!newest) return false;
    const bytes = readFileSync(join(folder, newest));
    const whole = Buffer.from(bytes);
    const damaged = how(bytes, draw);
    writeFileSync(join(folder, newest), damaged);
    const index = [0, 1].find((i) => worker.pid(i) === victim.pid);
    const child = index === undefined ? undefined : worker.child(index);
    if (child !== undefined) process.kill(child, "SIGKILL");
    await Bun.sleep(1500);
    // A heartbeat is up to three seconds old. What is damaged after a run is over is no matter of its life (`mocod store
    // check` is there for that), so it is undone, and counts for nothing.
    const { finishedAt } = await client.job(victim.job);
    const file = join(folder, newest);
    if (finishedAt === null || !existsSync(file) || !readFileSync(file).equals(damaged)) return true;
    writeFileSync(file, whole);
    return false;
  };
}

export const faults: Record<string, Fault> = {
  "SIGKILL of the child": async ({ worker }, draw) => {
    const child = worker.child(pick(draw));
    if (child === undefined) return false;
    process.kill(child, "SIGKILL");
    return true;
  },
  "SIGKILL of a worker": async ({ worker }, draw) => {
    await worker.restart(pick(draw), "SIGKILL");
    return true;
  },
  "SIGTERM of a worker": async ({ worker }, draw) => {
    const startedAt = performance.now();
    const code = await worker.restart(pick(draw), "SIGTERM");
    const seconds = (performance.now() - startedAt) / 1000;
    if (code !== 0 || seconds > 10) throw new Error(`SIGTERM: exit code ${code} after ${seconds.toFixed(1)} s`);
    return true;
  },
  "SIGKILL of the API": async ({ api }) => {
    await api.restart();
    return true;
  },
  "SIGSTOP of a worker beyond its lock": ({ worker }, draw) => stopped(worker.pid(pick(draw)), beyondLock),
  "SIGSTOP of the child beyond the lock": ({ worker }, draw) => stopped(worker.child(pick(draw)), beyondLock),
  "Redis killed, back with its file": async ({ redis }, draw) => {
    await redis.restart(draw() * 3000);
    return true;
  },
  "Redis wiped": async ({ redis }) => {
    await redis.wipe();
    return true;
  },
  "connection to Redis cut": async ({ redis }, draw) => {
    await redis.cut(draw() * 3000);
    return true;
  },
  "disk full": async ({ disk, ownDisk }, draw) => {
    if (!ownDisk) return false;
    disk.fill();
    await Bun.sleep(2000 + draw() * 3000);
    disk.free();
    return true;
  },
  "checkpoint truncated": damage((bytes, draw) => bytes.subarray(0, Math.floor(draw() * bytes.length))),
  "checkpoint with one bit flipped": damage((bytes, draw) => {
    const at = Math.floor(draw() * bytes.length);
    bytes[at] = (bytes[at] as number) ^ (1 << Math.floor(draw() * 8));
    return bytes;
  }),
  "clock of a worker jumps an hour, and back": async ({ worker, canJump }, draw) => {
    if (!canJump) return false;
    const i = pick(draw);
    worker.clock(i, draw() < 0.5 ? 3600 : -3600);
    await Bun.sleep(3000);
    worker.clock(i, 0);
    return true;
  },
  "a job paused and resumed": async ({ client }, draw) => {
    const busy = (await client.workers()).filter(({ job }) => job !== null);
    const id = busy[Math.floor(draw() * busy.length)]?.job;
    if (!id) return false;
    await client.act(id, "pause");
    await Bun.sleep(draw() * 2000);
    await client.act(id, "resume");
    return true;
  },
};
