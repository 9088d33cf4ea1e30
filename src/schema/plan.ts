/** What a run will take, told before it runs. */
export interface Plan {
  /** As results name it, and why it was chosen. */
  device: string;
  why: string;
  threads: number;
  /** Training images, without those held out. */
  images: number;
  /** Bytes. */
  memory: {
    /** Parameters, momenta, gradients, queue: shared by the threads. */
    state: number;
    /** The WASM heap of each thread. */
    thread: number;
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
