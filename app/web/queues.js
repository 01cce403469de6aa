// Queues that are paused: which, and the two calls that change it.

import { call, get } from "./api.js";
import { every } from "./live.js";
import { toast, toastProblem } from "./parts.js";

const EVERY = 5; // seconds: a pause is no event

/** Pause a queue, or resume it, and say so. */
export async function setPaused(name, paused) {
  try {
    await call("POST", `/queues/${name.split("/").map(encodeURIComponent).join("/")}/${paused ? "pause" : "resume"}`);
    toast(paused ? `${name} starts no more jobs until it is resumed` : `The jobs of ${name} run again`);
  } catch (error) {
    toastProblem(error);
  }
}

/** Tell `told` the paused queues' names, a Set, now and again as long as `wanted()`. Returns what tells at once. */
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
