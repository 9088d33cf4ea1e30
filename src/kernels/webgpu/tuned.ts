/** Launches matrix products with the tile that is best for their shape: as measured on this device, or by rule of thumb. */
import { type Bound, launch, webgpu } from "../../backend/webgpu.ts";
import { type Product, productCode, type Tile, tiles } from "./product.ts";

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

/** The rule of thumb: the largest tile that leaves enough workgroups to fill a GPU and is not mostly beyond the edge. */
const ENOUGH = 256;

export function tileFor({ rows, columns, slices }: Pick<ProductLaunch, "rows" | "columns" | "slices">): Tile {
  const fits = tiles.find(
    (t) =>
      t.columns < 2 * columns &&
      t.rows < 2 * rows &&
      Math.ceil(rows / t.rows) * Math.ceil(columns / t.columns) * slices >= ENOUGH,
  );
  return fits ?? (tiles.at(-1) as Tile);
}

let forced: Tile | undefined;

/** Every product takes this tile; undefined: each its own. For measuring. */
export function forceTile(tile: Tile | undefined): void {
  forced = tile;
}

export function launchProduct(wanted: ProductLaunch): void {
  const { name, numbers, bind, head, product, rows, columns, inner, slices } = wanted;
  const tile = forced ?? tileFor(wanted);
  launch({
    name,
    bind,
    numbers,
    code: `${head}\n${productCode(product, tile, !webgpu().foldsNumbers)}`,
    groups: [Math.ceil(columns / tile.columns), Math.ceil(rows / tile.rows), slices],
    flops: 2 * rows * columns * inner * slices,
  });
}
