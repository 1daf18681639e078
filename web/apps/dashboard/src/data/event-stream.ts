// Reads server-sent events of an answer to POST, which the browser's EventSource cannot send.

export interface ServerEvent {
  readonly name: string;
  readonly data: string;
}

/** Cuts a stream of text into events; what is not yet whole waits for more. */
export class EventCutter {
  #rest = "";

  take(text: string): ServerEvent[] {
    const blocks = `${this.#rest}${text}`.replaceAll("\r\n", "\n").split("\n\n");
    this.#rest = blocks.pop() ?? "";
    return blocks.flatMap((block) => {
      const fields = block.split("\n").map((line) => line.split(/: ?(.*)/s, 2) as [string, string?]);
      const data = fields.flatMap(([key, value]) => (key === "data" ? [value ?? ""] : []));
      if (data.length === 0) return [];
      return [{ name: fields.find(([key]) => key === "event")?.[1] ?? "message", data: data.join("\n") }];
    });
  }
}

export async function* serverEvents(response: Response): AsyncGenerator<ServerEvent> {
  if (!response.body) return;
  const cutter = new EventCutter();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield* cutter.take(value);
  }
}
