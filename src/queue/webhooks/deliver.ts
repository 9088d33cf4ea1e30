/** Sends one message to a webhook, signed as Standard Webhooks specifies. */
import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { Webhook as Signer } from "standardwebhooks";
import type { SecretWebhook } from "../../store/webhooks.ts";
import { VERSION } from "../../util/version.ts";
import { lookupOf, targetOf } from "../addresses.ts";

const ANSWER_MS = 15_000;

/**
 * Sends one message. A redirect counts as a failure, because it could lead to an address that is not allowed.
 *
 * @param id - Id of the message, the same in every attempt.
 * @param body - JSON.
 * @param allowPrivate - Whether the address may be private.
 * @throws Error unless the answer is 2xx; UserError where the address is not allowed.
 */
export async function deliver(
  hook: Pick<SecretWebhook, "url" | "secret">,
  id: string,
  body: string,
  allowPrivate: boolean,
): Promise<void> {
  const url = new URL(hook.url);
  const target = await targetOf(url, allowPrivate, "MOCOD_WEBHOOK_PRIVATE");
  const at = new Date();
  const headers = {
    "content-type": "application/json",
    "user-agent": `mocod/${VERSION}`,
    "content-length": Buffer.byteLength(body),
    "webhook-id": id,
    "webhook-timestamp": String(Math.floor(at.getTime() / 1000)),
    "webhook-signature": new Signer(hook.secret).sign(id, at, body),
  };
  const send = url.protocol === "https:" ? httpsRequest : httpRequest;
  const status = await new Promise<number>((resolve, reject) => {
    const sent = send(
      url,
      {
        method: "POST",
        headers,
        timeout: ANSWER_MS,
        agent: false,
        signal: AbortSignal.timeout(ANSWER_MS),
        lookup: lookupOf(target),
      },
      (response) => {
        response.destroy(); // the body is not needed
        resolve(response.statusCode ?? 0);
      },
    );
    sent.on("error", reject);
    sent.end(body);
  });
  if (status < 200 || status > 299) throw new Error(`${url.origin} answered ${status}`);
}
