import { createHash } from "node:crypto";
import {
  closeSync,
  createReadStream,
  existsSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { FileError, messageOf } from "../util/errors.ts";

export interface Download {
  readonly url: string;
  readonly file: string;
  readonly sha256: string;
}

export async function sha256OfFile(file: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  return hash.digest("hex");
}

/**
 * Brings `file` from `url` unless it is there. An interrupted download is continued (`Range`) from `file.part`.
 * Throws FileError when the server fails or the SHA-256 is wrong; a wrong file is removed.
 */
export async function download({ url, file, sha256 }: Download, log: (message: string) => void): Promise<void> {
  if (existsSync(file)) return;
  mkdirSync(dirname(file), { recursive: true });
  const part = `${file}.part`;
  const have = existsSync(part) ? statSync(part).size : 0;
  log(have ? `continuing ${url} at byte ${have}` : `downloading ${url}`);
  let response: Response;
  try {
    response = await fetch(url, have ? { headers: { range: `bytes=${have}-` } } : {});
  } catch (error) {
    throw new FileError(file, `cannot download ${url}: ${messageOf(error)}`, { cause: error });
  }
  // 416: the part is already whole (or longer than the file; then the checksum says so).
  if (!response.ok && response.status !== 416) {
    throw new FileError(file, `cannot download ${url}: HTTP ${response.status}`);
  }
  if (response.ok) {
    // Written chunk by chunk: a stream's buffer would be lost with the connection.
    const out = openSync(part, response.status === 206 ? "a" : "w");
    try {
      for await (const chunk of response.body ?? []) writeSync(out, chunk);
    } catch (error) {
      throw new FileError(file, `the download of ${url} broke off; run again to continue it`, { cause: error });
    } finally {
      closeSync(out);
    }
  }
  const got = await sha256OfFile(part);
  if (got !== sha256) {
    rmSync(part);
    throw new FileError(file, `wrong checksum: expected SHA-256 ${sha256}, got ${got} from ${url}`);
  }
  renameSync(part, file);
}
