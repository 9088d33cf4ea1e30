/** What a run will take, told before it runs. */
export interface Plan {
  /** As results name it, and why it was chosen. */
  device: string;
  why: string;
  /** Of WASM, that compute at a time. */
  threads: number;
  /**
   * Of a loss over the whole batch: whether the forward passes stay in memory until it is known, or are computed once more.
   * Null where each split has a loss of its own. The results are the same.
   */
  tapes: "kept" | "recomputed" | null;
  /** Training images, without those held out. */
  images: number;
  /** Bytes. */
  memory: {
    /** Parameters, momenta, gradients, queue: shared by the threads. */
    state: number;
    /** The WASM heap of each thread, and how many have one: one a split where batch norm spans them. */
    thread: number;
    threads: number;
    /** A checkpoint while it is written. */
    checkpoint: number;
    /** The program itself: Bun, libraries, compiled code. */
    program: number;
    /** Those of the dataset, or of the ring that streams it. */
    images: number;
    /** On the GPU; 0 without one. */
    gpu: number;
    total: number;
  };
  /** Bytes that decoded images may take on the worker's disk; 0 where none are kept. */
  disk: number;
  /** In which a batch goes through the encoders, as there is room for it on a GPU. */
  passes: number;
  /** Seconds. */
  time: {
    step: number;
    stepsPerEpoch: number;
    /** One vote of the monitor. */
    watch: number;
    epoch: number;
    total: number;
  };
  warnings: string[];
}

/** Of a run that is not tried: it may be larger than the machine. */
export type MemoryPlan = Pick<Plan, "threads" | "tapes" | "memory">;
