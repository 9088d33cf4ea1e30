/** The record of an uploaded or imported dataset, and where its files lie: `uploads/<id>/dataset.json`, `uploads/<id>/part-00001`, … */
import { UserError } from "../util/errors.ts";

/** Of every part but the last. */
export const PART_BYTES = 2 ** 23;
export const MOST_PARTS = 99_999;

export interface Part {
  readonly bytes: number;
  readonly sha256: string;
}

/** Where an import comes from. */
export interface ImportSource {
  /** Of http, https or s3. Its query, which may hold a signature, is kept only while it is imported. */
  readonly url: string;
  /** SHA-256 that the file must have. */
  readonly sha256: string | null;
  /** Bytes of the file; null: not known yet, or not at all before its end. */
  readonly total: number | null;
  /** The entity tag that the file had at the first request, where there is one. */
  readonly etag: string | null;
}

export const datasetStatuses = ["uploading", "importing", "failed", "ready"] as const;

export interface StoredDataset {
  readonly id: string;
  readonly name: string;
  /** failed: an import that has ended without the file; it is deleted after two days. */
  readonly status: (typeof datasetStatuses)[number];
  readonly createdAt: string;
  /** Of the whole file; 0 and null before it is ready. */
  readonly bytes: number;
  readonly sha256: string | null;
  readonly parts: readonly Part[];
  /** Unset: it was uploaded. */
  readonly source?: ImportSource;
  /** Why an import has failed. */
  readonly error?: string;
}

/** What is left of an import whose file another dataset had already. */
export interface Duplicate {
  readonly id: string;
  readonly sameAs: string;
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

export const folderOf = (id: string) => `uploads/${id}/`;
export const recordOf = (id: string) => `${folderOf(id)}dataset.json`;
export const partOf = (id: string, number: number) => `${folderOf(id)}part-${String(number).padStart(5, "0")}`;

/** A URL as it may be shown: without its query and fragment, which may hold a signature. An object's key has neither. */
export const withoutQuery = (url: string): string => (url.startsWith("s3:") ? url : url.replace(/[?#].*$/s, ""));
