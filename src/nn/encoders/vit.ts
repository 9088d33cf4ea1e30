/**
 * Vision Transformer (Dosovitskiy et al. 2021) with timm's names, as MoCo v3 trains it (Chen et al. 2021; vits.py).
 * N batch, S side of an image, T tokens, C width; images [N,S,S,channels], tokens [N,T,C].
 */
import type { VitSpec } from "../../schema/encoder.ts";
import type { Init } from "../layout.ts";
import type { Ops } from "../ops.ts";

/** Hidden width of a block's MLP over C. */
const MLP = 4;

export const vitFeatures = ({ width }: VitSpec): number => width;

/** Xavier's uniform bound. */
const xavier = (from: number, to: number): Init => ({ kind: "uniform", bound: Math.sqrt(6 / (from + to)) });

/**
 * images [N,S,S,channels] -> [N,C]; of the last `blocks` blocks, each through the last norm, [N,C * blocks], as DINO's linear
 * evaluation has them (Caron et al. 2021, eval_linear.py: n_last_blocks).
 */
export function vit<T>(ops: Ops<T>, spec: VitSpec, channels: number, side: number, images: T, blocks = 1): T {
  const { patch, width, depth, heads, position, pool } = spec;
  const layer = (name: string, x: T, from: number, to: number, more: { init?: Init; gelu?: boolean } = {}) =>
    ops.linear(name, x, { from, to, bias: true, init: xavier(from, to), biasInit: ZERO, ...more });

  const attention = (name: string, x: T): T => {
    // Query, key and value are layers of their own to Xavier's fan, though one matrix.
    const qkv = layer(`${name}.qkv`, x, width, 3 * width, { init: xavier(width, width) }); // [N,T,3C]
    return layer(`${name}.proj`, ops.attention(qkv, { heads, width }), width, width); // [N,T,C]
  };
  const mlp = (name: string, x: T): T => {
    const hidden = layer(`${name}.fc1`, x, width, MLP * width, { gelu: true }); // [N,T,4C]
    return layer(`${name}.fc2`, hidden, MLP * width, width); // [N,T,C]
  };
  const block = (index: number, x: T): T => {
    const name = `blocks.${index}`;
    const y = ops.add(
      `${name}.attended`,
      x,
      attention(`${name}.attn`, ops.layerNorm(`${name}.norm1`, x, width)),
      2 * index,
    );
    const normal =
      spec.mlpNorm === "batch"
        ? ops.norm(`${name}.norm2`, y, { channels: width })
        : ops.layerNorm(`${name}.norm2`, y, width);
    return ops.add(`${name}.out`, y, mlp(`${name}.mlp`, normal), 2 * index + 1);
  };

  const grid = side / patch;
  let x = ops.stem(images, (input) => {
    const patches = spec.stem === "conv" ? convStem(ops, spec, input, channels) : project(ops, spec, input, channels);
    return ops.place(patches, { width, grid, position, token: pool === "token", init: { kind: "normal", std: 1e-6 } });
  }); // [N,T,C]
  // The norm is of each token by itself, so only that of the class token counts.
  const pooled = (tokens: T): T =>
    pool === "token"
      ? ops.layerNorm("norm", ops.firstToken(tokens), width) // [N,T,C] -> [N,C]
      : ops.meanTokens(ops.layerNorm("norm", tokens, width));
  const features: T[] = [];
  for (let i = 0; i < depth; i++) {
    x = ops.block(x, (inner) => block(i, inner));
    if (i >= depth - blocks) features.push(pooled(x));
  }
  return blocks === 1 ? (features[0] as T) : ops.concat(features);
}

const ZERO: Init = { kind: "constant", value: 0 };

/** [N,S,S,channels] -> [N,(S/P)^2,C] */
function project<T>(ops: Ops<T>, { patch, width, freezePatches }: VitSpec, images: T, channels: number): T {
  const init: Init = { kind: "uniform", bound: Math.sqrt(6 / (channels * patch * patch + width)) };
  return ops.patches("patch_embed.proj", images, {
    size: patch,
    from: channels,
    to: width,
    init,
    biasInit: ZERO,
    frozen: freezePatches,
  });
}

/**
 * Convolutions that double the channels and halve the side, as often as it takes to come to one place a patch (four times for 16, as in
 * vits.py), then a projection of each place. [N,S,S,channels] -> [N,(S/P)^2,C]
 */
function convStem<T>(ops: Ops<T>, { patch, width }: VitSpec, images: T, channels: number): T {
  const halvings = Math.log2(patch);
  let [x, from] = [images, channels];
  for (let i = 0; i < halvings; i++) {
    const to = width / 2 ** (halvings - 1 - i);
    const name = (layer: number) => `patch_embed.proj.${3 * i + layer}`;
    const init: Init = { kind: "uniform", bound: 1 / Math.sqrt(9 * from) };
    const y = ops.conv(name(0), x, { size: 3, from, to, stride: 2, init });
    x = ops.norm(name(1), y, { channels: to, relu: true });
    from = to;
  }
  const init: Init = { kind: "uniform", bound: 1 / Math.sqrt(width) };
  return ops.patches(`patch_embed.proj.${3 * halvings}`, x, {
    size: 1,
    from: width,
    to: width,
    init,
    biasInit: init,
    frozen: false,
  });
}

/** Values of the fixed position embedding f32[T,C] of `grid` x `grid` tokens, a row of zeros first for a class token (vits.py). */
export function sincosPositions(width: number, grid: number, token: boolean): Float32Array {
  const quarter = width / 4;
  const first = token ? 1 : 0;
  const values = new Float32Array((grid * grid + first) * width);
  for (let row = 0; row < grid; row++) {
    for (let column = 0; column < grid; column++) {
      const at = (first + row * grid + column) * width;
      for (let i = 0; i < quarter; i++) {
        const frequency = 10_000 ** (-i / quarter);
        // The reference's meshgrid gives the row first, whatever its variable is named.
        values[at + i] = Math.sin(row * frequency);
        values[at + quarter + i] = Math.cos(row * frequency);
        values[at + 2 * quarter + i] = Math.sin(column * frequency);
        values[at + 3 * quarter + i] = Math.cos(column * frequency);
      }
    }
  }
  return values;
}
