/** One child process computing one job: spawn, listen, stop, and how it ended. */
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { FromChild, StartMessage, ToChild } from "./protocol.ts";

export type Ending =
  | { kind: "done"; result: unknown }
  | { kind: "stopped"; why: "cancel" | "shutdown" }
  | { kind: "failed"; message: string; final: boolean; device?: boolean };

export interface Attempt {
  readonly ended: Promise<Ending>;
  stop(why: "cancel" | "shutdown"): void;
  kill(): void;
}

export function startAttempt(start: StartMessage, heard: (message: FromChild) => void): Attempt {
  let ending: Ending | undefined;
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "child.ts")], {
    stdin: "ignore",
    stdout: "ignore",
    stderr: "inherit",
    // The native msgpackr is of no use to us and has crashed Bun.
    // Without a runtime folder Mesa's Vulkan drivers complain on stderr each time that a GPU is looked for.
    env: { XDG_RUNTIME_DIR: tmpdir(), ...process.env, MSGPACKR_NATIVE_ACCELERATION_DISABLED: "true" },
    ipc(message: FromChild) {
      if (message.kind === "ready") child.send(start satisfies ToChild);
      else if (message.kind === "progress" || message.kind === "log" || message.kind === "warnings") heard(message);
      else {
        ending = message;
        child.kill("SIGKILL"); // its threads need no farewell, everything is on disk
      }
    },
  });
  const ended = child.exited.then((code): Ending => {
    return (
      ending ?? {
        kind: "failed",
        final: false,
        message: `the training process ended with ${child.signalCode ?? `code ${code}`}`,
      }
    );
  });
  return {
    ended,
    stop(why) {
      if (!ending) child.send({ kind: "stop", why } satisfies ToChild);
    },
    kill: () => child.kill("SIGKILL"),
  };
}
