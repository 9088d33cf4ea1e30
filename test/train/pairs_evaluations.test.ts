/** Zero-shot classification and retrieval against a plain computation on the features of the same checkpoint. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { evaluate } from "../../src/judge/index.ts";
import type { RetrievalResult } from "../../src/judge/retrieve.ts";
import { search } from "../../src/judge/search.ts";
import type { ZeroShotResult } from "../../src/judge/zero_shot.ts";
import type { Gallery } from "../../src/schema/evaluation.ts";
import { type EvaluationType, parseSpec } from "../../src/schema/job.ts";
import type { PretrainSpec } from "../../src/schema/pretrain.ts";
import { LocalBlobs } from "../../src/store/local_blobs.ts";
import { RunStore } from "../../src/store/run_store.ts";
import { tokenTable } from "../../src/text/table.ts";
import { openTokenizer } from "../../src/text/tokenizer.ts";
import { checkpointTokenizer, restoreCheckpoint } from "../../src/train/checkpoint.ts";
import type { PretrainResult } from "../../src/train/pretrain.ts";
import type { Reporter } from "../../src/train/reporter.ts";
import { embed, openSession, type Session } from "../../src/train/session.ts";
import { embedTexts, openTexts, textsWarnings } from "../../src/train/texts.ts";
import { resultOf, runTo, temporaryFolder, tinyPairs, writePairs } from "../support/helpers.ts";

const [TEST, CONTEXT] = [48, 14];
const folder = temporaryFolder();
const photos = join(folder.path, "pairs");
const blobs = new LocalBlobs(folder.path);
const computing = { threads: 1, device: "wasm" } as const;
const report: Reporter = {
  cache: "/nonexistent",
  log: () => undefined,
  progress: () => undefined,
  stopRequested: () => undefined,
};
let spec: PretrainSpec;
let pretrained: PretrainResult;
let session: Session;
/** Unit features of a text, and of the test images. */
let textFeatures: (texts: readonly string[]) => Promise<number[][]>;
let images: number[][];

beforeAll(async () => {
  await writePairs(photos, 64, TEST);
  // One without a text, and one whose text the context cuts.
  await sharp({ create: { width: 20, height: 20, channels: 3, background: "red" } }).toFile(
    join(photos, "train", "red", "bare.png"),
  );
  writeFileSync(join(photos, "test", "red", "0.txt"), "a red bar of a length that no tower here can hold");
  const text = { tokens: { kind: "bytes" }, context: CONTEXT, width: 24, depth: 1, heads: 3 };
  spec = parseSpec("pretrain", tinyPairs(photos, { text }));
  pretrained = resultOf(await runTo(spec, folder.path, { threads: 2, device: "wasm" }));

  session = await openSession(spec, { ...computing, context: report });
  const found = await new RunStore(blobs, "run_x").goodCheckpoint("last");
  const { bytes = new Uint8Array(), record } = found ?? {};
  restoreCheckpoint(bytes, record?.file ?? "", session.model);
  const tokenizer = openTokenizer(checkpointTokenizer(bytes, record?.file ?? ""));
  session.engine.load();
  const rows = (features: Float32Array) =>
    Array.from({ length: features.length / spec.dim }, (_, i) => {
      const row = [...features.subarray(i * spec.dim, (i + 1) * spec.dim)];
      return row.map((x) => x / Math.hypot(...row));
    });
  textFeatures = async (texts) => {
    const table = tokenTable(
      texts.map((of) => [of]),
      tokenizer,
      CONTEXT,
    );
    return rows(await embedTexts(session, table));
  };
  const { test: split } = session.dataset;
  if (!split) throw new Error("there is a test part");
  const all = Int32Array.from({ length: split.count }, (_, i) => i);
  images = rows(await embed(session, split, all, { what: "projection" }));
}, 60_000);
afterAll(() => {
  session?.engine.close();
  folder[Symbol.dispose]();
});

/** The result of a job on the run. */
async function run<T>(id: string, type: EvaluationType, given: object, of = spec): Promise<T> {
  const own = new RunStore(blobs, id);
  const asked = parseSpec(type, { from: "run_x", ...given });
  const source = new RunStore(blobs, "run_x");
  const outcome = await evaluate(type, asked as never, { pretrained: of, source, own, computing, report });
  if (!("result" in outcome)) throw new Error("stopped");
  return outcome.result as T;
}

