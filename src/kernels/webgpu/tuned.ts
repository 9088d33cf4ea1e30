/**
 * Launches matrix products with the kernel that is best for their shape: as measured on this device, or by rule of thumb.
 * Tiles differ in time alone. Tensor cores differ in bits, so whether they are used is never a matter of time: they are in
 * mixed precision, where the device has them and has shown that they are right.
 */
import type { GpuBackend } from "../../backend/gpu_backend.ts";
import { type Bound, launch, webgpu } from "../../backend/webgpu.ts";
import { type MatrixTile, matrixProductCode, matrixTiles, matrixTilesOn } from "./matrix_product.ts";
import { halfMode } from "./precision.ts";
import {
  type Product,
  productCode,
  STATISTICS_ROWS,
  sharedOf,
  type Tile,
  threadsOf,
  tiles,
  tilesOfBlocks,
} from "./product.ts";
import { type MatrixConfig, matrixHeader } from "./subgroup_matrices.ts";

export interface ProductLaunch {
  readonly name: string;
  /** See `Launch`. Two products of one name and the same numbers are the same but for the data. */
  readonly numbers: Readonly<Record<string, number>>;
  readonly bind: Readonly<Record<string, Bound>>;
  /** WGSL before the product's own. */
  readonly head: string;
  readonly product: Product;
  readonly rows: number;
  readonly columns: number;
  /** k's of a slice, for counting operations. */
  readonly inner: number;
  /** Workgroups in z. */
  readonly slices: number;
}

/** What the choice of a tile depends on. */
export type Shape = Pick<ProductLaunch, "name" | "rows" | "columns" | "slices"> & { product?: Product };

/** What computes a product: ordinary arithmetic, or tensor cores. */
export type Kernel = Tile | (TensorCores & { readonly tile: MatrixTile });

export interface TensorCores {
  readonly config: MatrixConfig;
  /** For tests, on devices that have none. */
  readonly emulated: boolean;
}

/** Of a kernel that is no product and uses tensor cores: whether it comes out the same on them. One of each name is run. */
export interface Proof {
  readonly name: string;
  readonly prove: (backend: GpuBackend, cores: TensorCores) => Promise<boolean>;
}

/** How products are computed on a device. */
export interface Tuning {
  /** Index in `tiles`, or on tensor cores in `matrixTiles`, by `choiceOf` a product. */
  readonly choices: Map<string, number>;
  tensorCores: TensorCores | undefined;
  /** Every product takes this tile. For measuring. */
  forced: Tile | undefined;
  /** Hears of every product, and whether it is computed in float16. */
  heard: ((wanted: ProductLaunch, half: boolean) => void) | undefined;
  /** Hears of every other kernel that tensor cores may compute. */
  heardProof: ((proof: Proof) => void) | undefined;
}

const tunings = new WeakMap<GpuBackend, Tuning>();

/** That of the open device. */
export function tuning(): Tuning {
  const known = tunings.get(webgpu());
  if (known) return known;
  const fresh: Tuning = {
    choices: new Map(),
    tensorCores: undefined,
    forced: undefined,
    heard: undefined,
    heardProof: undefined,
  };
  tunings.set(webgpu(), fresh);
  return fresh;
}

/** What a product does, whatever its sizes. */
export const kindOf = ({ name, product }: ProductLaunch): string => `${name}${product.keep ? " with statistics" : ""}`;

/** Same key, same kernel but for the data. */
export function keyOf(wanted: ProductLaunch): string {
  const types = Object.values(wanted.bind).map(({ type }) => type);
  return `${kindOf(wanted)} ${Object.values(wanted.numbers).join(" ")} ${types.join(" ")}`;
}

/**
 * Tiles of which less than half would lie beyond the edge; of the smallest, whatever the edge, those that the device can
 * dispatch. Throws Error where the product is too large for any.
 */
