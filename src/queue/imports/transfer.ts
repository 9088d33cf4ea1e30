/** Brings the file of an import into the parts of the store. What has arrived before is not requested again. */
import pRetry, { AbortError } from "p-retry";
import { ARCHIVES, noArchive } from "../../data/listing/archive_kind.ts";
import { StoreError } from "../../store/errors.ts";
import { PART_BYTES, type StoredDataset, UploadError } from "../../store/stored_dataset.ts";
import type { Uploads } from "../../store/uploads.ts";
import { UserError } from "../../util/errors.ts";
import { pieces } from "../../util/pieces.ts";
import type { Answer, Source } from "./source.ts";

/** Attempts of a range: 0.5 s, doubling up to a minute, about four minutes in all. */
export const RETRIES = { retries: 9, minTimeout: 500, maxTimeout: 60_000, randomize: true };

/** Errors of the store are not the source's: the import continues when the store can be written again. */
const isFinal = (error: unknown): boolean => error instanceof UserError || error instanceof StoreError;

/** Number of parts from the first on that have arrived whole. */
function wholeParts(received: ReadonlyMap<number, number>): number {
  let count = 0;
  while (received.get(count + 1) === PART_BYTES) count++;
  return count;
}

export class Transfer {
  private record: StoredDataset;
  private next = 1;
  private ended = false;

  constructor(
    record: StoredDataset,
    private readonly source: Source,
    private readonly uploads: Uploads,
    private readonly signal: AbortSignal,
    private readonly retries = RETRIES,
  ) {
    this.record = record;
  }

  /** Throws UserError where the file cannot be imported, StoreError where it cannot be stored now. */
  async run(): Promise<void> {
    this.next = wholeParts(await this.uploads.received(this.record.id)) + 1;
    while (!this.ended && !this.isWhole()) {
      await pRetry(
        () =>
          this.step().catch((error: unknown) => {
            throw isFinal(error) ? new AbortError(error as Error) : error;
          }),
        { ...this.retries, signal: this.signal },
      ).catch((error: Error) => {
        if (isFinal(error) || this.signal.aborted) throw error;
        throw new UserError(`url: ${error.message}; given up after ${this.retries.retries + 1} attempts`, {
          cause: error,
        });
      });
    }
  }

  private get offset(): number {
    return (this.next - 1) * PART_BYTES;
  }

  private isWhole(): boolean {
    const total = this.record.source?.total ?? null;
    return total !== null && this.offset >= total;
  }

  /** One request, and the parts that its answer fills: one, or all of them from a server that knows no ranges. */
  private async step(): Promise<void> {
    const answer = await this.source.read(this.offset, PART_BYTES, this.signal);
    await this.expectSame(answer);
    const { total } = answer;
    let number = answer.from / PART_BYTES + 1;
    for await (const piece of pieces(answer.body, PART_BYTES)) {
      this.signal.throwIfAborted();
      const whole = total === null || piece.length === Math.min(PART_BYTES, total - (number - 1) * PART_BYTES);
      if (!whole)
        throw new Error(`the answer ended after ${(number - 1) * PART_BYTES + piece.length} of ${total} bytes`);
      if (number === this.next) await this.store(piece, answer);
      number++;
    }
    this.ended = total === null;
    if (total !== null && number === 1) throw new UploadError("url", "an empty file", ARCHIVES);
  }

  private async store(piece: Uint8Array, { type }: Answer): Promise<void> {
    if (this.next === 1) {
      const found = noArchive(piece);
      if (found !== undefined) throw new UploadError("url", `${found} (${type ?? "of no type"})`, ARCHIVES);
    }
    await this.uploads.put(this.record.id, this.next, piece);
    this.next++;
  }

  /** The first answer says what file it is; all later ones must be of the same. */
  private async expectSame({ total, etag }: Answer): Promise<void> {
    const { id, source } = this.record;
    if (!source) throw new Error(`dataset ${id} is no import`);
    if (source.total === null && source.etag === null) {
      if (total !== null) await this.uploads.expectRoom("url", total, this.offset);
      const described = await this.uploads.describe(id, { total, etag });
      if (!described) throw new UserError(`dataset ${id}: was deleted`);
      this.record = described;
    } else if (source.total !== total || source.etag !== etag) {
      const what = (of: Pick<Answer, "total" | "etag">) => `${of.total} bytes, etag ${of.etag}`;
      throw new UploadError("url", `a file that has changed: ${what({ total, etag })}`, what(source));
    }
  }
}
