/** An object of a bucket, with the credentials of this process. */
import { StoreError } from "../../store/errors.ts";
import { hasS3Credentials, S3Blobs } from "../../store/s3_blobs.ts";
import { UploadError } from "../../store/stored_dataset.ts";
import type { Answer, Source } from "./source.ts";

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

export class S3Source implements Source {
  private readonly bucket: S3Blobs;
  private readonly key: string;

  /** Throws UploadError without credentials, and for what is no address of an object. */
  constructor(private readonly url: string) {
    const [, bucket, key] = url.match(/^s3:\/\/([A-Za-z0-9][\w.-]*)\/(.+)$/s) ?? [];
    // A client may read a//b or a/./b as a/b, and so name an object of the store by another key.
    const isPlain = key?.split("/").every((part) => !["", ".", ".."].includes(part));
    if (!bucket || !key || !isPlain)
      throw new UploadError("url", url, "s3://bucket/key, with no empty, . or .. in the key");
    if (!hasS3Credentials()) {
      throw new UploadError(
        "url",
        url,
        "https://…; s3:// needs S3_* or AWS_* credentials in the environment of the API",
      );
    }
    this.bucket = new S3Blobs(`s3://${bucket}`);
    this.key = key;
  }

  /** The endpoint is the operator's, and nothing of the URL says where requests go. */
  async check(): Promise<void> {}

  async read(from: number, length: number): Promise<Answer> {
    try {
      return await this.range(from, length);
    } catch (error) {
      // A StoreError is said of the service's own store, for which an import waits without limit.
      if (error instanceof StoreError) throw new Error(error.message, { cause: error });
      throw error;
    }
  }

  private async range(from: number, length: number): Promise<Answer> {
    const found = await this.bucket.open(this.key);
    if (!found) throw new UploadError("url", this.url, "an object that is there");
    const { size, etag } = found;
    const bytes = size > from ? await this.bucket.readRange(this.key, from, Math.min(size, from + length)) : undefined;
    return { from, total: size, etag, type: undefined, body: once(bytes ?? new Uint8Array()) };
  }
}
