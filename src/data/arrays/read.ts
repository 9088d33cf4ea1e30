/** The arrays of a file by name: of a .npz several, of a .npy or IDX file one, whose name is empty. */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { gunzipSync } from "node:zlib";
import { FileError, messageOf } from "../../util/errors.ts";
import { entriesOfZip } from "../listing/zip.ts";
import { decodeIdx, isIdx } from "./idx.ts";
import { decodeNpy, isNpy, type NumberArray } from "./npy.ts";

export interface ArrayFile {
  readonly names: readonly string[];
  /** Throws FileError where it is no such array, or damaged. */
  readonly read: (name: string) => Promise<NumberArray>;
}

const ZIP = Buffer.from("PK");
const GZIP = Buffer.from([0x1f, 0x8b]);

function decode(file: string, what: string, bytes: Buffer): NumberArray {
  try {
    return isNpy(bytes) ? decodeNpy(bytes) : decodeIdx(bytes);
  } catch (error) {
    throw new FileError(file, `${what}${messageOf(error)}`);
  }
}

/** Throws FileError for a file that is not there or of another format. */
export async function openArrays(file: string): Promise<ArrayFile> {
  if (!existsSync(file)) throw new FileError(file, "is not there");
  const raw = await readFile(file).catch((error: unknown) => {
    throw new FileError(file, messageOf(error));
  });
  if (raw.subarray(0, 2).equals(ZIP)) {
    const entries = await entriesOfZip(file);
    const byName = new Map(entries.map((entry) => [entry.name.replace(/\.npy$/, ""), entry]));
    return {
      names: [...byName.keys()],
      read: async (name) => decode(file, `${name} `, (await byName.get(name)?.read()) ?? Buffer.alloc(0)),
    };
  }
  const bytes = raw.subarray(0, 2).equals(GZIP) ? gunzipSync(raw, { maxOutputLength: 2 ** 32 - 1 }) : raw;
  if (!isNpy(bytes) && !isIdx(bytes)) throw new FileError(file, "is neither a .npy, .npz nor IDX file");
  return { names: [""], read: async () => decode(file, "", bytes) };
}
