/** A form from a JSON schema: what differs from the base is what is kept. */
import type { FieldError } from "../../src/schema/job.ts";
import type { Schema } from "./service.ts";

/** Dotted path -> what was typed there. */
export type Typed = Readonly<Record<string, string>>;

export const valueAt = (base: unknown, path: string): unknown =>
  path.split(".").reduce<unknown>((value, name) => (value as Record<string, unknown> | undefined)?.[name], base);

/** What a text means for a field: JSON where the field is no plain text and it is JSON, else the text, which the API judges. */
function meant(text: string, { type, enum: values }: Schema): unknown {
  if (type === "string" || values) return text;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** A lists of every field's path and schema, in order. A choice between kinds has the fields of the kind that is chosen. */
function* fieldsOf(schema: Schema, typed: Typed, base: unknown, path: string): Generator<[path: string, Schema]> {
  if (schema.oneOf) {
    const decides = "kind" in (schema.oneOf[0]?.properties ?? {}) ? "kind" : "arch";
    const kindsOf = (of: Schema): string[] => {
      const { const: only, enum: several } = of.properties?.[decides] ?? {};
      return (several ?? [only]) as string[];
    };
    const at = `${path}.${decides}`;
    const kind = typed[at] ?? (valueAt(base, at) as string | undefined) ?? "";
    const chosen = schema.oneOf.find((of) => kindsOf(of).includes(kind));
    const description =
      chosen?.properties?.[decides]?.description ?? schema.description ?? "where the images come from";
    yield [at, { enum: [...(kind ? [] : [""]), ...schema.oneOf.flatMap(kindsOf)], description }];
    for (const [name, of] of Object.entries(chosen?.properties ?? {})) {
      if (name !== decides) yield* fieldsOf(of, typed, base, `${path}.${name}`);
    }
  } else if (schema.properties) {
    for (const [name, of] of Object.entries(schema.properties)) {
      yield* fieldsOf(of, typed, base, path ? `${path}.${name}` : name);
    }
  } else yield [path, schema];
}

/** What was typed, as a spec: only fields that are otherwise than in the base. */
export function specOf(schema: Schema, typed: Typed, base: unknown): Record<string, unknown> {
  const spec: Record<string, unknown> = {};
  for (const [path, of] of fieldsOf(schema, typed, base, "")) {
    const text = typed[path];
    if (text === undefined || text === "") continue;
    const value = meant(text, of);
    if (JSON.stringify(value) === JSON.stringify(valueAt(base, path))) continue;
    const names = path.split(".");
    let at = spec;
    for (const name of names.slice(0, -1)) {
      at[name] ??= {};
      at = at[name] as Record<string, unknown>;
    }
    at[names.at(-1) as string] = value;
  }
  return spec;
}

interface FieldProps {
  readonly path: string;
  readonly schema: Schema;
  readonly text: string;
  readonly changed: boolean;
  readonly error: FieldError | undefined;
  readonly set: (text: string) => void;
}

function Field({ path, schema, text, changed, error, set }: FieldProps) {
  const name = path.slice(path.indexOf(".") + 1);
  const values = schema.enum ?? (schema.type === "boolean" ? ["true", "false"] : undefined);
  const number = schema.type === "number" || schema.type === "integer";
  const id = `field-${path}`;
  const described = { "aria-describedby": `${id}-help`, "aria-invalid": error !== undefined };
  return (
    <div class="field">
      <label for={id} class={changed ? "changed" : ""}>
        {name}
      </label>
      {values ? (
        <select id={id} value={text} {...described} onChange={(e) => set(e.currentTarget.value)}>
          {values.map((value) => (
            <option key={value}>{value}</option>
          ))}
        </select>
      ) : (
        <input
          id={id}
          type="text"
          inputMode={number ? "decimal" : "text"}
          value={text}
          {...described}
          onInput={(e) => set(e.currentTarget.value)}
        />
      )}
      <small id={`${id}-help`}>
        {error ? <span class="wrong">allowed: {error.allowed}</span> : schema.description}
      </small>
    </div>
  );
}

const textOf = (value: unknown): string =>
  value === undefined ? "" : typeof value === "string" ? value : JSON.stringify(value);

interface FormProps {
  readonly schema: Schema;
  readonly base: unknown;
  readonly typed: Typed;
  readonly errors: readonly FieldError[];
  readonly set: (path: string, text: string) => void;
}

export function SchemaForm({ schema, base, typed, errors, set }: FormProps) {
  const fields = [...fieldsOf(schema, typed, base, "")];
  const groups = Map.groupBy(fields, ([path]) => (path.includes(".") ? path.slice(0, path.indexOf(".")) : ""));
  const errorAt = (path: string) =>
    errors.find(({ field }) => field === `spec.${path}` || field.startsWith(`spec.${path}.`));
  return (
    <>
      {[...groups].map(([group, members]) => (
        <fieldset key={group}>
          <legend>{group || "run"}</legend>
          {members.map(([path, of]) => {
            const was = textOf(valueAt(base, path));
            return (
              <Field
                key={path}
                path={path}
                schema={of}
                text={typed[path] ?? was}
                changed={typed[path] !== undefined && typed[path] !== was}
                error={errorAt(path)}
                set={(text) => set(path, text)}
              />
            );
          })}
        </fieldset>
      ))}
    </>
  );
}
