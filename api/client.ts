/** The typed client, exported as `mocod/client`: its types are those of the routes. */
import { hc } from "hono/client";
import type { AppType } from "./app.ts";

// Computed once, as Hono's guide advises: otherwise every use infers all routes anew.
export type MocodClient = ReturnType<typeof hc<AppType>>;

/**
 * A client of a mocod API.
 *
 *     const mocod = createClient("http://127.0.0.1:8787");
 *     const answer = await mocod.v1.jobs.$post({ json: { type: "pretrain", spec: { dataset: { kind: "cifar10" } } } });
 *     if (answer.status === 201) console.log((await answer.json()).id);
 *
 * `apiKey`: for an API that has keys.
 */
export const createClient = (url: string, apiKey?: string): MocodClient =>
  hc<AppType>(url, { headers: apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` } });
