/**
 * One MoCo step, ResNet-18 with the CIFAR stem, batch 32: ours on one thread against stock tfjs-wasm with a composed
 * filter gradient, in turn, each in a process of its own so that our kernels do not replace tfjs's there.
 *
 *     npm run bench
 */
import { join } from "node:path";

/** Runs a program that prints seconds of a step, one a line, and returns the fastest. */
function fastest(program: string, ...args: string[]): number {
  const { stdout, exitCode } = Bun.spawnSync([process.execPath, join(import.meta.dir, program), ...args], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  if (exitCode !== 0) throw new Error(`${program} failed`);
  return Math.min(...stdout.toString().trim().split("\n").map(Number));
}

const rounds = Number(process.argv[2] ?? 1);
const ours: number[] = [];
const stock: number[] = [];
for (let round = 0; round < rounds; round++) {
  ours.push(fastest("step_ours.ts", "1"));
  stock.push(fastest("step_stock.ts"));
  ours.push(fastest("step_ours.ts", "1"));
}
const two = fastest("step_ours.ts", "2");
const best = (values: number[]) => Math.min(...values);
console.log(`stock tfjs-wasm   ${best(stock).toFixed(2)} s a step`);
console.log(
  `mocod, 1 thread   ${best(ours).toFixed(2)} s a step   ${(best(stock) / best(ours)).toFixed(1)} times as fast`,
);
console.log(`mocod, 2 threads  ${two.toFixed(2)} s a step   ${(best(stock) / two).toFixed(1)} times as fast`);
