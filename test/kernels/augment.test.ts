/** Every augmentation, alone and together, equals torchvision's tensor ops (bilinear with antialias), of 8 and 16 bits, of colours and of bands. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { PLACE } from "../../src/data/source.ts";
import type { ValueBytes } from "../../src/data/types.ts";
import { ROW, rowFloats } from "../../src/data/view.ts";
import { augment } from "../../src/kernels/augment/index.ts";
import { devices, useTestDevice } from "../support/devices.ts";
import { golden } from "../support/helpers.ts";

const [HEIGHT, WIDTH, SIZE] = [24, 18, 16];
/** The upper `bits` of a hash of each index, as the scripts of test/golden have them. */
const noise = (count: number, bits: number) =>
  Array.from({ length: count }, (_, i) => Math.imul(i, 2654435761) >>> (32 - bits));

/** Views of one image by all rows, and those that are not what is expected to 1e-5. */
async function wrongViews(
  values: readonly number[],
  { channels, valueBytes }: { channels: number; valueBytes: ValueBytes },
  rows: Float32Array,
  expected: Float32Array,
) {
  const row = rowFloats(channels);
  const count = rows.length / row;
  const pixels = valueBytes === 2 ? new Uint8Array(Uint16Array.from(values).buffer) : Uint8Array.from(values);
  const places = Float64Array.from({ length: count * PLACE }, (_, i) => [0, HEIGHT, WIDTH][i % PLACE] as number);
  const [mean, std] = [0, 1].map((of) => Array<number>(channels).fill(of)) as [number[], number[]];
  const views = await augment({ pixels, places, channels, valueBytes }, rows, SIZE, mean, std).data();
  expect(views.length).toBe(expected.length);
  const size = SIZE * SIZE * channels;
  const all = Array.from({ length: count }, (_, view) => {
    const [got, wanted] = [views, expected].map((of) => of.subarray(view * size, (view + 1) * size));
    const worst = Math.max(...Array.from(got as Float32Array, (v, i) => Math.abs(v - (wanted?.[i] as number))));
    return { view, row: [...rows.subarray(view * row, (view + 1) * row)].join(" "), worst };
  });
  return all.filter(({ worst }) => !(worst < 1e-5));
}

describe.each(devices)("%s", (device) => {
  beforeAll(() => useTestDevice(device));
  afterAll(() => useTestDevice("wasm"));

  test("given the same parameters every view is torchvision's, to 1e-5", async () => {
    const theirs = golden("augment.safetensors");
    const pixels = noise(HEIGHT * WIDTH * 3, 8);
    expect(rowFloats(3)).toBe(ROW);
    const rgb = { channels: 3, valueBytes: 1 } as const;
    expect(await wrongViews(pixels, rgb, theirs("rows"), theirs("views"))).toEqual([]);
    // 257 v of 65,535 is v of 255.
    const deep = pixels.map((v) => 257 * v);
    expect(await wrongViews(deep, { ...rgb, valueBytes: 2 }, theirs("rows"), theirs("views"))).toEqual([]);
  });

  test("so is every view of six bands of 16 bits, each jittered by itself", async () => {
    const theirs = golden("bands.safetensors");
    const bands = { channels: 6, valueBytes: 2 } as const;
    expect(await wrongViews(noise(HEIGHT * WIDTH * 6, 16), bands, theirs("rows"), theirs("views"))).toEqual([]);
  });

  test.each([2, 4, 5, 13])("%i bands are each what one band alone is", async (channels) => {
    const values = noise(HEIGHT * WIDTH * channels, 16);
    const rows = new Float32Array(rowFloats(channels));
    rows.set([2, 1, 20, 15, 1, 1, 1, 1, 1, 0, 3, 1, 0, 2, 0, 0.8, 0]);
    const factors = Array.from({ length: 2 * channels }, (_, i) => 0.6 + (0.8 * i) / channels);
    rows.set(factors, ROW);
    const expected = new Float32Array(SIZE * SIZE * channels);
    for (let c = 0; c < channels; c++) {
      const pixels = new Uint8Array(Uint16Array.from(values.filter((_, i) => i % channels === c)).buffer);
      const row = rows.slice(0, ROW);
      row.set([factors[c] as number, factors[channels + c] as number], 6);
      const batch = { pixels, places: Float64Array.of(0, HEIGHT, WIDTH), channels: 1, valueBytes: 2 } as const;
      const view = await augment(batch, row, SIZE, [0], [1]).data();
      for (const [i, v] of view.entries()) expected[i * channels + c] = v;
    }
    expect(await wrongViews(values, { channels, valueBytes: 2 }, rows, expected)).toEqual([]);
  });
});
