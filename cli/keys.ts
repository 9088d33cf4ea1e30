/** `mocod keys`: works on the store alone, so the first key can be created before an API runs. */
import { ApiKeys, type Scope } from "../src/store/api_keys.ts";
import { openBlobs } from "../src/store/open_blobs.ts";
import type { Env } from "../src/util/env.ts";
import { printJson } from "./json.ts";

const keysOf = (env: Env) => new ApiKeys(openBlobs(env.storeUrl));

export async function createKey(env: Env, name: string, options: { scope: Scope; json?: boolean }): Promise<void> {
  const { scope } = options;
  const { key, token } = await keysOf(env).create(name, scope);
  if (options.json) return printJson({ ...key, token });
  console.error(`key ${key.id}, scope ${scope}; it is not shown again:`);
  console.log(token);
}

export async function listKeys(env: Env, options: { json?: boolean }): Promise<void> {
  const keys = await keysOf(env).list();
  if (options.json) printJson(keys);
  else
    for (const { id, scope, createdAt, name } of keys) console.log(`${id}  ${scope.padEnd(6)}  ${createdAt}  ${name}`);
}

export async function revokeKey(env: Env, id: string, options: { json?: boolean }): Promise<void> {
  await keysOf(env).revoke(id);
  if (options.json) printJson({ id, revoked: true });
  else console.log(`${id} is revoked`);
}
