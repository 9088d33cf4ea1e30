/** `mocod bench`: how fast this machine trains the presets. */
import { estimate } from "../src/plan/plan.ts";
import { parseSpec } from "../src/schema/job.ts";
import type { PresetName } from "../src/schema/presets.ts";
import type { Env } from "../src/util/env.ts";
import { messageOf, UserError } from "../src/util/errors.ts";
import { printJson } from "./json.ts";

interface Row {
  preset: PresetName;
  encoder: string;
  batchSize: number;
  device: string;
  threads: number;
  secondsPerStep: number;
  imagesPerSecond: number;
  memory: number;
}

/** Measures the presets in turn, on random images: no dataset is needed. */
export async function benchPresets(env: Env, presets: readonly string[], options: { json?: boolean }): Promise<void> {
  const { threads, device } = env;
  const rows: Row[] = [];
  for (const preset of presets as PresetName[]) {
    const spec = parseSpec("pretrain", { preset, dataset: { kind: "cifar10" } });
    const { arch, width } = spec.encoder;
    const row = { preset, encoder: `${arch}, width ${width}, ${spec.augmentation.size} px`, batchSize: spec.batchSize };
    try {
      const context = { cache: env.dataDir, log: (message: string) => console.error(message) };
      const { step, memory, device: used } = await estimate(spec, 3, { threads, device }, context);
      const measured = { ...row, device: used, threads: used === "wasm" ? threads : 1 };
      rows.push({ ...measured, secondsPerStep: step, imagesPerSecond: spec.batchSize / step, memory: memory.total });
    } catch (error) {
      // A preset that does not fit this machine is reported, and the others are measured.
      if (!(error instanceof UserError)) throw error;
      console.error(`${preset}: ${messageOf(error)}`);
    }
  }
  if (options.json) return printJson(rows);
  for (const { preset, encoder, batchSize, device: used, threads: count, secondsPerStep, imagesPerSecond } of rows) {
    console.log(
      `${preset.padEnd(9)} ${encoder.padEnd(28)} batch ${String(batchSize).padEnd(4)} ${used}, ${count} threads: ` +
        `${secondsPerStep.toPrecision(3)} s a step, ${imagesPerSecond.toPrecision(3)} images/s`,
    );
  }
}
