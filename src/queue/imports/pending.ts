/** Which datasets are being imported, and by which process: a set and a lease for each in Redis. The store has the records. */
import type { Redis } from "ioredis";
import type { Uploads } from "../../store/uploads.ts";
import { isAlive, machineId } from "../../util/machine.ts";
import { keys } from "../keys.ts";

/** Duration of a lease, which is renewed every second. */
const LEASE_MS = 15_000;

export class PendingImports {
  private readonly owner = `${machineId()} ${process.pid} ${crypto.randomUUID()}`;

  constructor(
    private readonly redis: Redis,
    private readonly uploads: Uploads,
  ) {}

  async add(id: string): Promise<void> {
    await this.redis.sadd(keys.imports, id);
  }

  ids(): Promise<string[]> {
    return this.redis.smembers(keys.imports);
  }

  /** Removes an import that has ended or was deleted. Its lease goes too, by which another process that has it notices. */
  async remove(id: string): Promise<void> {
    await this.redis.multi().srem(keys.imports, id).del(keys.importing(id)).exec();
  }

  /**
   * Takes the lease where no live process has it. It saves work and is no fence: parts that two processes write have the same
   * bytes, and completing twice gives the same record.
   */
  async take(id: string): Promise<boolean> {
    const key = keys.importing(id);
    const attempt = async () => (await this.redis.set(key, this.owner, "PX", LEASE_MS, "NX")) !== null;
    if (await attempt()) return true;
    const [machine, pid] = (await this.redis.get(key))?.split(" ") ?? [];
    if (machine !== machineId() || isAlive(Number(pid))) return false;
    await this.redis.del(key);
    return attempt();
  }

  /** Extends the lease; false where this process no longer has it. */
  async renew(id: string): Promise<boolean> {
    if ((await this.redis.get(keys.importing(id))) !== this.owner) return false;
    return (await this.redis.pexpire(keys.importing(id), LEASE_MS)) === 1;
  }

  async release(id: string): Promise<void> {
    if ((await this.redis.get(keys.importing(id))) === this.owner) await this.redis.del(keys.importing(id));
  }

  /** Lists in Redis every import of the store that has not ended. */
  async rebuild(): Promise<void> {
    for (const { id, status } of await this.uploads.all()) if (status === "importing") await this.add(id);
  }
}
