/** What a forked run begins with: a checkpoint of another run, copied into its own folder. */

import { type Position, startPosition } from "../engine/metrics.ts";
import { blockNames, initMethodState, type Model, ringsOf } from "../engine/state.ts";
import type { ForkSource } from "../schema/job.ts";
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
 * `state`: everything, and the run continues after that step with its own settings. `weights`: all networks; optimiser, rings
 * and steps are new.
 */
export function beginFrom(start: ForkSource & { bytes: Uint8Array }, model: Model): Position {
  const position = restoreCheckpoint(start.bytes, START_FILE, model);
  if (start.keep === "state") return position;
  const { spec, state } = model;
  for (const name of [blockNames.first, blockNames.second]) state[name]?.fill(0);
  initMethodState(spec, state);
  return startPosition(spec, Object.keys(ringsOf(spec)));
}
