/**
 * One MoCo step, ResNet-18 with the CIFAR stem, 32x32: ours against its peers, in turn in one run, each in a process of
 * its own. Peers: PyTorch on as many threads (Debian's python3-torch), and stock tfjs-wasm with a composed filter
 * gradient (a batch of 32 on one thread; it has no more). Medians.
 *
 *     npm run bench [-- --rounds 3] [--json] [--work w64,w16,stock] [--threads 1,2]
 */
import { parseArgs } from "node:util";

const { values: args } = parseArgs({
  options: {
    rounds: { type: "string", default: "3" },
    work: { type: "string", default: "w64,w16,stock" },
    threads: { type: "string", default: "1,2" },
    python: { type: "string", default: "/usr/bin/python3" },
    json: { type: "boolean", default: false },
  },
});

interface Result {
  work: string;
  device: string;
  threads: number;
  /** Images a second. */
  ours: number;
  peer: number;
  ratio: number;
  unit: "images/s";
}

/** Seconds of each step that a program prints. */
function seconds(...command: string[]): number[] {
  const { stdout, exitCode } = Bun.spawnSync(command, { cwd: import.meta.dir, stdio: ["ignore", "pipe", "inherit"] });
  if (exitCode !== 0) throw new Error(`${command.join(" ")} failed`);
  return stdout.toString().trim().split("\n").map(Number);
}

const median = (values: number[]) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)] as number;

function compare(work: string, threads: number, batch: number, ours: () => number[], peer: () => number[]): void {
  const [a, b]: [number[], number[]] = [[], []];
  for (let round = 0; round < Number(args.rounds); round++) {
    a.push(...ours());
    b.push(...peer());
  }
  const [mine, theirs] = [batch / median(a), batch / median(b)];
  const result: Result = {
    work,
    device: "wasm",
    threads,
    ours: mine,
    peer: theirs,
    ratio: mine / theirs,
    unit: "images/s",
  };
  if (args.json) console.log(JSON.stringify(result));
  else {
    console.log(
      `${work.padEnd(44)} ${threads} thread${threads > 1 ? "s" : " "}  ours ${mine.toFixed(2).padStart(7)}  ` +
        `peer ${theirs.toFixed(2).padStart(7)} images/s  ratio ${result.ratio.toFixed(2)}`,
    );
  }
}

const flags = (settings: Record<string, number>) =>
  Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)]);
const ours = (settings: Record<string, number>) => seconds(process.execPath, "step_ours.ts", ...flags(settings));
const wanted = args.work.split(",");

for (const width of [64, 16]) {
  if (!wanted.includes(`w${width}`)) continue;
  for (const threads of args.threads.split(",").map(Number)) {
    const settings = { width, batch: 256, splits: 8, threads, steps: 2 };
    compare(
      `ResNet-18, width ${width}, batch 256, vs PyTorch`,
      threads,
      256,
      () => ours(settings),
      () => seconds(args.python, "peers/torch_step.py", ...flags(settings)),
    );
  }
}
if (wanted.includes("stock")) {
  const settings = { width: 64, batch: 32, splits: 2, threads: 1, steps: 3 };
  const stock = () => seconds(process.execPath, "step_stock.ts").slice(-1); // the first one warms up
  compare("ResNet-18, width 64, batch 32, vs tfjs-wasm", 1, 32, () => ours(settings), stock);
}
