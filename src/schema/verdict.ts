/** "Is my training working?" in words, from what a run measures: the question that users of every peer ask. */

/** How features are spread over the sphere; `evaluate/health.ts` computes it. */
export interface Spread {
  /** log of the mean of exp(-2 |a - b|^2) over pairs (Wang and Isola 2020, eq. 4, t = 2): 0 is collapse, -4 spread. */
  uniformity: number;
  /** exp of the entropy of the singular values (RankMe, Garrido et al. 2023): 1 is collapse, at most F. */
  effectiveRank: number;
  /** Standard deviation of a coordinate times sqrt(F): 0 is collapse, 1 is even on the sphere (lightly's debug helper). */
  std: number;
}

export interface Verdict {
  readonly state: "queue warming" | "at chance" | "collapsed" | "leaking" | "learning";
  readonly message: string;
}

/** What a verdict rests on: one epoch of a run. */
export interface Evidence {
  readonly step: number;
  readonly loss: number;
  /** Means over the epoch, by name. */
  readonly metrics: Readonly<Record<string, number>>;
  readonly spread: Spread | null;
  readonly knn: number | null;
  readonly untrainedKnn: number | null;
}

/** The loss is within this share of that of guessing. */
const CHANCE = 0.03;
const COLLAPSED_COSINE = 0.95;
/** Of Spread.std. Untrained encoders have about 0.1. */
const COLLAPSED_STD = 0.05;
/** kNN counts as flat below this gain over the untrained encoder. */
const FLAT_KNN = 0.01;

export const percent = (share: number) => `${(100 * share).toFixed(1)}%`;

/** kNN is no better than that of the untrained encoder. */
export const isFlat = ({ knn, untrainedKnn }: Evidence): boolean =>
  knn !== null && untrainedKnn !== null && knn < untrainedKnn + FLAT_KNN;

/** `cosine`: the mean of two different images' features, where the method measures it. */
export function collapsed({ spread }: Evidence, advice: string, cosine?: number): Verdict | undefined {
  const aligned = cosine !== undefined && cosine > COLLAPSED_COSINE;
  if (!aligned && !(spread !== null && spread.std < COLLAPSED_STD)) return undefined;
  const figures = [
    ...(cosine === undefined ? [] : [`mean cosine with other images ${cosine.toFixed(2)}`]),
    ...(spread ? [`effective rank ${spread.effectiveRank.toFixed(1)}`] : []),
  ];
  return {
    state: "collapsed",
    message: `all images have nearly the same features (${figures.join(", ")}): ${advice}`,
  };
}

/** `chance`: the loss of guessing, `formula` what it is. */
export function atChance({ loss }: Evidence, chance: number, formula: string, advice: string): Verdict | undefined {
  if (loss <= (1 - CHANCE) * chance) return undefined;
  return {
    state: "at chance",
    message: `the loss ${loss.toFixed(2)} is that of guessing, ${formula} = ${chance.toFixed(2)}: ${advice}`,
  };
}

/** `figures`: what to say besides kNN. */
export function learning({ knn, untrainedKnn }: Evidence, figures: string): Verdict {
  const gain =
    knn !== null && untrainedKnn !== null ? `, kNN ${percent(knn)} from ${percent(untrainedKnn)} untrained` : "";
  return { state: "learning", message: figures + gain };
}
