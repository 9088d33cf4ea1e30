/** One child process computing one job: spawn, listen, stop, watch that it moves, and how it ended. */
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Progress } from "../src/schema/job.ts";
import type { StopReason } from "../src/train/reporter.ts";
import type { Ending, FromChild, StartMessage, ToChild } from "./protocol.ts";

/** What a child says, passed on. */
export interface Listener {
  progress(progress: Progress): void;
  log(message: string): void;
  warnings(warnings: string[]): void;
  /** Whether the job is still ours. */
  permit(): Promise<boolean>;
}

export interface Attempt {
  readonly ended: Promise<Ending>;
  stop(why: StopReason): void;
  kill(): void;
}

/** The limit on silence is counted in so many turns of a timer: a worker that was stopped meanwhile has counted one. */
const TURNS = 20;
/** Until the first sign of work a dataset may be downloaded and decoded. */
const LOADING_FACTOR = 10;

type ChildProcess = Bun.Subprocess<"ignore", "ignore", "inherit">;

export function spawnChild(heard: (message: FromChild, child: ChildProcess) => void): ChildProcess {
  const child: ChildProcess = Bun.spawn([process.execPath, join(import.meta.dir, "child.ts")], {
    stdin: "ignore",
    stdout: "ignore",
    stderr: "inherit",
    // The native msgpackr is of no use to us and has crashed Bun.
    // Without a runtime folder Mesa's Vulkan drivers complain on stderr each time that a GPU is looked for.
    env: { XDG_RUNTIME_DIR: tmpdir(), ...process.env, MSGPACKR_NATIVE_ACCELERATION_DISABLED: "true" },
    ipc: (message: FromChild) => heard(message, child),
  });
  return child;
}

/**
 * Asks a child one question, and ends it with the answer. Throws, saying how it ended, where there is none; `limitMs`: after
 * which it is killed.
 */
export async function askChild<T extends object>(
  question: ToChild,
  answerOf: (message: FromChild) => T | undefined,
  limitMs?: number,
): Promise<T> {
  let answer: T | undefined;
  const child = spawnChild((message, from) => {
    if (message.kind === "ready") from.send(question);
    else {
      answer ??= answerOf(message);
      if (answer) from.kill("SIGKILL");
    }
  });
  const limit = limitMs === undefined ? undefined : setTimeout(() => child.kill("SIGKILL"), limitMs);
  await child.exited;
  clearTimeout(limit);
  if (!answer) throw new Error(`ended with ${child.signalCode ?? child.exitCode}`);
  return answer;
}

/** `stallMinutes`: a child that makes no step for so long is killed. */
export function startAttempt(start: StartMessage, listener: Listener, stallMinutes: number): Attempt {
  let ending: Ending | undefined;
  let silent = 0;
  let working = false;
  const say = (to: ChildProcess, message: ToChild) => {
    if (!to.killed && to.exitCode === null && to.signalCode === null) to.send(message);
  };
  const child = spawnChild((message, from) => {
    switch (message.kind) {
      case "ready":
        return say(from, start);
      case "permit":
        // No answer (the worker is closing its connections) is no leave.
        return void listener.permit().then(
          (granted) => say(from, { kind: "permit", granted }),
          () => say(from, { kind: "permit", granted: false }),
        );
      case "log":
        return listener.log(message.message);
      case "warnings":
        return listener.warnings(message.warnings);
      case "alive":
      case "progress":
        silent = 0;
        working = true;
        if (message.kind === "progress") listener.progress(message.progress);
        return;
      case "device":
      case "planned":
        return;
      default:
        ending = message;
        from.kill("SIGKILL"); // its threads need no farewell, everything is in the store
    }
  });
  const watch = setInterval(
    () => {
      if (++silent < TURNS * (working ? 1 : LOADING_FACTOR)) return;
      const minutes = stallMinutes * (working ? 1 : LOADING_FACTOR);
      ending ??= { kind: "failed", cause: "other", message: `no step for ${minutes} minutes: killed` };
      child.kill("SIGKILL");
    },
    (stallMinutes * 60_000) / TURNS,
  );
  const ended = child.exited.then((code): Ending => {
    clearInterval(watch);
    const message = `the training process ended with ${child.signalCode ?? `code ${code}`}`;
    return ending ?? { kind: "failed", cause: "other", message };
  });
  return {
    ended,
    stop: (why) => say(child, { kind: "stop", why }),
    kill: () => child.kill("SIGKILL"),
  };
}
