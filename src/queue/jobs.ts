/**
 * The jobs of a service, over one connection to Redis and one store. Redis holds the record of each job (a hash), its
 * events (a capped stream) and BullMQ's queues; the store holds the record and the events permanently.
 */
import type { Queue } from "bullmq";
import type { Redis } from "ioredis";
import type { Blobs } from "../store/blobs.ts";
import { Uploads } from "../store/uploads.ts";
import { Fleet } from "./fleet.ts";
import { Housekeeping } from "./housekeeping/housekeeping.ts";
import { PendingImports } from "./imports/pending.ts";
import { Entries } from "./life/entries.ts";
import { Life } from "./life/life.ts";
import { Submissions } from "./life/submissions.ts";
import { openQueue } from "./open_queue.ts";
import { Pipelines } from "./pipelines/pipelines.ts";
import { Studies } from "./pipelines/studies.ts";
import { Archive } from "./records/archive.ts";
import { Records } from "./records/records.ts";

/** Number of finished jobs whose records stay in Redis, by default. */
const KEPT = 500;

export class Jobs {
  /** Reads jobs. */
  readonly records: Records;
  /** Changes jobs. */
  readonly life: Life;
  /** Hands jobs to workers. */
  readonly entries: Entries;
  /** Accepts jobs. */
  readonly submissions: Submissions;
  readonly pipelines: Pipelines;
  readonly studies: Studies;
  /** Imports of datasets that have not ended. */
  readonly imports: PendingImports;
  readonly fleet: Fleet;
  readonly housekeeping: Housekeeping;

  /** @param kept - Number of finished jobs whose records stay in Redis. */
  constructor(
    private readonly redis: Redis,
    private readonly blobs: Blobs,
    log: (message: string) => void,
    kept = KEPT,
  ) {
    const archive = new Archive(redis, blobs, kept);
    const fleet = new Fleet(redis);
    const records = new Records(redis, archive, fleet);
    const entries = new Entries(redis, records);
    const life = new Life(redis, archive, records, entries, log);
    const submissions = new Submissions(redis, archive, records, entries, life);
    const pipelines = new Pipelines(redis, blobs, records, life, submissions);
    this.records = records;
    this.life = life;
    this.entries = entries;
    this.submissions = submissions;
    this.pipelines = pipelines;
    this.studies = new Studies(redis, pipelines, records);
    this.fleet = fleet;
    const imports = new PendingImports(redis, new Uploads(blobs));
    this.imports = imports;
    const repairable = { archive, records, entries, life, pipelines, imports };
    this.housekeeping = new Housekeeping({ ...repairable, redis, blobs, fleet, log });
  }

  /**
   * Checks that Redis and the store answer.
   *
   * @returns Redis's eviction policy; undefined where it does not report one.
   * @throws StoreError where the store cannot be read, Redis's error where Redis does not answer.
   */
  async check(): Promise<{ evictionPolicy: string | undefined }> {
    await this.redis.ping();
    await this.blobs.folders("ready/");
    return { evictionPolicy: (await this.redis.info("memory")).match(/maxmemory_policy:(\S+)/)?.[1] };
  }

  /** Opens one of BullMQ's queues by its name, to be looked at. */
  openQueue(name: string): Queue {
    return openQueue(name, this.redis);
  }

  async close(): Promise<void> {
    await this.entries.close();
  }
}
