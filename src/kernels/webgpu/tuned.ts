/**
 * Launches matrix products with the kernel that is best for their shape: as measured on this device, or by rule of thumb.
 * Tiles differ in time alone. Tensor cores differ in bits, so whether they are used is never a matter of time: they are in
 * mixed precision, where the device has them and has shown that they are right.
 */
import { type Bound, launch, webgpu } from "../../backend/webgpu.ts";
import {
  type MatrixConfig,
  type MatrixTile,
  matrixHeader,
  matrixProductCode,
  matrixTiles,
  matrixTilesOn,
} from "./matrix_product.ts";
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

/** How products are computed on a device. */
export interface Tuning {
  /** Index in `tiles`, or on tensor cores in `matrixTiles`, by `choiceOf` a product. */
  readonly choices: Map<string, number>;
  tensorCores: TensorCores | undefined;
  /** Every product takes this tile. For measuring. */
  forced: Tile | undefined;
  /** Hears of every product, and whether it is computed in float16. */
  heard: ((wanted: ProductLaunch, half: boolean) => void) | undefined;
}

export const tuning: Tuning = {
  choices: new Map(),
  tensorCores: undefined,
  forced: undefined,
  heard: undefined,
};

/** Same key, same kernel but for the data. */
export function keyOf({ name, numbers, bind, product }: ProductLaunch): string {
  const types = Object.values(bind).map(({ type }) => type);
  return `${name}${product.keep ? " with statistics" : ""} ${Object.values(numbers).join(" ")} ${types.join(" ")}`;
}

/**
 * Tiles that the device can run, of which less than half would lie beyond the edge; of the smallest, whatever the edge, those
 * that it can run. Throws Error where the product is too large for any.
 */
export function candidates({ name, rows, columns, product }: Shape): Tile[] {
  const limits = webgpu().device.limits;
  const possible = (product?.keep ? tilesOfBlocks : tiles).filter(
    (t) =>
      sharedOf(t) <= limits.maxComputeWorkgroupStorageSize &&
      threadsOf(t) <= limits.maxComputeInvocationsPerWorkgroup &&
      Math.max(rows / t.rows, columns / t.columns) <= limits.maxComputeWorkgroupsPerDimension,
  );
  if (possible.length === 0) throw new Error(`${name}: ${rows} x ${columns} is more than this device can dispatch`);
  const fitting = possible.filter((t) => t.columns < 2 * columns && t.rows < 2 * rows);
  return fitting.length > 0 ? fitting : [possible.at(-1) as Tile];
}

/** Tiles of tensor cores, as `candidates` are of ordinary arithmetic. */
function matrixCandidates({ name, rows, columns }: Shape, cores: TensorCores): (TensorCores & { tile: MatrixTile })[] {
  const { limits } = webgpu().device;
  const possible = matrixTilesOn(limits, cores.config, cores.emulated).filter(
    (t) => Math.max(rows / t.rows, columns / t.columns) <= limits.maxComputeWorkgroupsPerDimension,
  );
  if (possible.length === 0) throw new Error(`${name}: ${rows} x ${columns} is more than this device can dispatch`);
  const fitting = possible.filter((t) => t.columns < 2 * columns);
  return (fitting.length > 0 ? fitting : possible.slice(-1)).map((tile) => ({ ...cores, tile }));
}

/** What a product can be computed by, in the present tuning; `half`: in mixed precision. */
export function kernelsFor(wanted: Shape, half: boolean, cores = tuning.tensorCores): Kernel[] {
  return cores && half ? matrixCandidates(wanted, cores) : candidates(wanted);
}

/** Where the choice of a product's kernel is kept, and as what. */
export const choiceOf = (wanted: ProductLaunch, half: boolean): string =>
  `${tuning.tensorCores && half ? "tensor cores: " : ""}${keyOf(wanted)}`;
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
  return webgpu().foldsNumbers || (tuning.tensorCores && halfMode()) ? STATISTICS_ROWS : undefined;
}

export function launchProduct(wanted: ProductLaunch): void {
  const half = halfMode();
  tuning.heard?.(wanted, half);
  const { tensorCores, forced, choices } = tuning;
  const choice = choices.get(choiceOf(wanted, half));
  if (tensorCores && half) {
    const possible = matrixCandidates(wanted, tensorCores);
    launchWith(wanted, possible.find((kernel) => indexOf(kernel) === choice) ?? (possible[0] as Kernel));
  } else launchWith(wanted, forced ?? tiles[choice ?? -1] ?? tileFor(wanted));
}
