/** A real S3-compatible server as a process of its own: folder, bucket; prints its port. */
import { createRequire } from "node:module";

/** It was written for Node, which gives names in order, as S3 gives keys. */
const require = createRequire(import.meta.url);
const fs = require("node:fs");
const { readdirSync } = fs;
fs.readdirSync = (...args: unknown[]) => readdirSync(...args).sort();

/** Its continuation tokens are enciphered by DES, which Bun does not have; triple DES with one key thrice is the same. */
const crypto = require("node:crypto");
for (const name of ["createCipheriv", "createDecipheriv"]) {
  const original = crypto[name];
  crypto[name] = (cipher: string, key: Buffer, iv: Buffer) =>
    cipher === "des" ? original("des-ede3-cbc", Buffer.concat([key, key, key]), iv) : original(cipher, key, iv);
}

// Only now: it takes these functions as they are when it is loaded.
const S3rver = require("@20minutes/s3rver");
const [directory, bucket] = process.argv.slice(2);
const server = new S3rver({
  port: 0,
  address: "127.0.0.1",
  silent: true,
  directory,
  // It leaves the last slash out of what it signs for a bucket's own address, and so refuses every list request.
  allowMismatchedSignatures: true,
  configureBuckets: [{ name: bucket, configs: [] }],
});
const { port } = (await server.run()) as { port: number };
console.log(port);
