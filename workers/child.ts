/** The process that computes one job. It never touches Redis, and ends when its worker does. */
import { join } from "node:path";
import { DeviceLostError, DeviceMemoryError } from "../src/backend/errors.ts";
import type { EvaluationType, JobSpecs } from "../src/spec/job.ts";
import { RunFolder } from "../src/store/run_folder.ts";
import { evaluate } from "../src/train/index.ts";
import { pretrain, type Reporter } from "../src/train/pretrain.ts";
import { messageOf, UserError } from "../src/util/errors.ts";
import type { FromChild, StartMessage, ToChild } from "./protocol.ts";

const send = (message: FromChild) => process.send?.(message);

let stop: "cancel" | "shutdown" | undefined;

async function run(start: StartMessage): Promise<void> {
  const { dataDir, threads, device } = start;
  const report: Reporter = {
    cache: join(dataDir, "datasets"),
    log: (message) => send({ kind: "log", message }),
    progress: (progress) => send({ kind: "progress", progress }),
    warnings: (warnings) => send({ kind: "warnings", warnings }),
    stopRequested: () => stop,
  };
  const own = new RunFolder(dataDir, start.runId);
  const outcome = start.source
    ? await evaluate(start.type as EvaluationType, start.spec as JobSpecs[EvaluationType], {
        pretrained: start.source.spec,
        source: new RunFolder(dataDir, start.source.runId),
        ...{ own, computing: { threads, device }, report },
      })
    : await pretrain(start.spec as JobSpecs["pretrain"], own, { threads, device }, report);
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
    const device = error instanceof DeviceLostError || error instanceof DeviceMemoryError;
    let text = messageOf(error);
    if (device) text = `${error.name}: ${text}`;
    else if (!final && error instanceof Error) text = error.stack ?? text;
    send({ kind: "failed", message: text, final, device });
  });
});

// Ctrl-C reaches the whole process group; the worker is the one that decides.
process.on("SIGINT", () => undefined);
// The worker is gone, perhaps killed: the job will be resumed elsewhere, so nothing more may be written here.
process.on("disconnect", () => process.exit(1));
send({ kind: "ready" });
