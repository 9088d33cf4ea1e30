/** Holds event streams open until its stdin ends: `bun bench/load_streams.ts <url> <count>`. See load.ts. */
import { connect } from "node:net";

const [url = "", count = "0"] = process.argv.slice(2);
const { hostname, port, pathname } = new URL(url);
let [open, events] = [0, 0];
const sockets = Array.from({ length: Number(count) }, () => {
  const socket = connect(Number(port), hostname);
  socket.write(`GET ${pathname} HTTP/1.1\r\nhost: ${hostname}\r\n\r\n`);
  socket.once("data", () => {
    if (++open === Number(count)) console.log("open");
  });
  // A line `id: …` ends each event; a chunk that splits one is counted with the next.
  socket.on("data", (chunk: Buffer) => {
    for (let at = chunk.indexOf("\nid: "); at >= 0; at = chunk.indexOf("\nid: ", at + 1)) events++;
  });
  socket.on("close", () => open--);
  return socket;
});
for await (const _ of Bun.stdin.stream()); // until it ends
console.log(JSON.stringify({ open, events }));
for (const socket of sockets) socket.destroy();
process.exit(0);
