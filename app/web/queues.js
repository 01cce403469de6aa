// Queues that are paused, and resumed.

import { call } from "./api.js";
import { h } from "./dom.js";
import { toast, toastProblem } from "./parts.js";

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
