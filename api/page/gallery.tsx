/** The gallery of a retrieval job: images with their texts and the nearest ones, and a search by a sentence. */
import { useState } from "preact/hooks";
import type { FoundImage, Gallery } from "../../src/schema/evaluation.ts";
import { Notice } from "./parts.tsx";
import { service } from "./service.ts";
import { type Sheet, Thumbnail } from "./thumbnail.tsx";

/** Images of the gallery that are there at first, and that one more button shows. */
const PAGE = 96;
/** Images that a search shows. */
const FOUND = 24;

/** Images in an order, and what they are. */
interface Shown {
  readonly title: string;
  readonly images: readonly FoundImage[];
}

export interface Browsed {
  readonly gallery: Gallery;
  readonly sheet: Sheet;
}

const textsAt = ({ texts }: Gallery, places: readonly number[] = []): string[] =>
  places.map((place) => texts[place] as string);

/** An image of the gallery as a search gives it. */
const imageAt = (gallery: Gallery, place: number, cosine = Number.NaN): FoundImage => ({
  image: gallery.images[place] as number,
  cosine,
  texts: textsAt(gallery, gallery.own[place]),
  place,
});

interface ChooseProps {
  readonly sheet: Sheet;
  readonly images: readonly FoundImage[];
  readonly chosen: FoundImage;
  readonly choose: (image: FoundImage) => void;
}

/** Images as buttons, with their cosine where they have one. */
function Choose({ sheet, images, chosen, choose }: ChooseProps) {
  return (
    <div class="thumbnails">
      {images.map((of) => {
        const { image, cosine, texts, place } = of;
        const measured = Number.isNaN(cosine) ? "" : cosine.toFixed(3);
        const name = `image ${image}: ${texts.join(", ")}${measured && `; cosine ${measured}`}`;
        return (
          <button
            key={image}
            type="button"
            class="bare image"
            aria-label={name}
            aria-pressed={image === chosen.image}
            onClick={() => choose(of)}
          >
            {place === null ? (
              <span class="unseen">image {image}</span>
            ) : (
              <Thumbnail sheet={sheet} place={place} scale={2} name={name} />
            )}
            {measured && <span class="quiet">{measured}</span>}
          </button>
        );
      })}
    </div>
  );
}

/** The texts of an image, and those that are nearest to it. */
function Chosen({ gallery, sheet, chosen }: Browsed & { chosen: FoundImage }) {
  const { image, texts, place } = chosen;
  const near = place === null ? [] : (gallery.nearest[place] ?? []);
  return (
    <section aria-label="the image and its texts" aria-live="polite">
      <h3>Image {image}</h3>
      {place !== null && <Thumbnail sheet={sheet} place={place} scale={4} name={`image ${image}`} />}
      <h3>Its texts</h3>
      <ul>
        {texts.map((text) => (
          <li key={text}>{text}</li>
        ))}
      </ul>
      {near.length > 0 && (
        <>
          <h3>Nearest texts, with their cosines</h3>
          <ol>
            {near.map(([text, cosine]) => {
              const words = gallery.texts[text] as string;
              return (
                <li key={text}>
                  {texts.includes(words) ? <strong>{words}</strong> : words}{" "}
                  <span class="quiet">
                    {cosine.toFixed(3)}
                    {texts.includes(words) && ", its own"}
                  </span>
                </li>
              );
            })}
          </ol>
        </>
      )}
    </section>
  );
}

interface SearchProps {
  readonly id: string;
  readonly gallery: Gallery;
  readonly show: (shown: Shown) => void;
}

/** By a sentence, which a worker embeds; or by one of some texts, whose nearest images the job has left. */
function Search({ id, gallery, show }: SearchProps) {
  const [sentence, setSentence] = useState("");
  const [state, setState] = useState<"idle" | "asking" | Error>("idle");
  const ask = (event: Event) => {
    event.preventDefault();
    const text = sentence.trim();
    if (!text || state === "asking") return;
    setState("asking");
    service.search(id, text, FOUND).then(
      (images) => {
        setState("idle");
        show({ title: `Nearest to “${text}”`, images });
      },
      (error: Error) => setState(error),
    );
  };
  const pick = (at: string) => {
    const query = gallery.queries[Number(at)];
    if (at === "" || !query) return;
    const images = query.images.map(([place, cosine]) => imageAt(gallery, place, cosine));
    show({ title: `Nearest to “${gallery.texts[query.text]}”`, images });
  };
  return (
    <>
      <form class="bar" onSubmit={ask}>
        <label class="sentence">
          Find images by a sentence
          <input
            type="search"
            maxLength={1000}
            value={sentence}
            onInput={(event) => setSentence(event.currentTarget.value)}
          />
        </label>
        <button type="submit">Search</button>
        <label class="texts">
          or by a text of theirs
          <select onChange={(event) => pick(event.currentTarget.value)}>
            <option value="">choose one</option>
            {gallery.queries.map(({ text }, i) => (
              <option key={text} value={i}>
                {(gallery.texts[text] as string).slice(0, 60)}
              </option>
            ))}
          </select>
        </label>
      </form>
      {state === "asking" && <Notice>A worker searches …</Notice>}
      {state instanceof Error && <Notice bad>{state.message}</Notice>}
    </>
  );
}

/** Images of a retrieval job with their texts, and a search among all of its images. */
export function Browse({ id, gallery, sheet }: Browsed & { id: string }) {
  const [shown, setShown] = useState<Shown>();
  const [chosen, setChosen] = useState(() => imageAt(gallery, 0));
  const [count, setCount] = useState(PAGE);
  const some = gallery.images.slice(0, count).map((_, place) => imageAt(gallery, place));
  const { title, images } = shown ?? { title: `${gallery.images.length} of its images`, images: some };
  return (
    <>
      <Search
        id={id}
        gallery={gallery}
        show={(found) => {
          setShown(found);
          if (found.images[0]) setChosen(found.images[0]);
        }}
      />
      <div class="map">
        <section aria-label="images">
          <h3 aria-live="polite">{title}</h3>
          <Choose sheet={sheet} images={images} chosen={chosen} choose={setChosen} />
          {shown && (
            <div class="bar">
              <button type="button" onClick={() => setShown(undefined)}>
                Back to all
              </button>
            </div>
          )}
          {!shown && count < gallery.images.length && (
            <div class="bar">
              <button type="button" onClick={() => setCount(count + PAGE)}>
                Show more
              </button>
            </div>
          )}
        </section>
        <Chosen gallery={gallery} sheet={sheet} chosen={chosen} />
      </div>
    </>
  );
}
