/** What an encoder makes of some images: a plane with a dot for each, the image under the pointer, and its neighbours. */
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { ImageMap } from "../../src/schema/evaluation.ts";
import type { Job } from "../../src/schema/job.ts";
import { hasTextTower, type JobType, textJobs } from "../../src/schema/types.ts";
import { Notice, percent, useLive } from "./parts.tsx";
import { service } from "./service.ts";
import { type Sheet, Thumbnail } from "./thumbnail.tsx";

const HEIGHT = 460;
const MARGIN = 12;
/** Pixels within which a dot is meant. */
const REACH = 24;

/** Far from each other, and told apart on light and on dark. */
const colourOf = (label: number, count: number): string =>
  `hsl(${Math.round((360 * label) / Math.max(1, count))} 70% ${label % 2 ? 45 : 58}%)`;

function Plane({ map, kind, chosen, choose }: PlaneProps) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [width, setWidth] = useState(600);
  const places = useMemo(() => {
    const points = map[kind];
    const [xs, ys] = [points.map(([x]) => x), points.map(([, y]) => y)];
    const span = (of: number[]) => [Math.min(...of), Math.max(...of)] as const;
    const [[left, right], [low, high]] = [span(xs), span(ys)];
    return points.map(([x, y]): [number, number] => [
      MARGIN + ((x - left) / (right - left || 1)) * (width - 2 * MARGIN),
      MARGIN + (1 - (y - low) / (high - low || 1)) * (HEIGHT - 2 * MARGIN),
    ]);
  }, [map, kind, width]);

  useEffect(() => {
    const box = canvas.current?.parentElement;
    if (!box) return undefined;
    const fit = new ResizeObserver(() => setWidth(Math.max(240, box.clientWidth)));
    fit.observe(box);
    return () => fit.disconnect();
  }, []);

  useEffect(() => {
    const context = canvas.current?.getContext("2d");
    if (!context) return;
    const scale = devicePixelRatio;
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, HEIGHT);
    places.forEach(([x, y], i) => {
      context.fillStyle = map.labels ? colourOf(map.labels[i] as number, map.classes.length) : "#2f7ed8";
      context.beginPath();
      context.arc(x, y, 3, 0, 2 * Math.PI);
      context.fill();
    });
    const near = new Set(map.neighbours[chosen]);
    context.strokeStyle = getComputedStyle(document.body).color;
    for (const i of [chosen, ...near]) {
      const [x, y] = places[i] as [number, number];
      context.lineWidth = i === chosen ? 2.5 : 1;
      context.beginPath();
      context.arc(x, y, i === chosen ? 7 : 5, 0, 2 * Math.PI);
      context.stroke();
    }
  }, [map, places, chosen, width]);

  const nearest = (event: PointerEvent) => {
    const { left, top } = (event.currentTarget as HTMLElement).getBoundingClientRect();
    const [x, y] = [event.clientX - left, event.clientY - top];
    let [best, distance] = [-1, REACH];
    places.forEach(([px, py], i) => {
      const of = Math.hypot(px - x, py - y);
      if (of < distance) [best, distance] = [i, of];
    });
    if (best >= 0) choose(best);
  };
  return (
    <canvas
      ref={canvas}
      width={width * devicePixelRatio}
      height={HEIGHT * devicePixelRatio}
      style={{ width: `${width}px`, height: `${HEIGHT}px` }}
      role="img"
      aria-label={`${map.images.length} images in a plane, each a dot in the colour of its class`}
      onPointerMove={nearest}
      onPointerDown={nearest}
    />
  );
}

interface PlaneProps {
  readonly map: ImageMap;
  readonly kind: "pca" | "umap";
  readonly chosen: number;
  readonly choose: (place: number) => void;
}

