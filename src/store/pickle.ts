/**
 * Reads Python's pickle as data, without running code. A pickle is a program for a stack machine; it may call only the
 * few names in `GLOBALS`, each of which builds a value here. Any other name or opcode rejects the file.
 */
import { FileError } from "../util/errors.ts";

/** A value that PyTorch keeps outside the pickle, named by its persistent id. */
export interface StorageRef {
  readonly kind: "storage";
  readonly type: string;
  readonly key: string;
  /** In elements. */
  readonly size: number;
}

export interface TensorRef {
  readonly kind: "tensor";
  readonly storage: StorageRef;
  readonly offset: number;
  readonly shape: readonly number[];
  readonly stride: readonly number[];
}

export type PickleValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | PickleValue[]
  | Map<PickleValue, PickleValue>
  | StorageRef
  | TensorRef
  | Global;

interface Global {
  readonly kind: "global";
  readonly name: string;
}

type Build = (args: PickleValue[], refuse: (what: string) => never) => PickleValue;

const isStorage = (v: PickleValue | undefined): v is StorageRef =>
  typeof v === "object" && v !== null && "kind" in v && v.kind === "storage";
const numbers = (v: PickleValue | undefined): number[] | undefined =>
  Array.isArray(v) && v.every((n) => Number.isSafeInteger(n) && (n as number) >= 0) ? (v as number[]) : undefined;

/** Every name that a checkpoint may refer to. */
const GLOBALS: Record<string, Build | "type"> = {
  "collections OrderedDict": () => new Map(),
  "torch._utils _rebuild_parameter": ([tensor]) => tensor as PickleValue,
  "torch._utils _rebuild_tensor_v2": ([storage, offset, shape, stride], refuse) => {
    const [sides, steps] = [numbers(shape), numbers(stride)];
    const fits = isStorage(storage) && Number.isSafeInteger(offset) && (offset as number) >= 0;
    if (!fits || !sides || !steps || sides.length !== steps.length) return refuse("a malformed tensor");
    return { kind: "tensor", storage, offset: offset as number, shape: sides, stride: steps };
  },
  ...Object.fromEntries(
    ["Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool"].map((type) => [
      `torch ${type}Storage`,
      "type" as const,
    ]),
  ),
};

const MARK = Symbol("mark");
type Slot = PickleValue | typeof MARK;

/**
 * Reads one pickle.
 *
 * @param start - Offset of the pickle in `bytes`.
 * @returns Its value, and the offset after it.
 * @throws FileError for a name or an opcode that is not allowed.
 */
