/** One attempt at a job: spawns the child process, relays its messages, detects a stall, and reports how it ended. */
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Progress } from "../src/schema/job.ts";
import type { StopReason } from "../src/train/reporter.ts";
import type { Ending, FromChild, StartMessage, ToChild } from "./protocol.ts";

/** Receives the messages of a child. */
export interface Listener {
  progress(progress: Progress): void;
  log(message: string): void;
  warnings(warnings: string[]): void;
  /** Checks that this worker still owns the job. */
  permit(): Promise<boolean>;
}

export interface Attempt {
  /** Never rejects. */
  readonly ended: Promise<Ending>;
  stop(why: StopReason): void;
  kill(): void;
}

/** Turns of the timer that counts the limit on silence. A worker that was suspended for longer has counted one turn. */
const TURNS = 20;
/** Factor of the limit before the first step, when a dataset may be downloaded and decoded. */
const LOADING_FACTOR = 10;

type ChildProcess = Bun.Subprocess<"ignore", "ignore", "inherit">;

/** Spawns a child; it sends `ready` when it accepts a message. */
export function spawnChild(onMessage: (message: FromChild, child: ChildProcess) => void): ChildProcess {
  const child: ChildProcess = Bun.spawn([process.execPath, join(import.meta.dir, "child.ts")], {
    stdin: "ignore",
    stdout: "ignore",
    stderr: "inherit",
    // The native msgpackr has crashed Bun, and nothing here needs it.
    // Without a runtime folder Mesa's Vulkan drivers write a warning to stderr whenever adapters are listed.
    env: { XDG_RUNTIME_DIR: tmpdir(), ...process.env, MSGPACKR_NATIVE_ACCELERATION_DISABLED: "true" },
    ipc: (message: FromChild) => onMessage(message, child),
  });
  return child;
}

/**
 * Sends one request to a new child, and kills the child when it has answered.
 *
 * @param answerOf - Extracts the answer; undefined for other messages.
 * @param limitMs - Milliseconds after which the child is killed.
 * @param renewed - Whether a sign of life begins the limit anew.
 * @throws Error that says how the child ended, where it gave no answer.
 */
export async function askChild<T extends object>(
  request: ToChild,
  answerOf: (message: FromChild) => T | undefined,
  limitMs?: number,
  renewed = false,
): Promise<T> {
  let answer: T | undefined;
  const begin = () => (limitMs === undefined ? undefined : setTimeout(() => child.kill("SIGKILL"), limitMs));
  const child = spawnChild((message, from) => {
    if (message.kind === "ready") from.send(request);
    else if (message.kind === "alive" && renewed) {
      clearTimeout(limit);
      limit = begin();
    } else {
      answer ??= answerOf(message);
      if (answer) from.kill("SIGKILL");
    }
  });
  let limit = begin();
  await child.exited;
  clearTimeout(limit);
  if (!answer) throw new Error(`ended with ${child.signalCode ?? child.exitCode}`);
  return answer;
}

/**
 * Spawns a child and has it compute a job.
 *
 * @param stallMinutes - Time without a step after which the child is killed.
 */
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
        // No answer, as when the worker closes its connections, denies the permission.
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
      case "planned memory":
      case "sighted":
      case "inspected":
      case "found":
        return;
      default:
        ending = message;
        from.kill("SIGKILL"); // everything is in the store, and its threads have no work left
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
