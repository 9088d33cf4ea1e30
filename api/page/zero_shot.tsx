/** Classification by the names of classes: how good it is, with which prompts. */
import { Confusion } from "./confusion.tsx";
import { percent } from "./parts.tsx";

export interface ZeroShot {
  readonly top1: number;
  readonly top5: number;
  readonly images: number;
  readonly step: number;
  readonly confusion: readonly (readonly number[])[];
  readonly classes: readonly string[];
  readonly templates: readonly string[];
  readonly cut: number;
}

export function ZeroShotView({ result }: { result: ZeroShot }) {
  const { top1, top5, images, step, confusion, classes, templates, cut } = result;
  const [first = ""] = classes;
  return (
    <>
      <p>
        Top-1 {percent(top1)}, top-5 {percent(top5)} of {images} images, by the names of {classes.length} classes alone
        (chance: {percent(1 / classes.length)}), after step {step}.
      </p>
      <Confusion confusion={confusion} classes={classes} />
      <h3>Prompts, here of {first}</h3>
      <ul>
        {templates.map((template) => (
          <li key={template}>{template.replaceAll("{}", first)}</li>
        ))}
      </ul>
      {cut > 0 && (
        <p>
          {cut} of {classes.length * templates.length} prompts are longer than the text tower's context, and are cut.
        </p>
      )}
    </>
  );
}
