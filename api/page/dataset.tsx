/** A stored dataset, to be looked at before anything is trained on it: images of it, and what a worker finds in all of them. */
import { useEffect, useState } from "preact/hooks";
import type { DatasetReport, PartReport } from "../../src/schema/dataset.ts";
import { Notice, number, Table } from "./parts.tsx";
import { service } from "./service.ts";

/** Classes, sizes and broken files that have room. */
const SHOWN = 12;

/** Loads once for an id. What is loaded too late is released. */
function useLoaded<T>(load: () => Promise<T>, id: string, release: (value: T) => void = () => undefined) {
  const [state, setState] = useState<T | Error>();
  useEffect(() => {
    let over = false;
    let loaded: T | undefined;
    setState(undefined);
    load().then(
      (value) => {
        loaded = value;
        if (over) release(value);
        else setState(() => value);
      },
      (error: Error) => over || setState(error),
    );
    return () => {
      over = true;
      if (loaded !== undefined) release(loaded);
    };
  }, [id]);
  return state;
}

const listed = (counts: Readonly<Record<string, number>>): string => {
  const entries = Object.entries(counts);
  const shown = entries.slice(0, SHOWN).map(([name, count]) => `${name} (${count})`);
  return [...shown, ...(entries.length > SHOWN ? [`${entries.length - SHOWN} more`] : [])].join(", ") || "–";
};

const channels = (values: PartReport["mean"]): string => values.map((value) => number(value)).join(", ");

function Part({ name, part }: { name: string; part: PartReport }) {
  return (
    <tr>
      <th scope="row">{name}</th>
      <td>{part.images}</td>
      <td>{listed(part.classes)}</td>
      <td>{listed(part.sizes)}</td>
      <td>{channels(part.mean)}</td>
      <td>{channels(part.std)}</td>
      <td>{part.brokenCount}</td>
    </tr>
  );
}

function Report({ report }: { report: DatasetReport }) {
  const { train, test, notes } = report;
  const broken = [...train.broken, ...(test?.broken ?? [])];
  return (
    <>
      <Table what="report of the dataset" head={["Part", "Images", "Classes", "Sizes", "Mean", "Deviation", "Broken"]}>
        <Part name="train" part={train} />
        {test && <Part name="test" part={test} />}
      </Table>
      {notes.map((note) => (
        <p key={note} class="quiet">
          {note}
        </p>
      ))}
      {broken.slice(0, SHOWN).map((line) => (
        <p key={line} class="quiet">
          broken: {line}
        </p>
      ))}
    </>
  );
}

export function StoredDataset({ id }: { id: string }) {
  const report = useLoaded(() => service.datasetReport(id), id);
  const sheet = useLoaded(() => service.thumbnails(id), id, URL.revokeObjectURL);
  return (
    <section aria-label="the dataset">
      <h2>What is in the dataset</h2>
      {typeof sheet === "string" && (
        <img class="sheet" src={sheet} alt="Images of the training part, evenly spread over the dataset" />
      )}
      {sheet instanceof Error && <Notice bad>{`no images: ${sheet.message}`}</Notice>}
      {report instanceof Error && <Notice bad>{`no report: ${report.message}`}</Notice>}
      {report !== undefined && !(report instanceof Error) && <Report report={report} />}
      {(report === undefined || sheet === undefined) && <Notice>A worker reads every image …</Notice>}
    </section>
  );
}
