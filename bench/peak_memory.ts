import { readFileSync } from "node:fs";

/** Most memory that this process has had so far, as the kernel saw it. Linux only. */
export const peakBytes = (): number =>
  Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync("/proc/self/status", "utf8"))?.[1]) * 1024;
