/**
 * MoCo v3's question at small scale (Chen et al. 2021, section 4): does training a ViT become unstable as rate and batch grow, and
 * does a frozen patch projection help? Each batch and rate with the projection trained and frozen, several seeds: kNN on held-out
 * training images after every epoch, spikes of the first trained layer's gradient. A finished run is a line of the output file.
 *
 *     bun bench/stability.ts --out stability.jsonl
 *     bun bench/stability.ts --out stability.jsonl --plot docs/stability.svg     with the curves of the first seed
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { parseSpec } from "../src/schema/job.ts";
import { overNeighbours } from "../src/schema/verdict.ts";
import { LocalBlobs } from "../src/store/local_blobs.ts";
import { RunStore } from "../src/store/run_store.ts";
import { pretrain } from "../src/train/pretrain.ts";
import { DivergedError } from "../src/train/reporter.ts";
import { deviation, Lines, lastLine, mean, silent } from "./seeds.ts";

const { values: args } = parseArgs({
  options: {
    images: { type: "string", default: "5000" },
    epochs: { type: "string", default: "8" },
    /** Batch and rate of each setting. */
    settings: { type: "string", default: "64:0.001,64:0.004,64:0.016,256:0.016" },
    seeds: { type: "string", default: "3" },
    threads: { type: "string", default: "2" },
    out: { type: "string", default: "stability.jsonl" },
    plot: { type: "string" },
    one: { type: "string" },
  },
});

interface Setting {
  readonly batch: number;
  readonly lr: number;
  readonly frozen: boolean;
  readonly seed: number;
}

interface Outcome extends Setting {
  /** After each epoch, the untrained encoder first. */
  readonly knn: readonly number[];
  /** Of each step. */
  readonly gradient: readonly number[];
  readonly diverged: boolean;
}

