/** Verifies a store against its checksums. */
import { messageOf } from "../util/errors.ts";
import type { Blobs } from "./blobs.ts";
import { sha256 } from "./files.ts";
import type { Manifest } from "./manifest.ts";
import { RUNS, RunStore, START_FILE, type Start } from "./run_store.ts";

export interface StoreReport {
  runs: number;
  files: number;
  damaged: { run: string; file: string; problem: string }[];
}

/** Reads every file of every run, and reports the damaged ones. */
export async function checkStore(blobs: Blobs): Promise<StoreReport> {
  const report: StoreReport = { runs: 0, files: 0, damaged: [] };
  for (const id of await blobs.folders(RUNS)) {
    const run = new RunStore(blobs, id);
    report.runs++;
    report.files += (await run.names()).length;
    const problems = await checkRun(run);
    if (problems.size === 0) continue;
    // A run that is in progress changes while it is read: a damaged file is damaged in both reads.
    const again = await checkRun(run);
    for (const [file, problem] of again)
      if (problems.get(file) === problem) report.damaged.push({ run: id, file, problem });
  }
  return report;
}

/** Checks one run: file -> problem. */
async function checkRun(run: RunStore): Promise<Map<string, string>> {
  const problems = new Map<string, string>();
  const blame = (file: string, problem: string) => void problems.set(file, problem);
  const names = await run.names();
  const sums = await expectedSums(run, names, blame);
  for (const name of names) {
    const bytes = await run.read(name);
    const expected = sums.get(name);
    if (!bytes) continue; // the run itself has deleted it since
    if (expected !== undefined && sha256(bytes) !== expected) blame(name, `SHA-256 ${expected} expected`);
    else if (expected === undefined) parse(name, bytes, blame);
  }
  for (const name of sums.keys()) if (!names.includes(name)) blame(name, "is missing");
  if (!names.includes("job.json")) blame("job.json", "is missing");
  return problems;
}

type Blame = (file: string, problem: string) => void;

/** Reads the recorded checksums: file -> SHA-256. */
async function expectedSums(run: RunStore, names: readonly string[], blame: Blame): Promise<Map<string, string>> {
  const sums = new Map<string, string>();
  const read = async <T>(name: string): Promise<T | undefined> => {
    try {
      return await run.readJson<T>(name);
    } catch (error) {
      blame(name, messageOf(error));
      return undefined;
    }
  };
  const manifest = names.includes("manifest.json") ? await read<Manifest>("manifest.json") : undefined;
  const succeeded = (await read<{ status?: string }>("job.json"))?.status === "succeeded";
  // The manifest of an extended run is outdated until the run has finished again.
  if (succeeded) for (const [name, { sha256: sum }] of Object.entries(manifest?.files ?? {})) sums.set(name, sum);
  const start = names.includes("start.json") ? await read<Start>("start.json") : undefined;
  if (start) sums.set(START_FILE, start.sha256);
  for (const record of await run.checkpoints((problem) => blame("checkpoints", problem))) {
    sums.set(`checkpoints/${record.file}`, record.sha256);
  }
  return sums;
}

const decoder = new TextDecoder("utf-8", { fatal: true });

/** Checks whether a file without a checksum can be parsed. */
function parse(name: string, bytes: Uint8Array, blame: Blame): void {
  if (!/\.jsonl?$/.test(name)) return;
  try {
    const text = decoder.decode(bytes);
    for (const part of name.endsWith(".jsonl") ? text.split("\n").filter(Boolean) : [text]) JSON.parse(part);
  } catch (error) {
    blame(name, messageOf(error));
  }
}
