/** `mocod devices`: the devices of this machine, each with a self-test. */
import * as tf from "@tensorflow/tfjs-core";
import { type AdapterDescription, findAdapters, missingHint } from "../src/backend/adapters.ts";
import { chooseDevice } from "../src/backend/choose.ts";
import { openAnother } from "../src/kernels/gpu.ts";
import { openDevice } from "../src/kernels/index.ts";
import { type SelfTest, selfTest } from "../src/kernels/self_test.ts";
import type { Env } from "../src/util/env.ts";
import { messageOf } from "../src/util/errors.ts";
import { printJson } from "./json.ts";

interface Report {
  kind: "webgpu" | "wasm";
  name: string;
  adapter: AdapterDescription | null;
  /** Threads of WASM; null for a GPU. */
  threads: number | null;
  test: SelfTest | { failed: string } | null;
}

async function tested(run: () => Promise<SelfTest>): Promise<Report["test"]> {
  try {
    return await run();
  } catch (error) {
    return { failed: messageOf(error) };
  }
}

/** Lists and tests the devices. Exits with 1 where a self-test fails. */
export async function listDevices(env: Env, options: { json?: boolean; test: boolean }): Promise<void> {
  await openDevice();
  const reports: Report[] = [];
  let hint: string | undefined;
  try {
    for (const found of await findAdapters()) {
      const test = () =>
        tested(async () => {
          const backend = await openAnother(found);
          await tf.setBackend("webgpu");
          return selfTest(backend, found.description.software);
        });
      const { description } = found;
      reports.push({
        kind: "webgpu",
        name: description.name,
        adapter: description,
        threads: null,
        test: options.test ? await test() : null,
      });
    }
    if (reports.length === 0) hint = missingHint();
  } catch (error) {
    hint = messageOf(error);
  }
  await tf.setBackend("wasm");
  const test = options.test ? await tested(() => selfTest(undefined, false)) : null;
  reports.push({ kind: "wasm", name: "WASM with SIMD", adapter: null, threads: env.threads, test });
  const { why } = await chooseDevice(env.device);
  if (options.json) {
    printJson({ devices: reports, hint: hint ?? null, chosen: why });
  } else {
    console.log(reports.map(describe).join("\n\n"));
    if (hint) console.log(`\nno WebGPU adapter: ${hint}`);
    console.log(`\nMOCOD_DEVICE=${env.device}: ${why}`);
  }
  if (reports.some((report) => report.test && ("failed" in report.test || !report.test.right))) process.exitCode = 1;
}

function describe({ kind, name, adapter, threads, test }: Report): string {
  const lines = [`${kind}  ${name}`];
  if (adapter) {
    const { vendor, architecture, driver, software, limits, features } = adapter;
    lines.push(`  vendor ${vendor}, architecture ${architecture}, driver ${driver}`);
    if (software) lines.push("  computes on the CPU: for tests, never chosen by itself");
    lines.push(
      `  limits    ${Object.entries(limits)
        .map(([limit, value]) => `${limit} ${value}`)
        .join(", ")}`,
    );
    lines.push(`  features  ${features.join(", ")}`);
  }
  if (threads !== null) lines.push(`  ${threads} threads; figures are of one`);
  if (test && "failed" in test) lines.push(`  self-test FAILED: ${test.failed}`);
  else if (test) {
    const verdict = test.right ? "right" : "WRONG";
    lines.push(
      `  self-test ${verdict} (error ${test.error.toExponential(1)}), ${test.gflops.toPrecision(3)} GFLOP/s, ` +
        `${test.gigabytes.toPrecision(3)} GB/s`,
    );
  }
  return lines.join("\n");
}
