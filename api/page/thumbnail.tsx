/** One image of a sheet of thumbnails. */

/** A picture of `count` thumbnails without gaps, row by row. */
export interface Sheet {
  readonly url: string;
  /** Side of a thumbnail in pixels. */
  readonly size: number;
  readonly columns: number;
  readonly count: number;
}

interface Props {
  readonly sheet: Sheet;
  readonly place: number;
  readonly scale: number;
  readonly name: string;
}

export function Thumbnail({ sheet: { url, size, columns, count }, place, scale, name }: Props) {
  const rows = Math.ceil(count / columns);
  const side = size * scale;
  return (
    <div
      class="thumbnail"
      role="img"
      aria-label={name}
      style={{
        width: `${side}px`,
        height: `${side}px`,
        backgroundImage: `url(${url})`,
        backgroundSize: `${columns * side}px ${rows * side}px`,
        backgroundPosition: `-${(place % columns) * side}px -${Math.floor(place / columns) * side}px`,
      }}
    />
  );
}
