import { fileURLToPath } from "node:url";
import { UserError } from "../util/errors.ts";
import type { Blobs } from "./blobs.ts";
import { LocalBlobs } from "./local_blobs.ts";
import { S3Blobs } from "./s3_blobs.ts";

/**
 * Opens the store at `file:///folder` or `s3://bucket/prefix`, with credentials and endpoint from AWS_* or S3_*
 * variables.
 *
 * @throws UserError for any other address.
 */
export function openBlobs(url: string): Blobs {
  if (url.startsWith("file:///")) return new LocalBlobs(fileURLToPath(url));
  if (url.startsWith("s3://")) return new S3Blobs(url);
  throw new UserError(`MOCOD_STORE: got "${url}", allowed: file:///folder or s3://bucket/prefix`);
}
