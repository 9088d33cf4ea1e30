/** A file of a web server, requested in ranges. Every address is checked before the request goes to it, those of redirects too. */
import { request as httpRequest, type IncomingMessage } from "node:http";
import { request as httpsRequest } from "node:https";
import { UploadError, withoutQuery } from "../../store/stored_dataset.ts";
import { VERSION } from "../../util/version.ts";
import { lookupOf, type Target } from "../addresses.ts";
import type { Answer, Source } from "./source.ts";

const REDIRECTS = 5;
/** A server that sends nothing for so long is asked again. */
const SILENT_MS = 30_000;
/** Answers that another attempt may change. */
const TRANSIENT = new Set([408, 425, 429]);

const isRedirect = (status: number): boolean => [301, 302, 303, 307, 308].includes(status);

export class HttpSource implements Source {
  /** @param resolve - Checks the address of a URL; throws UserError where it is not allowed. */
  constructor(
    private readonly url: URL,
    private readonly resolve: (url: URL) => Promise<Target>,
    private readonly silentMs = SILENT_MS,
  ) {}

  async check(): Promise<void> {
    await this.resolve(this.url);
  }

  async read(from: number, length: number, signal: AbortSignal): Promise<Answer> {
    let url = this.url;
    for (let redirects = 0; ; redirects++) {
      const response = await this.request(url, from, length, signal);
      const { statusCode: status = 0, headers } = response;
      if (!isRedirect(status) || headers.location === undefined) return this.answer(response, status, from);
      response.destroy();
      if (redirects === REDIRECTS) throw this.refused(`more than ${REDIRECTS} redirects`, `at most ${REDIRECTS}`);
      url = this.redirected(url, headers.location);
    }
  }

  private redirected(from: URL, location: string): URL {
    if (!URL.canParse(location, from.href)) throw this.refused(`a redirect to ${location}`, "a URL");
    const to = new URL(location, from);
    const allowed = from.protocol === "https:" ? ["https:"] : ["http:", "https:"];
    if (!allowed.includes(to.protocol)) {
      throw this.refused(`a redirect to ${to.protocol}//${to.host}`, allowed.map((name) => `${name}//`).join(", "));
    }
    return to;
  }

  private async request(url: URL, from: number, length: number, signal: AbortSignal): Promise<IncomingMessage> {
    const target = await this.resolve(url);
    const send = url.protocol === "https:" ? httpsRequest : httpRequest;
    const headers = {
      "user-agent": `mocod/${VERSION}`,
      accept: "*/*",
      "accept-encoding": "identity",
      range: `bytes=${from}-${from + length - 1}`,
    };
    return new Promise((resolve, reject) => {
      const sent = send(url, { headers, agent: false, signal, lookup: lookupOf(target) }, (response) => {
        clearTimeout(timer);
        resolve(response);
      });
      const timer = setTimeout(() => sent.destroy(this.silence()), this.silentMs);
      sent.on("error", (error) => {
        clearTimeout(timer);
        reject(error);
      });
      sent.end();
    });
  }

  private answer(response: IncomingMessage, status: number, from: number): Answer {
    const { headers } = response;
    const common = {
      // A weak tag promises no equal bytes.
      etag: headers.etag && !headers.etag.startsWith("W/") ? headers.etag : null,
      type: headers["content-type"],
      body: this.chunks(response),
    };
    const encoding = headers["content-encoding"] ?? "identity";
    if (encoding === "identity" && status === 206) {
      const [, start, total] = headers["content-range"]?.match(/^bytes (\d+)-\d+\/(\d+)$/) ?? [];
      if (Number(start) === from) return { ...common, from, total: Number(total) };
    }
    if (encoding === "identity" && status === 200) {
      const length = headers["content-length"];
      return { ...common, from: 0, total: length === undefined ? null : Number(length) };
    }
    response.destroy();
    if (status >= 500 || TRANSIENT.has(status)) throw new Error(`${this.url.host} answered ${status}`);
    if (status === 416 && from === 0) throw this.refused("an empty file", "an archive");
    const got = [
      `${this.url.host} answered ${status}`,
      ...(status === 206 ? [`content-range ${headers["content-range"]}`] : []),
      ...(encoding === "identity" ? [] : [`content-encoding ${encoding}`]),
    ];
    throw this.refused(got.join(", "), "200, or 206 with the range and size asked for, not encoded");
  }

  private async *chunks(response: IncomingMessage): AsyncGenerator<Uint8Array> {
    // Not the socket's own limit: that would count the time in which what has arrived is stored.
    const arm = () => setTimeout(() => response.destroy(this.silence()), this.silentMs);
    let timer = arm();
    try {
      for await (const chunk of response) {
        clearTimeout(timer);
        yield chunk as Uint8Array;
        timer = arm();
      }
    } finally {
      clearTimeout(timer);
      response.destroy();
    }
  }

  private silence(): Error {
    return new Error(`${this.url.host} sent nothing for ${this.silentMs / 1000} s`);
  }

  private refused(got: string, allowed: string): UploadError {
    return new UploadError("url", `${withoutQuery(this.url.href)}: ${got}`, allowed);
  }
}
