/** The typed client, exported as `mocod/client`. Its types are inferred from the routes. */
import { hc } from "hono/client";
import type { AppType } from "./app.ts";

// Named once, as Hono's guide advises: otherwise every use infers all routes again.
export type MocodClient = ReturnType<typeof hc<AppType>>;

/**
 * Creates a client of a mocod API.
 *
 *     const mocod = createClient("http://127.0.0.1:8787");
 *     const answer = await mocod.v1.jobs.$post({ json: { type: "pretrain", spec: { dataset: { kind: "cifar10" } } } });
 *     if (answer.status === 201) console.log((await answer.json()).id);
 *
 * @param apiKey - Required where the API has keys.
 */
export const createClient = (url: string, apiKey?: string): MocodClient =>
  hc<AppType>(url, { headers: apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` } });
