/** Whether activations and their gradients are kept as float16. Sums are float32 either way, and so are parameters. */
let half = false;

/** Runs `use` with activations in float16. */
export function inHalf<T>(wanted: boolean, use: () => T): T {
  const before = half;
  half = wanted;
  try {
    return use();
  } finally {
    half = before;
  }
}

/** Whether a tensor of this shape is to be float16: channels in fours only, as they are read. */
export const halfWanted = (shape: readonly number[]): boolean => half && (shape.at(-1) as number) % 4 === 0;
