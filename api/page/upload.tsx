/** Images from the person's own disk: an archive as it is, or a folder or single files, packed on their way. */
import { useState } from "preact/hooks";
import { pieces } from "../../src/util/pieces.ts";
import { bytes, Notice } from "./parts.tsx";
import { type Dataset, Refused, service } from "./service.ts";
import { type Dropped, streamOf } from "./upload_stream.ts";

/** A share of the way, where the whole is known, or what came of it. `import`: id of one that can be stopped. */
interface Sent {
  readonly sent: number;
  readonly whole: number | null;
  readonly import?: string;
}
type State = Sent | Dataset | Error | undefined;

const POLL_MS = 1000;

/** Files with their paths: those that were dropped, and those below folders that were. */
async function filesOf(items: DataTransferItemList): Promise<Dropped[]> {
  const found: Dropped[] = [];
  const walk = async (entry: FileSystemEntry, path: string): Promise<void> => {
    if (entry.isFile) {
      const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
      found.push({ path: path + entry.name, file });
      return;
    }
    const reader = (entry as FileSystemDirectoryEntry).createReader();
    for (;;) {
      // A reader gives a hundred at a time.
      const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
      if (some.length === 0) return;
      for (const below of some) await walk(below, `${path}${entry.name}/`);
    }
  };
  // The list is empty after the first wait.
  const entries = [...items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  for (const entry of entries) await walk(entry, "");
  return found;
}

async function upload(files: readonly Dropped[], told: (state: State) => void): Promise<Dataset> {
  const total = files.reduce((sum, { file }) => sum + file.size, 0);
  const first = (files[0] as Dropped).path.split("/")[0] as string;
  const { id, partBytes } = await service.createDataset(first);
  let [part, sent] = [0, 0];
  for await (const piece of pieces(streamOf(files), partBytes)) {
    await service.putPart(id, ++part, piece);
    sent += piece.length;
    told({ sent: Math.min(sent, total), whole: total });
  }
  return service.completeDataset(id);
}

/** Follows an import by the service to its end; the tab may be closed meanwhile. */
async function importFrom(url: string, told: (state: State) => void): Promise<Dataset> {
  const begun = await service.importDataset(url);
  let dataset = begun;
  while (dataset.status === "importing") {
    told({ sent: dataset.bytes, whole: dataset.total, import: begun.id });
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    dataset = await service.dataset(begun.id).catch((error: unknown) => {
      const isGone = error instanceof Refused && error.status === 404;
      throw isGone ? new Error(`the import of ${begun.name} was stopped`) : error;
    });
  }
  if (dataset.status === "failed") throw new Error(`${dataset.name}: ${dataset.error}`);
  return dataset;
}

/** What a refusal says of each field. */
function named(error: unknown): Error {
  if (!(error instanceof Refused) || error.fields.length === 0) return error as Error;
  return new Error([error.message, ...error.fields.map(({ field, allowed }) => `${field}: ${allowed}`)].join("; "));
}

/** `uploaded`: hears the dataset's id. */
export function Upload({ uploaded }: { uploaded: (id: string) => void }) {
  const [state, setState] = useState<State>();
  const [over, setOver] = useState(false);
  const [url, setUrl] = useState("");
  const bring = async (work: Promise<Dataset>) => {
    setState({ sent: 0, whole: null });
    try {
      const dataset = await work;
      setState(dataset);
      if (!dataset.contents?.error) uploaded(dataset.id);
    } catch (error) {
      setState(named(error));
    }
  };
  const send = async (files: readonly Dropped[]) => {
    if (files.length > 0) await bring(upload(files, setState));
  };
  const fetchUrl = () => url.trim() !== "" && bring(importFrom(url.trim(), setState));
  const chosen = (list: FileList | null) =>
    send([...(list ?? [])].map((file) => ({ path: file.webkitRelativePath || file.name, file })));
  return (
    <fieldset
      class={over ? "drop over" : "drop"}
      onDragOver={(e) => {
        e.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={async (e) => {
        e.preventDefault();
        setOver(false);
        if (e.dataTransfer) await send(await filesOf(e.dataTransfer.items));
      }}
    >
      <legend>your images</legend>
      <p class="quiet">Drop a folder or an archive here: it is uploaded, and the dataset below becomes it.</p>
      <label>
        An archive (zip, tar, tar.gz, tar.zst)
        <input type="file" onChange={(e) => chosen(e.currentTarget.files)} />
      </label>
      <label>
        A folder
        <input type="file" {...{ webkitdirectory: true }} onChange={(e) => chosen(e.currentTarget.files)} />
      </label>
      <div class="bar">
        <label>
          A URL (https, http or s3)
          <input
            type="url"
            size={48}
            value={url}
            onInput={(e) => setUrl(e.currentTarget.value)}
            onKeyDown={(e) => {
              if (e.key !== "Enter") return;
              // The field is part of the form of the job.
              e.preventDefault();
              void fetchUrl();
            }}
          />
        </label>
        <button type="button" onClick={fetchUrl}>
          Import
        </button>
      </div>
      <div aria-live="polite">
        <Told state={state} />
      </div>
    </fieldset>
  );
}

function Told({ state }: { state: State }) {
  if (state === undefined) return null;
  if (state instanceof Error) return <Notice bad>{state.message}</Notice>;
  if ("whole" in state) {
    const { sent, whole, import: id } = state;
    return (
      <>
        <label>
          {bytes(sent)} {whole !== null && `of ${bytes(whole)}`}{" "}
          <progress {...(whole !== null && { value: sent, max: whole })} />
        </label>
        {id && (
          <button type="button" onClick={() => service.removeDataset(id)}>
            Stop the import
          </button>
        )}
      </>
    );
  }
  const { contents, name } = state;
  if (contents?.error) return <Notice bad>{`${name} cannot be read: ${contents.error}`}</Notice>;
  if (!contents) return <Notice>{`${name} is stored; no worker can tell yet what is in it.`}</Notice>;
  const { train = 0, test, classes = 0, notes = [] } = contents;
  return (
    <Notice>
      {[`${name}: ${train} images, ${classes} classes, ${test ?? "no"} test images`, ...notes].join(". ")}
    </Notice>
  );
}
