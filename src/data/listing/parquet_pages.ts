/**
 * Counts in the headers of Parquet's pages, before hyparquet allocates what they say: 30 bytes can claim 2^31 values. The headers are in
 * Thrift's compact protocol (github.com/apache/thrift, doc/specs/thrift-compact-protocol.md).
 */
import type { AsyncBuffer, FileMetaData } from "hyparquet";
import { expectGrowth } from "./growth.ts";

/** Read at first; a header with long statistics is read again. */
const HEADER = 2 ** 16;
/** Bytes that any page may unpack to. */
const PAGE = 2 ** 28;
/** Rows that any file may have in a group; more need 8 bytes each, less than any image has. */
const ROWS = 100_000;

class Thrift {
  at = 0;

  constructor(private readonly bytes: Uint8Array) {}

  private byte(): number {
    const value = this.bytes[this.at++];
    if (value === undefined) throw new RangeError("it ends in the header of a page");
    return value;
  }

  private varint(): number {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = this.byte();
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  }

  private skip(type: number): void {
    if (type === 3) this.at++;
    else if (type >= 4 && type <= 6) this.varint();
    else if (type === 7) this.at += 8;
    else if (type === 8) {
      const length = this.varint();
      this.at += length;
    } else if (type === 12) this.fields(() => false);
    else if (type === 9 || type === 10) {
      const head = this.byte();
      const count = head >> 4 === 15 ? this.varint() : head >> 4;
      for (let i = 0; i < count; i++) this.skip(head & 15);
    } else if (type > 2) throw new Error(`it has a page header with a field of type ${type}`);
  }

  /** Calls `take` with the id of each field; what it does not read is skipped. */
  fields(take: (id: number, read: { whole: () => number; fields: Thrift["fields"] }) => boolean): void {
    for (let id = 0; ; ) {
      const head = this.byte();
      if (head === 0) return;
      const delta = head >> 4;
      id = delta > 0 ? id + delta : this.whole();
      const read = {
        whole: () => this.whole(),
        fields: (inner: Parameters<Thrift["fields"]>[0]) => this.fields(inner),
      };
      if (!take(id, read)) this.skip(head & 15);
    }
  }

  /** Zigzag. */
  private whole(): number {
    const value = this.varint();
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }
}

interface Page {
  readonly unpacked: number;
  readonly packed: number;
  readonly values: number;
  /** Bytes of the header. */
  readonly header: number;
}

function pageOf(bytes: Uint8Array): Page {
  const thrift = new Thrift(bytes);
  let [unpacked, packed, values] = [0, 0, 0];
  thrift.fields((id, { whole, fields }) => {
    if (id === 2) unpacked = whole();
    else if (id === 3) packed = whole();
    else if (id === 5 || id === 7 || id === 8) {
      fields((inner, read) => {
        if (inner !== 1) return false;
        values = read.whole();
        return true;
      });
    } else return false;
    return true;
  });
  return { unpacked, packed, values, header: thrift.at };
}

async function pageAt(file: AsyncBuffer, at: number, end: number): Promise<Page> {
  try {
    return pageOf(new Uint8Array(await file.slice(at, Math.min(end, at + HEADER))));
  } catch (error) {
    if (!(error instanceof RangeError) || at + HEADER >= end) throw error;
    return pageOf(new Uint8Array(await file.slice(at, end)));
  }
}

/**
 * Throws Error where a group has more rows than its file has room for, or a page of these columns says more than its group has.
 *
 * @param lists - Those that may have several values in a row.
 */
export async function expectPages(
  file: AsyncBuffer,
  metadata: FileMetaData,
  columns: readonly string[],
  lists: readonly string[] = [],
): Promise<void> {
  const most = Math.max(ROWS, file.byteLength / 8);
  for (const [group, { num_rows, columns: chunks }] of metadata.row_groups.entries()) {
    const rows = Number(num_rows);
    if (!(rows >= 0 && rows <= most)) throw new Error(`group ${group} has ${rows} rows in ${file.byteLength} bytes`);
    for (const { meta_data } of chunks) {
      const column = meta_data?.path_in_schema[0] as string;
      if (!meta_data || !columns.includes(column)) continue;
      const mostValues = lists.includes(column) ? most : rows;
      const { data_page_offset, dictionary_page_offset, total_compressed_size } = meta_data;
      // An offset of 0 is none: the file begins with its mark.
      let at = Number(dictionary_page_offset || data_page_offset);
      const end = at + Number(total_compressed_size);
      if (!(at >= 4 && end <= file.byteLength)) throw new Error(`group ${group} lies outside of the file`);
      while (at < end) {
        const { unpacked, packed, values, header } = await pageAt(file, at, end);
        if (values < 0 || values > mostValues || packed < 0 || unpacked < 0)
          throw new Error(`group ${group} has ${rows} rows and a page of ${values} values in ${packed} bytes`);
        expectGrowth(unpacked, packed, PAGE);
        at += header + packed;
      }
    }
  }
}
