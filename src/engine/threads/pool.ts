/** The threads of a run, driven in lockstep: a task goes to all of them, and is over when all have answered. */
import type { StepBuffers } from "../state.ts";
import { Meeting, MeetingBroken } from "./meeting.ts";
import type { Answer, ShardInit, Task } from "./tasks.ts";

type Reply = { done: Answer } | { failed: string };

export class Pool {
  private constructor(
    private readonly workers: Worker[],
    private readonly buffers: StepBuffers,
  ) {}

  static async open(init: Omit<ShardInit, "thread">): Promise<Pool> {
    const workers = Array.from(
      { length: init.threads },
      () => new Worker(new URL("./thread.ts", import.meta.url).href, { type: "module" }),
    );
    const pool = new Pool(workers, init.buffers);
    await pool.ask((thread) => ({ init: { ...init, thread } }));
    return pool;
  }

  /** Runs one task on every thread; `first` is the first split or chunk to take. Rejects with a thread's error. */
  run(task: Task, first = 0): Promise<Answer[]> {
    Atomics.store(this.buffers.counter, 0, first);
    return this.ask(() => ({ task }));
  }

  close(): void {
    for (const worker of this.workers) worker.terminate();
  }

  /** The answers of all threads. Where some fail, the error of the first that failed by itself. */
  private async ask(message: (thread: number) => unknown): Promise<Answer[]> {
    const settled = await Promise.allSettled(
      this.workers.map((worker, thread) => this.answer(worker, thread, message)),
    );
    const errors = settled.flatMap((one) => (one.status === "rejected" ? [one.reason as Error] : []));
    const own = errors.find(({ message }) => !message.includes(MeetingBroken.name)) ?? errors[0];
    if (own) throw own;
    return settled.map((one) => (one as PromiseFulfilledResult<Answer>).value);
  }

  private answer(worker: Worker, thread: number, message: (thread: number) => unknown): Promise<Answer> {
    return new Promise((resolve, reject) => {
      worker.onmessage = ({ data }: MessageEvent<Reply>) => {
        if ("failed" in data) reject(new Error(`thread ${thread}: ${data.failed}`));
        else resolve(data.done);
      };
      worker.onerror = (event) => {
        // It does not come to the meeting that others wait for.
        Meeting.abandon(this.buffers.meeting);
        reject(new Error(`thread ${thread}: ${event.message}`));
      };
      worker.postMessage(message(thread));
    });
  }
}
