/** The layers of docs/architecture.md, enforced: a file imports only from a lower layer or from its own folder. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";

const root = resolve(import.meta.dir, "../..");

/** Folder -> layer. Folders of one layer do not import each other. */
const layers: Record<string, number> = {
  "package.json": -1,
  "src/util": 0,
  "src/schema": 1,
  "src/store": 2,
  "src/data": 2,
  "src/text": 2,
  "src/study": 2,
  "src/queue": 3,
  "src/backend": 3,
  "src/kernels": 4,
  "src/nn": 5,
  "src/optim": 5,
  "src/methods": 6,
  "src/evaluate": 6,
  "src/engine": 7,
  "src/plan": 8,
  "src/train": 9,
  "src/exchange": 10,
  "src/judge": 11,
  api: 12,
  workers: 12,
  cli: 13,
};
/** What the API is made of: it never loads a tensor library. */
const apiMay = new Set(["src/util", "src/schema", "src/store", "src/study", "src/queue", "api"]);

const transpilers = { ts: new Bun.Transpiler({ loader: "ts" }), tsx: new Bun.Transpiler({ loader: "tsx" }) };
const files = [...new Bun.Glob("{src,api,workers,cli}/**/*.{ts,tsx}").scanSync(root)].filter(
  (f) => !f.includes("/assembly/"),
);

function folderOf(file: string): string {
  const parts = file.split("/");
  return parts[0] === "src" ? `src/${parts[1]}` : (parts[0] as string);
}

const imports = files.flatMap((file) => {
  const text = readFileSync(join(root, file), "utf8").replace(/^#!.*/, "");
  // scanImports leaves type imports out; they count too.
  const types = [...text.matchAll(/import type [^;]*? from "(\.[^"]+)"/g)].map((m) => m[1] as string);
  const values = transpilers[file.endsWith("tsx") ? "tsx" : "ts"].scanImports(text).map((i) => i.path);
  return [...values, ...types].map((path) => ({ file, path }));
});
const local = imports
  .filter(({ path }) => path.startsWith("."))
  .map(({ file, path }) => ({ file, to: relative(root, resolve(root, dirname(file), path)) }));

test("every folder has a layer", () => {
  expect(files.length).toBeGreaterThan(40);
  expect([...new Set(files.map(folderOf))].filter((folder) => !(folder in layers))).toEqual([]);
});

test("no import goes upward", () => {
  const upward = local.filter(({ file, to }) => {
    const [from, target] = [folderOf(file), folderOf(to)];
    return from !== target && !((layers[target] as number) < (layers[from] as number));
  });
  expect(upward).toEqual([]);
});

test("no cycles between files", () => {
  const graph = Map.groupBy(local, ({ file }) => file);
  const done = new Set<string>();
  const visit = (file: string, path: string[]): string[] | undefined => {
    if (path.includes(file)) return [...path.slice(path.indexOf(file)), file];
    if (done.has(file)) return undefined;
    for (const { to } of graph.get(file) ?? []) {
      const cycle = visit(to, [...path, file]);
      if (cycle) return cycle;
    }
    done.add(file);
    return undefined;
  };
  expect(files.map((file) => visit(file, [])).find((cycle) => cycle)).toBeUndefined();
});

test("the API never loads a tensor library", () => {
  const reached = local.filter(({ file, to }) => folderOf(file) === "api" && !apiMay.has(folderOf(to)));
  expect(reached).toEqual([]);
  const tensor = imports.filter(
    ({ file, path }) =>
      path.startsWith("@tensorflow/") && (apiMay.has(folderOf(file)) || folderOf(file) === "src/data"),
  );
  expect(tensor).toEqual([]);
});
