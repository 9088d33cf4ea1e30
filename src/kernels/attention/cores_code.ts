/**
 * WGSL of attention on tensor cores: products of float16, sums in float32. A workgroup has 64 rows of one head, of queries or in
 * one of the gradients of keys, 16 for each of its four subgroups, and goes through the others in blocks of 32. WGSL does not
 * know where a subgroup matrix has its values, so a subgroup's scores go through shared memory: two lanes read a row, 16
 * columns each, and put its probabilities in its place as float16 for the product that follows.
 */

import {
  code,
  eachBlock,
  eachFour,
  fetchOwn,
  fourOf,
  fours,
  KEYS,
  leave,
  type Prefetch,
  prefetch,
  probabilities,
  putHalves,
  QUERIES,
  SLOPES,
  VALUES,
} from "./cores_frame.ts";
import { BLOCK, count, PART, type RowProducts } from "./cores_products.ts";

/** Less than any score, and more than what stands for scores of no token. */
const LEAST = "-1e30";

/**
 * Exponentials are of base 2, of one multiplication and one addition to a score. Only for a row's largest score it matters which
 * columns are tokens: the rows of the others are 0 in the product that follows, and so is what they add to it, as long as it
 * is finite.
 *
 * Binds qkv as vec4u, out as vec2u, stats as f32.
 */
export const forwardCode = (m: RowProducts, d: number): string =>
  code(
    m,
    d,
    false,
    `${fetchOwn("own_", QUERIES, d)}
  workgroupBarrier();
  ${m.take("own_")}
  let slope = its.scaleF * ${Math.LOG2E};
  // First the largest score of each row and the sum of the exponentials, then what they weigh: no sum is ever rescaled.
  var most = ${LEAST};
  var total = 0.0;
  ${eachBlock(
    [prefetch("firsts_", KEYS, d)],
    m.score("own_", "firsts_", "scores_"),
    `${fours("s")}
      ${eachFour((i) => `s${i} = ${fourOf("scores_", i)};`)}
      if (next > u32(TOKENS)) { ${eachFour((i) => `s${i} = select(vec4f(-3.4e38), s${i}, are_tokens(first + at));`)} }
      let four = max(max(s0, s1), max(s2, s3));
      let larger = max(most, max(max(four.x, four.y), max(four.z, four.w)));
      total *= exp2((most - larger) * slope);
      most = larger;
      let moved = vec4f(-most * slope);
      let sums = ${count(4)
        .map((i) => `exp2(fma(s${i}, vec4f(slope), moved))`)
        .join(" + ")};
      total += dot(sums, vec4f(1.0));`,
  )}
  lanes_[local] = vec2f(most, total);
  workgroupBarrier();
  let partner = lanes_[local ^ ${PART}u];
  let larger = max(most, partner.x);
  total = total * exp2((most - larger) * slope) + partner.y * exp2((partner.x - larger) * slope);
  most = larger;
  if (side == 0u && own < u32(TOKENS)) {
    let at = 2u * stat_of(image, own, head);
    stats[at] = most * its.scaleF;
    stats[at + 1u] = 1.0 / total;
  }
  let shift = -most * slope;
  ${m.declare("sum")}
  ${eachBlock(
    [prefetch("firsts_", KEYS, d), prefetch("seconds_", VALUES, d)],
    m.score("own_", "firsts_", "scores_"),
    `${fours("p")}
      ${eachFour((i) => `p${i} = ${probabilities("shift", i)};`)}
      ${putHalves("scores_", "p")}`,
    m.add("sum", "scores_", "seconds_"),
  )}
  ${leave(m, "sum", d, "out", "out_of(image, own, head)", "(1.0 / total)")}`,
  );

/** Slopes of scores are products of probabilities, and so small: this keeps more of them among float16's normal numbers. */
const RAISED = 16;

/** WGSL: the shift with which exponentials are probabilities, of a query's place in `stats`. */
const shiftAt = (at: string) => `log2(stats[2u * ${at} + 1u]) - stats[2u * ${at}] * ${Math.LOG2E}`;

