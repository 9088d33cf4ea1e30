/** Addresses that a webhook may go to: public ones, unless told otherwise (server-side request forgery, OWASP A10). */
import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import ipaddr from "ipaddr.js";
import { UserError } from "../../util/errors.ts";

/** Neither this machine nor a private, link-local, reserved or otherwise special network; `::ffff:10.0.0.1` is 10.0.0.1. */
export const isPublic = (address: string): boolean => ipaddr.process(address).range() === "unicast";

export interface Target {
  readonly address: string;
  readonly family: 4 | 6;
}

/**
 * Where a URL leads, looked up once: the request goes to the very address that was judged, so that a name which is answered
 * otherwise the next time (DNS rebinding) changes nothing. Throws UserError where it may not be asked.
 */
export async function targetOf(url: URL, allowPrivate: boolean): Promise<Target> {
  const host = url.hostname.replace(/^\[(.*)\]$/, "$1");
  const found = isIP(host) ? [{ address: host, family: isIP(host) }] : await lookup(host, { all: true });
  const refused = allowPrivate ? undefined : found.find(({ address }) => !isPublic(address));
  if (refused) {
    throw new UserError(
      `url: ${url.hostname} is ${refused.address}, which is no public address; MOCOD_WEBHOOK_PRIVATE=1 allows it`,
    );
  }
  const [first] = found;
  if (!first) throw new UserError(`url: ${url.hostname} has no address`);
  return { address: first.address, family: first.family === 6 ? 6 : 4 };
}
