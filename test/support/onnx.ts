/** Features of an exported ONNX file by ONNX Runtime. */
import { expect } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { temporaryFolder } from "./helpers.ts";

/** `input`: images f32[N,C,H,W], or tokens i64[N,L]. Returns f32[N,F]. */
export function onnxFeatures(
  model: Uint8Array,
  input: Float32Array | BigInt64Array,
  shape: readonly number[],
): Float32Array {
  using folder = temporaryFolder();
  const [file, given] = [join(folder.path, "tower.onnx"), join(folder.path, "input.raw")];
  writeFileSync(file, model);
  writeFileSync(given, input);
  const command = [process.execPath, join(import.meta.dir, "onnx_run.ts"), file, given, ...shape.map(String)];
  const { stdout, exitCode } = Bun.spawnSync(command, { stdio: ["ignore", "pipe", "inherit"] });
  expect(exitCode).toBe(0);
  return new Float32Array(new Uint8Array(stdout).buffer);
}

/** [N,side,side,channels] -> [N,channels,side,side] */
export function channelsFirst(pixels: Float32Array, side: number, channels: number): Float32Array {
  const places = side * side;
  const out = new Float32Array(pixels.length);
  pixels.forEach((v, i) => {
    const [n, place, c] = [Math.floor(i / (places * channels)), Math.floor(i / channels) % places, i % channels];
    out[(n * channels + c) * places + place] = v;
  });
  return out;
}
