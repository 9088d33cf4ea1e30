/** The device's heap at its ends: addresses beyond 2 GB, and no room left. Nothing here touches what it takes. */
import { beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import * as tf from "@tensorflow/tfjs-core";
import { allocate, pointer, wasmDevice } from "../../src/backend/wasm.ts";
import { centreRow, ROW } from "../../src/data/view.ts";
import { augment } from "../../src/kernels/augment/index.ts";
import { conv2dReference, type Geometry } from "../../src/kernels/conv2d/reference.ts";
import { openDevice } from "../../src/kernels/index.ts";
import { relativeError, wave } from "../support/helpers.ts";

beforeAll(openDevice);

const free = (tensors: tf.TensorInfo[]) => {
  for (const { dataId } of tensors) wasmDevice().backend.disposeData(dataId);
};

test("no room: an error, what is there stays as it is, and nothing is given out afterwards", () => {
  const program = join(import.meta.dir, "../support/heap_exhausted.ts");
  const { stdout, stderr } = Bun.spawnSync([process.execPath, program], { stdio: ["ignore", "pipe", "pipe"] });
  expect(stderr.toString()).toBe("");
  expect(JSON.parse(stdout.toString())).toEqual({
    atOnce: "DeviceMemoryError: no room for 2147483648 bytes more",
    together: "DeviceMemoryError: no room for 1600000000 bytes more",
    afterwards: "DeviceMemoryError: no room for 16 bytes more",
    kept: [1, 2, 3],
  });
});

test("addresses beyond 2 GB are as good as others", () => {
  const below = [allocate([500_000_000])];
  // Fills every gap below, from the large ones to the small ones.
  for (const floats of [10_000_000, 100_000, 5_000, 400, 40]) {
    do below.push(allocate([floats]));
    while (pointer(below.at(-1) as tf.TensorInfo) < 2 ** 31);
  }
  const g: Geometry = { n: 1, h: 9, w: 9, ci: 8, co: 24, kh: 3, kw: 3, stride: 1, pad: 1 };
  const [x, f] = [wave(81 * 8, 1), wave(9 * 8 * 24, 2)];
  tf.tidy(() => {
    const xt = tf.tensor4d(x, [1, 9, 9, 8]);
    expect(pointer(xt)).toBeGreaterThan(2 ** 31);
    const y = tf.conv2d(xt, tf.tensor4d(f, [3, 3, 8, 24]), 1, 1);
    expect(relativeError(y.dataSync(), conv2dReference(g, x, f))).toBeLessThan(2e-5);
    const images = { pixels: Uint8Array.of(7, 8, 9, 10), places: Float64Array.of(0, 2, 2), channels: 1 };
    const row = new Float32Array(ROW);
    centreRow(row, 0, 2, 2, 3, 1);
    expect([...augment(images, row, 2, [0], [1 / 255]).dataSync()].map(Math.round)).toEqual([7, 8, 9, 10]);
  });
  free(below);
});
