/** "Is my training working?" in words, from what a run measures: the question that users of every peer ask. */
import { keysPerStep, type PretrainSpec } from "../schema/pretrain.ts";
import type { Spread } from "./health.ts";

export const verdictStates = ["queue warming", "at chance", "collapsed", "leaking", "learning"] as const;

export interface Verdict {
  readonly state: (typeof verdictStates)[number];
  readonly message: string;
}

/** What a verdict rests on: one epoch of a run. */
export interface Evidence {
  step: number;
  loss: number;
  /** (K+1)-way accuracy, mean over the epoch. */
  top1: number;
  /** Mean cosine of a query with the queue. */
  negative: number;
  spread: Spread | null;
  knn: number | null;
  untrainedKnn: number | null;
}

/** The loss is within this share of log(K+1). */
const CHANCE = 0.03;
const COLLAPSED_COSINE = 0.95;
/** Of Spread.std. Untrained encoders have about 0.1. */
const COLLAPSED_STD = 0.05;
const LEAK_ACCURACY = 0.95;
/** kNN counts as flat below this gain over the untrained encoder. */
const FLAT_KNN = 0.01;

const percent = (share: number) => `${(100 * share).toFixed(1)}%`;

export function judge(spec: PretrainSpec, e: Evidence): Verdict {
  const directions = spec.symmetric ? 2 : 1;
  const chance = directions * Math.log(spec.queueSize + 1);
  const filled = e.step * keysPerStep(spec);
  // An untrained encoder looks collapsed as well, so that is judged only once the queue is full.
  if (filled < spec.queueSize) {
    return {
      state: "queue warming",
      message:
        `the queue still holds ${spec.queueSize - filled} random vectors of ${spec.queueSize}; while they are replaced ` +
        "by real keys the loss rises, as it does in the first epochs of the authors' own log: no cause for concern",
    };
  }
  const collapsed = e.negative > COLLAPSED_COSINE || (e.spread !== null && e.spread.std < COLLAPSED_STD);
  if (collapsed) {
    return {
      state: "collapsed",
      message:
        `all images have nearly the same features (mean cosine with the queue ${e.negative.toFixed(2)}` +
        `${e.spread ? `, effective rank ${e.spread.effectiveRank.toFixed(1)}` : ""}): lower optimizer.lr, ` +
        "or raise momentum (with m = 0 MoCo fails)",
    };
  }
  const flat = e.knn !== null && e.untrainedKnn !== null && e.knn < e.untrainedKnn + FLAT_KNN;
  if (e.top1 > LEAK_ACCURACY && flat) {
    return {
      state: "leaking",
      message:
        `queries find their key in ${percent(e.top1)} of cases while kNN stays at ${percent(e.knn as number)} ` +
        `(untrained ${percent(e.untrainedKnn as number)}): batch norm tells them which key is theirs; ` +
        `set shuffle: true and splits above 1 (now ${spec.shuffle}, ${spec.splits})`,
    };
  }
  if (e.loss > (1 - CHANCE) * chance) {
    return {
      state: "at chance",
      message:
        `the loss ${e.loss.toFixed(2)} is that of guessing, log(K+1) = ${chance.toFixed(2)}: give it more epochs, ` +
        "or lower optimizer.lr, lighten the crops (augmentation.cropScale) or lower temperature",
    };
  }
  const gain =
    e.knn !== null && e.untrainedKnn !== null
      ? `, kNN ${percent(e.knn)} from ${percent(e.untrainedKnn)} untrained`
      : "";
  return {
    state: "learning",
    message: `loss ${e.loss.toFixed(2)} of ${chance.toFixed(2)} at chance, accuracy ${percent(e.top1)}${gain}`,
  };
}
