/** Identifies this machine, and checks whether a process on it is alive. */
import { createHash } from "node:crypto";
import { existsSync, readFileSync, readlinkSync } from "node:fs";
import { availableParallelism, cpus, hostname, totalmem } from "node:os";

let identity: string | undefined;

/**
 * Identifies the machine by 12 hex digits. Two processes have the same id exactly if they can see each other's pids:
 * the same boot of the same machine and, on Linux, the same pid namespace, so two containers of one host differ.
 */
export function machineId(): string {
  if (identity === undefined) {
    const boot = "/proc/sys/kernel/random/boot_id";
    const namespace = "/proc/self/ns/pid";
    const parts = [
      hostname(),
      existsSync(boot) ? readFileSync(boot, "utf8") : "",
      existsSync(namespace) ? readlinkSync(namespace) : "",
    ];
    identity = createHash("sha256").update(parts.join("\n")).digest("hex").slice(0, 12);
  }
  return identity;
}

/** Whether there is a process with this pid. */
export function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    // Signal 0 only checks. EPERM: the process exists, and belongs to another user.
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** What results say they were computed on: "4 x AMD EPYC 7763, 16 GB". */
export function machineName(): string {
  const model = cpus()[0]?.model.trim() || "unknown processor";
  return `${availableParallelism()} x ${model}, ${Math.round(totalmem() / 1e9)} GB`;
}

/** Most resident memory of this process so far; null where the system does not say. */
export function peakMemory(): number | null {
  // The maximum of getrusage contains that of the process which this one was forked from.
  const status = "/proc/self/status";
  const found = existsSync(status) ? /VmHWM:\s+(\d+) kB/.exec(readFileSync(status, "utf8")) : null;
  return found ? Number(found[1]) * 1024 : null;
}
