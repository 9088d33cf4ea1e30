/**
 * A MoCo step and its parts against their peers, in turn in one run, each in a process of its own; medians.
 *
 *     bun run bench:step [--rounds 3] [--json] [--work w64,w16,stock,resnet50,vit,views] [--threads 1,2]
 *     bun run bench:step --profile [--width 64 ...]      where a step goes (bench/step_ours.ts)
 *     bun run bench:step --device webgpu                 the same on a GPU (bench/step_gpu.ts)
 *
 * Peers: PyTorch on as many threads (Debian's python3-torch), the faster of its two memory formats; stock tfjs-wasm with
 * a composed filter gradient (a batch of 32 on one thread; it has no more); torchvision's tensor transforms.
 */
import { parseArgs } from "node:util";
import { flags, inTurn, median, type Program, print, type Run } from "./compare.ts";

const onGpu = process.argv.includes("webgpu");
if (onGpu || process.argv.includes("--profile")) {
  const script = onGpu ? "step_gpu.ts" : "step_ours.ts";
  const { exitCode } = Bun.spawnSync([process.execPath, script, ...process.argv.slice(2)], {
    cwd: import.meta.dir,
    stdio: ["ignore", "inherit", "inherit"],
  });
  process.exit(exitCode);
}

const { values: args } = parseArgs({
  options: {
    rounds: { type: "string", default: "3" },
    work: { type: "string", default: "w64,w16,stock,resnet50,vit,views" },
    threads: { type: "string", default: "1,2" },
    python: { type: "string", default: "/usr/bin/python3" },
    json: { type: "boolean", default: false },
  },
});
const rounds = Number(args.rounds);
const wanted = args.work.split(",");
const threadCounts = args.threads.split(",").map(Number);

type Settings = Record<string, number | string>;
const ours = (settings: Settings): Program => ({ command: [process.execPath, "step_ours.ts", ...flags(settings)] });
const torch = (settings: Settings, ...more: string[]): Program => ({
  command: [args.python, "peers/torch_step.py", ...flags(settings), ...more],
});

function report(work: string, threads: number, ours: number, peer: number, unit: string, lessIsBetter = false): void {
  const ratio = lessIsBetter ? peer / ours : ours / peer;
  print({ work, device: "wasm", threads, ours, peer, ratio, unit }, args.json);
}

/** Our median seconds of a step. */
function againstTorch(work: string, settings: Settings & { batch: number; threads: number }): number {
  const programs = [ours(settings), torch(settings), torch(settings, "--channels-last")];
  const [mine, nchw, nhwc] = inTurn(programs, rounds) as [Run, Run, Run];
  const seconds = median(mine.seconds);
  const theirs = Math.min(median(nchw.seconds), median(nhwc.seconds));
  const { batch, threads } = settings;
  report(`${work}, vs PyTorch`, threads, batch / seconds, batch / theirs, "images/s");
  const least = Math.min(nchw.megabytes, nhwc.megabytes);
  report(`${work}, peak memory`, threads, mine.megabytes, least, "MB", true);
  return seconds;
}

const steps = new Map<string, number>();
for (const width of [64, 16]) {
  if (!wanted.includes(`w${width}`)) continue;
  for (const threads of threadCounts) {
    const settings = { width, batch: 256, splits: 8, threads, steps: 2 };
    const work = `ResNet-18, width ${width}, batch 256`;
    steps.set(`${width} ${threads}`, againstTorch(work, settings));
    const [one, now] = [steps.get(`${width} 1`), steps.get(`${width} ${threads}`)];
    if (threads > 1 && one && now) report(`${work}, vs 1 thread`, threads, 256 / now, 256 / one, "images/s");
  }
}
if (wanted.includes("resnet50")) {
  for (const threads of threadCounts) {
    const settings = { arch: "resnet50", size: 224, batch: 32, splits: 4, threads, steps: 2 };
    againstTorch("ResNet-50, 224x224, batch 32", settings);
  }
}
if (wanted.includes("vit")) {
  for (const threads of threadCounts) {
    for (const [work, settings, splits] of [
      ["MoCo v3, ViT-tiny, 32x32, patch 4, batch 256", { arch: "vit-tiny", patch: 4, size: 32, batch: 256 }, 8],
      ["MoCo v3, ViT-small, 224x224, patch 16, batch 32", { arch: "vit-small", patch: 16, size: 224, batch: 32 }, 4],
    ] as const) {
      const programs = [
        ours({ ...settings, splits, threads, steps: 2 }),
        { command: [args.python, "peers/torch_vit_step.py", ...flags({ ...settings, threads, steps: 2 })] },
      ];
      const [mine, theirs] = inTurn(programs, rounds) as [Run, Run];
      const pace = (run: Run) => settings.batch / median(run.seconds);
      report(`${work}, vs PyTorch`, threads, pace(mine), pace(theirs), "images/s");
      report(`${work}, peak memory`, threads, mine.megabytes, theirs.megabytes, "MB", true);
    }
  }
}
if (wanted.includes("stock")) {
  const settings = { width: 64, batch: 32, splits: 2, threads: 1, steps: 3 };
  const stock = { command: [process.execPath, "step_stock.ts"], last: 1 };
  const [mine, theirs] = inTurn([ours(settings), stock], rounds) as [Run, Run];
  const work = "ResNet-18, width 64, batch 32, vs stock tfjs-wasm";
  report(work, 1, 32 / median(mine.seconds), 32 / median(theirs.seconds), "images/s");
}
if (wanted.includes("views")) {
  const programs = [
    { command: [process.execPath, "views_ours.ts"] },
    { command: [args.python, "peers/torch_views.py"] },
  ];
  const [mine, theirs] = inTurn(programs, rounds) as [Run, Run];
  report("both views of 256 images, 32x32", 1, 256 / median(mine.seconds), 256 / median(theirs.seconds), "images/s");
  for (const width of [64, 16]) {
    const step = steps.get(`${width} 1`);
    if (!step) continue;
    report(
      `both views' share of a step, width ${width}`,
      1,
      (100 * median(mine.seconds)) / step,
      5,
      "% (5 allowed)",
      true,
    );
  }
}
