/** Middleware that checks every request first: rate, key, size and depth of the body. */
import type { OpenAPIHono } from "@hono/zod-openapi";
import type { Context, MiddlewareHandler } from "hono";
import { bodyLimit } from "hono/body-limit";
import { getConnInfo } from "hono/bun";
import { secureHeaders } from "hono/secure-headers";
import { RateLimiterMemory, RateLimiterRes } from "rate-limiter-flexible";
import { type ApiKeys, covers, type Scope } from "../src/store/api_keys.ts";
import { PART_BYTES } from "../src/store/uploads.ts";
import { problem } from "./problem.ts";

const BODY_BYTES = 2 ** 20;
/** More than twice the depth of any spec. Parsers and validators recurse, so the depth must be bounded. */
const DEPTH = 32;

/** Paths that need no key: they reveal nothing about jobs. */
const unprotected = new Set(["/livez", "/healthz", "/readyz", "/openapi.json"]);
const isPage = (path: string): boolean => path === "/" || path.startsWith("/assets/");
const isDocs = (path: string): boolean => path === "/docs" || path.startsWith("/docs/");
const isReport = (path: string): boolean => /^\/v1\/studies\/[^/]+\/report$/.test(path);
const isBoard = (path: string): boolean => path === "/queues" || path.startsWith("/queues/");
const isPart = ({ req }: Context): boolean =>
  req.method === "PUT" && /^\/v1\/datasets\/[^/]+\/parts\/\d+$/.test(req.path);
const isOpen = (path: string): boolean => unprotected.has(path) || isPage(path) || isDocs(path);

function scopeOf({ req }: Context): Scope {
  // These reveal other systems, or the queues.
  if (isBoard(req.path) || req.path === "/v1/webhooks" || req.path.startsWith("/v1/webhooks/")) return "admin";
  return ["GET", "HEAD", "OPTIONS"].includes(req.method) ? "read" : "submit";
}

/** Measures how deep the arrays and objects of a JSON text nest, ignoring its strings. */
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

/** Identifies a client for the rate limit: by its key, else by its address. */
function clientOf(c: Context): string {
  const token = c.req.header("authorization")?.match(/^Bearer mocod_([0-9a-f]{16})_/)?.[1];
  if (token) return `key ${token}`;
  // Tests call the app without a server, and have no address.
  return c.env?.server ? `address ${getConnInfo(c).remote.address}` : "address unknown";
}

/** Limits the requests of a client, and allows bursts of ten times `perSecond`. 0: no limit. */
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

/** Reads the key of a request. A browser that opens the board can only send it by basic authentication. */
function tokenOf(c: Context): string | undefined {
  const header = c.req.header("authorization");
  const basic = isBoard(c.req.path) ? header?.match(/^Basic ([A-Za-z0-9+/=]+)$/)?.[1] : undefined;
  if (basic)
    return Buffer.from(basic, "base64")
      .toString()
      .replace(/^[^:]*:/, "");
  return header?.match(/^Bearer (\S+)$/)?.[1];
}

/** Requires a key, except on loopback while there are no keys. Elsewhere revoking the last key closes the API. */
function authenticate(keys: ApiKeys, loopback: boolean): MiddlewareHandler {
  return async (c, next) => {
    if (isOpen(c.req.path) || (loopback && !(await keys.exist()))) return next();
    const token = tokenOf(c);
    const key = token === undefined ? undefined : await keys.verify(token);
    if (!key) {
      const why = token === undefined ? "give a key: Authorization: Bearer mocod_…" : "the key is not valid";
      const response = problem(c, 401, `${why}; \`mocod keys create\` makes one`);
      // With Basic a browser shows a form: any name, and the key as the password.
      response.headers.set("www-authenticate", isBoard(c.req.path) ? 'Basic realm="mocod"' : 'Bearer realm="mocod"');
      return response;
    }
    const needed = scopeOf(c);
    if (!covers(key.scope, needed)) return problem(c, 403, `this key may ${key.scope}; ${needed} is needed`);
    return next();
  };
}

export interface GuardOptions {
  /** Requests per second of one client; 0: no limit. */
  readonly requestsPerSecond: number;
  /** Whether only this machine can reach the API. */
  readonly loopback: boolean;
  /** Whether webhooks may go to addresses that are not public. */
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
  // Swagger UI and bull-board use inline styles.
  const styled = { ...nothing, ...own, styleSrc: ["'self'", "'unsafe-inline'"] };
  const forDocs = secureHeaders({ contentSecurityPolicy: styled });
  const forBoard = secureHeaders({ contentSecurityPolicy: { ...styled, baseUri: ["'self'"] } });
  // A report is one file with its own style, and no script.
  const forReport = secureHeaders({ contentSecurityPolicy: { ...nothing, styleSrc: ["'unsafe-inline'"] } });
  const policyOf = (path: string) =>
    isReport(path) ? forReport : isPage(path) ? forPage : isDocs(path) ? forDocs : isBoard(path) ? forBoard : forData;
  app.use((c, next) => policyOf(c.req.path)(c, next));
  app.use(rateLimit(requestsPerSecond));
  app.use(authenticate(keys, loopback));
  const limited = (maxSize: number) =>
    bodyLimit({ maxSize, onError: (c) => problem(c, 413, `the body may have ${maxSize} bytes`) });
  const [ordinary, parts] = [limited(BODY_BYTES), limited(PART_BYTES)];
  app.use((c, next) => (isPart(c) ? parts : ordinary)(c, next));
  app.use(async (c, next) => {
    if (c.req.method !== "POST" || !c.req.header("content-type")?.includes("json")) return next();
    if (depthOf(await c.req.text()) > DEPTH) return problem(c, 422, `JSON may nest ${DEPTH} deep`);
    return next();
  });
}
