/**
 * Datasets that were uploaded: `uploads/<id>/dataset.json`, and `uploads/<id>/part-00001`, … The parts are never joined in the store,
 * which may be a bucket: who needs the file fetches them one after another (dataset_cache.ts).
 */
import { createHash } from "node:crypto";
import { datasetId } from "../schema/dataset.ts";
import { UserError } from "../util/errors.ts";
import { newId } from "../util/id.ts";
import type { Blobs } from "./blobs.ts";
import { sha256 } from "./files.ts";
import { Usage } from "./usage.ts";

/** Of every part but the last. */
export const PART_BYTES = 2 ** 23;
export const MOST_PARTS = 99_999;
/** An upload that is not complete by then is deleted. */
const ABANDONED_MS = 48 * 3_600_000;

export interface Part {
  readonly bytes: number;
  readonly sha256: string;
}

export interface StoredDataset {
  readonly id: string;
  readonly name: string;
  readonly status: "uploading" | "ready";
  readonly createdAt: string;
  /** Of the whole file; 0 and null while it is uploaded. */
  readonly bytes: number;
  readonly sha256: string | null;
  readonly parts: readonly Part[];
}

/** An upload that cannot be taken: too large, of a wrong part, or not the file that was promised. The API responds with 422. */
export class UploadError extends UserError {
  override name = "UploadError";
  constructor(
    readonly field: string,
    readonly got: unknown,
    readonly allowed: string,
  ) {
    super(`${field}: got ${JSON.stringify(got)}, allowed: ${allowed}`);
  }
}

const folderOf = (id: string) => `uploads/${id}/`;
const recordOf = (id: string) => `${folderOf(id)}dataset.json`;
const partOf = (id: string, number: number) => `${folderOf(id)}part-${String(number).padStart(5, "0")}`;

export class Uploads {
  private readonly usage: Usage;

  /** @param limit Bytes that all datasets may take together. */
  constructor(
    private readonly blobs: Blobs,
    limit = Number.POSITIVE_INFINITY,
  ) {
    this.usage = new Usage(limit, () => this.used());
  }

  /** Begins an upload, and deletes those that were begun two days ago and never completed. */
  async create(name: string): Promise<StoredDataset> {
    for (const { id, status, createdAt } of await this.all()) {
      if (status === "uploading" && Date.now() - Date.parse(createdAt) > ABANDONED_MS) await this.remove(id);
    }
    const createdAt = new Date().toISOString();
    const record: StoredDataset = {
      id: newId("ds"),
      name,
      status: "uploading",
      createdAt,
      bytes: 0,
      sha256: null,
      parts: [],
    };
    await this.write(record);
    return record;
  }

  /**
   * Takes a part, numbered from 1. One that is sent again takes the place of the first.
   *
   * @throws UploadError where it is too large, or there is no more room.
   */
  async put(id: string, number: number, bytes: Uint8Array): Promise<Part> {
    if (number < 1 || number > MOST_PARTS) throw new UploadError("part", number, `1 to ${MOST_PARTS}`);
    if (bytes.length === 0 || bytes.length > PART_BYTES) {
      throw new UploadError(
        "body",
        `${bytes.length} bytes`,
        `1 to ${PART_BYTES} bytes, and in every part but the last as many`,
      );
    }
    await this.usage.write(
      bytes.length,
      () => this.blobs.write(partOf(id, number), bytes),
      (left) => new UploadError("body", `${bytes.length} bytes`, `${left} bytes: MOCOD_UPLOAD_LIMIT is reached`),
    );
    return { bytes: bytes.length, sha256: sha256(bytes) };
  }

  /** The bytes of the parts that have arrived, by number. */
  async received(id: string): Promise<Map<number, number>> {
    const sizes = await this.blobs.sizes(`${folderOf(id)}part-`);
    return new Map([...sizes].map(([key, size]) => [Number(key.slice(-5)), size]));
  }

  /**
   * Ends an upload. A file that is there already is kept once: then this one is deleted, and that one is returned.
   * Undefined where there is no such upload.
   *
   * @param expected SHA-256 of the whole file; unset: it is not checked.
   * @throws UploadError where a part is missing or short, or the file is another one.
   */
  async complete(id: string, expected: string | undefined): Promise<StoredDataset | undefined> {
    const record = await this.get(id);
    if (!record) return undefined;
    if (record.status === "ready") return record;
    const whole = createHash("sha256");
    const parts: Part[] = [];
    const count = (await this.received(id)).size;
    if (count === 0) throw new UploadError("parts", 0, "at least 1");
    for (let number = 1; number <= count; number++) {
      const bytes = await this.blobs.read(partOf(id, number));
      if (!bytes) throw new UploadError("parts", `no part ${number}`, `parts 1 to ${count}`);
      if (number < count && bytes.length !== PART_BYTES) {
        throw new UploadError(
          "parts",
          `part ${number} of ${bytes.length} bytes`,
          `${PART_BYTES} bytes in every part but the last`,
        );
      }
      whole.update(bytes);
      parts.push({ bytes: bytes.length, sha256: sha256(bytes) });
    }
    const digest = whole.digest("hex");
    if (expected !== undefined && expected !== digest)
      throw new UploadError("sha256", expected, `${digest}, which the parts have`);
    const same = (await this.all()).find((other) => other.status === "ready" && other.sha256 === digest);
    // Another request may have completed this one meanwhile.
    if (same?.id === id) return same;
    if (same) {
      await this.remove(id);
      return same;
    }
    const bytes = parts.reduce((sum, part) => sum + part.bytes, 0);
    const ready: StoredDataset = { ...record, status: "ready", bytes, sha256: digest, parts };
    await this.write(ready);
    return ready;
  }

  /** Undefined where there is none. An id becomes part of a key, so what is no id is not looked for. */
  async get(id: string): Promise<StoredDataset | undefined> {
    if (!datasetId.test(id)) return undefined;
    const bytes = await this.blobs.read(recordOf(id));
    return bytes && (JSON.parse(new TextDecoder().decode(bytes)) as StoredDataset);
  }

  /** Oldest first. */
  async all(): Promise<StoredDataset[]> {
    const found = await Promise.all((await this.blobs.folders("uploads/")).map((id) => this.get(id)));
    return found.filter((record) => record !== undefined);
  }

  /** One part of a dataset. Throws UserError where it is not what was uploaded. */
  async part({ id, parts }: StoredDataset, number: number): Promise<Uint8Array> {
    const bytes = await this.blobs.read(partOf(id, number));
    if (!bytes || sha256(bytes) !== parts[number - 1]?.sha256) {
      throw new UserError(`dataset ${id}: part ${number} is ${bytes ? "damaged" : "missing"} in the store`);
    }
    return bytes;
  }

  /** The record first: without it nothing refers to the parts. */
  async remove(id: string): Promise<void> {
    await this.blobs.remove(recordOf(id));
    for (const key of await this.blobs.list(folderOf(id))) await this.blobs.remove(key);
  }

  private write(record: StoredDataset): Promise<void> {
    return this.blobs.write(recordOf(record.id), `${JSON.stringify(record)}\n`);
  }

  /** Bytes of all datasets, and of what is being uploaded. */
  private async used(): Promise<number> {
    let sum = 0;
    for (const { id, status, bytes } of await this.all()) {
      sum += status === "ready" ? bytes : [...(await this.received(id)).values()].reduce((a, b) => a + b, 0);
    }
    return sum;
  }
}
