/** The files of a zip, read where they lie (yauzl: its directory is at the end, so any file can be read alone). */
import { FileError, messageOf } from "../../util/errors.ts";
import type { Entry } from "./types.ts";
import { openZip, type ZipEntry, type ZipFile } from "./yauzl.ts";

/** Of one file when it is unpacked: a deflated one may claim any size. */
const LARGEST = 2 ** 30;

function bytesOf(zip: ZipFile, entry: ZipEntry): Promise<Buffer> {
  if (entry.uncompressedSize > LARGEST) {
    throw new Error(`unpacks to ${entry.uncompressedSize} bytes; ${LARGEST} are allowed`);
  }
  return new Promise((resolve, reject) => {
    zip.openReadStream(entry, (error, stream) => {
      if (error || !stream) return reject(error);
      const parts: Buffer[] = [];
      stream.on("data", (part: Buffer) => parts.push(part));
      stream.on("end", () => resolve(Buffer.concat(parts)));
      stream.on("error", reject);
    });
  });
}

/** Throws FileError where it is not a zip, is cut short, or has names that lead out of it. */
export async function entriesOfZip(file: string): Promise<Entry[]> {
  const refused = (error: unknown) => new FileError(file, `is not a readable zip: ${messageOf(error)}`);
  const zip = await openZip(file).catch((error: unknown) => {
    throw refused(error);
  });
  const entries: Entry[] = [];
  await new Promise<void>((resolve, reject) => {
    zip.on("entry", (entry: ZipEntry) => {
      const name = entry.fileName;
      if (!name.endsWith("/")) {
        const read = entry.isEncrypted()
          ? () => Promise.reject(new Error("is encrypted"))
          : async () => bytesOf(zip, entry);
        entries.push({ name, read });
      }
      zip.readEntry();
    });
    zip.on("end", resolve);
    zip.on("error", (error: unknown) => reject(refused(error)));
    zip.readEntry();
  });
  return entries;
}