function fitting<T extends Pick<Tile, "rows" | "columns">>(all: readonly T[], { name, rows, columns }: Shape): T[] {
  const most = webgpu().device.limits.maxComputeWorkgroupsPerDimension;
  const possible = all.filter((t) => Math.max(rows / t.rows, columns / t.columns) <= most);
  if (possible.length === 0) throw new Error(`${name}: ${rows} x ${columns} is more than this device can dispatch`);
  const inside = possible.filter((t) => t.columns < 2 * columns && t.rows < 2 * rows);
  return inside.length > 0 ? inside : possible.slice(-1);
}

/** Tiles of ordinary arithmetic that the device can run. Throws as `fitting`. */
export function candidates(wanted: Shape): Tile[] {
  const limits = webgpu().device.limits;
  const runs = (t: Tile) =>
    sharedOf(t) <= limits.maxComputeWorkgroupStorageSize && threadsOf(t) <= limits.maxComputeInvocationsPerWorkgroup;
  return fitting((wanted.product?.keep ? tilesOfBlocks : tiles).filter(runs), wanted);
}

/** The same of tensor cores. */
function matrixCandidates(wanted: Shape, cores: TensorCores): (TensorCores & { tile: MatrixTile })[] {
  const possible = matrixTilesOn(webgpu().device.limits, cores.config, cores.emulated);
  return fitting(possible, wanted).map((tile) => ({ ...cores, tile }));
}

/** What a product can be computed by, in the present tuning; `half`: in mixed precision. */
export function kernelsFor(wanted: Shape, half: boolean, cores = tuning().tensorCores): Kernel[] {
  return cores && half ? matrixCandidates(wanted, cores) : candidates(wanted);
}

/** Where the choice of a product's kernel is kept, and as what. */
export const choiceOf = (wanted: ProductLaunch, half: boolean): string =>
  `${tuning().tensorCores && half ? "tensor cores: " : ""}${keyOf(wanted)}`;
export const indexOf = (kernel: Kernel): number =>
  "tile" in kernel ? matrixTiles.indexOf(kernel.tile) : tiles.indexOf(kernel);

/** Workgroups that fill a GPU. */
const ENOUGH = 256;

/** The rule of thumb: the largest tile that leaves enough workgroups. */
export function tileFor(wanted: Shape): Tile {
  const { rows, columns, slices } = wanted;
  const fitting = candidates(wanted);
  const enough = (t: Tile) => Math.ceil(rows / t.rows) * Math.ceil(columns / t.columns) * slices >= ENOUGH;
  return fitting.find(enough) ?? (fitting.at(-1) as Tile);
}

/** Launches with a given kernel, whatever is best. */
export function launchWith(wanted: ProductLaunch, kernel: Kernel): void {
  const { name, numbers, bind, head, product, rows, columns, inner, slices } = wanted;
  const onCores = "tile" in kernel;
  const tile = onCores ? kernel.tile : kernel;
  const code = onCores
    ? matrixProductCode(product, kernel.tile, kernel.config, kernel.emulated)
    : productCode(product, kernel, !webgpu().foldsNumbers);
  launch({
    name,
    numbers,
    bind,
    before: onCores && !kernel.emulated ? matrixHeader : "",
    code: `${head}\n${code}`,
    groups: [Math.ceil(columns / tile.columns), Math.ceil(rows / tile.rows), slices],
    flops: 2 * rows * columns * inner * slices,
  });
}

/** Rows of C that a kernel can take sums of; undefined: none, on a software adapter, for which such tiles are too large. */
export function statisticsRows(): number | undefined {
  return webgpu().foldsNumbers || (tuning().tensorCores && halfMode()) ? STATISTICS_ROWS : undefined;
}

export function launchProduct(wanted: ProductLaunch): void {
  const half = halfMode();
  tuning().heard?.(wanted, half);
  const { tensorCores, forced, choices } = tuning();
  const choice = choices.get(choiceOf(wanted, half));
  if (tensorCores && half) {
    const possible = matrixCandidates(wanted, tensorCores);
    launchWith(wanted, possible.find((kernel) => indexOf(kernel) === choice) ?? (possible[0] as Kernel));
  } else launchWith(wanted, forced ?? tiles[choice ?? -1] ?? tileFor(wanted));
}
