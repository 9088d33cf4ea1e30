/** A web server of files, each served as its path says, which counts what it was asked for. */

export interface Asked {
  readonly path: string;
  readonly range: string | null;
}

type Serve = (bytes: Uint8Array, request: Request) => Response | Promise<Response>;

/** With ranges and an entity tag. */
export const inRanges: Serve = (bytes, request) => {
  const [, from, to] = request.headers.get("range")?.match(/^bytes=(\d+)-(\d+)$/) ?? [];
  const end = Math.min(bytes.length, Number(to) + 1);
  return new Response(bytes.slice(Number(from), end), {
    status: 206,
    headers: { etag: '"one"', "content-range": `bytes ${from}-${end - 1}/${bytes.length}` },
  });
};

export function serveFiles(files: Record<string, readonly [Uint8Array, Serve]>) {
  const asked: Asked[] = [];
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    idleTimeout: 120,
    async fetch(request) {
      const path = new URL(request.url).pathname;
      asked.push({ path, range: request.headers.get("range") });
      const [bytes, serve] = files[path] ?? [];
      return bytes && serve ? serve(bytes, request) : new Response("nothing", { status: 404 });
    },
  });
  return {
    url: `http://127.0.0.1:${server.port}`,
    asked,
    /** Ranges that a file was asked for. */
    ranges: (path: string) => asked.filter((one) => one.path === path).map(({ range }) => range),
    stop: () => server.stop(true),
  };
}
