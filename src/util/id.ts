import { createHash } from "node:crypto";

const ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz";

export type IdKind = "run" | "pipe" | "hook" | "ds";

/** Creates an id: `run_` and a lower-case ULID (48 bits of time, 80 random bits), which sorts by creation. */
export function newId(kind: IdKind, now = Date.now()): string {
  let time = "";
  for (let t = now, i = 0; i < 10; i++, t = Math.floor(t / 32)) time = ALPHABET[t % 32] + time;
  const random = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => ALPHABET[byte % 32]).join("");
  return `${kind}_${time}${random}`;
}

/** Derives an id from an idempotency key: the same form, without a time. */
export function idOfKey(kind: IdKind, key: string): string {
  const digest = createHash("sha256").update(key).digest();
  return `${kind}_${[...digest.subarray(0, 26)].map((byte) => ALPHABET[byte % 32]).join("")}`;
}
