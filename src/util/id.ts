import { createHash } from "node:crypto";

const ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz";

export type IdKind = "run" | "pipe" | "hook";

/** `run_` and a ULID in lower case: 48 bits of time, 80 random ones; sorts by creation. */
export function newId(kind: IdKind, now = Date.now()): string {
  let time = "";
  for (let t = now, i = 0; i < 10; i++, t = Math.floor(t / 32)) time = ALPHABET[t % 32] + time;
  const random = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => ALPHABET[byte % 32]).join("");
  return `${kind}_${time}${random}`;
}

/** The id that an idempotency key stands for: of the same form, without a time. */
export function idOfKey(kind: IdKind, key: string): string {
  const digest = createHash("sha256").update(key).digest();
  return `${kind}_${[...digest.subarray(0, 26)].map((byte) => ALPHABET[byte % 32]).join("")}`;
}
