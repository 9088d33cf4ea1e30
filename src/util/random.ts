/**
 * Counter-based random numbers: Philox-4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
 * A number is a pure function of (seed, purpose, a, b, c), so no generator state exists, and none is saved.
 */

/** The use of a stream. Two purposes never share numbers. The values are part of the resume contract: append only. */
export const purposes = {
  init: 0,
  order: 1,
  view: 2,
  shuffle: 3,
  queue: 4,
  probe: 5,
  subset: 6,
  map: 7,
  drop: 8,
  text: 9,
} as const;
export type Purpose = keyof typeof purposes;

const M0 = 0xd2511f53;
const M1 = 0xcd9e8d57;
const W0 = 0x9e3779b9;
const W1 = 0xbb67ae85;

function mulHigh(a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16);
  const middle2 = aLow * bHigh + (middle & 0xffff);
  return (aHigh * bHigh + Math.floor(middle / 65536) + Math.floor(middle2 / 65536)) >>> 0;
}

/** Philox, ten rounds: counter u32[4], key u32[2] -> u32[4], written over `counter`. */
export function philox(counter: Uint32Array, key0: number, key1: number): void {
  let [c0, c1, c2, c3] = counter as unknown as [number, number, number, number];
  let k0 = key0 >>> 0;
  let k1 = key1 >>> 0;
  for (let round = 0; round < 10; round++) {
    const high0 = mulHigh(M0, c0);
    const high1 = mulHigh(M1, c2);
    const low0 = Math.imul(M0, c0) >>> 0;
    const low1 = Math.imul(M1, c2) >>> 0;
    c0 = (high1 ^ c1 ^ k0) >>> 0;
    c1 = low1;
    c2 = (high0 ^ c3 ^ k1) >>> 0;
    c3 = low0;
    k0 = (k0 + W0) >>> 0;
    k1 = (k1 + W1) >>> 0;
  }
  counter[0] = c0;
  counter[1] = c1;
  counter[2] = c2;
  counter[3] = c3;
}

/** The random numbers of one (seed, purpose, a, b, c). Cheap to create, for each sample and view. */
export class Stream {
  private readonly block = new Uint32Array(4);
  private used = 4;
  private draws = 0;
  private readonly key1: number;

  constructor(
    private readonly seed: number,
    purpose: Purpose,
    private readonly a = 0,
    private readonly b = 0,
    private readonly c = 0,
  ) {
    this.key1 = purposes[purpose];
  }

  /** Uniform u32. */
  u32(): number {
    if (this.used === 4) {
      this.block[0] = this.draws++;
      this.block[1] = this.a;
      this.block[2] = this.b;
      this.block[3] = this.c;
      philox(this.block, this.seed, this.key1);
      this.used = 0;
    }
    return this.block[this.used++] as number;
  }

  /** Uniform in [low, high), 32 bits. */
  uniform(low = 0, high = 1): number {
    return low + (high - low) * (this.u32() / 2 ** 32);
  }

  /** Uniform integer in [0, n). */
  int(n: number): number {
    return Math.floor(this.uniform() * n);
  }

  /** Standard normal (Box and Muller). */
  normal(): number {
    const radius = Math.sqrt(-2 * Math.log((this.u32() + 1) / 2 ** 32));
    return radius * Math.cos(2 * Math.PI * this.uniform());
  }

  /** A permutation of 0..n-1 (Fisher and Yates). */
  permutation(n: number): Int32Array {
    const order = Int32Array.from({ length: n }, (_, i) => i);
    for (let i = n - 1; i > 0; i--) {
      const j = this.int(i + 1);
      const kept = order[i] as number;
      order[i] = order[j] as number;
      order[j] = kept;
    }
    return order;
  }
}
