/** The machine's own Chromium, which playwright-core drives. */
import { existsSync } from "node:fs";
import { type Browser, chromium } from "playwright-core";

const executablePath = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(existsSync);

/** Without a window; `args` besides what root needs. Throws where there is none. */
export function openBrowser(...args: string[]): Promise<Browser> {
  if (!executablePath) throw new Error("no chromium here: apt-get install chromium");
  return chromium.launch({ executablePath, args: ["--no-sandbox", ...args] });
}
