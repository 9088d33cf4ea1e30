/**
 * tfjs's WASM heap, which it takes for endless: an allocation that fails gives address 0, and tfjs would write there.
 * Here that is an error; and what is allocated and freed can be recorded, for an estimate before a run.
 */
import { DeviceMemoryError } from "./errors.ts";

interface Emscripten {
  HEAPU8: Uint8Array;
  _malloc(bytes: number): number;
  _free(address: number): void;
}

/** A positive number is an allocation of so many bytes, -1-i the end of the i-th one. */
export type HeapRecord = number[];

let record: HeapRecord | undefined;
let allocations = 0;
const places = new Map<number, number>();

/** Bytes that one thread's heap can have at most: WASM addresses have 32 bits. */
export const HEAP_LIMIT = 2 ** 32 - 2 ** 16;

/** Emscripten's sbrk takes what is more for a negative number, and says yes. */
const ALLOCATION_LIMIT = 2 ** 31 - 2 ** 16;

/**
 * Puts a check behind every allocation. Once a thread. Near 4 GB sbrk may wrap and give an address that is not there: no
 * allocation of this thread can be trusted then, so all that follow fail as well.
 */
export function guardHeap(wasm: Emscripten): void {
  // Emscripten replaces both functions when they are first called.
  wasm._free(wasm._malloc(8));
  const { _malloc: malloc, _free: free } = wasm;
  let exhausted = false;
  wasm._malloc = (bytes) => {
    const address = bytes < ALLOCATION_LIMIT && !exhausted ? malloc(bytes) >>> 0 : 0; // unsigned: addresses go to 4 GB
    exhausted ||= address + bytes > wasm.HEAPU8.byteLength;
    if (address === 0 || exhausted) throw new DeviceMemoryError(`no room for ${bytes} bytes more`);
    if (record) {
      places.set(address, allocations++);
      record.push(bytes);
    }
    return address;
  };
  wasm._free = (address) => {
    const place = places.get(address);
    if (record && place !== undefined) record.push(-1 - place);
    places.delete(address);
    free(address);
  };
}

/** Starts a record, and gives what was recorded since the last start. */
export function takeHeapRecord(): HeapRecord {
  const taken = record ?? [];
  record = [];
  allocations = 0;
  places.clear();
  return taken;
}
