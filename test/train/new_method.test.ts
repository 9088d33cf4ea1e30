/** What a method costs to add: its file, its schema, and a line for each. Nothing else knows any method. */
import { expect, test } from "bun:test";
import { cpSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { methodNames, schemaOf } from "../../src/schema/pretrain.ts";
import { temporaryFolder, writeFashionLike } from "../support/helpers.ts";

const root = join(import.meta.dir, "../..");

/** Puts `line` before the first line that has `before` in it. */
function insert(file: string, before: string, line: string): void {
  const lines = readFileSync(file, "utf8").split("\n");
  const at = lines.findIndex((text) => text.includes(before));
  if (at < 0) throw new Error(`${file} has no line with ${before}`);
  writeFileSync(file, [...lines.slice(0, at), line, ...lines.slice(at)].join("\n"));
}

/** The methods of the fixtures, by the file that has them: one whose loss is over the batch, and one over rows. */
const added = ["toy", "distil"];

/** The repository's source with those methods in it, and the suite of all methods. */
function withMethods(folder: string): void {
  cpSync(join(root, "src"), join(folder, "src"), { recursive: true });
  for (const name of ["package.json", "tsconfig.json"]) cpSync(join(root, name), join(folder, name));
  symlinkSync(join(root, "node_modules"), join(folder, "node_modules"));
  const fixtures = join(root, "test/fixtures/method");
  const [methods, schemas] = [join(folder, "src/methods/index.ts"), join(folder, "src/schema/methods/index.ts")];
  for (const name of added) {
    cpSync(join(fixtures, `${name}.ts`), join(folder, `src/methods/${name}.ts`));
    cpSync(join(fixtures, `${name}_schema.ts`), join(folder, `src/schema/methods/${name}.ts`));
    insert(methods, "import", `import { ${name} } from "./${name}.ts";`);
    insert(methods, "  supervised,", `  ${name},`);
    insert(schemas, "import", `import { ${name}Schema } from "./${name}.ts";`);
    insert(schemas, "  mocoSchema,", `  ${name}Schema,`);
  }
  for (const file of ["bunfig.toml", "test/preload.ts", "test/golden/formulas.ts", "test/train/methods.test.ts"]) {
    cpSync(join(root, file), join(folder, file));
  }
  cpSync(join(root, "test/support"), join(folder, "test/support"), { recursive: true });
  cpSync(join(fixtures, "own_suite.ts"), join(folder, "test/train/own.test.ts"));
}

const PROGRAM = `
import { parseSpec } from "./src/schema/job.ts";
import { lint } from "./src/schema/lint.ts";
import { LocalBlobs } from "./src/store/local_blobs.ts";
import { RunStore } from "./src/store/run_store.ts";
import { footprint } from "./src/plan/footprint.ts";
import { pretrain } from "./src/train/pretrain.ts";
const spec = parseSpec("pretrain", {
  method: "toy", dim: 16, dataset: { kind: "fashion-mnist", path: "./data" }, batchSize: 16, splits: 4, epochs: 2,
  encoder: { width: 4 }, augmentation: { size: 16 }, monitor: { bank: 30, holdout: 12, k: 5 },
});
const outcomes = [];
for (const threads of [1, 3]) {
  const run = new RunStore(new LocalBlobs("./runs" + threads), "run_x");
  const context = { cache: "/nonexistent", log: () => undefined, progress: () => undefined, stopRequested: () => undefined };
  const { result } = await pretrain(spec, run, { threads, device: "wasm" }, context);
  const [line] = (await new Response(await Bun.file("./runs" + threads + "/runs/run_x/metrics.jsonl").text()).text()).trim().split("\\n").slice(-1);
  outcomes.push({ sha: result.checkpoint.sha256, loss: result.loss, verdict: result.verdict.message, metrics: Object.keys(JSON.parse(line)) });
}
const { tapes } = await footprint(spec, 1, 2);
console.log(JSON.stringify({ outcomes, tapes, lint: lint(spec) }));
process.exit(0);
`;

test("a method is its file, its schema and a line for each: it trains, resumes its bits, is planned and judged", () => {
  using folder = temporaryFolder();
  withMethods(folder.path);
  writeFashionLike(join(folder.path, "data"), 60, 20);
  writeFileSync(join(folder.path, "run.ts"), PROGRAM);
  const child = Bun.spawnSync([process.execPath, "run.ts"], { cwd: folder.path, stdio: ["ignore", "pipe", "pipe"] });
  expect(child.stderr.toString().replaceAll(/^.*vkCreateInstance.*$/gm, "")).not.toContain("rror");
  const { outcomes, tapes, lint } = JSON.parse(child.stdout.toString().trim().split("\n").at(-1) as string);
  expect(outcomes[1]).toEqual(outcomes[0]);
  expect(outcomes[0].loss).toBeGreaterThan(0);
  expect(outcomes[0].verdict).toStartWith("loss ");
  expect(outcomes[0].metrics).toContain("invariance");
  expect([tapes, lint]).toEqual(["kept", []]);
  const types = Bun.spawnSync(
    [process.execPath, join(root, "node_modules/typescript/bin/tsc"), "--noEmit", "-p", "tsconfig.json"],
    { cwd: folder.path, stdio: ["ignore", "pipe", "pipe"] },
  );
  expect(
    types.stdout
      .toString()
      .split("\n")
      .filter((line) => /^(?:src|test\/train\/own)/.test(line)),
  ).toEqual([]);
});

test("parameters and state of a method's own pass the suite of all methods, on both devices", () => {
  using folder = temporaryFolder();
  withMethods(folder.path);
  const command = [
    "test",
    "--timeout",
    "200000",
    "test/train/methods.test.ts",
    "test/train/own.test.ts",
    "-t",
    `^(${added.join("|")}|wasm: state|webgpu: state)`,
  ];
  const child = Bun.spawnSync([process.execPath, ...command], { cwd: folder.path, stdio: ["ignore", "pipe", "pipe"] });
  const report = child.stderr.toString();
  expect(report.match(/^\(fail\).*$/gm) ?? []).toEqual([]);
  expect(report).toMatch(/^ *18 pass$/m);
  expect(child.exitCode).toBe(0);
}, 200_000);

/** Where a method or its state may be named besides its own files, and why. */
const allowed: Record<string, string> = {
  "src/exchange/import.ts": "says which files are known",
  "src/exchange/import_moco.ts": "reads the files of facebookresearch/moco",
  "src/exchange/import_moco_v3.ts": "reads the files of facebookresearch/moco-v3",
  "src/exchange/import_backbone.ts": "takes weights of no method for a run of one",
  "src/exchange/export.ts": "writes files with the names of facebookresearch/moco",
  "src/train/checkpoint.ts": "reads positions of the formats before, when there was one method",
  "src/schema/evaluation.ts": "names that format",
  "cli/tool_commands.ts": "names that format",
  "cli/demo.ts": "says what the demo trains",
  "cli/study_commands.ts": "examples of names of studies",
  "api/specs.ts": "examples of the document",
};

test("no method and no state of one is named outside the methods' own rooms", () => {
  // Fields that several methods or other parts of a spec have too say nothing of one method.
  const common = [
    "method",
    "dim",
    "hidden",
    "temperature",
    "momentum",
    "head",
    "layers",
    "secondView",
    "shuffle",
    "bottleneck",
    "text",
    "loss",
    "bias",
    "tapes",
  ];
  const own = methodNames.flatMap((name) => Object.keys(schemaOf(name).shape)).filter((f) => !common.includes(f));
  // Gradients are clipped, too.
  const names = methodNames.map((name) => name.split("-")[0] as string).filter((name) => name !== "clip");
  const words = [...new Set([...names, ...own, "queuePointer", "encoder_q", "encoder_k"])];
  expect(words).toContain("queueSize");
  const pattern = new RegExp(`\\b(?:${words.join("|")})(?![a-z]*d\\b)\\b`, "i");
  const files = [...new Bun.Glob("{src,api,workers,cli}/**/*.{ts,tsx}").scanSync(root)].filter(
    (file) => !/^src\/(?:schema\/)?methods\/|\/assembly\//.test(file),
  );
  expect(files.length).toBeGreaterThan(150);
  const naming = files.filter((file) => {
    const text = readFileSync(join(root, file), "utf8");
    const code = text.replaceAll(/\/\*[\s\S]*?\*\//g, "").replaceAll(/(^|\s)\/\/.*$/gm, "");
    return pattern.test(code);
  });
  expect(naming.sort()).toEqual(Object.keys(allowed).sort());
});
