/** What a forked run begins with: a checkpoint of another run, copied into its own folder. */

import { createModel, type Model, type Position, startPosition } from "../engine/state.ts";
import type { ForkSource } from "../schema/job.ts";
import type { PretrainSpec } from "../schema/pretrain.ts";
import { sha256 } from "../store/files.ts";
import { type RunStore, START_FILE, type Start } from "../store/run_store.ts";
import { FileError } from "../util/errors.ts";
import { restoreCheckpoint } from "./checkpoint.ts";

/** Undefined where the run was not forked. Throws FileError where its start is damaged. */
export async function readStart(store: RunStore): Promise<(ForkSource & { bytes: Uint8Array }) | undefined> {
  const start = await store.readJson<Start>("start.json");
  if (!start) return undefined;
  const bytes = await store.read(START_FILE);
  if (!bytes || sha256(bytes) !== start.sha256) throw new FileError(`${store.path}/${START_FILE}`, "is damaged");
  return { from: start.from, keep: start.keep, bytes };
}

/**
 * `state`: everything, and the run goes on behind that step with its own settings. `weights`: both encoders; optimiser,
 * queue and steps are new.
 */
export function beginFrom(start: ForkSource & { bytes: Uint8Array }, spec: PretrainSpec, model: Model): Position {
  const { encoder, state } = model;
  const position = restoreCheckpoint(start.bytes, START_FILE, spec, encoder, state);
  if (start.keep === "state") return position;
  const fresh = createModel(spec, encoder.channels, 1).state;
  state.velocity.fill(0);
  state.second.fill(0);
  state.queue.set(fresh.queue);
  state.queueIds.set(fresh.queueIds);
  return startPosition();
}
