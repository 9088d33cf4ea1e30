/** `npm test`: types, lint and every test; ends with the line that CI reads. `--long`: proofs in their whole length. */
import { join } from "node:path";

const root = join(import.meta.dir, "..");
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

check("types", ["node_modules/typescript/bin/tsc", "--noEmit"]);
check("lint and format", ["node_modules/@biomejs/biome/bin/biome", "check", "."]);

const tests = Bun.spawn([process.execPath, "test", "--timeout", "120000"], {
  cwd: root,
  env: { ...process.env, ...(process.argv.includes("--long") && { MOCOD_LONG: "1" }) },
  stdio: ["ignore", "inherit", "pipe"],
});
let report = "";
const decoder = new TextDecoder();
for await (const chunk of tests.stderr) {
  process.stderr.write(chunk);
  report += decoder.decode(chunk, { stream: true });
}
await tests.exited;
const count = (word: string) => Number(report.match(new RegExp(`^\\s*(\\d+) ${word}$`, "m"))?.[1] ?? 0);
passed += count("pass");
failed += count("fail") + count("errors?");
if (tests.exitCode !== 0 && failed === 0) failed++; // it ended without saying why
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
