/** Every augmentation, alone and together, equals torchvision's tensor ops (bilinear with antialias). */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { PLACE } from "../../src/data/source.ts";
import { ROW } from "../../src/data/view.ts";
import { augment } from "../../src/kernels/augment/index.ts";
import { devices, useTestDevice } from "../support/devices.ts";
import { golden } from "../support/helpers.ts";

const [HEIGHT, WIDTH, SIZE] = [24, 18, 16];
const theirs = golden("augment.safetensors");

describe.each(devices)("%s", (device) => {
  beforeAll(() => useTestDevice(device));
  afterAll(() => useTestDevice("wasm"));

  test("given the same parameters every view is torchvision's, to 1e-5", async () => {
    const rows = theirs("rows");
    const expected = theirs("views");
    const count = rows.length / ROW;
    const pixels = Uint8Array.from({ length: HEIGHT * WIDTH * 3 }, (_, i) => Math.imul(i, 2654435761) >>> 24);
    const places = Float64Array.from({ length: count * PLACE }, (_, i) => [0, HEIGHT, WIDTH][i % PLACE] as number);
    const batch = { pixels, places, channels: 3 };
    const views = await augment(batch, rows, SIZE, [0, 0, 0], [1, 1, 1]).data();
    expect(views.length).toBe(expected.length);
    const bytes = SIZE * SIZE * 3;
    const off = Array.from({ length: count }, (_, view) => {
      const [got, wanted] = [views, expected].map((all) => all.subarray(view * bytes, (view + 1) * bytes));
      const worst = Math.max(...Array.from(got as Float32Array, (v, i) => Math.abs(v - (wanted?.[i] as number))));
      return { view, row: [...rows.subarray(view * ROW, (view + 1) * ROW)].join(" "), worst };
    });
    expect(off.filter(({ worst }) => !(worst < 1e-5))).toEqual([]);
  });
});
