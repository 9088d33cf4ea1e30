/** The datasets of an HDF5 file as arrays: bytes straight into shared memory, whole numbers as they are. */

import type { Dataset } from "h5wasm";
import { FileError, messageOf } from "../../util/errors.ts";
import type { NumberValues } from "../deep/types.ts";
import { sharedBytes } from "../types.ts";
import type { ArrayFile } from "./array_file.ts";
import { Hdf5File } from "./hdf5_file.ts";
import { isBytes, type NumberArray, valuesOf } from "./npy.ts";

const MAGIC = Buffer.from("\x89HDF\r\n\x1a\n", "latin1");
/** A block of a user's own may come first, as in MATLAB's files. */
export const HDF5_PLACES = [0, 512, 1024, 2048] as const;
export const isHdf5At = (bytes: Buffer, at: number): boolean => bytes.subarray(at, at + MAGIC.length).equals(MAGIC);

/** What the library is built with: gzip, shuffle, Fletcher's checksum, szip, n-bit, scale-offset. */
const FILTERS = [1, 2, 3, 4, 5, 6];
/** HDF5's classes of types: whole numbers, and enumerations, which booleans are. */
const [WHOLE, ENUMERATION, REAL] = [0, 8, 1];
/** Rows are read in blocks of this size, or one at a time. */
const BLOCK = 2 ** 24;

/** As NumPy spells it. */
function typeOf({ metadata }: Dataset): string {
  const { type, size, signed, littleEndian } = metadata;
  const kind = type === WHOLE ? (signed ? "i" : "u") : type === ENUMERATION ? "b" : type === REAL ? "f" : "V";
  return `${size === 1 ? "|" : littleEndian ? "<" : ">"}${kind}${size}`;
}

/** Bytes of other numbers than bytes that are read together. */
const MOST = 2 ** 32;

/** Numbers of the machine's order, which the library gives whatever the file's is. Throws Error for a type that is not read. */
function numbersOf(bytes: Uint8Array, type: string): NumberValues {
  const values = valuesOf(`<${type.slice(1)}`, Buffer.from(bytes));
  if (!values) throw new Error(`has numbers of type ${type}; allowed: whole numbers of up to 64 bits, floats`);
  return values;
}

/** Throws Error where it is nothing that is read. */
function expectReadable(dataset: Dataset): { shape: readonly number[]; type: string } {
  const { shape, filters, metadata } = dataset;
  if (!shape || shape.length === 0) throw new Error("is no array");
  if (metadata.virtual_sources?.length) throw new Error("is a virtual dataset of other files, which are not read");
  const unknown = filters.find(({ id }) => !FILTERS.includes(id));
  if (unknown)
    throw new Error(`is compressed by ${unknown.name || `filter ${unknown.id}`}; allowed: gzip, shuffle, szip`);
  return { shape, type: typeOf(dataset) };
}

async function arrayOf(file: Hdf5File, dataset: Dataset, alive: () => void): Promise<NumberArray> {
  const { shape, type } = expectReadable(dataset);
  const { metadata } = dataset;
  const count = shape.reduce((a, b) => a * b, 1);
  const atOnce = Math.max(1, Math.floor((BLOCK * (shape[0] ?? 1)) / (count * metadata.size || 1)));
  const pause = async () => {
    alive();
    await Bun.sleep(0);
  };
  if (isBytes(type)) {
    const values = sharedBytes(count);
    const row = count / (shape[0] || 1);
    await file.rows(dataset, atOnce, (bytes, first) => {
      values.set(bytes, first * row);
      return pause();
    });
    return { shape, type, values };
  }
  if (count * metadata.size > MOST)
    throw new Error(`has ${count} numbers of type ${type}; ${MOST} bytes of them are read`);
  const first = numbersOf(new Uint8Array(metadata.size), type);
  const values = new (first.constructor as new (length: number) => NumberValues)(count);
  const row = count / (shape[0] || 1);
  await file.rows(dataset, atOnce, (bytes, at) => {
    values.set(numbersOf(bytes, type), at * row);
    return pause();
  });
  return { shape, type, values };
}

/** Throws FileError for what is no HDF5 file, or not a whole one. */
export async function openHdf5(path: string, alive: () => void = () => undefined): Promise<ArrayFile> {
  const within = async <T>(what: string, work: (file: Hdf5File) => T | Promise<T>): Promise<T> => {
    let file: Hdf5File | undefined;
    try {
      file = await Hdf5File.open(path);
      return await work(file);
    } catch (error) {
      throw new FileError(path, `${what}${messageOf(error)}`, { cause: error });
    } finally {
      file?.close();
    }
  };
  const datasetOf = (file: Hdf5File, name: string): Dataset => {
    const dataset = file.datasets().get(name);
    if (!dataset) throw new Error("is not there");
    return dataset;
  };
  const names = await within("is not a readable HDF5 file: ", (file) => [...file.datasets().keys()]);
  return {
    names,
    read: (name) => within(`${name} `, (file) => arrayOf(file, datasetOf(file, name), alive)),
    async rows(name) {
      const file = await Hdf5File.open(path);
      try {
        const dataset = datasetOf(file, name);
        const close = () => file.close();
        return { ...expectReadable(dataset), row: (index) => rowOf(path, file, dataset, index), close };
      } catch (error) {
        file.close();
        throw new FileError(path, `${name} ${messageOf(error)}`, { cause: error });
      }
    },
  };
}

async function rowOf(path: string, file: Hdf5File, dataset: Dataset, index: number): Promise<NumberValues> {
  try {
    const bytes = await file.row(dataset, index);
    const type = typeOf(dataset);
    return isBytes(type) ? bytes : numbersOf(bytes, type);
  } catch (error) {
    throw new FileError(path, `image ${index}: ${messageOf(error)}`, { cause: error });
  }
}
