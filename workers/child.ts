/** The process that computes one job. It never touches Redis, and ends when its worker does. */
import { join } from "node:path";
import type { JobSpecs } from "../src/spec/job.ts";
import { RunFolder } from "../src/store/run_folder.ts";
import { pretrain, type Reporter } from "../src/train/pretrain.ts";
import { probe } from "../src/train/probe.ts";
import { messageOf, UserError } from "../src/util/errors.ts";
import type { FromChild, StartMessage, ToChild } from "./protocol.ts";

const send = (message: FromChild) => process.send?.(message);

let stop: "cancel" | "shutdown" | undefined;

async function run(start: StartMessage): Promise<void> {
  const report: Reporter = {
    cache: join(start.dataDir, "datasets"),
    log: (message) => send({ kind: "log", message }),
    progress: (progress) => send({ kind: "progress", progress }),
    stopRequested: () => stop,
  };
  const outcome =
    start.type === "pretrain"
      ? await pretrain(
          start.spec as JobSpecs["pretrain"],
          new RunFolder(start.dataDir, start.runId),
          start.threads,
          report,
        )
      : await probe(
          start.spec as JobSpecs["linear-probe"],
          start.sourceSpec as JobSpecs["pretrain"],
          new RunFolder(start.dataDir, (start.spec as JobSpecs["linear-probe"]).from),
          start.threads,
          report,
        );
  if ("stopped" in outcome) send({ kind: "stopped", why: outcome.stopped });
  else send({ kind: "done", result: outcome.result });
}

process.on("message", (message: ToChild) => {
  if (message.kind === "stop") {
    stop = message.why;
    return;
  }
  run(message).catch((error: unknown) => {
    const final = error instanceof UserError;
    const text = final || !(error instanceof Error) ? messageOf(error) : (error.stack ?? error.message);
    send({ kind: "failed", message: text, final });
  });
});

// Ctrl-C reaches the whole process group; the worker is the one that decides.
process.on("SIGINT", () => undefined);
// The worker is gone, perhaps killed: the job will be resumed elsewhere, so nothing more may be written here.
process.on("disconnect", () => process.exit(1));
send({ kind: "ready" });
