/** Reads server-sent events, for the command line and the page. */

export interface ServerEvent {
  readonly id: string | undefined;
  readonly type: string | undefined;
  readonly data: string | undefined;
}

/** Yields the events of a stream until it ends. A comment is an event without any fields. */
export async function* serverEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<ServerEvent> {
  // With a reader: not every browser can iterate over a stream.
  const reader = body.pipeThrough(new TextDecoderStream() as never).getReader();
  for (let buffer = ""; ; ) {
    const { value, done } = (await reader.read()) as { value?: string; done: boolean };
    if (done) return;
    const blocks = (buffer + value).split("\n\n");
    buffer = blocks.pop() ?? "";
    for (const block of blocks) {
      const field = (name: string) => block.match(new RegExp(`^${name}: ?(.*)$`, "m"))?.[1];
      yield { id: field("id"), type: field("event"), data: field("data") };
    }
  }
}
