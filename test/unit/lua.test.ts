/** The Lua scripts and their builders agree on what there is in KEYS and ARGV. */
import { expect, test } from "bun:test";
import { changeScript, cleanScript, forgetScript } from "../../src/queue/lua/scripts.ts";

const scripts = {
  change: changeScript({
    id: "run_1",
    moves: { running: "succeeded" },
    fields: ["error", ""],
    event: { type: "status", data: {} },
    entry: undefined,
    freshEntry: false,
    now: new Date(0),
  }),
  clean: cleanScript("run_1", 3),
  forget: forgetScript("run_1"),
};

test("every script is loaded, and its header names each key and argument once, in order", () => {
  const files = [...new Bun.Glob("*.lua").scanSync(`${import.meta.dir}/../../src/queue/lua`)].sort();
  expect(files).toEqual(Object.keys(scripts).map((name) => `${name}.lua`));
  for (const { text, keys, args } of Object.values(scripts)) {
    const named = (list: "KEYS" | "ARGV") =>
      [...text.matchAll(new RegExp(`^-- ${list}\\[(\\d+)\\] +\\w+ `, "gm"))].map(([, position]) => Number(position));
    expect(named("KEYS")).toEqual(keys.map((_, i) => i + 1));
    expect(named("ARGV")).toEqual(args.map((_, i) => i + 1));
    // Bound once to local names; the rest of the script uses those.
    for (const [list, count] of [
      ["KEYS", keys.length],
      ["ARGV", args.length],
    ] as const) {
      const body = text.replaceAll(/^--.*$/gm, "");
      expect(body.match(new RegExp(`${list}\\[`, "g"))?.length).toBe(count);
    }
  }
});
