/** Events of jobs as entries of a stream and as bytes of server-sent events. */

export interface FeedEvent {
  /** Id of the entry in the stream. */
  readonly id: string;
  readonly type: string;
  /** JSON. */
  readonly data: string;
}

/** An event with its bytes, which are encoded once for all listeners. */
export interface EncodedEvent extends FeedEvent {
  readonly bytes: Uint8Array;
}

/** An entry of a stream as Redis returns it. */
export type RawEntry = [id: string, fields: string[]];

const encoder = new TextEncoder();

/** Encodes an event of an SSE stream. */
export const encodeEvent = (event: FeedEvent): EncodedEvent => ({
  ...event,
  bytes: encoder.encode(`event: ${event.type}\ndata: ${event.data}\nid: ${event.id}\n\n`),
});

export const decodeEvent = ([id, fields]: RawEntry): EncodedEvent =>
  encodeEvent({ id, type: fields[1] as string, data: fields[3] as string });

/** Compares the ids of two entries of a stream: milliseconds, then a counter. */
export function isBefore(a: string, b: string): boolean {
  const [x = 0, i = 0] = a.split("-").map(Number);
  const [y = 0, j = 0] = b.split("-").map(Number);
  return x < y || (x === y && i < j);
}
