/** Which training images are trained on, and which are held out for the monitor. */
import { shares } from "../schema/dataset.ts";
import { Stream } from "../util/random.ts";

/**
 * Parts `count` training images: `holdout` for choosing and watching, the rest for training, of which at most `images`.
 * The parts depend on dataset size and seed only, so a probe never trains on what the monitor judged.
 */
export function partition(count: number, holdout: number, images: number | undefined, seed: number) {
  const order = new Stream(seed, "subset").permutation(count);
  const { heldOut, trained } = shares(count, holdout, images);
  return { holdout: order.slice(0, heldOut), train: order.slice(heldOut, heldOut + trained) };
}
