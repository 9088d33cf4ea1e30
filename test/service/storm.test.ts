/** A minute and a half of the soak: a few faults of every kind over an installation of processes. `npm run test:soak` does 200. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { faults } from "../soak/faults.ts";
import { storm } from "../soak/storm.ts";
import { temporaryFolder } from "../support/helpers.ts";

test("faults of every kind: every job succeeds, every run ends in the bytes of one left in peace, nothing is left behind", async () => {
  using folder = temporaryFolder();
  const logFile = join(folder.path, "log");
  const kinds = Object.keys(faults).length;
  const said: string[] = [];
  const report = await storm({
    faults: kinds,
    jobs: 4,
    seed: 7,
    minutes: 1.1,
    peace: 2,
    logFile,
    say: (line) => said.push(line),
  });
  if (report.wrong.length > 0) console.error(`${said.join("\n")}\n${readFileSync(logFile, "utf8").slice(-20_000)}`);
  expect(report.wrong).toEqual([]);
  const injected = Object.values(report.injected).filter((count) => count > 0).length;
  expect(injected).toBeGreaterThanOrEqual(kinds / 2);
}, 600_000);
