/** How much of a limit is used, without counting everything that is stored for each write. */

/** A total is measured anew after this. */
const FRESH_MS = 10_000;

/**
 * The bytes below a limit that several processes share. A process measures the total now and then, and adds its own writes to it
 * meanwhile. What the other processes write is seen at the next measurement, so that together they may exceed the limit by
 * what they write within `FRESH_MS`: a limit on disk use needs no more, and a counter that they share could drift from what is
 * stored. A write is refused only by a total that was just measured, so bytes that were deleted elsewhere are available at once.
 */
export class Usage {
  private measuredAt = Number.NEGATIVE_INFINITY;
  private measured = 0;
  /** Bytes of this process since the measurement began. */
  private added = 0;
  /** Bytes whose writes have not ended. */
  private pending = 0;
  private measuring: Promise<void> | undefined;

  /** @param measure - Counts what is stored. */
  constructor(
    readonly limit: number,
    private readonly measure: () => Promise<number>,
    private readonly freshMs = FRESH_MS,
  ) {}

  /** Throws what `refusal` makes of the bytes that are left, where they are fewer than `bytes`. */
  async expectRoom(bytes: number, refusal: (left: number) => Error): Promise<void> {
    if (this.limit === Number.POSITIVE_INFINITY) return;
    if (performance.now() - this.measuredAt > this.freshMs || this.left < bytes) await this.update();
    if (this.left < bytes) throw refusal(Math.max(0, this.left));
  }

  /** Runs a write of `bytes` where there is room. They count from now on, a failed write's until the next measurement. */
  async write(bytes: number, work: () => Promise<void>, refusal: (left: number) => Error): Promise<void> {
    await this.expectRoom(bytes, refusal);
    // Another write may have taken the room while this one waited.
    if (this.left < bytes) throw refusal(Math.max(0, this.left));
    this.added += bytes;
    this.pending += bytes;
    try {
      await work();
    } finally {
      this.pending -= bytes;
    }
  }

  private get left(): number {
    return this.limit - this.measured - this.added;
  }

  private update(): Promise<void> {
    this.measuring ??= this.remeasure().finally(() => {
      this.measuring = undefined;
    });
    return this.measuring;
  }

  private async remeasure(): Promise<void> {
    // Writes in progress may be missing from what is measured, so they count in any case: at worst twice, for a moment.
    this.added = this.pending;
    this.measured = await this.measure();
    this.measuredAt = performance.now();
  }
}
