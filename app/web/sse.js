// Server-sent events read by `fetch`, because an EventSource cannot send a key.

import { call, isAbort } from "./api.js";
import { service } from "./connection.js";

const SHORTEST = 500; // milliseconds before the first new attempt
const LONGEST = 15000;
const SILENCE = 45000; // three of the service's signs of life

/** Splits what comes in into events, as the HTML standard has it. Keeps only the event that has begun. */
export class Parser {
  constructor(onEvent) {
    this.onEvent = onEvent;
    this.id = null;
    this.rest = "";
    this.clear();
  }

  clear() {
    this.type = "message";
    this.data = [];
  }

  /** Take in a piece of text, however it was cut. */
  feed(text) {
    const lines = (this.rest + text).split(/\r\n|\n|\r(?!$)/);
    this.rest = lines.pop();
    lines.forEach((line) => this.line(line));
  }

  line(line) {
    if (line === "") {
      if (this.data.length) this.onEvent({ type: this.type, id: this.id, data: this.data.join("\n") });
      this.clear();
      return;
    }
    const [, field, value] = /^([^:]*)(?:: ?(.*))?$/s.exec(line);
    if (field === "event") this.type = value ?? "";
    else if (field === "data") this.data.push(value ?? "");
    else if (field === "id" && !value?.includes("\0")) this.id = value || null;
  }
}

/**
 * Follow a stream until `signal` says stop or the service says that it is over (204); resolves then.
 * It goes on by itself after an interruption, where it was.
 * listener: event(type, data, id), and opened(), lost(), gap() when something was missed, or could have been;
 * over() tells after an orderly end whether anything can follow.
 * from: the id to go on after; null for what the stream gives without one.
 * Throws Problem for what waiting cannot mend: 404, and 401 when no key is given.
 */
export async function follow(path, listener, { signal, from = null }) {
  let id = from;
  let failures = 0;
  while (!signal.aborted) {
    try {
      const response = await open(path, id, signal);
      if (response.status === 204) return;
      listener.opened?.();
      const { last, told, ended } = await read(response, listener, id, signal);
      if (ended && listener.over?.()) return;
      // One that ends at once, and says nothing, is not asked again at once.
      failures = told ? 0 : failures + 1;
      id = last ?? id;
    } catch (error) {
      if (signal.aborted || isAbort(error)) return;
      if (error.status === 404 || error.status === 401) throw error;
      // The id is of a database that is there no more: begin anew.
      if (error.status === 422 && id !== null) [id] = [null, listener.gap?.()];
      listener.lost?.(error);
      failures += 1;
    }
    await pause(failures, signal);
  }
}

const open = (path, id, signal) =>
  call("GET", path, {
    signal, headers: { Accept: "text/event-stream", ...(id === null ? {} : { "Last-Event-ID": id }) },
  });

/** Read one answer. Returns the last id, whether there was anything, and whether it ended well. */
async function read(response, listener, id, signal) {
  let told = false;
  const parser = new Parser((event) => {
    told = true;
    tell(event, listener);
  });
  parser.id = id;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let timer;
  try {
    for (;;) {
      clearTimeout(timer);
      // A connection may die without a word.
      timer = setTimeout(() => reader.cancel(), SILENCE);
      const { done, value } = await reader.read();
      if (done || signal.aborted) return { last: parser.id, told, ended: true };
      parser.feed(value);
    }
  } catch {
    return { last: parser.id, told, ended: false };
  } finally {
    clearTimeout(timer);
    reader.cancel().catch(() => {});
  }
}

function tell({ type, data, id }, listener) {
  let value;
  try {
    value = JSON.parse(data);
  } catch {
    return;
  }
  if (type === "gap") listener.gap?.();
  else listener.event(type, value, id);
}

/** Wait before the next attempt: not at all after an orderly end, longer after each failure. */
function pause(failures, signal) {
  const most = failures ? Math.min(LONGEST, SHORTEST * 2 ** (failures - 1)) : 50;
  return new Promise((resolve) => {
    const timer = setTimeout(done, most * (0.75 + Math.random() / 2));
    signal.addEventListener("abort", done);
    service.addEventListener("back", done);
    function done() {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      service.removeEventListener("back", done);
      resolve();
    }
  });
}
