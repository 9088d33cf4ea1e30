/** From `from` to `to` by half a cosine; `progress` is the share of all steps that are done, in [0, 1]. */
export const byCosine = (from: number, to: number, progress: number): number =>
  to + ((from - to) * (Math.cos(Math.PI * progress) + 1)) / 2;