const dot = (a: readonly number[], b: readonly number[]) => a.reduce((sum, x, i) => sum + x * (b[i] as number), 0);

/** Share of queries with a right answer among their first k. */
function recall(cosines: number[][], right: (query: number, candidate: number) => boolean, k: number): number {
  const hits = cosines.filter((row, query) => {
    const order = row.map((_, i) => i).sort((a, b) => (row[b] as number) - (row[a] as number));
    return order.slice(0, k).some((candidate) => right(query, candidate));
  });
  return hits.length / cosines.length;
}

test("retrieval: recall both ways, the texts that are cut, the gallery and the files that a search reads", async () => {
  const result = await run<RetrievalResult>("run_retrieval", "retrieval", {});
  const own = session.dataset.test?.texts as readonly (readonly string[])[];
  const texts = [...new Set(own.flat())];
  const y = await textFeatures(texts);
  const byImage = images.map((x) => y.map((t) => dot(x, t)));
  const byText = y.map((t) => images.map((x) => dot(x, t)));
  const isOf = (image: number, text: number) => (own[image] as readonly string[]).includes(texts[text] as string);
  for (const k of [1, 5, 10] as const) {
    expect(result.text[`at${k}`]).toBeCloseTo(recall(byImage, isOf, k), 9);
    expect(result.image[`at${k}`]).toBeCloseTo(
      recall(byText, (text, image) => isOf(image, text), k),
      9,
    );
  }
  expect(result).toMatchObject({ images: TEST, texts: texts.length });
  const long = texts.filter((text) => Buffer.byteLength(text) > CONTEXT - 2).length;
  expect([result.cut, long > 0]).toEqual([long, true]);

  const read = (name: string) => readFileSync(join(folder.path, "runs", "run_retrieval", name));
  const gallery = JSON.parse(read("gallery.json").toString()) as Gallery;
  expect(gallery.images).toEqual([...Array(TEST).keys()]);
  const name = (text: number) => gallery.texts[text] as string;
  expect(gallery.own.map((of) => of.map(name))).toEqual(own.map((of) => [...of]));
  gallery.nearest.forEach((of, image) => {
    const cosines = of.map(([text]) => (byImage[image] as number[])[texts.indexOf(name(text))] as number);
    expect(of.map(([, cosine]) => cosine)).toEqual(cosines.map((c) => expect.closeTo(c, 3)));
    expect(of[0]?.[1]).toBeCloseTo(Math.max(...(byImage[image] as number[])), 3);
  });
  for (const { text, images: near } of gallery.queries) {
    const cosines = byText[texts.indexOf(name(text))] as number[];
    expect(near[0]?.[1]).toBeCloseTo(Math.max(...cosines), 3);
    expect(near.map(([place, cosine]) => Math.abs(cosine - (cosines[place] as number)) < 1e-3)).not.toContain(false);
  }
  const { size, columns } = gallery.thumbnails;
  const sheet = await sharp(read("thumbnails.png")).metadata();
  expect([sheet.width, sheet.height]).toEqual([columns * size, Math.ceil(TEST / columns) * size]);
  expect(
    read("texts.jsonl")
      .toString()
      .split("\n")
      .filter(Boolean)
      .map((line) => JSON.parse(line)),
  ).toEqual(own.map((of, image) => ({ image, texts: [...of] })));
  expect(result.files).toEqual(["gallery.json", "thumbnails.png", "texts.jsonl", "features.safetensors"]);
}, 60_000);