async function run({ batch, lr, frozen, seed }: Setting): Promise<Outcome> {
  const folder = mkdtempSync(join(tmpdir(), "mocod-stability-"));
  const spec = parseSpec("pretrain", {
    method: "moco-v3",
    preset: "small",
    dataset: { kind: "fashion-mnist", images: Number(args.images) },
    encoder: { freezePatches: frozen },
    augmentation: { flip: 0, cropScale: [0.4, 1] },
    batchSize: batch,
    optimizer: { lr },
    epochs: Number(args.epochs),
    monitor: { bank: Number(args.images), holdout: 2000 },
    seed,
  });
  let diverged = false;
  try {
    const computing = { threads: Number(args.threads), device: "wasm" } as const;
    await pretrain(spec, new RunStore(new LocalBlobs(folder), "run_x"), computing, silent);
  } catch (error) {
    if (!(error instanceof DivergedError)) throw error;
    diverged = true;
  }
  const lines = (file: string) =>
    readFileSync(file, "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, number>);
  const at = join(folder, "runs/run_x");
  const knn = lines(join(at, "metrics.jsonl")).map((line) => line.knn as number);
  const steps = readdirSync(join(at, "steps")).sort((a, b) => Number(a.match(/\d+/)) - Number(b.match(/\d+/)));
  const gradient = steps.flatMap((file) => lines(join(at, "steps", file)).map((line) => line.gradientFirst as number));
  rmSync(folder, { recursive: true, force: true });
  return { batch, lr, frozen, seed, knn, gradient, diverged };
}

if (args.one) {
  console.log(JSON.stringify(await run(JSON.parse(args.one) as Setting)));
  process.exit(0);
}

const done = new Lines<Outcome>(args.out);
const asked = args.settings.split(",").map((setting) => {
  const [batch, lr] = setting.split(":").map(Number) as [number, number];
  return { batch, lr };
});
const settings = Array.from({ length: Number(args.seeds) }, (_, seed) =>
  asked.flatMap((of) => [false, true].map((frozen): Setting => ({ ...of, frozen, seed }))),
).flat();
const isOf = (o: Outcome, { batch, lr }: Pick<Setting, "batch" | "lr">, frozen: boolean) =>
  o.batch === batch && o.lr === lr && o.frozen === frozen;
const find = (s: Setting) => done.all.find((o) => isOf(o, s, s.frozen) && o.seed === s.seed);
for (const setting of settings) {
  if (find(setting)) continue;
  const own = [process.execPath, import.meta.path, "--images", args.images, "--epochs", args.epochs];
  const command = [...own, "--threads", args.threads, "--one", JSON.stringify(setting)];
  done.add(await lastLine<Outcome>(command));
}

/** Steps whose gradient is so many times the median of its neighbours. */
const SPIKE = 4;
const spikes = ({ gradient }: Outcome): number => overNeighbours(gradient).filter((times) => times >= SPIKE).length;
/** The largest fall of kNN from an earlier epoch's. */
const dip = ({ knn }: Outcome): number => Math.max(...knn.map((value, i) => Math.max(...knn.slice(0, i + 1)) - value));

const shown = (values: number[]) => `${mean(values).toFixed(1)} ± ${deviation(values).toFixed(1)}`;
console.log(
  "| batch | rate | patch projection | kNN before | kNN after | largest dip | spikes | diverged |\n|---|---|---|---|---|---|---|---|",
);
for (const { batch, lr } of asked) {
  for (const frozen of [false, true]) {
    const of = done.all.filter((o) => isOf(o, { batch, lr }, frozen));
    const cells = [
      shown(of.map(({ knn }) => 100 * (knn[0] as number))),
      shown(of.map(({ knn }) => 100 * (knn.at(-1) as number))),
      shown(of.map((o) => 100 * dip(o))),
      shown(of.map(spikes)),
      of.filter(({ diverged }) => diverged).length,
    ];
    console.log(`| ${batch} | ${lr} | ${frozen ? "frozen" : "trained"} | ${cells.join(" | ")} |`);
  }
}

if (args.plot)
  writeFileSync(
    args.plot,
    plot(done.all.filter((o) => o.seed === 0 && asked.some((of) => of.batch === o.batch && of.lr === o.lr))),
  );

/** kNN over epochs, a curve for each setting: batch and rate by colour, the frozen projection dashed. */
function plot(of: readonly Outcome[]): string {
  const [width, height, left, top] = [720, 360, 50, 20];
  const all = of.flatMap(({ knn }) => knn);
  const [low, high] = [Math.floor(20 * Math.min(...all)) / 20, Math.ceil(20 * Math.max(...all)) / 20];
  const epochs = Math.max(...of.map(({ knn }) => knn.length - 1));
  const x = (epoch: number) => left + (epoch / epochs) * (width - left - 190);
  const y = (knn: number) => top + ((high - knn) / (high - low)) * (height - top - 40);
  const colours = ["#1b7837", "#2166ac", "#b2182b", "#762a83"];
  const colourOf = ({ batch, lr }: Outcome) =>
    colours[asked.findIndex((s) => s.batch === batch && s.lr === lr) % colours.length];
  const curves = of.map((outcome) => {
    const { frozen, knn } = outcome;
    const points = knn.map((value, epoch) => `${x(epoch).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
    const colour = colourOf(outcome);
    return `<polyline points="${points}" fill="none" stroke="${colour}" stroke-width="2"${frozen ? ' stroke-dasharray="6 4"' : ""}/>`;
  });
  const legend = of.map((outcome, i) => {
    const { batch, lr, frozen } = outcome;
    const at = top + 10 + 20 * i;
    const colour = colourOf(outcome);
    const line = `<line x1="${width - 180}" x2="${width - 150}" y1="${at}" y2="${at}" stroke="${colour}" stroke-width="2"${frozen ? ' stroke-dasharray="6 4"' : ""}/>`;
    return `${line}<text x="${width - 144}" y="${at + 4}">${batch}, ${lr}, ${frozen ? "frozen" : "trained"}</text>`;
  });
  const marks = Array.from({ length: 5 }, (_, i) => low + ((high - low) * i) / 4).map(
    (value) =>
      `<text x="${left - 6}" y="${y(value) + 4}" text-anchor="end">${(100 * value).toFixed(0)}</text><line x1="${left}" x2="${width - 190}" y1="${y(value)}" y2="${y(value)}" stroke="#ddd"/>`,
  );
  const ticks = Array.from(
    { length: epochs + 1 },
    (_, epoch) => `<text x="${x(epoch)}" y="${height - 18}" text-anchor="middle">${epoch}</text>`,
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12">
<title>kNN of held-out images by epoch, MoCo v3 with a small ViT</title>
<rect width="${width}" height="${height}" fill="#fff"/>
${[...marks, ...ticks, ...curves, ...legend].join("\n")}
<text x="${x(epochs / 2)}" y="${height - 3}" text-anchor="middle">epoch</text>
<text x="12" y="${top - 6}">kNN, %</text>
</svg>
`;
}
