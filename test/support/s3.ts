/** An S3 server on loopback behind a proxy that fails on demand. */
import { createConnection, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { temporaryFolder } from "./helpers.ts";

/**
 * pass: as it is. refuse: 500. busy: 503 SlowDown. silent: no answer at all. cut: the connection ends before the request is
 * passed on. cutLate: the server does what was asked and its answer is lost.
 */
export type Fault = "pass" | "refuse" | "busy" | "silent" | "cut" | "cutLate";

export type S3 = Awaited<ReturnType<typeof startS3>>;

const answer = (status: string, code: string): string => {
  const body = `<?xml version="1.0"?><Error><Code>${code}</Code><Message>as ordered</Message></Error>`;
  return `HTTP/1.1 ${status}\r\ncontent-type: application/xml\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`;
};

/** `next` says what becomes of each request. The variables are to be in the environment of whoever uses it. */
export async function startS3(next: () => Fault = () => "pass") {
  const folder = temporaryFolder();
  const bucket = "runs";
  const server = Bun.spawn([process.execPath, join(import.meta.dir, "s3_server.ts"), folder.path, bucket], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const { value } = await server.stdout.getReader().read();
  const port = Number(new TextDecoder().decode(value));
  const counts: Record<Fault, number> = { pass: 0, refuse: 0, busy: 0, silent: 0, cut: 0, cutLate: 0 };
  const sockets = new Set<Socket>();
  let choose = next;
  const proxy = createServer((client) => {
    const upstream = createConnection(port, "127.0.0.1");
    let fault: Fault = "pass";
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on("error", () => undefined); // a connection that breaks is what this is for
      socket.on("close", () => {
        sockets.delete(socket);
        client.destroy();
        upstream.destroy();
      });
    }
    client.on("data", (chunk: Buffer) => {
      if (/^(GET|PUT|POST|HEAD|DELETE) \S+ HTTP/.test(chunk.subarray(0, 2000).toString("latin1"))) {
        fault = choose();
        counts[fault]++;
      }
      if (fault === "cut") client.destroy();
      else if (fault === "refuse") client.end(answer("500 Internal Server Error", "InternalError"));
      else if (fault === "busy") client.end(answer("503 Slow Down", "SlowDown"));
      else if (fault !== "silent") upstream.write(chunk);
    });
    upstream.on("data", (chunk) => {
      if (fault === "cutLate") client.destroy();
      else if (fault === "pass") client.write(chunk);
    });
  });
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  const { port: open } = proxy.address() as { port: number };
  const url = `s3://${bucket}/some/prefix`;
  return {
    url,
    counts,
    variables: {
      S3_ENDPOINT: `http://127.0.0.1:${open}`,
      S3_ACCESS_KEY_ID: "S3RVER",
      S3_SECRET_ACCESS_KEY: "S3RVER",
      S3_REGION: "us-east-1",
      MOCOD_STORE: url,
    },
    /** From now on. */
    faults(chosen: () => Fault) {
      choose = chosen;
    },
    async stop() {
      for (const socket of sockets) socket.destroy();
      proxy.close();
      server.kill();
      await server.exited;
      folder[Symbol.dispose]();
    },
  };
}
