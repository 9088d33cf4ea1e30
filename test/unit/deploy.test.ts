/** What other tools read of this repository names what there is: commands, variables, files, the version of Bun. */
import { expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import { createProgram } from "../../cli/program.ts";
import { variables } from "../../src/util/env.ts";

const root = join(import.meta.dir, "../..");
const read = (name: string) => readFileSync(join(root, name), "utf8");
const program = createProgram();
const commands = program.commands.map((command) => command.name());

/** Throws where the command has no such option. */
function check([name = "", ...args]: string[]): void {
  expect(commands).toContain(name);
  const known = program.commands.find((command) => command.name() === name)?.options.map(({ long }) => long);
  for (const arg of args.filter((text) => text.startsWith("--"))) expect(known).toContain(arg);
}
const checkVariables = (text: string) => {
  for (const [name] of text.matchAll(/\b(MOCOD_[A-Z_]+|REDIS_URL)\b/g)) {
    // The one that only docker-compose.yml reads.
    if (name !== "MOCOD_DATASETS") expect(variables).toContain(name);
  }
};

test("docker-compose.yml: services run commands that there are, with variables that are read", () => {
  const { services, volumes } = parse(read("docker-compose.yml"), { merge: true });
  for (const name of ["api", "worker", "worker-gpu"]) check(services[name].command);
  for (const [name, service] of Object.entries<{ volumes: string[]; depends_on?: object }>(services)) {
    for (const needed of Object.keys(service.depends_on ?? {})) expect(Object.keys(services)).toContain(needed);
    expect([name, Object.keys(volumes)]).toEqual([name, expect.arrayContaining([service.volumes[0]?.split(":")[0]])]);
  }
  expect(existsSync(join(root, services.api.build.dockerfile))).toBe(true);
  checkVariables(read("docker-compose.yml"));
});

test("Dockerfile: copies what there is, all that the app needs, under the Bun that setup installs", () => {
  const text = read("deploy/Dockerfile");
  const copied = [...text.matchAll(/^COPY (?!--from)(.*) \S+$/gm)].flatMap(([, names = ""]) => names.split(" "));
  for (const name of copied) expect(existsSync(join(root, name))).toBe(true);
  const ignored = read(".dockerignore");
  expect([...ignored.matchAll(/^!(.*)$/gm)].map(([, name]) => name as string).sort()).toEqual(copied.sort());
  const [, version] = read("cli/setup.mjs").match(/BUN_VERSION = "(.*)"/) ?? [];
  expect(new Set(text.match(/oven\/bun:[\d.]+/g))).toEqual(new Set([`oven/bun:${version}`]));
  checkVariables(text);
});

test("mocod.service: starts a command that there is", () => {
  const text = read("deploy/mocod.service");
  const [, command = ""] = text.match(/^ExecStart=\/usr\/local\/bin\/mocod (.*)$/m) ?? [];
  check(command.split(" "));
  checkVariables(text);
});
