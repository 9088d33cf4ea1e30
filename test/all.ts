/**
 * `npm test`: types, lint and every test; ends with the line that CI reads. `--long`: proofs in their whole length.
 *
 * Services wait for each other a third of the time, so tests that only compute run beside them at a lower priority, in runs of
 * `bun test` of a few files each, whose reports are printed when all have ended. When the services are done, such runs take their place.
 */
import { getPriority, setPriority } from "node:os";
import { join } from "node:path";

const root = join(import.meta.dir, "..");
/** Rooms whose tests start servers and wait for them. All other rooms only compute. */
const serving = ["data", "service"];
/** Files of one run of tests that compute. Each run opens and tests its device anew; with fewer files both cores end closer together. */
const TOGETHER = 4;
/** Seconds that one test may take; niceness. */
const services = { timeout: 120, nice: 0 };
const computed = { timeout: 900, nice: 10 };

let passed = 0;
let failed = 0;

function check(name: string, command: string[]): void {
  const { exitCode } = Bun.spawnSync([process.execPath, ...command], {
    cwd: root,
    stdio: ["ignore", "inherit", "inherit"],
  });
  console.log(`${exitCode === 0 ? "(pass)" : "(fail)"} ${name}`);
  if (exitCode === 0) passed++;
  else failed++;
}

/** Runs files of tests; `tell` receives the report as it comes. */
async function run(files: string[], how: typeof services, tell: (text: string) => void): Promise<void> {
  const tests = Bun.spawn([process.execPath, "test", "--timeout", String(1000 * how.timeout), ...files], {
    cwd: root,
    env: { ...process.env, ...(process.argv.includes("--long") && { MOCOD_LONG: "1" }) },
    stdio: ["ignore", "inherit", "pipe"],
  });
  setPriority(tests.pid, Math.max(getPriority(), how.nice));
  let report = "";
  const decoder = new TextDecoder();
  for await (const chunk of tests.stderr) {
    const text = decoder.decode(chunk, { stream: true });
    report += text;
    tell(text);
  }
  await tests.exited;
  const count = (word: string) => Number(report.match(new RegExp(`^\\s*(\\d+) ${word}$`, "m"))?.[1] ?? 0);
  const bad = count("fail") + count("errors?");
  passed += count("pass");
  failed += bad;
  if (tests.exitCode !== 0 && bad === 0) failed++; // it ended without saying why
}

check("types", ["node_modules/typescript/bin/tsc", "--noEmit"]);
check("lint and format", ["node_modules/@biomejs/biome/bin/biome", "check", "."]);

const all = [...new Bun.Glob("*/**/*.test.ts").scanSync(import.meta.dir)].sort();
const paths = (files: readonly string[]) => files.map((file) => `./test/${file}`);
const isServing = (file: string) => serving.includes(file.split("/")[0] as string);
const computing = all.filter((file) => !isServing(file));
let later = "";

/** Runs what is left of `computing`; two of these share it. */
async function compute(): Promise<void> {
  while (computing.length > 0) {
    let report = "";
    await run(paths(computing.splice(0, TOGETHER)), computed, (text) => {
      report += text;
    });
    later += report;
  }
}

await Promise.all([
  run(paths(all.filter(isServing)), services, (text) => process.stderr.write(text)).then(compute),
  compute(),
]);
process.stderr.write(later);
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
