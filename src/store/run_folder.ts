/** What a run leaves on disk: `<data>/runs/<id>/{job.json, metrics.jsonl, checkpoints/, result.json}`. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { FileError } from "../util/errors.ts";
import { readJson, sha256, writeAtomic } from "./files.ts";

export interface CheckpointRecord {
  file: string;
  sha256: string;
  step: number;
}

/** Checkpoints kept besides the newest, for the day when that one is damaged. */
const KEPT_BEFORE = 1;

export class RunFolder {
  readonly path: string;

  constructor(dataDir: string, runId: string) {
    this.path = join(dataDir, "runs", runId);
  }

  private get checkpoints(): string {
    return join(this.path, "checkpoints");
  }

  writeJob(job: unknown): void {
    writeAtomic(join(this.path, "job.json"), `${JSON.stringify(job, null, 2)}\n`);
  }

  readJob<T>(): T {
    return readJson<T>(join(this.path, "job.json"));
  }

  /** Writes a file beside the job's own, atomically. Returns its name. */
  writeFile(name: string, bytes: Uint8Array): string {
    writeAtomic(join(this.path, name), bytes);
    return name;
  }

  writeResult(result: unknown): void {
    writeAtomic(join(this.path, "result.json"), `${JSON.stringify(result, null, 2)}\n`);
  }

  /** One line an epoch. Lines after `step` (of a life that was killed before its checkpoint) are replaced. */
  appendMetrics(line: { step: number }): void {
    const file = join(this.path, "metrics.jsonl");
    const kept = existsSync(file)
      ? readFileSync(file, "utf8")
          .split("\n")
          .filter((text) => text && (JSON.parse(text) as { step: number }).step < line.step)
      : [];
    writeAtomic(file, `${[...kept, JSON.stringify(line)].join("\n")}\n`);
  }

  /** Writes the tensors, then the record that names them: a checkpoint without a record does not exist. */
  writeCheckpoint(step: number, bytes: Uint8Array): CheckpointRecord {
    const name = `step-${String(step).padStart(9, "0")}`;
    const record = { file: `${name}.safetensors`, sha256: sha256(bytes), step };
    writeAtomic(join(this.checkpoints, record.file), bytes);
    writeAtomic(join(this.checkpoints, `${name}.json`), `${JSON.stringify(record)}\n`);
    for (const old of this.records().slice(KEPT_BEFORE + 1)) {
      rmSync(join(this.checkpoints, old.file.replace(".safetensors", ".json")));
      rmSync(join(this.checkpoints, old.file));
    }
    return record;
  }

  /** Newest first. */
  private records(): CheckpointRecord[] {
    if (!existsSync(this.checkpoints)) return [];
    return readdirSync(this.checkpoints)
      .filter((name) => name.endsWith(".json"))
      .sort()
      .reverse()
      .map((name) => readJson<CheckpointRecord>(join(this.checkpoints, name)));
  }

  /** The newest checkpoint whose checksum holds, or undefined if there is none at all. */
  readCheckpoint(log: (message: string) => void): { record: CheckpointRecord; bytes: Uint8Array } | undefined {
    const records = this.records();
    for (const record of records) {
      const file = join(this.checkpoints, record.file);
      const bytes = existsSync(file) ? new Uint8Array(readFileSync(file)) : new Uint8Array();
      if (sha256(bytes) === record.sha256) return { record, bytes };
      log(`${file}: wrong checksum, going back to the checkpoint before`);
    }
    if (records.length > 0) throw new FileError(this.checkpoints, "every checkpoint is damaged");
    return undefined;
  }

  create(): void {
    mkdirSync(this.checkpoints, { recursive: true });
  }
}
