/** Serves the page, which is built from its sources at the first request. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { OpenAPIHono } from "@hono/zod-openapi";
import { sha256 } from "../src/store/files.ts";

const FOLDER = join(import.meta.dir, "page");
const UPLOT_STYLE = join(import.meta.dir, "../node_modules/uplot/dist/uPlot.min.css");

interface Asset {
  type: string;
  text: string;
  etag: string;
}

const asset = (type: string, text: string): Asset => ({
  type,
  text,
  etag: `"${sha256(Buffer.from(text)).slice(0, 32)}"`,
});

async function buildScript(): Promise<Asset> {
  const built = await Bun.build({ entrypoints: [join(FOLDER, "main.tsx")], target: "browser", minify: true });
  const [script] = built.outputs;
  if (!built.success || !script) throw new AggregateError(built.logs, "the page could not be built");
  return asset("text/javascript; charset=utf-8", await script.text());
}

export function addPage(app: OpenAPIHono): void {
  const read = (name: string) => readFileSync(join(FOLDER, name), "utf8");
  let script: Promise<Asset> | undefined;
  const sources: Record<string, () => Promise<Asset>> = {
    "/": async () => asset("text/html; charset=utf-8", read("index.html")),
    "/assets/style.css": async () =>
      asset("text/css; charset=utf-8", readFileSync(UPLOT_STYLE, "utf8") + read("style.css")),
    "/assets/page.js": () => {
      script ??= buildScript();
      return script;
    },
  };
  for (const [path, source] of Object.entries(sources)) {
    app.get(path, async (c) => {
      const { type, text, etag } = await source();
      const headers = { "content-type": type, etag, "cache-control": "no-cache" };
      return c.req.header("if-none-match") === etag ? c.body(null, 304, headers) : c.body(text, 200, headers);
    });
  }
}
