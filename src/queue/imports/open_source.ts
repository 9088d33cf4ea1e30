import { UploadError } from "../../store/stored_dataset.ts";
import { targetOf } from "../addresses.ts";
import { HttpSource } from "./http_source.ts";
import { S3Source } from "./s3_source.ts";
import type { Source } from "./source.ts";

export interface SourceOptions {
  /** Whether requests may go to addresses that are not public. */
  readonly allowPrivate: boolean;
  /** URL of the store, from which nothing is imported. */
  readonly storeUrl: string;
}

/** Opens what is at `url`. Throws UserError for a URL that is not allowed. */
export function openSource(url: string, { allowPrivate, storeUrl }: SourceOptions): Source {
  if (/^https?:/i.test(url)) {
    return new HttpSource(new URL(url), (of) => targetOf(of, allowPrivate, "MOCOD_IMPORT_PRIVATE"));
  }
  if (`${url}/`.startsWith(storeUrl.endsWith("/") ? storeUrl : `${storeUrl}/`)) {
    throw new UploadError("url", url, "an object outside of the store of the service (MOCOD_STORE)");
  }
  return new S3Source(url);
}
