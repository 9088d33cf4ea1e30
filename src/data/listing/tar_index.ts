/**
 * Names and places of the files of a tar, so that any of them can be read alone. tar-stream and its like only run
 * through an archive from end to end. ustar, GNU long names, pax paths and sizes; no compression, no sparse files.
 */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { FileError } from "../../util/errors.ts";
import { linksNote } from "./types.ts";

export const TAR_BLOCK = 512;
/** Of a name or a pax header. PATH_MAX is 4,096. */
const LONGEST_HEADER = 2 ** 20;
/** Read at once where files are small; of larger ones a header alone. */
const WINDOW = 2 ** 17;
const SMALL = 2 ** 14;

export interface TarEntry {
  readonly name: string;
  readonly offset: number;
  readonly size: number;
}

export interface TarIndex {
  readonly names: readonly string[];
  readonly offsets: Float64Array;
  readonly sizes: Float64Array;
  readonly notes: readonly string[];
}

const text = (block: Buffer, from: number, length: number) => {
  const end = block.indexOf(0, from);
  return block.toString("utf8", from, end < 0 || end > from + length ? from + length : end);
};

/** Octal, or (files of 8 GB and more) base 256 behind a set high bit. NaN when it is neither. */
function number(block: Buffer, from: number, length: number): number {
  if ((block[from] as number) & 0x80) {
    return block.subarray(from + 1, from + length).reduce((sum, byte) => sum * 256 + byte, 0);
  }
  const digits = text(block, from, length).trim();
  return digits === "" ? 0 : /^[0-7]+$/.test(digits) ? Number.parseInt(digits, 8) : Number.NaN;
}

/** The checksum of a header counts its own eight bytes as spaces. */
export function isHeader(block: Buffer): boolean {
  let sum = 8 * 32;
  for (let i = 0; i < TAR_BLOCK; i++) sum += i >= 148 && i < 156 ? 0 : (block[i] as number);
  return sum === number(block, 148, 8);
}

function isEnd(block: Buffer): boolean {
  for (let i = 0; i < TAR_BLOCK; i++) if (block[i] !== 0) return false;
  return true;
}

/** Records of a pax header, "length key=value\n" each. Throws Error where they are none. */
function paxRecords(data: Buffer): Map<string, string> {
  const records = new Map<string, string>();
  for (let at = 0; at < data.length && data[at] !== 0; ) {
    const space = data.indexOf(32, at);
    const length = Number(data.toString("latin1", at, Math.max(at, space)));
    if (!Number.isInteger(length) || length <= 0 || at + length > data.length)
      throw new Error("has a damaged pax header");
    const record = data.toString("utf8", space + 1, at + length - 1);
    const equals = record.indexOf("=");
    records.set(record.slice(0, equals), record.slice(equals + 1));
    at += length;
  }
  return records;
}

/** A part of the file, of what was read last where it is in there. */
class Reader {
  private window = Buffer.alloc(0);
  private begin = 0;

  constructor(
    private readonly file: string,
    private readonly handle: number,
    readonly length: number,
  ) {}

  /** @param ahead - Bytes that are read together. */
  at(offset: number, length: number, ahead = length): Buffer {
    if (offset + length > this.length) {
      throw new FileError(this.file, `is not a readable tar: it ends at byte ${this.length}`);
    }
    if (offset < this.begin || offset + length > this.begin + this.window.length) {
      const buffer = Buffer.alloc(Math.min(Math.max(length, ahead), this.length - offset));
      const got = readSync(this.handle, buffer, 0, buffer.length, offset);
      this.window = buffer.subarray(0, got);
      this.begin = offset;
      if (got < length) throw new FileError(this.file, `is not a readable tar: it ends at byte ${offset + got}`);
    }
    return this.window.subarray(offset - this.begin, offset - this.begin + length);
  }
}

/** Names as an unpacking tar makes them: below the folder that it unpacks into. */
function nameBelow(name: string): string {
  const below = name.replace(/^(\.?\/)+/, "");
  if (/(^|\/)\.\.(\/|$)/.test(below)) throw new Error(`has the name ${JSON.stringify(name)}, which leads out of it`);
  return below;
}

/**
 * Regular files of a tar, in its order.
 *
 * @throws FileError where it is not a tar or is cut short, has a name that leads out of it, or a sparse file.
 */
export function indexTar(file: string): TarIndex {
  const handle = openSync(file, "r");
  try {
    return indexOf(file, new Reader(file, handle, fstatSync(handle).size));
  } catch (error) {
    if (error instanceof FileError || !(error instanceof Error)) throw error;
    throw new FileError(file, `is not a readable tar: it ${error.message}`);
  } finally {
    closeSync(handle);
  }
}

function indexOf(file: string, reader: Reader): TarIndex {
  const names: string[] = [];
  const [offsets, sizes]: [number[], number[]] = [[], []];
  let links = 0;
  let longName: string | undefined;
  let pax = new Map<string, string>();
  let ahead = WINDOW;
  for (let at = 0; ; ) {
    const header = reader.at(at, TAR_BLOCK, ahead);
    if (isEnd(header)) break;
    let size = number(header, 124, 12);
    if (!isHeader(header) || !Number.isSafeInteger(size)) {
      throw new FileError(file, `is not a readable tar: no header at byte ${at}`);
    }
    const type = String.fromCharCode(header[156] as number);
    const data = at + TAR_BLOCK;
    if (type === "L" || type === "x") {
      if (size > LONGEST_HEADER) {
        throw new Error(`has a header of ${size} bytes at byte ${at}; ${LONGEST_HEADER} are allowed`);
      }
      if (type === "L") longName = text(reader.at(data, size, WINDOW), 0, size);
      else pax = paxRecords(reader.at(data, size, WINDOW));
    } else if (type !== "K" && type !== "g") {
      const short = text(header, 0, 100);
      const prefix = header.toString("latin1", 257, 262) === "ustar" ? text(header, 345, 155) : "";
      const name = pax.get("path") ?? longName ?? (prefix ? `${prefix}/${short}` : short);
      if (type === "S" || [...pax.keys()].some((key) => key.startsWith("GNU.sparse."))) {
        throw new Error(`has the sparse file ${name}: pack it without --sparse`);
      }
      size = Number(pax.get("size") ?? size);
      if (!Number.isSafeInteger(size) || size < 0) throw new Error(`gives ${name} the size ${pax.get("size")}`);
      if (type === "0" || type === "\0" || type === "7") {
        if (data + size > reader.length) {
          throw new FileError(file, `is not a readable tar: it ends at byte ${reader.length}, in ${name}`);
        }
        names.push(nameBelow(name));
        offsets.push(data);
        sizes.push(size);
      } else if (type === "1" || type === "2") links++;
      longName = undefined;
      pax = new Map();
    }
    at = data + Math.ceil(size / TAR_BLOCK) * TAR_BLOCK;
    ahead = size <= SMALL ? WINDOW : TAR_BLOCK;
  }
  return {
    names,
    offsets: Float64Array.from(offsets),
    sizes: Float64Array.from(sizes),
    notes: linksNote(links, "link"),
  };
}
