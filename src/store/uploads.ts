/**
 * Datasets that were uploaded: `uploads/<id>/dataset.json`, and `uploads/<id>/part-00001`, … The parts are never joined in the store,
 * which may be a bucket: who needs the file fetches them one after another (dataset_cache.ts).
 */
import { createHash } from "node:crypto";
import { UserError } from "../util/errors.ts";
import { newId } from "../util/id.ts";
import type { Blobs } from "./blobs.ts";
import { DatasetRecords } from "./dataset_records.ts";
import { sha256 } from "./files.ts";
import {
  folderOf,
  type ImportSource,
  MOST_PARTS,
  PART_BYTES,
  type Part,
  partOf,
  recordOf,
  type StoredDataset,
  UploadError,
  withoutQuery,
} from "./stored_dataset.ts";
import { Usage } from "./usage.ts";

export { MOST_PARTS, PART_BYTES, type Part, type StoredDataset, UploadError } from "./stored_dataset.ts";

/** An upload that is not complete by then, or an import that has failed, is deleted. */
const ABANDONED_MS = 48 * 3_600_000;

export class Uploads {
  private readonly records: DatasetRecords;
  private readonly usage: Usage;

  /** @param limit Bytes that all datasets may take together. */
  constructor(
    private readonly blobs: Blobs,
    limit = Number.POSITIVE_INFINITY,
  ) {
    this.records = new DatasetRecords(blobs);
    this.usage = new Usage(limit, () => this.used());
  }

  /**
   * Begins an upload, and deletes those that were begun two days ago and never completed.
   *
   * @param source - Of an import; unset: the parts are sent.
   */
  async create(name: string, source?: Pick<ImportSource, "url" | "sha256">): Promise<StoredDataset> {
    await this.removeAbandoned();
    const createdAt = new Date().toISOString();
    const record: StoredDataset = {
      id: newId("ds"),
      name,
      status: source ? "importing" : "uploading",
      createdAt,
      bytes: 0,
      sha256: null,
      parts: [],
      ...(source && { source: { ...source, total: null, etag: null } }),
    };
    await this.records.write(record);
    return record;
  }

  /** Records what the first answer says of the file that is imported. Undefined where the import was deleted. */
  async describe(
    id: string,
    { total, etag }: Pick<ImportSource, "total" | "etag">,
  ): Promise<StoredDataset | undefined> {
    const record = await this.get(id);
    if (!record?.source) return undefined;
    const described: StoredDataset = { ...record, source: { ...record.source, total, etag } };
    await this.records.write(described);
    return described;
  }

  /** Ends an import that cannot succeed, and deletes what has arrived of it. */
  async fail(id: string, error: string): Promise<void> {
    const record = await this.get(id);
    if (!record?.source) return;
    const source = { ...record.source, url: withoutQuery(record.source.url) };
    await this.records.write({ ...record, status: "failed", source, error });
    await this.removeParts(id);
  }

  /** Throws UploadError where a file of so many bytes, of which some have arrived, exceeds what is left. */
  expectRoom(field: string, bytes: number, arrived: number): Promise<void> {
    return this.usage.expectRoom(
      bytes - arrived,
      (left) => new UploadError(field, `a file of ${bytes} bytes`, `${left + arrived} bytes: MOCOD_UPLOAD_LIMIT`),
    );
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
   * Undefined where there is no such upload. The id of an import then stands for that dataset, since its client does not see an answer.
   *
   * @param expected SHA-256 of the whole file; unset: it is not checked.
   * @throws UploadError where a part is missing or short, or the file is another one.
   */
  async complete(
    id: string,
    expected: string | undefined,
    of: "uploading" | "importing" = "uploading",
  ): Promise<StoredDataset | undefined> {
    const record = await this.get(id);
    if (!record || record.status === "ready") return record;
    if (record.status !== of)
      throw new UploadError("id", `${id}, which is ${record.status}`, `a dataset that is ${of}`);
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
    // It may have been deleted meanwhile.
    if (!(await this.get(id))) return undefined;
    if (same) {
      if (!record.source) await this.remove(id);
      else {
        // In the place of the import's record: there is no moment without one, and none is lost with a process that dies here.
        await this.records.write({ id, sameAs: same.id });
        await this.removeParts(id);
      }
      return same;
    }
    const bytes = parts.reduce((sum, part) => sum + part.bytes, 0);
    const source = record.source && { ...record.source, url: withoutQuery(record.source.url) };
    const ready: StoredDataset = {
      ...record,
      status: "ready",
      bytes,
      sha256: digest,
      parts,
      ...(source && { source }),
    };
    await this.records.write(ready);
    return ready;
  }

  /** Undefined where there is none. The id of an import whose file was there already gives the dataset that has it. */
  get(id: string): Promise<StoredDataset | undefined> {
    return this.records.get(id);
  }

  /** Oldest first. */
  async all(): Promise<StoredDataset[]> {
    return (await this.records.all()).filter((found): found is StoredDataset => !("sameAs" in found));
  }

  /** One part of a dataset. Throws UserError where it is not what was uploaded. */
  async part({ id, parts }: StoredDataset, number: number): Promise<Uint8Array> {
    const bytes = await this.blobs.read(partOf(id, number));
    if (!bytes || sha256(bytes) !== parts[number - 1]?.sha256) {
      throw new UserError(`dataset ${id}: part ${number} is ${bytes ? "damaged" : "missing"} in the store`);
    }
    return bytes;
  }

  /** What was computed of a dataset and is kept beside it; undefined where it was not. */
  kept(id: string, name: string): Promise<Uint8Array | undefined> {
    return this.blobs.read(folderOf(id) + name);
  }

  /** Keeps what was computed of a dataset, until the dataset is deleted. */
  async keep(id: string, name: string, bytes: Uint8Array | string): Promise<void> {
    await this.blobs.write(folderOf(id) + name, bytes);
    // It may have been deleted while this was computed.
    if (!(await this.get(id))) await this.blobs.remove(folderOf(id) + name);
  }

  /** The record first: without it nothing refers to the parts. */
  async remove(id: string): Promise<void> {
    await this.blobs.remove(recordOf(id));
    for (const key of await this.blobs.list(folderOf(id))) await this.blobs.remove(key);
  }

  private async removeParts(id: string): Promise<void> {
    for (const key of await this.blobs.list(`${folderOf(id)}part-`)) await this.blobs.remove(key);
  }

  private async removeAbandoned(): Promise<void> {
    const documents = await this.records.all();
    const ids = new Set(documents.map(({ id }) => id));
    for (const found of documents) {
      const over =
        "sameAs" in found
          ? !ids.has(found.sameAs)
          : ["uploading", "failed"].includes(found.status) && Date.now() - Date.parse(found.createdAt) > ABANDONED_MS;
      if (over) await this.remove(found.id);
    }
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
