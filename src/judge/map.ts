/** The map job: what an encoder makes of some images, to be looked at. */
import type { Look } from "../data/view.ts";
import { neighboursOf, principalPlane, umapPlane } from "../evaluate/map.ts";
import type { ImageMap, MapSpec } from "../schema/evaluation.ts";
import type { Outcome } from "../train/reporter.ts";
import { dimensionOf, type Embedding } from "../train/session.ts";
import { contactSheet, spriteSheet, THUMBNAIL } from "../train/views.ts";
import { FileError } from "../util/errors.ts";
import { Stream } from "../util/random.ts";
import type { EvaluationContext } from "./context.ts";
import { Evaluation, type Provenance } from "./evaluation.ts";

export interface MapJobResult extends Provenance {
  images: number;
  classes: readonly string[];
  /** In the job's folder: map.json, thumbnails.png and, where pretraining has images of its own, views.png. */
  files: string[];
  /** Share of the features' variance in the first two principal components. */
  explained: number;
}

const pairs = (points: Float32Array): [number, number][] =>
  Array.from({ length: points.length / 2 }, (_, i) => {
    const [x, y] = [points[2 * i], points[2 * i + 1]] as [number, number];
    return [Number(x.toPrecision(5)), Number(y.toPrecision(5))];
  });

export function mapImages(spec: MapSpec, context: EvaluationContext): Promise<Outcome<MapJobResult>> {
  return Evaluation.run(spec, context, async (evaluation) => {
    const { session, dataset } = evaluation;
    const images = dataset[spec.split];
    if (!images) throw new FileError(dataset.name, "has no test images: give spec.dataset.test, or spec.split train");
    const indices = new Stream(spec.seed, "map").permutation(images.count).slice(0, spec.images);
    const count = indices.length;
    const k = Math.min(spec.neighbours, count - 1);
    const embedding: Embedding = {
      what: spec.features,
      blocks: spec.blocks,
      look: { kind: "centre", share: 1 } satisfies Look,
    };
    evaluation.begin(count);
    return evaluation.onFrozen(async () => {
      const dim = dimensionOf(session, embedding);
      const features = await evaluation.features("trained/features", images, indices, embedding);
      const plane = principalPlane(features, dim);
      evaluation.pause();
      const umap = await umapPlane(features, dim, new Stream(spec.seed, "map", 1), evaluation.pause);
      const nearest = neighboursOf(features, dim, k);
      const columns = Math.ceil(Math.sqrt(count));
      const map: ImageMap = {
        images: [...indices],
        labels: images.labels ? [...indices].map((index) => (images.labels as Int32Array)[index] as number) : null,
        classes: dataset.classes,
        pca: pairs(plane.points),
        umap: pairs(umap),
        neighbours: Array.from({ length: count }, (_, i) => [...nearest.subarray(i * k, (i + 1) * k)]),
        thumbnails: { size: THUMBNAIL, columns },
      };
      evaluation.pause();
      const { own, pretrained } = context;
      const files = [
        await own.writeFile("map.json", Buffer.from(JSON.stringify(map))),
        await own.writeFile("thumbnails.png", await spriteSheet(images, indices, columns)),
      ];
      const shown = [...session.parts.train.subarray(0, spec.views)];
      if (shown.length > 0) {
        files.push(await own.writeFile("views.png", (await contactSheet(dataset, pretrained, shown, [0])).png));
      }
      return { images: count, classes: dataset.classes, files, explained: plane.explained };
    });
  });
}
