/** Addresses that requests of the service may go to: public ones by default (server-side request forgery, OWASP A10). */
import { lookup } from "node:dns/promises";
import { isIP, type LookupFunction } from "node:net";
import ipaddr from "ipaddr.js";
import { UserError } from "../util/errors.ts";

/** Whether an address is neither loopback, private, link-local nor reserved. `::ffff:10.0.0.1` counts as 10.0.0.1. */
export const isPublic = (address: string): boolean => ipaddr.process(address).range() === "unicast";

export interface Target {
  readonly address: string;
  readonly family: 4 | 6;
}

/** Settings that allow private addresses, by what sends the request. */
export type PrivateSetting = "MOCOD_WEBHOOK_PRIVATE" | "MOCOD_IMPORT_PRIVATE";

/**
 * Resolves the host of a URL. The request must go to the returned address (`lookupOf`), not to the name, which could resolve to
 * another address the next time (DNS rebinding).
 *
 * @throws UserError where the address is not allowed.
 */
export async function targetOf(url: URL, allowPrivate: boolean, setting: PrivateSetting): Promise<Target> {
  const host = url.hostname.replace(/^\[(.*)\]$/, "$1");
  const found = isIP(host) ? [{ address: host, family: isIP(host) }] : await lookup(host, { all: true });
  const refused = allowPrivate ? undefined : found.find(({ address }) => !isPublic(address));
  if (refused) {
    throw new UserError(
      `url: ${url.hostname} is ${refused.address}, which is no public address; ${setting}=1 allows it`,
    );
  }
  const [first] = found;
  if (!first) throw new UserError(`url: ${url.hostname} has no address`);
  return { address: first.address, family: first.family === 6 ? 6 : 4 };
}

/** Makes a request go to an address that was checked. Bun and Node ask for all addresses, or for one. */
export const lookupOf =
  (target: Target): LookupFunction =>
  (_, { all }, found) =>
    all
      ? (found as (e: null, of: Target[]) => void)(null, [target])
      : (found as (e: null, a: string, f: number) => void)(null, target.address, target.family);