export function readPickle(bytes: Uint8Array, file: string, start = 0): { value: PickleValue; end: number } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const stack: Slot[] = [];
  const memo = new Map<number, PickleValue>();
  let at = start;

  const refuse = (what: string): never => {
    throw new FileError(
      file,
      `is refused: its pickle holds ${what} at byte ${at}; only tensors and plain values are read`,
    );
  };
  const take = (length: number): number => {
    if (length < 0 || at + length > bytes.length) return refuse("more than the file");
    at += length;
    return at - length;
  };
  const text = (length: number) => {
    const from = take(length);
    return Buffer.from(bytes.buffer, bytes.byteOffset + from, length).toString("utf8");
  };
  const line = () => {
    const end = bytes.indexOf(10, at);
    if (end < 0) return refuse("a line without end");
    const value = text(end - at);
    at++;
    return value;
  };
  const pop = (): PickleValue => {
    const value = stack.pop();
    return value === undefined || value === MARK ? refuse("a pop of nothing") : (value as PickleValue);
  };
  const top = (): PickleValue => {
    const value = stack.at(-1);
    return value === undefined || value === MARK ? refuse("a look at nothing") : (value as PickleValue);
  };
  const sinceMark = (): PickleValue[] => {
    const from = stack.lastIndexOf(MARK);
    if (from < 0) return refuse("no mark where one is needed");
    const values = stack.splice(from) as PickleValue[];
    return values.slice(1);
  };
  const global = (module: string, name: string): PickleValue => {
    const full = `${module} ${name}`;
    return Object.hasOwn(GLOBALS, full) ? { kind: "global", name: full } : refuse(`the name ${module}.${name}`);
  };
  const set = (map: PickleValue, pairs: PickleValue[]) => {
    if (!(map instanceof Map) || pairs.length % 2) return refuse("items of something that is not a dict");
    for (let i = 0; i < pairs.length; i += 2) map.set(pairs[i] as PickleValue, pairs[i + 1] as PickleValue);
  };
  const append = (list: PickleValue, values: PickleValue[]) => {
    if (!Array.isArray(list)) return refuse("an append to something that is not a list");
    list.push(...values);
  };
  const call = (callee: PickleValue, args: PickleValue): PickleValue => {
    const build = typeof callee === "object" && callee && "name" in callee ? GLOBALS[callee.name] : undefined;
    if (typeof build !== "function" || !Array.isArray(args)) return refuse("a call of something that is not allowed");
    return build(args, refuse);
  };
  const persistent = (id: PickleValue): StorageRef => {
    const [tag, type, key, , size] = (Array.isArray(id) ? id : []) as PickleValue[];
    const named = typeof type === "object" && type && "name" in type ? type.name : undefined;
    if (tag !== "storage" || !named || GLOBALS[named] !== "type" || typeof key !== "string")
      return refuse("a strange storage");
    if (!Number.isSafeInteger(size) || (size as number) < 0) return refuse("a storage without size");
    return { kind: "storage", type: named.split(" ")[1] as string, key, size: size as number };
  };
  /** Little-endian two's complement of any length up to eight bytes. */
  const long = (length: number): PickleValue => {
    if (length > 8) return refuse("an integer of more than 64 bits");
    const from = take(length);
    let value = 0n;
    for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[from + i] as number);
    const signed = BigInt.asIntN(8 * length, value);
    return signed >= BigInt(Number.MIN_SAFE_INTEGER) && signed <= BigInt(Number.MAX_SAFE_INTEGER)
      ? Number(signed)
      : signed;
  };
  const u8 = () => bytes[take(1)] as number;
  const u16 = () => view.getUint16(take(2), true);
  const u32 = () => view.getUint32(take(4), true);
  const tuple = (n: number) => stack.push(Array.from({ length: n }, pop).reverse());

  const opcodes: Record<number, () => void> = {
    128: () => u8(), // PROTO
    149: () => take(8), // FRAME
    40: () => stack.push(MARK), // (
    48: () => pop(), // 0
    78: () => stack.push(null), // N
    136: () => stack.push(true),
    137: () => stack.push(false),
    75: () => stack.push(u8()), // K
    77: () => stack.push(u16()), // M
    74: () => stack.push(view.getInt32(take(4), true)), // J
    138: () => stack.push(long(u8())), // LONG1
    71: () => stack.push(view.getFloat64(take(8), false)), // G
    88: () => stack.push(text(u32())), // X
    140: () => stack.push(text(u8())), // SHORT_BINUNICODE
    84: () => stack.push(text(u32())), // T
    85: () => stack.push(text(u8())), // U
    66: () => stack.push(text(u32())), // B
    67: () => stack.push(text(u8())), // C
    125: () => stack.push(new Map()), // }
    93: () => stack.push([]), // ]
    41: () => stack.push([]), // )
    116: () => stack.push(sinceMark()), // t
    133: () => tuple(1),
    134: () => tuple(2),
    135: () => tuple(3),
    97: () => {
      const value = pop();
      append(top(), [value]);
    },
    101: () => {
      const values = sinceMark();
      append(top(), values);
    },
    115: () => {
      const value = pop();
      const key = pop();
      set(top(), [key, value]);
    },
    117: () => {
      const pairs = sinceMark();
      set(top(), pairs);
    },
    113: () => memo.set(u8(), top()), // q
    114: () => memo.set(u32(), top()), // r
    148: () => memo.set(memo.size, top()), // MEMOIZE
    104: () => stack.push(memo.get(u8()) ?? null), // h
    106: () => stack.push(memo.get(u32()) ?? null), // j
    99: () => {
      const module = line();
      stack.push(global(module, line())); // c
    },
    147: () => {
      const name = pop();
      stack.push(global(String(pop()), String(name))); // STACK_GLOBAL
    },
    82: () => {
      const args = pop();
      stack.push(call(pop(), args)); // R
    },
    98: () => {
      pop(); // b: attributes of an object, such as OrderedDict's _metadata; values here have none
      top();
    },
    81: () => stack.push(persistent(pop())), // Q
  };

  for (;;) {
    const opcode = u8();
    if (opcode === 0x2e) return { value: pop(), end: at };
    const run = opcodes[opcode];
    if (!run) return refuse(`opcode 0x${opcode.toString(16)}`);
    run();
  }
}
