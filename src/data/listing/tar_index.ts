/**
 * Names and places of the files of a tar, so that any of them can be read alone. tar-stream and its like only run
 * through an archive from end to end. ustar, GNU long names and pax paths; no compression.
 */
import { openSync, readSync } from "node:fs";
import { FileError } from "../../util/errors.ts";

export const TAR_BLOCK = 512;

export interface TarEntry {
  readonly name: string;
  readonly offset: number;
  readonly size: number;
}

const text = (block: Buffer, from: number, length: number) => {
  const part = block.subarray(from, from + length);
  const end = part.indexOf(0);
  return part.subarray(0, end < 0 ? length : end).toString("utf8");
};

/** Octal, or (files of 8 GB and more) base 256 behind a set high bit. NaN when it is neither. */
function number(block: Buffer, from: number, length: number): number {
  if ((block[from] as number) & 0x80) {
    return block.subarray(from + 1, from + length).reduce((sum, byte) => sum * 256 + byte, 0);
  }
  return Number.parseInt(text(block, from, length).trim() || "0", 8);
}

/** The checksum of a header counts its own eight bytes as spaces. */
export function isHeader(block: Buffer): boolean {
  const sum = block.reduce((total, byte, i) => total + (i >= 148 && i < 156 ? 32 : byte), 0);
  return sum === number(block, 148, 8);
}

/** `path=` of a pax header: records of "length key=value\n". */
function paxPath(data: Buffer): string | undefined {
  for (let at = 0; at < data.length; ) {
    const space = data.indexOf(32, at);
    const length = Number(data.subarray(at, space).toString());
    if (space < 0 || !(length > 0)) return undefined;
    const record = data.subarray(space + 1, at + length - 1).toString("utf8");
    if (record.startsWith("path=")) return record.slice(5);
    at += length;
  }
  return undefined;
}

/** Regular files of a tar, in its order, and an open handle. Throws FileError where it is not a tar or is cut short. */
export function indexTar(file: string): { entries: TarEntry[]; handle: number } {
  const handle = openSync(file, "r");
  const entries: TarEntry[] = [];
  const read = (offset: number, length: number): Buffer => {
    const buffer = Buffer.alloc(length);
    const got = readSync(handle, buffer, 0, length, offset);
    if (got !== length) throw new FileError(file, `is not a readable tar: it ends at byte ${offset + got}`);
    return buffer;
  };
  let longName: string | undefined;
  for (let at = 0; ; ) {
    const header = read(at, TAR_BLOCK);
    if (header.every((byte) => byte === 0)) return { entries, handle };
    const size = number(header, 124, 12);
    if (!isHeader(header) || !Number.isFinite(size)) {
      throw new FileError(file, `is not a readable tar: no header at byte ${at}`);
    }
    const type = String.fromCharCode(header[156] as number);
    const data = at + TAR_BLOCK;
    if (type === "L") longName = text(read(data, size), 0, size);
    else if (type === "x") longName = paxPath(read(data, size)) ?? longName;
    else {
      const prefix = text(header, 257, 5) === "ustar" ? text(header, 345, 155) : "";
      const short = text(header, 0, 100);
      const name = longName ?? (prefix ? `${prefix}/${short}` : short);
      longName = undefined;
      if (type === "0" || type === "\0") {
        entries.push({ name, offset: data, size });
        if (size > 0) read(data + size - 1, 1);
      }
    }
    at = data + Math.ceil(size / TAR_BLOCK) * TAR_BLOCK;
  }
}
