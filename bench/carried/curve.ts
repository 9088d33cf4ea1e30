/**
 * The demo's curve: loss of every epoch, and kNN as its notebook has it, of the test images among all training images by the head's
 * output (k 200, T 0.1), at the checkpoints that stay.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { knn } from "../../src/evaluate/knn.ts";
import type { RunStore } from "../../src/store/run_store.ts";
import { restoreCheckpoint } from "../../src/train/checkpoint.ts";
import { dimensionOf, labelled, type Session } from "../../src/train/session.ts";

/** A guess of what one measurement takes, before there was one. */
const FIRST_SECONDS = 20;

/** Top-1 in [0, 1] by epoch. */
export type Measured = Record<string, number>;

const everyOne = (count: number) => Int32Array.from({ length: count }, (_, i) => i);

/** Of what is in the session's model now. */
async function measure(session: Session): Promise<number> {
  const { dataset, spec } = session;
  if (!dataset.test) throw new Error(`${dataset.name} has no test images`);
  const embedding = { what: "projection" } as const;
  const bank = await labelled(session, dataset.train, everyOne(dataset.train.count), embedding);
  const queries = await labelled(session, dataset.test, everyOne(dataset.test.count), embedding);
  return knn(bank, queries, dimensionOf(session, embedding), dataset.classes.length, spec.monitor);
}

/**
 * Measures the checkpoints at an epoch's end that `file` has not yet, newest first, and writes each when it is known.
 *
 * @param left - Seconds that there are for it. None is begun that would not end in them.
 */
export async function measureKept(
  run: RunStore,
  file: string,
  open: () => Promise<Session>,
  left: () => number,
): Promise<Measured> {
  const measured: Measured = existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : {};
  let session: Session | undefined;
  let longest = FIRST_SECONDS;
  try {
    for (const record of await run.checkpoints()) {
      const { epoch } = record;
      if (epoch === null || String(epoch) in measured || left() < longest) continue;
      const bytes = await run.readCheckpoint(record);
      if (!bytes) continue;
      session ??= await open();
      restoreCheckpoint(bytes, record.file, session.model);
      session.engine.load();
      const before = left();
      measured[epoch] = await measure(session);
      longest = before - left();
      writeFileSync(file, JSON.stringify(measured));
      console.error(`epoch ${epoch}: kNN ${(100 * (measured[epoch] as number)).toFixed(2)}`);
    }
  } finally {
    session?.engine.close();
  }
  return measured;
}

/** As the authors' log has it: `epoch,lr,train_loss,knn_top1`, in percent; empty where it was not measured. */
export async function curveOf(run: RunStore, measured: Measured): Promise<string> {
  const lines = await run.readLines<{ epoch: number; lr: number; loss: number }>("metrics.jsonl");
  const rows = lines.map(({ epoch, lr, loss }) => {
    const top1 = measured[epoch];
    return [epoch, lr.toFixed(6), loss.toFixed(4), top1 === undefined ? "" : (100 * top1).toFixed(2)].join(",");
  });
  return `${["epoch,lr,train_loss,knn_top1", ...rows].join("\n")}\n`;
}
