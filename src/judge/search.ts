/** A search by a sentence among the images of a retrieval job that has succeeded. */

import { threadsEngine } from "../engine/open.ts";
import { useAverage } from "../engine/state.ts";
import { nearest } from "../evaluate/retrieval.ts";
import { openDevice } from "../kernels/index.ts";
import type { Search } from "../queue/searches.ts";
import type { FoundImage, Gallery } from "../schema/evaluation.ts";
import { type JobSpecs, type JobType, parseStored } from "../schema/job.ts";
import type { TrainSpec } from "../schema/pretrain.ts";
import type { Blobs } from "../store/blobs.ts";
import { RunStore } from "../store/run_store.ts";
import { decodeSafetensors } from "../store/safetensors.ts";
import { openTokenizer } from "../text/tokenizer.ts";
import { checkpointTokenizer, restoreCheckpoint } from "../train/checkpoint.ts";
import { embedTexts, tableOf } from "../train/texts.ts";
import { FileError, UserError } from "../util/errors.ts";
import { fingerprintOf } from "./fingerprint.ts";
import { FEATURES, GALLERY, type RetrievalResult, TEXTS } from "./retrieve.ts";

async function specOf<T extends JobType>(type: T, run: RunStore): Promise<JobSpecs[T]> {
  const job = await run.readJson<{ spec: unknown }>("job.json");
  if (!job) throw new FileError(run.path, "there is no such run any more");
  return parseStored(type, job.spec);
}

async function needed(run: RunStore, name: string): Promise<Uint8Array> {
  const bytes = await run.read(name);
  if (bytes) return bytes;
  throw new FileError(`${run.path}/${name}`, "is not there: submit the retrieval again, searches need this file");
}

/**
 * The `count` images with the highest cosine to a sentence, nearest first. Nothing of the dataset is read.
 *
 * @throws UserError where the sentence has more tokens than the text tower takes, or the checkpoint of the job is gone.
 */
export async function search(blobs: Blobs, { id, text, count }: Search): Promise<FoundImage[]> {
  const own = new RunStore(blobs, id);
  const spec = await specOf("retrieval", own);
  const source = new RunStore(blobs, spec.from);
  const pretrained = await specOf("pretrain", source);
  const { tensors, metadata } = decodeSafetensors(await needed(own, FEATURES), FEATURES);
  const images = tensors.get("images");
  const result = await own.readJson<RetrievalResult>("result.json");
  if (!(images?.data instanceof Float32Array) || !result) throw new FileError(own.path, "holds no features");
  const [rows = 0, dim = 0] = images.shape;
  const query = await embedded(text, {
    pretrained,
    source,
    result,
    encoder: spec.encoder,
    channels: Number(metadata.channels),
  });
  const candidates = { features: images.data, count: rows };
  const [found = []] = nearest({ features: query, count: 1 }, candidates, Math.min(count, rows), dim);
  const gallery = await own.readJson<Gallery>(GALLERY);
  const lines = await own.readTexts(TEXTS);
  return found.map(([row, cosine]) => {
    const { image, texts } = JSON.parse(lines[row] as string) as Pick<FoundImage, "image" | "texts">;
    const place = gallery?.images.indexOf(image) ?? -1;
    return { image, cosine, texts, place: place < 0 ? null : place };
  });
}

interface Tower {
  readonly pretrained: JobSpecs["pretrain"];
  readonly source: RunStore;
  readonly result: RetrievalResult;
  readonly encoder: JobSpecs["retrieval"]["encoder"];
  readonly channels: number;
}

/** Features f32[1, dim] of a sentence by the text tower that the retrieval was made with. */
async function embedded(text: string, { pretrained, source, result, encoder, channels }: Tower): Promise<Float32Array> {
  const { step, backbone } = result;
  const found = await source.goodCheckpoint({ step });
  const again = "submit the retrieval again";
  if (!found) throw new FileError(source.path, `its checkpoint of step ${step} is not there any more: ${again}`);
  const { file } = found.record;
  const stored = checkpointTokenizer(found.bytes, file);
  if (!stored) throw new FileError(file, "holds no tokenizer");
  const tokenizer = openTokenizer(stored);
  const table = tableOf([text], tokenizer, pretrained);
  if (table.cut > 0) {
    const got = tokenizer.encode(text).length;
    throw new UserError(`text: got ${got} tokens, allowed: at most ${table.length - 2}, the context of the text tower`);
  }
  await openDevice();
  // No batch is trained on: room for one image of it is enough.
  const small = { ...pretrained, batchSize: 1, splits: 1 } as TrainSpec;
  const zeros = new Array<number>(channels).fill(0);
  const { model, engine } = await threadsEngine(small, { channels, mean: zeros, std: zeros }, 1, "recomputed");
  try {
    restoreCheckpoint(found.bytes, file, model);
    if (encoder === "average") useAverage(model);
    if (fingerprintOf(model) !== backbone) throw new FileError(file, `has other weights than the job used: ${again}`);
    engine.load();
    return await embedTexts({ engine, model, alive: () => undefined }, table);
  } finally {
    engine.close();
  }
}
