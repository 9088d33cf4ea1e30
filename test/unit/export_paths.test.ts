/** Names of the files that `mocod export` writes. */
import { expect, test } from "bun:test";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { exportPaths } from "../../cli/export_paths.ts";
import { temporaryFolder } from "../support/helpers.ts";

const one = [".onnx"];
const several = [".image.onnx", ".text.onnx", ".tokenizer.json"];

test("files of an export: after the run, in a folder, or after the main file", () => {
  expect(exportPaths("run_1", one)).toEqual(["run_1.onnx"]);
  expect(exportPaths("run_1", several)).toEqual(["run_1.image.onnx", "run_1.text.onnx", "run_1.tokenizer.json"]);
  expect(exportPaths("run_1", one, "encoder")).toEqual(["encoder"]);
  const named = ["clip.text.onnx", "clip.tokenizer.json"];
  expect(exportPaths("run_1", several, "clip.onnx")).toEqual(["clip.onnx", ...named]);
  expect(exportPaths("run_1", several, "clip.image.onnx")).toEqual(["clip.image.onnx", ...named]);
  expect(exportPaths("run_1", several, "v1.5/clip")).toEqual([
    "v1.5/clip",
    "v1.5/clip.text.onnx",
    "v1.5/clip.tokenizer.json",
  ]);
  using folder = temporaryFolder();
  const out = join(folder.path, "out");
  mkdirSync(out);
  expect(exportPaths("run_1", several, out)).toEqual(several.map((suffix) => join(out, `run_1${suffix}`)));
});
