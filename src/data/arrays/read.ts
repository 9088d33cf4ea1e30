/** The arrays of a file by name: of a .npz or an HDF5 file several, of a .npy or IDX file one, whose name is empty. */
import { closeSync, existsSync, openSync, readSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { gunzipSync } from "node:zlib";
import { FileError, messageOf } from "../../util/errors.ts";
import { GROWTH, mostUnpacked } from "../listing/growth.ts";
import { entriesOfZip } from "../listing/zip.ts";
import type { ArrayFile } from "./array_file.ts";
import { HDF5_PLACES, isHdf5At, openHdf5 } from "./hdf5.ts";
import { decodeIdx, isIdx } from "./idx.ts";
import { decodeNpy, isNpy, type NumberArray } from "./npy.ts";

export interface ReadOptions {
  /** Bytes that any file may unpack to; one that unpacks to more may be 20 times its packed size. */
  readonly always?: number;
  /** Called now and then while a file is read. */
  readonly alive?: (() => void) | undefined;
}

const ZIP = Buffer.from("PK");
const GZIP = Buffer.from([0x1f, 0x8b]);
const ALWAYS = 2 ** 30;

function decode(file: string, what: string, bytes: Buffer): NumberArray {
  try {
    return isNpy(bytes) ? decodeNpy(bytes) : decodeIdx(bytes);
  } catch (error) {
    throw new FileError(file, `${what}${messageOf(error)}`);
  }
}

function headOf(file: string): Buffer {
  const head = Buffer.alloc(4096);
  const handle = openSync(file, "r");
  try {
    return head.subarray(0, readSync(handle, head, 0, head.length, 0));
  } finally {
    closeSync(handle);
  }
}

function gunzipped(file: string, packed: Buffer, always: number): Buffer {
  const most = mostUnpacked(packed.length, always);
  try {
    return gunzipSync(packed, { maxOutputLength: Math.min(most, 2 ** 32 - 1) });
  } catch (error) {
    if ((error as { code?: string }).code !== "ERR_BUFFER_TOO_LARGE") throw new FileError(file, messageOf(error));
    throw new FileError(file, `unpacks to more than ${most} bytes, ${GROWTH} times its size`);
  }
}

/** Throws FileError for a file that is not there or of another format. */
export async function openArrays(file: string, { always = ALWAYS, alive }: ReadOptions = {}): Promise<ArrayFile> {
  if (!existsSync(file)) throw new FileError(file, "is not there");
  let head: Buffer;
  try {
    head = headOf(file);
  } catch (error) {
    throw new FileError(file, messageOf(error));
  }
  if (HDF5_PLACES.some((at) => isHdf5At(head, at))) return openHdf5(file, alive);
  if (head.subarray(0, 2).equals(ZIP)) {
    const entries = await entriesOfZip(file, always);
    const byName = new Map(entries.map((entry) => [entry.name.replace(/\.npy$/, ""), entry]));
    return {
      names: [...byName.keys()],
      read: async (name) => {
        const bytes = await byName
          .get(name)
          ?.read()
          .catch((error: unknown) => {
            throw new FileError(file, `${name} ${messageOf(error)}`);
          });
        return decode(file, `${name} `, bytes ?? Buffer.alloc(0));
      },
    };
  }
  const raw = await readFile(file);
  const bytes = head.subarray(0, 2).equals(GZIP) ? gunzipped(file, raw, always) : raw;
  if (!isNpy(bytes) && !isIdx(bytes)) throw new FileError(file, "is neither a .npy, .npz, HDF5 nor IDX file");
  return { names: [""], read: async () => decode(file, "", bytes) };
}
