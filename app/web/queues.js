// Queues that are paused: which, and the two calls that change it.

import { call, get } from "./api.js";
import { h } from "./dom.js";
import { every } from "./live.js";
import { toast, toastProblem } from "./parts.js";

const EVERY = 5; // seconds: a pause is no event

/** Pause a queue, or resume it, and say so. */
export async function setPaused(name, paused) {
  const path = `/queues/${name.split("/").map(encodeURIComponent).join("/")}/${paused ? "pause" : "resume"}`;
  try {
    // A browser takes `..` out of an address: what is left is another queue's.
    if (new URL(path, location).pathname !== path) throw new Error("No browser can call for a queue of this name.");
    const queue = await (await call("POST", path)).json();
    if (queue.name !== name) throw new Error(`The call has come to another queue: ${queue.name}`);
    const named = h("bdi", null, name);
    toast(paused ? [named, " starts no more jobs until it is resumed"] : ["The jobs of ", named, " run again"]);
  } catch (error) {
    toastProblem(error);
  }
}

/** Tell `told` the paused queues' names, a Set, from time to time while `wanted()`. Returns what does it now. */
export function watchPauses(wanted, told, signal) {
  return every(EVERY, async () => {
    if (!wanted()) return;
    try {
      const { queues } = await get("/queues", { signal });
      told(new Set(queues.filter((queue) => queue.paused).map((queue) => queue.name)));
    } catch {
      // It is asked again, and the header says when the service does not answer.
    }
  }, signal);
}
