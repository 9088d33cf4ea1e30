/**
 * Threads that meet inside a layer, for batch norm over a batch of which each has a split (`norm: "batch"`). There is a thread
 * for each split, since all of them have to be in the same layer; no more than `atOnce` of them compute at a time.
 * What they share is added up in the order of splits, so the bits do not depend on how many compute at once.
 */
import type { NormMeeting } from "../../kernels/batch_norm/index.ts";

/** Places in `control`: threads that have arrived, the round they are in, free turns, whether a thread has failed. */
const [ARRIVED, ROUND, TURNS, FAILED] = [0, 1, 2, 3];

/** A thread waits for another one that has failed. */
export class MeetingBroken extends Error {
  override name = "MeetingBroken";
}

export class Meeting implements NormMeeting {
  constructor(
    private readonly shared: { readonly control: Int32Array; readonly values: Float64Array },
    readonly parts: number,
    private readonly part: number,
  ) {}

  /** Before the first task: so many threads compute at a time. */
  static open({ control }: { readonly control: Int32Array }, atOnce: number): void {
    if (control.length > 0) Atomics.store(control, TURNS, atOnce);
  }

  /** Lets threads that wait fail, since one of them will not come. */
  static abandon({ control }: { readonly control: Int32Array }): void {
    if (control.length === 0) return;
    Atomics.store(control, FAILED, 1);
    Atomics.notify(control, ROUND);
  }

  /** Runs `work` in this thread's turn. Where it fails, the threads that wait for this one fail too. */
  run<T>(work: () => T): T {
    this.takeTurn();
    try {
      return work();
    } catch (error) {
      Meeting.abandon(this.shared);
      throw error;
    } finally {
      this.giveTurn();
    }
  }

  /** @throws MeetingBroken where another thread has failed. */
  gather(own: Float64Array): Float64Array {
    const { values } = this.shared;
    values.set(own, this.part * own.length);
    this.meet();
    const all = values.slice(0, this.parts * own.length);
    this.meet(); // no part writes its next values before all have read these
    return all;
  }

  private meet(): void {
    const { control } = this.shared;
    const round = Atomics.load(control, ROUND);
    if (Atomics.add(control, ARRIVED, 1) === this.parts - 1) {
      Atomics.store(control, ARRIVED, 0);
      Atomics.add(control, ROUND, 1);
      Atomics.notify(control, ROUND);
      return;
    }
    this.giveTurn();
    while (Atomics.load(control, ROUND) === round) {
      if (Atomics.load(control, FAILED) !== 0) {
        this.takeTurn();
        throw new MeetingBroken("another thread failed in this layer");
      }
      Atomics.wait(control, ROUND, round, 100);
    }
    this.takeTurn();
  }

  private takeTurn(): void {
    const { control } = this.shared;
    for (;;) {
      const free = Atomics.load(control, TURNS);
      if (free > 0 && Atomics.compareExchange(control, TURNS, free, free - 1) === free) return;
      if (free === 0) Atomics.wait(control, TURNS, 0);
    }
  }

  private giveTurn(): void {
    Atomics.add(this.shared.control, TURNS, 1);
    Atomics.notify(this.shared.control, TURNS, 1);
  }
}
