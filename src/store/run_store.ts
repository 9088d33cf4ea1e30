/**
 * The files of a run in the store, under `runs/<id>/`:
 *
 *     job.json, history.jsonl       the record of the job, and its events without progress
 *     start.{safetensors,json}      of a forked run: the checkpoint that it starts from
 *     checkpoints/step-*.{safetensors,json}
 *     metrics.jsonl                 one line per epoch
 *     steps/epoch-*.jsonl           one line per step
 *     result.json, and other outputs
 *     manifest.json                 of a finished run: SHA-256 of every file but job and history
 */
import type { ForkSource } from "../schema/job.ts";
import { FileError, messageOf } from "../util/errors.ts";
import type { Blobs } from "./blobs.ts";
import { StoreError } from "./errors.ts";
import { sha256 } from "./files.ts";
import { type Manifest, sumsOf } from "./manifest.ts";
import { type CheckpointChoice, type CheckpointRecord, chosen, expendable, type Retention } from "./retention.ts";

export type { CheckpointRecord } from "./retention.ts";

export const RUNS = "runs/";
const CHECKPOINTS = "checkpoints/";
const decoder = new TextDecoder();

/** Checks, right before a write, that this worker may publish. Rejects with FencedError where another has the run. */
export type Permit = () => Promise<void>;

/** The checkpoint that a forked run starts from, which start.json describes. */
export const START_FILE = "start.safetensors";
export interface Start extends ForkSource {
  readonly sha256: string;
}

export class RunStore {
  /** Its address, for messages. */
  readonly path: string;
  private readonly prefix: string;
  /** Cache of metrics.jsonl, valid because a run has a single writer. */
  private metrics: { step: number }[] | undefined;

  constructor(
    readonly blobs: Blobs,
    readonly id: string,
    private readonly permit: Permit = async () => undefined,
  ) {
    this.prefix = `${RUNS}${id}/`;
    this.path = `${blobs.url}/${RUNS}${id}`;
  }

  /**
   * Reads a JSON file; undefined where there is none.
   *
   * @throws FileError where it is damaged.
   */
  async readJson<T>(name: string): Promise<T | undefined> {
    const bytes = await this.blobs.read(this.prefix + name);
    if (!bytes) return undefined;
    try {
      return JSON.parse(decoder.decode(bytes)) as T;
    } catch (error) {
      throw new FileError(`${this.path}/${name}`, `is damaged: ${messageOf(error)}`, { cause: error });
    }
  }

  writeJson(name: string, value: unknown): Promise<void> {
    return this.blobs.write(this.prefix + name, `${JSON.stringify(value, null, 2)}\n`);
  }

  /** Reads a file of JSON lines; empty where there is none. */
  async readLines<T>(name: string): Promise<T[]> {
    return (await this.readTexts(name)).map((text) => JSON.parse(text) as T);
  }

  /** Reads the lines of a file without parsing them. */
  async readTexts(name: string): Promise<string[]> {
    const bytes = await this.blobs.read(this.prefix + name);
    return bytes ? decoder.decode(bytes).split("\n").filter(Boolean) : [];
  }

