/**
 * An HDF5 file by the HDF Group's library, compiled to WebAssembly (h5wasm). Its parts are read when they are asked for, so a file may be
 * larger than the memory. The library sees this one file and nothing else of the machine: HDF5 can name other files to read from
 * (external links, external and virtual datasets), which may lie outside of the folders that datasets may lie in.
 */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import type { Dataset, File, Group, ready } from "h5wasm";

interface Stream {
  position: number;
}

/** What is used of Emscripten's file system, which has no types of its own. */
interface Files {
  createDataFile(folder: string, name: string, data: Uint8Array, read: boolean, write: boolean, own: boolean): void;
  lookupPath(path: string): { node: Node };
  unlink(path: string): void;
}
interface Node {
  node_ops: { getattr(node: Node): object };
  stream_ops: object;
}

interface Library {
  readonly types: typeof import("h5wasm");
  readonly module: Awaited<typeof ready> & {
    _malloc(bytes: number): number;
    _free(at: number): void;
    HEAPU8: Uint8Array;
  };
  readonly files: Files;
}

let loading: Promise<Library> | undefined;
/** 4 MB of WebAssembly: only for who needs it. */
async function load(): Promise<Library> {
  const types = await import("h5wasm");
  const module = (await types.ready) as Library["module"];
  // Else what cannot be read is zeros.
  module.activate_throwing_error_handler();
  return { types, module, files: module.FS as unknown as Files };
}

let opened = 0;

/** Puts a file of this machine into the library's file system, to be read where it lies. */
function mount(files: Files, path: string): { name: string; close: () => void } {
  const handle = openSync(path, "r");
  const { size } = fstatSync(handle);
  const name = `file-${opened++}`;
  files.createDataFile("/", name, new Uint8Array(), true, false, false);
  const { node } = files.lookupPath(`/${name}`);
  const { getattr } = node.node_ops;
  node.node_ops = { ...node.node_ops, getattr: (of) => ({ ...getattr(of), size }) };
  const from = { set: 0, current: 1 };
  node.stream_ops = {
    ...node.stream_ops,
    llseek: (stream: Stream, offset: number, whence: number) =>
      whence === from.set ? offset : offset + (whence === from.current ? stream.position : size),
    read: (_: Stream, buffer: Uint8Array, offset: number, length: number, position: number) =>
      position >= size ? 0 : readSync(handle, buffer, offset, Math.min(length, size - position), position),
  };
  const close = () => {
    files.unlink(`/${name}`);
    closeSync(handle);
  };
  return { name: `/${name}`, close };
}

/** The frame of HDF5's stack of errors that says what happened first, which is the last one, or which filter is missing. */
export function reasonOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  const frames = [...text.matchAll(/^\s*#\d+: .*\(\): (.*)$/gm)].map(([, what]) => what as string);
  return frames.find((what) => what.includes("filter")) ?? frames.at(-1) ?? text;
}

/** A group can hold itself. */
const DEEPEST = 8;
const MOST = 10_000;

export class Hdf5File {
  private constructor(
    private readonly library: Library,
    private readonly file: File,
    readonly close: () => void,
  ) {}

  /** Throws Error where it is no HDF5 file, or not a whole one. */
  static async open(path: string): Promise<Hdf5File> {
    loading ??= load();
    const library = await loading;
    const mounted = mount(library.files, path);
    try {
      const file = new library.types.File(mounted.name, "r");
      return new Hdf5File(library, file, () => {
        file.close();
        mounted.close();
      });
    } catch (error) {
      mounted.close();
      throw new Error(reasonOf(error), { cause: error });
    }
  }

  /** Datasets by their path, those in fewer groups first. */
  datasets(): Map<string, Dataset> {
    const { Dataset, Group } = this.library.types;
    const found = new Map<string, Dataset>();
    let level: [below: string, group: Group][] = [["", this.file]];
    let seen = 0;
    for (let depth = 0; depth < DEEPEST && level.length > 0; depth++) {
      const next: typeof level = [];
      for (const [below, group] of level) {
        for (const name of group.keys()) {
          if (++seen > MOST) throw new Error(`has more than ${MOST} groups and datasets`);
          const entity = group.get(name);
          if (entity instanceof Dataset) found.set(below + name, entity);
          else if (entity instanceof Group) next.push([`${below}${name}/`, entity]);
        }
      }
      level = next;
    }
    return found;
  }

  /**
   * Calls `take` with the bytes of so many rows at a time, which are overwritten by the next ones.
   *
   * @throws Error with the library's reason.
   */
  async rows(
    dataset: Dataset,
    atOnce: number,
    take: (bytes: Uint8Array, row: number) => void | Promise<void>,
  ): Promise<void> {
    const count = dataset.shape?.[0] ?? 1;
    await this.withRoom(dataset, atOnce, async (read) => {
      for (let row = 0; row < count; row += atOnce) await take(read(row, Math.min(atOnce, count - row)), row);
    });
  }

  /** The bytes of one row. Throws Error with the library's reason. */
  row(dataset: Dataset, index: number): Promise<Uint8Array> {
    return this.withRoom(dataset, 1, async (read) => read(index, 1).slice());
  }

  private async withRoom<T>(
    dataset: Dataset,
    atOnce: number,
    work: (read: (row: number, rows: number) => Uint8Array) => Promise<T>,
  ): Promise<T> {
    const { module } = this.library;
    const [, ...rest] = dataset.shape ?? [];
    const rowBytes = rest.reduce((a, b) => a * b, dataset.metadata.size);
    const at = module._malloc(atOnce * rowBytes);
    if (at === 0) throw new Error(`has rows of ${rowBytes} bytes, for which there is no memory`);
    const strides = [1n, ...rest.map(() => 1n)];
    try {
      return await work((row, rows) => {
        const counts = [rows, ...rest].map(BigInt);
        const offsets = [row, ...rest.map(() => 0)].map(BigInt);
        module.get_dataset_data(dataset.file_id, dataset.path, counts, offsets, strides, BigInt(at));
        return module.HEAPU8.subarray(at, at + rows * rowBytes);
      });
    } catch (error) {
      throw new Error(reasonOf(error), { cause: error });
    } finally {
      module._free(at);
    }
  }
}
