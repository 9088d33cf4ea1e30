/** What a request has to pass before anything looks at it: size, depth, rate, key. */
import type { OpenAPIHono } from "@hono/zod-openapi";
import type { Context, MiddlewareHandler } from "hono";
import { bodyLimit } from "hono/body-limit";
import { getConnInfo } from "hono/bun";
import { secureHeaders } from "hono/secure-headers";
import { RateLimiterMemory, RateLimiterRes } from "rate-limiter-flexible";
import { type ApiKeys, covers, type Scope } from "../src/store/api_keys.ts";
import { problem } from "./problem.ts";

const BODY_BYTES = 2 ** 20;
/** No spec is half as deep; a parser and whatever walks the value after it use the stack. */
const DEPTH = 32;

/** Open to anyone who can reach the port: they say nothing about jobs. */
const harmless = new Set(["/livez", "/healthz", "/readyz", "/openapi.json"]);
const isPage = (path: string): boolean => path === "/" || path.startsWith("/assets/");
const isDocs = (path: string): boolean => path === "/docs" || path.startsWith("/docs/");
const isBoard = (path: string): boolean => path === "/queues" || path.startsWith("/queues/");
const isOpen = (path: string): boolean => harmless.has(path) || isPage(path) || isDocs(path);

function scopeOf({ req }: Context): Scope {
  // What says something of other systems, or reaches into the queues.
  if (isBoard(req.path) || req.path === "/v1/webhooks" || req.path.startsWith("/v1/webhooks/")) return "admin";
  return ["GET", "HEAD", "OPTIONS"].includes(req.method) ? "read" : "submit";
}

/** How deep arrays and objects of a JSON text nest, strings left out. */
export function depthOf(text: string): number {
  let [depth, deepest, quoted] = [0, 0, false];
  for (let i = 0; i < text.length; i++) {
    const char = text[i];
    if (quoted) {
      if (char === "\\") i++;
      else if (char === '"') quoted = false;
    } else if (char === '"') quoted = true;
    else if (char === "{" || char === "[") deepest = Math.max(deepest, ++depth);
    else if (char === "}" || char === "]") depth--;
  }
  return deepest;
}

/** Whose requests are counted together: those of a key, else of an address. */
function clientOf(c: Context): string {
  const token = c.req.header("authorization")?.match(/^Bearer mocod_([0-9a-f]{16})_/)?.[1];
  if (token) return `key ${token}`;
  // Without a server underneath, as in tests of the app alone, there is no address.
  return c.env?.server ? `address ${getConnInfo(c).remote.address}` : "address unknown";
}

/** `perSecond`: requests of one client; bursts of ten times as many are fine. 0: no limit. */
function rateLimit(perSecond: number): MiddlewareHandler {
  const limiter = new RateLimiterMemory({ points: perSecond * 10, duration: 10 });
  return async (c, next) => {
    if (perSecond === 0 || isOpen(c.req.path)) return next();
    try {
      const { remainingPoints, msBeforeNext } = await limiter.consume(clientOf(c));
      c.header("ratelimit-limit", String(perSecond * 10));
      c.header("ratelimit-remaining", String(remainingPoints));
      c.header("ratelimit-reset", String(Math.ceil(msBeforeNext / 1000)));
    } catch (refused) {
      if (!(refused instanceof RateLimiterRes)) throw refused;
      const seconds = Math.ceil(refused.msBeforeNext / 1000);
      const response = problem(c, 429, `more than ${perSecond} requests a second: try again in ${seconds} s`);
      response.headers.set("retry-after", String(seconds));
      return response;
    }
    return next();
  };
}

/** A browser that opens the board has no other way to show a key than HTTP's own form. */
function tokenOf(c: Context): string | undefined {
  const header = c.req.header("authorization");
  const basic = isBoard(c.req.path) ? header?.match(/^Basic ([A-Za-z0-9+/=]+)$/)?.[1] : undefined;
  if (basic)
    return Buffer.from(basic, "base64")
      .toString()
      .replace(/^[^:]*:/, "");
  return header?.match(/^Bearer (\S+)$/)?.[1];
}

/** On loopback none is asked for as long as there is none at all. Elsewhere, revoking the last one closes the API. */
function authenticate(keys: ApiKeys, loopback: boolean): MiddlewareHandler {
  return async (c, next) => {
    if (isOpen(c.req.path) || (loopback && !(await keys.exist()))) return next();
    const token = tokenOf(c);
    const key = token === undefined ? undefined : await keys.verify(token);
    if (!key) {
      const why = token === undefined ? "give a key: Authorization: Bearer mocod_…" : "the key is not valid";
      const response = problem(c, 401, `${why}; \`mocod keys create\` makes one`);
      // A browser shows a form for the second: any name, the key as the password.
      response.headers.set("www-authenticate", isBoard(c.req.path) ? 'Basic realm="mocod"' : 'Bearer realm="mocod"');
      return response;
    }
    const needed = scopeOf(c);
    if (!covers(key.scope, needed)) return problem(c, 403, `this key may ${key.scope}; ${needed} is needed`);
    return next();
  };
}

export interface GuardOptions {
  /** Requests of one client; 0: no limit. */
  readonly requestsPerSecond: number;
  /** Only this machine can reach the API. */
  readonly loopback: boolean;
  /** Webhooks may go to addresses that are not public. */
  readonly webhookPrivate: boolean;
}

export function addGuard(app: OpenAPIHono, keys: ApiKeys, options: GuardOptions): void {
  const { requestsPerSecond, loopback } = options;
  const nothing = { defaultSrc: ["'none'"], frameAncestors: ["'none'"], baseUri: ["'none'"], formAction: ["'none'"] };
  const own = {
    scriptSrc: ["'self'"],
    styleSrc: ["'self'"],
    connectSrc: ["'self'"],
    imgSrc: ["'self'", "data:", "blob:"],
  };
  const forData = secureHeaders({ contentSecurityPolicy: nothing });
  const forPage = secureHeaders({ contentSecurityPolicy: { ...nothing, ...own } });
  // Swagger UI and bull-board set styles of their own.
  const styled = { ...nothing, ...own, styleSrc: ["'self'", "'unsafe-inline'"] };
  const forDocs = secureHeaders({ contentSecurityPolicy: styled });
  const forBoard = secureHeaders({ contentSecurityPolicy: { ...styled, baseUri: ["'self'"] } });
  const policyOf = (path: string) =>
    isPage(path) ? forPage : isDocs(path) ? forDocs : isBoard(path) ? forBoard : forData;
  app.use((c, next) => policyOf(c.req.path)(c, next));
  app.use(rateLimit(requestsPerSecond));
  app.use(authenticate(keys, loopback));
  app.use(
    bodyLimit({
      maxSize: BODY_BYTES,
      onError: (c) => problem(c, 413, `the body may have ${BODY_BYTES} bytes`),
    }),
  );
  app.use(async (c, next) => {
    if (c.req.method !== "POST" || !c.req.header("content-type")?.includes("json")) return next();
    if (depthOf(await c.req.text()) > DEPTH) return problem(c, 422, `JSON may nest ${DEPTH} deep`);
    return next();
  });
}