test.each([
  ["the dataset's names", { classes: "dataset" }, ["{}"]],
  [
    "names of one's own, and two templates",
    { classes: ["azure", "lime", "slate", "rose"], templates: ["a {} {}", "{}"] },
    ["a {} {}", "{}"],
  ],
] as const)(
  "zero-shot: %s",
  async (what, given, templates) => {
    const result = await run<ZeroShotResult>(`run_${what.replace(/\W/g, "")}`, "zero-shot", given);
    // Folders in the order of their names.
    const names = given.classes === "dataset" ? ["blue", "green", "grey", "red"] : [...given.classes];
    expect([result.classes, result.templates]).toEqual([names, [...templates]] as never);
    const centres: number[][] = [];
    for (const name of names) {
      const prompts = await textFeatures(templates.map((template) => template.replaceAll("{}", name)));
      centres.push(prompts.reduce((sum, row) => sum.map((x, i) => x + (row[i] as number))));
    }
    const units = centres.map((row) => row.map((x) => x / Math.hypot(...row)));
    const confusion = names.map(() => names.map(() => 0));
    images.forEach((x, i) => {
      const cosines = units.map((centre) => dot(x, centre));
      const row = confusion[session.dataset.test?.labels?.[i] as number] as number[];
      const best = cosines.indexOf(Math.max(...cosines));
      row[best] = (row[best] as number) + 1;
    });
    expect(result.confusion).toEqual(confusion);
    expect(result.top1).toBeCloseTo(confusion.reduce((sum, row, c) => sum + (row[c] as number), 0) / TEST, 9);
  },
  60_000,
);

test("a wrong number of names, images without texts, and a method without a text tower fail and say so", async () => {
  const three = run("run_three", "zero-shot", { classes: ["a", "b", "c"] });
  await expect(three).rejects.toThrow("spec.classes: got 3 names, allowed: 4, one for each class");
  const bare = { kind: "folder", path: photos, size: 16 };
  const given = parseSpec("retrieval", { from: "run_x" });
  const own = new RunStore(blobs, "run_bare");
  const source = new RunStore(blobs, "run_x");
  const context = { pretrained: { ...spec, dataset: { ...spec.dataset, texts: undefined } } as never, source, own };
  await expect(evaluate("retrieval", given, { ...context, computing, report })).rejects.toThrow(
    "texts are needed here, and these images have none: give spec.dataset.texts",
  );
  expect(() => parseSpec("retrieval", { from: "run_x", dataset: bare })).toThrow("spec.dataset.texts: got nothing");
});

test("the pretrain result names images without a text, and counts the texts that are cut", () => {
  const trained = session.dataset.train.texts?.flat() as string[];
  const cut = trained.filter((text) => Buffer.byteLength(text) > CONTEXT - 2).length;
  expect(cut).toBeGreaterThan(0);
  expect(pretrained.texts).toEqual({ count: trained.length, cut, context: CONTEXT });
  expect(textsWarnings(openTexts(session, undefined))).toEqual([
    `text.context: ${cut} of ${trained.length} texts have more than ${CONTEXT} tokens and are cut`,
  ]);
  expect(pretrained.dataset.notes.join()).toContain(
    "1 of 65 training images have no text and are left out (first: red/bare.png)",
  );
});

test("a search: the images that are nearest to a sentence, with their texts", async () => {
  const own = session.dataset.test?.texts as readonly (readonly string[])[];
  const [query] = await textFeatures(["red bar"]);
  const cosines = images.map((x) => dot(x, query as number[]));
  const order = cosines.map((_, i) => i).sort((a, b) => (cosines[b] as number) - (cosines[a] as number));
  const job = { spec: parseSpec("retrieval", { from: "run_x" }) };
  await new RunStore(blobs, "run_retrieval").writeJson("job.json", job);
  await new RunStore(blobs, "run_x").writeJson("job.json", { spec });
  const result = await run<RetrievalResult>("run_retrieval", "retrieval", {});
  await new RunStore(blobs, "run_retrieval").finish(result);
  const found = await search(blobs, { id: "run_retrieval", text: " Red  BAR", count: 7 });
  expect(found.map(({ cosine }) => cosine)).toEqual(
    order.slice(0, 7).map((image) => expect.closeTo(cosines[image] as number, 3)),
  );
  for (const { image, texts, place } of found) expect([texts, place]).toEqual([[...(own[image] as string[])], image]);
  const asked = (text: string) => search(blobs, { id: "run_retrieval", text, count: 1 });
  await expect(asked("a".repeat(CONTEXT - 1))).rejects.toThrow(
    `text: got ${CONTEXT - 1} tokens, allowed: at most ${CONTEXT - 2}`,
  );
}, 60_000);