function Look({ map, sheet, explained }: { map: ImageMap; sheet: Sheet; explained: number }) {
  const [kind, setKind] = useState<"pca" | "umap">("umap");
  const [chosen, setChosen] = useState(0);
  const nameOf = (place: number) => {
    const label = map.labels?.[place];
    return `image ${map.images[place]}${label === undefined ? "" : `, ${map.classes[label] ?? label}`}`;
  };
  const near = map.neighbours[chosen] ?? [];
  const alike = near.filter((place) => map.labels?.[place] === map.labels?.[chosen]).length;
  return (
    <>
      <div class="bar">
        <label>
          Plane
          <select value={kind} onChange={(e) => setKind(e.currentTarget.value as "pca" | "umap")}>
            <option value="umap">UMAP</option>
            <option value="pca">two principal components</option>
          </select>
        </label>
        <label>
          Image, by its place in the map
          <input
            type="number"
            min={0}
            max={map.images.length - 1}
            value={chosen}
            onInput={(e) => {
              const place = Number(e.currentTarget.value);
              if (Number.isInteger(place) && place >= 0 && place < map.images.length) setChosen(place);
            }}
          />
        </label>
        {kind === "pca" && <span class="quiet">{percent(explained)} of the variance lies in this plane</span>}
      </div>
      <div class="map">
        <div class="plane">
          <Plane map={map} kind={kind} chosen={chosen} choose={setChosen} />
        </div>
        <section aria-label="the image and its neighbours" aria-live="polite">
          <h3>{nameOf(chosen)}</h3>
          <Thumbnail sheet={sheet} place={chosen} scale={4} name={nameOf(chosen)} />
          <h3>Nearest{map.labels && `, ${alike} of ${near.length} of the same class`}</h3>
          <div class="thumbnails">
            {near.map((place) => (
              <button
                key={place}
                type="button"
                class="bare"
                aria-label={`go to ${nameOf(place)}`}
                onClick={() => setChosen(place)}
              >
                <Thumbnail sheet={sheet} place={place} scale={2} name={nameOf(place)} />
              </button>
            ))}
          </div>
        </section>
      </div>
      {map.labels && map.classes.length <= 20 && (
        <p class="legend">
          {map.classes.map((name, label) => (
            <span key={name}>
              <span class="dot" style={{ background: colourOf(label, map.classes.length) }} /> {name}
            </span>
          ))}
        </p>
      )}
    </>
  );
}

/** The map of a job of that type. */
export function MapView({ job }: { job: Job }) {
  const [shown, setShown] = useState<{ map: ImageMap; sheet: Sheet; views?: string } | Error>();
  const { files, explained } = job.result as { files: string[]; explained: number };
  useEffect(() => {
    const urls: string[] = [];
    const picture = async (name: string) => {
      const url = await service.picture(job.id, name);
      urls.push(url);
      return url;
    };
    const load = async () => {
      const map = await service.file<ImageMap>(job.id, "map.json");
      const views = files.includes("views.png") ? { views: await picture("views.png") } : {};
      const sheet = { url: await picture("thumbnails.png"), ...map.thumbnails, count: map.images.length };
      setShown({ map, sheet, ...views });
    };
    load().catch((error: Error) => setShown(error));
    return () => urls.forEach(URL.revokeObjectURL);
  }, [job.id]);
  if (shown === undefined) return <p class="quiet">Loading …</p>;
  if (shown instanceof Error) return <Notice bad>{shown.message}</Notice>;
  return (
    <>
      <Look map={shown.map} sheet={shown.sheet} explained={explained} />
      {shown.views && (
        <>
          <h3>Training images, and the query and the key view of each in the first epoch</h3>
          <img class="views" src={shown.views} alt="each line: an image, its query view, its key view" />
        </>
      )}
    </>
  );
}

const judges: readonly JobType[] = ["linear-probe", "knn", "fine-tune"];
/** Types of jobs that judge a run. */
const judgesOf = ({ spec }: Job): readonly JobType[] => (hasTextTower(spec) ? [...judges, ...textJobs] : judges);

/** Of a pretraining run: its newest map, or the offer to make one. */
export function Learned({ run }: { run: Job }) {
  const [failed, setFailed] = useState("");
  const [asked, setAsked] = useState(0);
  const query = { type: "map", from: run.id, limit: "1" };
  const { value } = useLive(() => service.jobs(query), 3, [run.id, asked]);
  const job = value?.jobs[0];
  const make = () =>
    service.submit({ type: "map", name: `map of ${run.name ?? run.id}`.slice(0, 200), spec: { from: run.id } }).then(
      () => setAsked(asked + 1),
      (error: Error) => setFailed(error.message),
    );
  if (!value) return null;
  return (
    <>
      <h2>What it learned</h2>
      {failed && <Notice bad>{failed}</Notice>}
      {job?.status === "failed" && <Notice bad>{job.error}</Notice>}
      {job?.status === "succeeded" ? (
        <MapView key={job.id} job={job} />
      ) : job && job.status !== "failed" && job.status !== "cancelled" ? (
        <Notice>
          <a href={`#/runs/${job.id}`}>The map</a> is {job.status}
          {job.waitingFor && `, for ${job.waitingFor}`}.
        </Notice>
      ) : null}
      <div class="bar">
        <button type="button" onClick={make}>
          {job ? "Draw a new map" : "Draw a map of its features"}
        </button>
        {judgesOf(run).map((type) => (
          <a key={type} class="button" href={`#/new?type=${type}&from=${run.id}`}>
            Judge it by {type}
          </a>
        ))}
        <a class="button" href={`#/new?type=export&from=${run.id}`}>
          Export it
        </a>
      </div>
    </>
  );
}
