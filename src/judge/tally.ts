/** How far an evaluation is. */
import type { Progress } from "../schema/job.ts";

/**
 * Counts images: each time one goes through an encoder, and each once for a fit on features that are kept, whose epochs
 * take next to no time.
 */
export class Tally {
  private readonly startedAt = performance.now();
  /** Images so far, those of earlier lives included. */
  images = 0;
  /** Images in all. */
  of = 0;
  private earlier = 0;
  private fit: { epoch: number; epochs: number; loss: number | null } = { epoch: 0, epochs: 0, loss: null };

  /** Seconds of this life. */
  get seconds(): number {
    return (performance.now() - this.startedAt) / 1000;
  }

  advance(images: number): void {
    this.images += images;
  }

  /** Counts images that an earlier life has dealt with. */
  skip(images: number): void {
    this.images += images;
    this.earlier += images;
  }

  /** Notes how many epochs of the fit in progress are done. */
  fitting(epoch: number, epochs: number, loss: number | null = null): void {
    this.fit = { epoch, epochs, loss };
  }

  progress(): Omit<Progress, "checkpointSeconds"> {
    const { images, of, earlier } = this;
    const pace = images > earlier ? (images - earlier) / this.seconds : null;
    const eta = pace && (of - images) / pace;
    return { ...this.fit, step: images, steps: of, imagesPerSecond: pace, eta, knn: null, dataWait: 0, verdict: null };
  }
}
