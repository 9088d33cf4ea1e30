/**
 * What a run leaves in the store, under `runs/<id>/`:
 *
 *     job.json, history.jsonl       the job as it stands, and how it came there
 *     start.{safetensors,json}      of a run forked from another: that one's checkpoint
 *     checkpoints/step-*.{safetensors,json}
 *     metrics.jsonl                 one line an epoch
 *     steps/epoch-*.jsonl           one line a step
 *     result.json, and what else a job makes
 *     manifest.json                 of a finished run: SHA-256 of everything but job and history
 */
import type { ForkSource } from "../schema/job.ts";
import { FileError, messageOf } from "../util/errors.ts";
import type { Blobs } from "./blobs.ts";
import { StoreError } from "./errors.ts";
import { sha256 } from "./files.ts";
import { type CheckpointChoice, type CheckpointRecord, chosen, expendable, type Retention } from "./retention.ts";

export type { CheckpointRecord } from "./retention.ts";

export const RUNS = "runs/";
const decoder = new TextDecoder();

/** Leave to publish, asked for right before: rejects where the run is another worker's by now. */
export type Permit = () => Promise<void>;

/** The checkpoint that a forked run begins with, and what is said of it in start.json. */
export const START_FILE = "start.safetensors";
export interface Start extends ForkSource {
  readonly sha256: string;
}

export interface Manifest {
  readonly files: Record<string, { sha256: string; bytes: number }>;
}

export class RunStore {
  /** As messages name it. */
  readonly path: string;
  private readonly prefix: string;
  /** Of this writer, who is the only one. */
  private metrics: { step: number }[] | undefined;

  constructor(
    readonly blobs: Blobs,
    readonly id: string,
    private readonly permit: Permit = async () => undefined,
  ) {
    this.prefix = `${RUNS}${id}/`;
    this.path = `${blobs.url}/${RUNS}${id}`;
  }

  /** Undefined where there is no such file; throws FileError where it is damaged. */
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

  async readLines<T>(name: string): Promise<T[]> {
    return (await this.readTexts(name)).map((text) => JSON.parse(text) as T);
  }

  /** Lines of JSON, as they are. */
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

  /** Writes a file beside the job's own. Returns its name. Throws where the run is another worker's by now. */
  async writeFile(name: string, bytes: Uint8Array): Promise<string> {
    await this.permit();
    await this.blobs.write(this.prefix + name, bytes);
    return name;
  }

  /** One line an epoch. Lines of this step and later (of a life that was killed before its checkpoint) are replaced. */
  async appendMetrics(line: { step: number }): Promise<void> {
    await this.permit();
    this.metrics ??= await this.readLines<{ step: number }>("metrics.jsonl");
    this.metrics = [...this.metrics.filter(({ step }) => step < line.step), line];
    await this.writeLines("metrics.jsonl", this.metrics);
  }

  /** One line a step of an epoch, counted from 1. */
  async writeSteps(epoch: number, lines: readonly unknown[]): Promise<void> {
    await this.permit();
    await this.writeLines(`steps/epoch-${String(epoch).padStart(6, "0")}.jsonl`, lines);
  }

  /**
   * Writes the tensors, then the record that names them: a checkpoint without a record does not exist. Leave is asked for
   * before each, as the tensors take long. Then those go that `keep` does not keep.
   */
  async writeCheckpoint(
    of: Pick<CheckpointRecord, "step" | "epoch" | "knn">,
    bytes: Uint8Array,
    keep: Retention,
  ): Promise<CheckpointRecord> {
    const name = `step-${String(of.step).padStart(9, "0")}`;
    const record = { file: `${name}.safetensors`, sha256: sha256(bytes), bytes: bytes.length, ...of };
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

  /** Newest first. A record that is damaged is as one that is not there. */
  async checkpoints(log: (message: string) => void = () => undefined): Promise<CheckpointRecord[]> {
    const names = (await this.blobs.list(`${this.prefix}checkpoints/`)).filter((key) => key.endsWith(".json"));
    const found: CheckpointRecord[] = [];
    for (const key of names.reverse()) {
      try {
        const record = await this.readJson<CheckpointRecord>(key.slice(this.prefix.length));
        if (record) found.push(record);
      } catch (error) {
        log(`${messageOf(error)}; it is passed over`);
      }
    }
    return found;
  }

  /** Its bytes, or undefined where they are not what the record says. */
  async readCheckpoint(record: CheckpointRecord): Promise<Uint8Array | undefined> {
    const bytes = await this.blobs.read(`${this.prefix}checkpoints/${record.file}`);
    return bytes && sha256(bytes) === record.sha256 ? bytes : undefined;
  }

  /**
   * The checkpoint that is chosen, with a checksum that holds; undefined if there is none. What is passed over is said.
   */
  async goodCheckpoint(
    choice: CheckpointChoice,
    log: (message: string) => void = () => undefined,
  ): Promise<{ record: CheckpointRecord; bytes: Uint8Array } | undefined> {
    const records = chosen(await this.checkpoints(log), choice);
    for (const record of records) {
      const bytes = await this.readCheckpoint(record);
      if (bytes) return { record, bytes };
      log(`${this.path}/checkpoints/${record.file}: wrong checksum, going back to the checkpoint before`);
    }
    if (records.length > 0) log(`${this.path}/checkpoints: every checkpoint is damaged`);
    return undefined;
  }

  /**
   * For the one who goes on with a run: removes what a killed writer has left (half-written files, tensors without a
   * record, damaged checkpoints) and the checkpoints after `step`, which will be written again.
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
   * The result, then the sums of everything that will not change any more. Throws StoreError where a checkpoint is not what
   * was written: the run goes on from the one before then, and comes here again.
   */
  async finish(result: unknown): Promise<void> {
    for (const record of await this.checkpoints()) {
      if (await this.readCheckpoint(record)) continue;
      throw new StoreError(`${this.path}/checkpoints/${record.file}: was damaged after it had been written`);
    }
    await this.permit();
    await this.writeJson("result.json", result);
    const files: Manifest["files"] = {};
    for (const key of await this.blobs.list(this.prefix)) {
      const name = key.slice(this.prefix.length);
      if (UNSUMMED.has(name)) continue;
      const bytes = (await this.blobs.read(key)) as Uint8Array;
      files[name] = { sha256: sha256(bytes), bytes: bytes.length };
    }
    await this.permit();
    await this.writeJson("manifest.json", { files } satisfies Manifest);
  }

  /** Names of everything, relative to the run. */
  async names(): Promise<string[]> {
    return (await this.blobs.list(this.prefix)).map((key) => key.slice(this.prefix.length));
  }

  async removeAll(): Promise<void> {
    // job.json last: what is left of a run that was half removed still has a name.
    const names = await this.names();
    for (const name of names.filter((n) => n !== "job.json")) await this.blobs.remove(this.prefix + name);
    await this.blobs.remove(`${this.prefix}job.json`);
  }
}

/** They change while a run is at rest, too. */
const UNSUMMED = new Set(["job.json", "history.jsonl", "manifest.json"]);
