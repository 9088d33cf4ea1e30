/** Runs programs that print seconds, ours and its peers in turn, and makes one line of what they printed. */

export interface Result {
  work: string;
  device: string;
  threads: number;
  ours: number;
  peer: number;
  /** How many times as good as the peer: above 1 is better, whatever the unit. */
  ratio: number;
  unit: string;
}

export interface Program {
  readonly command: readonly string[];
  /** Leaves out what it prints before: seconds of warming up. */
  readonly last?: number;
}

export interface Run {
  seconds: number[];
  /** Peak resident memory in MB. */
  megabytes: number;
}

export const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] as number;

function run({ command, last }: Program): Run {
  const child = Bun.spawnSync([...command], { cwd: import.meta.dir, stdio: ["ignore", "pipe", "inherit"] });
  if (child.exitCode !== 0) throw new Error(`${command.join(" ")} failed`);
  const seconds = child.stdout.toString().trim().split("\n").map(Number);
  return { seconds: last ? seconds.slice(-last) : seconds, megabytes: child.resourceUsage.maxRSS / 2 ** 20 };
}

/** Each program once a round; the seconds of all rounds and the largest memory, in the programs' order. */
export function inTurn(programs: readonly Program[], rounds: number): Run[] {
  const runs = programs.map((): Run => ({ seconds: [], megabytes: 0 }));
  for (let round = 0; round < rounds; round++) {
    for (const [i, program] of programs.entries()) {
      const all = runs[i] as Run;
      const { seconds, megabytes } = run(program);
      all.seconds.push(...seconds);
      all.megabytes = Math.max(all.megabytes, megabytes);
    }
  }
  return runs;
}

export const flags = (settings: Record<string, number | string>): string[] =>
  Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)]);

export function print(result: Result, json: boolean): void {
  if (json) {
    console.log(JSON.stringify(result));
    return;
  }
  const where = result.device === "wasm" ? `${result.threads} thread${result.threads > 1 ? "s" : " "}` : result.device;
  const number = (v: number) => v.toPrecision(4).padStart(9);
  console.log(
    `${result.work.padEnd(58)} ${where}  ours ${number(result.ours)}  ` +
      `peer ${number(result.peer)} ${result.unit.padEnd(12)} ratio ${result.ratio.toFixed(2)}`,
  );
}
