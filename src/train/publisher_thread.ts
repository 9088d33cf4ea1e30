/** The thread of `Publisher`. */

import { Networks } from "../engine/state.ts";
import { FencedError } from "../store/errors.ts";
import { openBlobs } from "../store/open_blobs.ts";
import { RunStore } from "../store/run_store.ts";
import { messageOf } from "../util/errors.ts";
import { encodeCheckpoint } from "./checkpoint.ts";
import type { FromPublisher, Publication, PublisherInit, ToPublisher } from "./publisher.ts";

declare const self: Worker;

const send = (message: FromPublisher) => self.postMessage(message);

let init: PublisherInit | undefined;
let run: RunStore | undefined;
let answer: ((refused: string | undefined) => void) | undefined;
let last: Promise<void> = Promise.resolve();
let failed = false;
let networks: Networks | undefined;
/** Of the last encoded checkpoint, for the next one. */
let memory: Uint8Array | undefined;

async function permit(): Promise<void> {
  const refused = await new Promise<string | undefined>((resolve) => {
    answer = resolve;
    send({ kind: "permit" });
  });
  if (refused !== undefined) throw new FencedError(refused);
}

async function publish({ metrics, steps, checkpoint }: Publication): Promise<void> {
  if (!init || !run) throw new Error("publisher: not initialised");
  if (metrics) await run.appendMetrics(metrics);
  if (steps) await run.writeSteps(steps.epoch, steps.lines);
  if (!checkpoint) return send({ kind: "published", record: undefined, state: undefined });
  const { of, position, state } = checkpoint;
  const { spec, channels, tokenizer } = init;
  networks ??= new Networks(spec, channels);
  const bytes = encodeCheckpoint({ spec, networks, state, tokenizer }, position, memory);
  if (bytes.buffer !== memory?.buffer) memory = new Uint8Array(bytes.buffer);
  const record = await run.writeCheckpoint(of, bytes, spec.checkpoint);
  send({ kind: "published", record, state });
}

self.onmessage = ({ data }: MessageEvent<ToPublisher>) => {
  if (data.kind === "init") {
    init = data;
    run = new RunStore(openBlobs(data.storeUrl), data.runId, permit);
  } else if (data.kind === "permit") answer?.(data.refused);
  else {
    const { publication } = data;
    last = last
      .then(() => (failed ? undefined : publish(publication)))
      .catch((error: unknown) => {
        failed = true; // what follows must not be published without what failed
        send({ kind: "failed", name: error instanceof Error ? error.name : "Error", message: messageOf(error) });
      });
  }
};