  async writeLines(name: string, lines: readonly unknown[]): Promise<void> {
    await this.blobs.write(this.prefix + name, lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
  }

  read(name: string): Promise<Uint8Array | undefined> {
    return this.blobs.read(this.prefix + name);
  }

  open(name: string): Promise<{ body: Blob; size: number } | undefined> {
    return this.blobs.open(this.prefix + name);
  }

  /**
   * Writes an output file.
   *
   * @returns Its name.
   * @throws FencedError where another worker has the run.
   */
  async writeFile(name: string, bytes: Uint8Array): Promise<string> {
    await this.permit();
    await this.blobs.write(this.prefix + name, bytes);
    return name;
  }

  /** Deletes a file; no error where there is none. */
  async removeFile(name: string): Promise<void> {
    await this.blobs.remove(this.prefix + name);
  }

  /** Appends the line of an epoch. Replaces lines of this step and later, which a killed attempt wrote. */
  async appendMetrics(line: { step: number }): Promise<void> {
    await this.permit();
    this.metrics ??= await this.readLines<{ step: number }>("metrics.jsonl");
    this.metrics = [...this.metrics.filter(({ step }) => step < line.step), line];
    await this.writeLines("metrics.jsonl", this.metrics);
  }

  /** Writes the lines of the steps of an epoch. Epochs count from 1. */
  async writeSteps(epoch: number, lines: readonly unknown[]): Promise<void> {
    await this.permit();
    await this.writeLines(`steps/epoch-${String(epoch).padStart(6, "0")}.jsonl`, lines);
  }

  /**
   * Writes the tensors, then the record that names them: a checkpoint exists when its record does. Asks for permission
   * before each write, because that of the tensors takes long. Then deletes the checkpoints that `keep` does not keep.
   *
   * @throws FencedError where another worker has the run.
   */
  async writeCheckpoint(
    at: Pick<CheckpointRecord, "step" | "epoch" | "knn">,
    bytes: Uint8Array,
    keep: Retention,
  ): Promise<CheckpointRecord> {
    const name = `step-${String(at.step).padStart(9, "0")}`;
    const record = { file: `${name}.safetensors`, sha256: sha256(bytes), bytes: bytes.length, ...at };
    await this.permit();
    await this.blobs.write(`${this.prefix}checkpoints/${record.file}`, bytes);
    await this.permit();
    await this.blobs.write(`${this.prefix}checkpoints/${name}.json`, `${JSON.stringify(record)}\n`);
    for (const old of expendable(await this.checkpoints(), keep)) await this.removeCheckpoint(old);
    return record;
  }

  private async removeCheckpoint({ file }: CheckpointRecord): Promise<void> {
    await this.blobs.remove(`${this.prefix}checkpoints/${file.replace(".safetensors", ".json")}`);
    await this.blobs.remove(`${this.prefix}checkpoints/${file}`);
  }

  /** Lists the checkpoints, newest first. Logs damaged records and leaves them out. */
  async checkpoints(log: (message: string) => void = () => undefined): Promise<CheckpointRecord[]> {
    const names = (await this.blobs.list(`${this.prefix}checkpoints/`)).filter((key) => key.endsWith(".json"));
    const found: CheckpointRecord[] = [];
    for (const key of names.reverse()) {
      try {
        const record = await this.readJson<CheckpointRecord>(key.slice(this.prefix.length));
        if (record) found.push(record);
      } catch (error) {
        log(`${messageOf(error)}; it is skipped`);
      }
    }
    return found;
  }

  /** Reads a checkpoint; undefined where it is missing or its checksum is wrong. */
  async readCheckpoint(record: CheckpointRecord): Promise<Uint8Array | undefined> {
    const bytes = await this.blobs.read(`${this.prefix}checkpoints/${record.file}`);
    return bytes && sha256(bytes) === record.sha256 ? bytes : undefined;
  }

  /**
   * Reads the chosen checkpoint, or the next older candidate with a valid checksum. Logs those that are skipped.
   *
   * @returns Undefined where there is no valid one.
   */
  async goodCheckpoint(
    choice: CheckpointChoice,
    log: (message: string) => void = () => undefined,
  ): Promise<{ record: CheckpointRecord; bytes: Uint8Array } | undefined> {
    const records = chosen(await this.checkpoints(log), choice);
    for (const record of records) {
      const bytes = await this.readCheckpoint(record);
      if (bytes) return { record, bytes };
      log(`${this.path}/checkpoints/${record.file}: wrong checksum, falling back to the previous checkpoint`);
    }
    if (records.length > 0) log(`${this.path}/checkpoints: every checkpoint is damaged`);
    return undefined;
  }

  /**
   * Prepares a run to be resumed: deletes what a killed writer has left (partially written files, tensors without a
   * record, damaged checkpoints) and the checkpoints after `step`, which will be written again.
   *
   * @throws FencedError where another worker has the run.
   */
  async tidy(step: number): Promise<void> {
    await this.permit();
    await this.blobs.sweep(this.prefix);
    const records = (await this.checkpoints()).filter((record) => record.step <= step);
    const wanted = new Set(records.flatMap(({ file }) => [file, file.replace(".safetensors", ".json")]));
    for (const key of await this.blobs.list(`${this.prefix}checkpoints/`)) {
      if (!wanted.has(key.slice(key.lastIndexOf("/") + 1))) await this.blobs.remove(key);
    }
  }

  /**
   * Writes the result, then the manifest with the checksums of all final files, then deletes the temporary ones. A process
   * that dies between these steps leaves either everything that a resume needs, or a result that `finishedResult` finds.
   *
   * @param temporary - Prefixes of the files that are not outputs.
   * @throws StoreError where a checkpoint was damaged since it was written; a retry resumes from the previous one.
   * @throws FencedError where another worker has the run.
   */
  async finish(result: unknown, temporary: readonly string[] = []): Promise<void> {
    const isFinal = (name: string) => !temporary.some((prefix) => name.startsWith(prefix));
    for (const record of isFinal(CHECKPOINTS) ? await this.checkpoints() : []) {
      if (await this.readCheckpoint(record)) continue;
      throw new StoreError(`${this.path}/checkpoints/${record.file}: was damaged after it had been written`);
    }
    await this.permit();
    await this.writeJson("result.json", result);
    const files = await sumsOf(this, isFinal);
    await this.permit();
    await this.writeJson("manifest.json", { files } satisfies Manifest);
    if (temporary.length === 0) return;
    for (const name of await this.names()) if (!isFinal(name)) await this.removeFile(name);
    await this.blobs.sweep(this.prefix);
  }

  /** Lists all files, relative to the run. */
  async names(): Promise<string[]> {
    return (await this.blobs.list(this.prefix)).map((key) => key.slice(this.prefix.length));
  }

  /** Deletes every file of the run. */
  async removeAll(): Promise<void> {
    // job.json last: a partially deleted run can still be identified, and deleted again.
    const names = await this.names();
    for (const name of names.filter((n) => n !== "job.json")) await this.blobs.remove(this.prefix + name);
    await this.blobs.remove(`${this.prefix}job.json`);
  }
}
