/** Packages of npm as files: fetched once, checked against a pinned hash, never installed. */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { gunzipSync } from "node:zlib";
import tar from "tar-stream";
import { FileError, UserError } from "../../src/util/errors.ts";

export interface Package {
  readonly name: string;
  readonly version: string;
  /** Of its tarball, as npm has it: sha512- and base64. */
  readonly integrity: string;
}

/** As `npm pack` names it. */
const fileOf = ({ name, version }: Package): string => `${name.replace("@", "").replace("/", "-")}-${version}.tgz`;

const integrityOf = (file: string): string =>
  `sha512-${createHash("sha512").update(readFileSync(file)).digest("base64")}`;

/**
 * The package's tarball in `folder`, fetched where it is not there.
 *
 * @throws UserError where npm cannot fetch it, FileError for another file than the pinned one.
 */
export function fetched(wanted: Package, folder: string, log: (message: string) => void): string {
  const file = join(folder, fileOf(wanted));
  if (!existsSync(file)) {
    mkdirSync(folder, { recursive: true });
    const id = `${wanted.name}@${wanted.version}`;
    log(`fetching ${id}`);
    const command = ["npm", "pack", id, "--ignore-scripts", "--pack-destination", folder];
    const { exitCode, stderr } = Bun.spawnSync(command, { stdout: "ignore", stderr: "pipe" });
    if (exitCode !== 0) throw new UserError(`npm cannot fetch ${id}:\n${stderr.toString().trim()}`);
  }
  const got = integrityOf(file);
  if (got !== wanted.integrity) throw new FileError(file, `got ${got}, allowed: ${wanted.integrity}`);
  return file;
}

/** Files of JSON in a tarball by their names in it; those that are not there are left out. */
export async function readJson(file: string, names: readonly string[]): Promise<ReadonlyMap<string, unknown>> {
  const found = new Map<string, unknown>();
  const extract = tar.extract();
  Readable.from([gunzipSync(readFileSync(file))]).pipe(extract);
  for await (const entry of extract) {
    const name = entry.header.name.replace(/^package\//, "");
    const parts: Buffer[] = [];
    for await (const part of entry) parts.push(part as Buffer);
    if (names.includes(name)) found.set(name, JSON.parse(Buffer.concat(parts).toString("utf8")));
  }
  return found;
}
