/** Texts and images that find each other: recall both ways, and the gallery. */
import { useEffect, useState } from "preact/hooks";
import type { Gallery } from "../../src/schema/evaluation.ts";
import type { Job } from "../../src/schema/job.ts";
import { Browse, type Browsed } from "./gallery.tsx";
import { Notice, number, percent, Table } from "./parts.tsx";
import { service } from "./service.ts";

interface Recall {
  readonly at1: number;
  readonly at5: number;
  readonly at10: number;
  readonly medianRank: number;
}

interface Retrieval {
  readonly text: Recall;
  readonly image: Recall;
  readonly images: number;
  readonly texts: number;
  readonly cut: number;
  readonly files: readonly string[];
}

/** Two columns of figures: a phone has room for them. */
function Recalls({ result: { text, image, images, texts, cut } }: { result: Retrieval }) {
  const rows: [string, string, string][] = [
    ["Recall at 1", percent(text.at1), percent(image.at1)],
    ["Recall at 5", percent(text.at5), percent(image.at5)],
    ["Recall at 10", percent(text.at10), percent(image.at10)],
    ["Median rank", number(text.medianRank, 6), number(image.medianRank, 6)],
    ["Among", `${texts} texts`, `${images} images`],
  ];
  return (
    <>
      <Table
        what="recall"
        caption="Texts found by their images, and images by their texts."
        head={["Figure", "Texts found", "Images found"]}
      >
        {rows.map(([name, ...figures]) => (
          <tr key={name}>
            <th scope="row">{name}</th>
            {figures.map((figure, i) => (
              <td key={i ? "image" : "text"}>{figure}</td>
            ))}
          </tr>
        ))}
      </Table>
      {cut > 0 && (
        <p>
          {cut} of {texts} texts are longer than the text tower's context, and are cut.
        </p>
      )}
    </>
  );
}

/** The result of a retrieval job. */
export function RetrievalView({ job }: { job: Job }) {
  const result = job.result as Retrieval;
  const [browsed, setBrowsed] = useState<Browsed | Error>();
  useEffect(() => {
    let url: string | undefined;
    const load = async () => {
      const gallery = await service.file<Gallery>(job.id, "gallery.json");
      url = await service.picture(job.id, "thumbnails.png");
      setBrowsed({ gallery, sheet: { url, ...gallery.thumbnails, count: gallery.images.length } });
    };
    // A job of an earlier version has left none.
    if (result.files?.length > 0) load().catch((error: Error) => setBrowsed(error));
    return () => {
      if (url) URL.revokeObjectURL(url);
    };
  }, [job.id]);
  return (
    <>
      <Recalls result={result} />
      {browsed instanceof Error && <Notice bad>{browsed.message}</Notice>}
      {browsed && !(browsed instanceof Error) && <Browse id={job.id} {...browsed} />}
    </>
  );
}
