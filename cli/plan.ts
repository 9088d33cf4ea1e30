/** `plan`: what a run will take, before it runs. */
import { gigabytes } from "../src/plan/footprint.ts";
import { planMemory } from "../src/plan/memory.ts";
import { plan } from "../src/plan/plan.ts";
import { parseSpec } from "../src/schema/job.ts";
import type { MemoryPlan } from "../src/schema/plan.ts";
import type { Env } from "../src/util/env.ts";
import { printJson } from "./json.ts";
import { readSpecFile } from "./spec_file.ts";
import { contextOf } from "./tools.ts";

const tapeMeaning = {
  kept: "all of them stay in memory until the loss of the batch is known",
  recomputed: "each is computed once more after the loss of the batch",
};

function memoryLines({ memory, tapes }: MemoryPlan): string[] {
  const parts = [
    ...(memory.thread > 0 ? [`${memory.threads} x ${gigabytes(memory.thread)} for the threads`] : []),
    `${gigabytes(memory.state)} model`,
    `${gigabytes(memory.checkpoint)} while a checkpoint is written`,
    `${gigabytes(memory.images)} images`,
    `${gigabytes(memory.program)} program`,
  ];
  return [
    `memory  ${gigabytes(memory.total)}: ${parts.join(", ")}; ${gigabytes(process.availableMemory())} are free`,
    ...(tapes ? [`        forward passes are ${tapes}: ${tapeMeaning[tapes]}`] : []),
  ];
}

/** Estimates memory and time of a run on this machine, by training for some seconds; `memory`: only that, computed. */
export async function planRun(env: Env, file: string, options: { json?: boolean; memory?: boolean }): Promise<void> {
  const spec = parseSpec("pretrain", await readSpecFile(file));
  const { threads, device } = env;
  if (options.memory) {
    const computed = await planMemory(spec, threads, contextOf(env));
    if (options.json) printJson(computed);
    else console.log(memoryLines(computed).join("\n"));
    return;
  }
  const { warnings, ...planned } = await plan(spec, { threads, device }, contextOf(env));
  const { images, memory, time } = planned;
  if (options.json) {
    printJson({ ...planned, warnings });
    return;
  }
  for (const warning of warnings) console.error(`warning: ${warning}`);
  const { batchSize, splits, epochs } = spec;
  console.log(
    [
      `${images} images, ${epochs} epochs of ${time.stepsPerEpoch} steps, batch ${batchSize} in ${splits} splits`,
      `device  ${planned.why}${planned.device === "wasm" ? `; ${planned.threads} threads` : ""}`,
      ...memoryLines(planned),
      ...(planned.disk > 0 ? [`        at most ${gigabytes(planned.disk)} on disk, of decoded images`] : []),
      ...(memory.gpu > 0 ? [`        ${gigabytes(memory.gpu)} on the GPU, the batch in ${planned.passes} passes`] : []),
      `time    ${duration(time.total)}: ${time.step.toPrecision(3)} s a step (${(batchSize / time.step).toPrecision(3)} images/s), ` +
        `${duration(time.epoch)} an epoch, ${duration(time.watch)} a kNN vote; without waiting for images to be decoded`,
    ].join("\n"),
  );
}

function duration(seconds: number): string {
  if (seconds < 100) return `${seconds.toPrecision(2)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 100) return `${minutes} min`;
  const hours = Math.round(minutes / 60);
  return hours < 48 ? `${hours} h` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}
