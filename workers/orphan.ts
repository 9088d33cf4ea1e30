/** A child must not outlive its worker, not even one that is stopped (SIGSTOP) and hears of nothing. */
import { dlopen, FFIType } from "bun:ffi";

const PR_SET_PDEATHSIG = 1;
const SIGKILL = 9;

/**
 * Has the kernel kill this process when its parent dies. Linux only: elsewhere the closing of the IPC channel has to do,
 * which a process that is stopped does not notice before it goes on.
 */
export function dieWithParent(): void {
  if (process.platform !== "linux") return;
  const parent = process.ppid;
  const libc = dlopen("libc.so.6", {
    prctl: { args: [FFIType.i32, FFIType.u64, FFIType.u64, FFIType.u64, FFIType.u64], returns: FFIType.i32 },
  });
  if (libc.symbols.prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) !== 0) throw new Error("prctl(PR_SET_PDEATHSIG) failed");
  // It may have died before the kernel was asked.
  if (process.ppid !== parent) process.exit(1);
}
