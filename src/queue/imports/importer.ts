/** Imports datasets by their URLs, in the background of an API process. What one API has begun, any other continues. */

import { type ImportSource, type StoredDataset, UploadError, withoutQuery } from "../../store/stored_dataset.ts";
import type { Uploads } from "../../store/uploads.ts";
import { messageOf, UserError } from "../../util/errors.ts";
import { openSource, type SourceOptions } from "./open_source.ts";
import type { PendingImports } from "./pending.ts";
import { type RETRIES, Transfer } from "./transfer.ts";

/** Imports of one process at a time; others wait. */
const AT_ONCE = 2;
const PULSE_MS = 1000;
const CANCEL_MS = 2000;

export interface ImporterDeps extends SourceOptions {
  readonly pending: PendingImports;
  readonly uploads: Uploads;
  readonly log: (message: string) => void;
  readonly retries?: typeof RETRIES;
}

interface Running {
  readonly stop: AbortController;
  readonly ended: Promise<void>;
}

export class Importer {
  private readonly running = new Map<string, Running>();
  private closed = false;

  constructor(private readonly deps: ImporterDeps) {}

  /** Begins an import. Throws UserError where the URL is not allowed or its host has no address. */
  async begin(name: string, { url, sha256 }: Pick<ImportSource, "url" | "sha256">): Promise<StoredDataset> {
    const { uploads, pending } = this.deps;
    await openSource(url, this.deps)
      .check()
      .catch((error: unknown) => {
        throw new UploadError("url", withoutQuery(url), messageOf(error).replace(/^url: /, ""));
      });
    const record = await uploads.create(name, { url, sha256 });
    await pending.add(record.id);
    await this.resume();
    return record;
  }

  /** Continues imports that no live process has, as far as this one has room. */
  async resume(): Promise<void> {
    const { pending } = this.deps;
    for (const id of await pending.ids()) {
      if (this.closed || this.running.size >= AT_ONCE) return;
      if (this.running.has(id)) continue;
      const stop = new AbortController();
      const ended = Promise.withResolvers<void>();
      // Before the first wait: another call must not begin it too.
      this.running.set(id, { stop, ended: ended.promise });
      const taken = await pending.take(id).catch((error: unknown) => {
        this.running.delete(id);
        ended.resolve();
        throw error;
      });
      if (!taken) {
        this.running.delete(id);
        ended.resolve();
        continue;
      }
      void this.run(id, stop).finally(() => {
        this.running.delete(id);
        ended.resolve();
      });
    }
  }

  /** Stops an import that is about to be deleted. Another process that has it notices within a second or two. */
  async cancel(id: string): Promise<void> {
    await this.deps.pending.remove(id);
    const own = this.running.get(id);
    own?.stop.abort();
    // Not for longer: the checksum of a large file takes minutes, and finds the record gone at its end.
    await Promise.race([own?.ended, Bun.sleep(CANCEL_MS)]);
  }

  /** Stops all imports of this process; other processes continue them. */
  async close(): Promise<void> {
    this.closed = true;
    for (const { stop } of this.running.values()) stop.abort();
    await Promise.all([...this.running.values()].map(({ ended }) => ended));
  }

  /** Never rejects. */
  private async run(id: string, stop: AbortController): Promise<void> {
    const { pending, log } = this.deps;
    const pulse = setInterval(() => {
      pending.renew(id).then(
        (renewed) => renewed || stop.abort(),
        (error: unknown) => log(`import ${id}: ${messageOf(error)}`),
      );
    }, PULSE_MS);
    try {
      await this.attempt(id, stop.signal);
    } catch (error) {
      // The store or Redis cannot be reached: a later round of housekeeping continues.
      if (!stop.signal.aborted) log(`import ${id}: ${messageOf(error)}`);
    } finally {
      clearInterval(pulse);
      await pending.release(id).catch((error: unknown) => log(`import ${id}: ${messageOf(error)}`));
    }
  }

  private async attempt(id: string, signal: AbortSignal): Promise<void> {
    const { uploads, pending, retries } = this.deps;
    const record = await uploads.get(id);
    // Deleted, or ended by a process that died before it could say so.
    if (record?.status !== "importing" || !record.source) return pending.remove(id);
    try {
      const source = openSource(record.source.url, this.deps);
      await new Transfer(record, source, uploads, signal, retries).run();
      await uploads.complete(id, record.source.sha256 ?? undefined, "importing");
      await pending.remove(id);
    } catch (error) {
      if (signal.aborted || !(error instanceof UserError)) throw error;
      await uploads.fail(id, error.message);
      await pending.remove(id);
    } finally {
      // A part may have been written after the record was deleted.
      if (!(await uploads.get(id))) await uploads.remove(id);
    }
  }
}
