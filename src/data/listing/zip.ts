/** The files of a zip, read where they lie (yauzl: its directory is at the end, so any file can be read alone). */
import { FileError, messageOf } from "../../util/errors.ts";
import { expectGrowth } from "./growth.ts";
import { Entry, type Source } from "./types.ts";
import { openZip, type ZipEntry, type ZipFile } from "./yauzl.ts";

/** Bytes that any file of a zip may unpack to: several are in memory at once. */
const IMAGE = 2 ** 26;

/** yauzl ends the stream with an error where there is more or less than the directory says. */
function bytesOf(zip: ZipFile, entry: ZipEntry): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    zip.openReadStream(entry, (error, stream) => {
      if (error || !stream) return reject(error);
      const bytes = Buffer.allocUnsafe(entry.uncompressedSize);
      let at = 0;
      stream.on("data", (part: Buffer) => {
        at += part.copy(bytes, at);
      });
      stream.on("end", () => resolve(bytes.subarray(0, at)));
      stream.on("error", reject);
    });
  });
}

/**
 * @param always Bytes that any file may unpack to; one that unpacks to more may be 20 times its packed size.
 * @throws FileError where it is not a zip, is cut short, or has names that lead out of it.
 */
export async function entriesOfZip(file: string, always = IMAGE): Promise<Entry[]> {
  const refused = (error: unknown) => new FileError(file, `is not a readable zip: ${messageOf(error)}`);
  const zip = await openZip(file).catch((error: unknown) => {
    throw refused(error);
  });
  const found: ZipEntry[] = [];
  const source: Source = {
    async version(_name, at) {
      const { crc32, uncompressedSize } = found[at] as ZipEntry;
      return `${uncompressedSize} ${crc32}`;
    },
    async read(_name, at) {
      const entry = found[at] as ZipEntry;
      if (entry.isEncrypted()) throw new Error("is encrypted");
      expectGrowth(entry.uncompressedSize, entry.compressedSize, always);
      return bytesOf(zip, entry);
    },
  };
  const entries: Entry[] = [];
  await new Promise<void>((resolve, reject) => {
    zip.on("entry", (entry: ZipEntry) => {
      if (!entry.fileName.endsWith("/")) entries.push(new Entry(entry.fileName, source, found.push(entry) - 1));
      zip.readEntry();
    });
    zip.on("end", resolve);
    zip.on("error", (error: unknown) => reject(refused(error)));
    zip.readEntry();
  });
  return entries;
}
