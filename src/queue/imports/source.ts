/** Where the bytes of an import come from: a web server, or a bucket. */

/** An answer to a request for a range. */
export interface Answer {
  /** Position of its first byte: the one asked for, or 0 where the server knows no ranges. */
  readonly from: number;
  /** Bytes of the whole file; null where the server does not say. */
  readonly total: number | null;
  /** Identifies the version of the file; null where the server does not say. */
  readonly etag: string | null;
  /** Media type, where there is one. */
  readonly type: string | undefined;
  readonly body: AsyncIterable<Uint8Array>;
}

export interface Source {
  /** Throws UserError where requests may not go there. */
  check(): Promise<void>;
  /**
   * Requests `length` bytes from `from` on; the answer may have more or fewer.
   *
   * @throws UserError where another attempt cannot help, Error where it may.
   */
  read(from: number, length: number, signal: AbortSignal): Promise<Answer>;
}
