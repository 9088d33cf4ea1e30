/**
 * A MoCo step on a GPU against its peers on the same one, in turn in one run, each in a process of its own; medians.
 *
 *     bun run bench:step --device webgpu [--rounds 3] [--json] [--work r18,r50,stock] [--python python3]
 *
 * Peers: PyTorch on CUDA, float32 without TF32 and float16 by autocast with channels_last; stock tfjs-backend-webgpu. Where
 * there is no PyTorch with CUDA its rows are left out and said to be. For a machine without Bun or a network: bench/carry.ts.
 * Without a GPU: `bun bench/gpu_ours.ts --count`.
 */
import { extname } from "node:path";
import { parseArgs } from "node:util";
import { flags, inTurn, median, type Program, print, type Run } from "./compare.ts";

const { values: args } = parseArgs({
  args: process.argv.slice(2).filter((argument, i, all) => argument !== "--device" && all[i - 1] !== "--device"),
  options: {
    rounds: { type: "string", default: "3" },
    work: { type: "string", default: "r18,r50,stock" },
    python: { type: "string", default: "python3" },
    json: { type: "boolean", default: false },
  },
});
const rounds = Number(args.rounds);
/** Bundled by bench/carry.ts they are JavaScript. */
const program = (name: string) => name + extname(import.meta.path);
const wanted = args.work.split(",");
type Settings = Record<string, number | string>;
const ours = (settings: Settings, ...more: string[]): Program => ({
  command: [process.execPath, program("gpu_ours"), ...flags(settings), ...more],
});
const torch = (settings: Settings, ...more: string[]): Program => ({
  command: [args.python, "peers/torch_step.py", "--device", "cuda", ...flags(settings), ...more],
});

const cuda = Bun.spawnSync([
  args.python,
  "-c",
  "import torch; print(torch.cuda.get_device_name(0), torch.__version__)",
]);
const peer = cuda.exitCode === 0 ? cuda.stdout.toString().trim() : undefined;
console.error(
  peer ? `PyTorch on ${peer}` : `no PyTorch with CUDA: ${args.python} cannot run it, its rows are left out`,
);

function report(work: string, ours: number, peer: number, unit: string): void {
  print({ work, device: "webgpu", threads: 1, ours, peer, ratio: ours / peer, unit }, args.json);
}

const nets = {
  r18: { name: "ResNet-18, 32x32, batch 512", arch: "resnet18", size: 32, batch: 512, splits: 8 },
  r50: { name: "ResNet-50, 224x224, batch 128", arch: "resnet50", size: 224, batch: 128, splits: 4 },
} as const;
for (const [key, { name, ...net }] of Object.entries(nets)) {
  if (!wanted.includes(key)) continue;
  for (const precision of ["float32", "mixed"]) {
    const settings = { ...net, precision, steps: 20 };
    const mixed = precision === "mixed" ? ["--autocast", "--channels-last"] : [];
    const programs = [ours(settings), ...(peer ? [torch({ ...net, steps: 5 }, ...mixed)] : [])];
    const [mine, theirs] = inTurn(programs, rounds) as [Run, Run | undefined];
    const pace = net.batch / median(mine.seconds);
    report(
      `${name}, ${precision}, vs PyTorch`,
      pace,
      theirs ? net.batch / median(theirs.seconds) : Number.NaN,
      "images/s",
    );
    const [busy] = inTurn([ours(settings, "--busy")], rounds) as [Run];
    report(`${name}, ${precision}, GPU busy`, 100 * median(busy.seconds), 90, "% (90 asked)");
  }
}
if (wanted.includes("stock")) {
  // As large a batch as tfjs's own tape has room for.
  const settings = { batch: 256, steps: 6 };
  const stock = {
    command: [process.execPath, program("step_stock"), "--device", "webgpu", ...flags(settings)],
    last: 4,
  };
  const [mine, theirs] = inTurn([ours({ ...settings, splits: 8 }), stock], rounds) as [Run, Run];
  const pace = (run: Run) => settings.batch / median(run.seconds);
  report("ResNet-18, width 64, batch 256, vs stock tfjs-webgpu", pace(mine), pace(theirs), "images/s");
}
