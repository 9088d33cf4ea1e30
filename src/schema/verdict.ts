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
  readonly state: "queue warming" | "at chance" | "collapsed" | "leaking" | "unstable" | "learning";
  readonly message: string;
}

/** What a verdict rests on: one epoch of a run. */
export interface Evidence {
  readonly step: number;
  /** Share of all steps that are done at the middle of the epoch; unset: all. */
  readonly progress?: number;
  readonly loss: number;
  /** Means over the epoch, by name. */
  readonly metrics: Readonly<Record<string, number>>;
  readonly spread: Spread | null;
  readonly knn: number | null;
  readonly untrainedKnn: number | null;
  /** Best kNN of earlier epochs, where the method looks for dips. */
  readonly bestKnn?: number | null;
  /** Each step's figures of the epoch, by name; `step` is that of the last one. */
  readonly series?: Readonly<Record<string, readonly number[]>>;
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

/** A norm so many times the median of its neighbours is a spike. */
const SPIKE = 8;
/** Steps on either side that are its neighbours. */
const NEIGHBOURS = 25;
/** kNN that fell by so much below its best has dipped. */
const DIP = 0.03;

/** Each value over the median of its neighbours, 0 where that is 0; none of a short series. */
export function overNeighbours(values: readonly number[]): number[] {
  if (values.length < NEIGHBOURS) return [];
  return values.map((value, index) => {
    const around = values.slice(Math.max(0, index - NEIGHBOURS), index + NEIGHBOURS + 1).sort((a, b) => a - b);
    const median = around[Math.floor(around.length / 2)] as number;
    return median > 0 ? value / median : 0;
  });
}

/** Spikes of the gradient and dips of kNN: what instability looks like, which the loss hardly shows (MoCo v3, section 4). */
export function unstable({ series = {}, step, knn, bestKnn }: Evidence, advice: string): Verdict | undefined {
  const found = (
    [
      ["gradientFirst", "the first layer"],
      ["gradientLast", "the last block"],
    ] as const
  ).flatMap(([name, layer]) => {
    const over = overNeighbours(series[name] ?? []);
    const times = over.reduce((most, v) => Math.max(most, v), 0);
    if (times < SPIKE) return [];
    const at = step - over.length + over.indexOf(times) + 1;
    return [`the gradient of ${layer} was ${times.toFixed(0)} times its median at step ${at}`];
  });
  const fall = knn !== null && bestKnn ? bestKnn - knn : 0;
  if (found.length === 0 && fall < DIP) return undefined;
  if (fall > 0) found.push(`kNN fell by ${(100 * fall).toFixed(1)} from its best`);
  return { state: "unstable", message: `${found.join(", ")}: ${advice}` };
}