/** Binds qkv, out, dout as vec4u, dqkv as vec2u, stats and deltas as f32. */
export const queriesCode = (m: RowProducts, d: number): string =>
  code(
    m,
    d,
    true,
    `${fetchOwn("own_", QUERIES, d)}
  ${fetchOwn("other_", SLOPES, d)}
  let slope = its.scaleF * ${Math.LOG2E};
  // rowsum(dO * O), half of it by each of a row's two lanes.
  var delta = 0.0;
  var shift = 0.0;
  if (own < u32(TOKENS)) {
    let begin = out_of(image, own, head) / 8u;
    for (var i = side; i < ${d / 8}u; i += 2u) {
      let g = dout[begin + i];
      let o = out[begin + i];
      for (var c = 0u; c < 4u; c++) { delta += dot(unpack2x16float(g[c]), unpack2x16float(o[c])); }
    }
    let at = stat_of(image, own, head);
    shift = ${shiftAt("at")};
  }
  lanes_[local].x = delta;
  workgroupBarrier();
  ${m.take("own_")}
  ${m.take("other_")}
  delta += lanes_[local ^ ${PART}u].x;
  if (side == 0u && own < u32(TOKENS)) { deltas[stat_of(image, own, head)] = delta; }
  ${m.declare("sum")}
  ${eachBlock(
    [prefetch("firsts_", KEYS, d), prefetch("seconds_", VALUES, d)],
    `${m.score("own_", "firsts_", "scores_")}
      ${m.score("other_", "seconds_", "slopes_")}`,
    `${fours("ds")}
      ${eachFour((i) => `ds${i} = ${RAISED}.0 * ${probabilities("shift", i)} * (${fourOf("slopes_", i)} - delta);`)}
      ${putHalves("slopes_", "ds")}`,
    m.add("sum", "slopes_", "firsts_"),
  )}
  ${leave(m, "sum", d, "dqkv", "part_of(image, own, 0u, head)", `(its.scaleF / ${RAISED}.0)`)}`,
  );

/** What a column's probabilities and slopes need of its query. Columns that are no tokens keep those of a block before. */
const columns: Prefetch = {
  declare: "var column = vec2f();",
  fetch: `if (local < ${BLOCK}u && next + local < u32(TOKENS)) {
      let at = stat_of(image, next + local, head);
      column = vec2f(${shiftAt("at")}, deltas[at]);
    }`,
  put: `if (local < ${BLOCK}u) {
      shifts_[local / 4u][local % 4u] = column.x;
      deltas_[local / 4u][local % 4u] = column.y;
    }`,
};

/** Binds qkv and dout as vec4u, dqkv as vec2u, stats and deltas as f32. */
export const keysCode = (m: RowProducts, d: number): string =>
  `
var<workgroup> shifts_: array<vec4f, ${BLOCK / 4}>;
var<workgroup> deltas_: array<vec4f, ${BLOCK / 4}>;
${code(
  m,
  d,
  true,
  `${fetchOwn("own_", KEYS, d)}
  ${fetchOwn("other_", VALUES, d)}
  workgroupBarrier();
  ${m.take("own_")}
  ${m.take("other_")}
  let slope = its.scaleF * ${Math.LOG2E};
  ${m.declare("dk")}
  ${m.declare("dv")}
  ${eachBlock(
    [prefetch("firsts_", QUERIES, d), prefetch("seconds_", SLOPES, d), columns],
    `${m.score("own_", "firsts_", "scores_")}
      ${m.score("other_", "seconds_", "slopes_")}`,
    `${fours("p")} ${fours("ds")}
      ${eachFour(
        (i) => `p${i} = ${probabilities("shifts_[at / 4u]", i)};
        ds${i} = ${RAISED}.0 * p${i} * (${fourOf("slopes_", i)} - deltas_[at / 4u]);`,
      )}
      ${putHalves("scores_", "p")}
      ${putHalves("slopes_", "ds")}`,
    `${m.add("dv", "scores_", "seconds_")}
      ${m.add("dk", "slopes_", "firsts_")}`,
  )}
  ${leave(m, "dk", d, "dqkv", "part_of(image, own, 1u, head)", `(its.scaleF / ${RAISED}.0)`)}
  ${leave(m, "dv", d, "dqkv", "part_of(image, own, 2u, head)", "1.0")}`,
)}`;
