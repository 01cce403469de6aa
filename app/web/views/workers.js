// Who runs the jobs: how much of what they have is in use, and what they run.

import { time } from "../clock.js";
import { fill, h } from "../dom.js";
import { count, plural, shortId } from "../format.js";
import { note, panel } from "../parts.js";
import { toHash } from "../router.js";

const SHOWN = 8; // jobs of a worker
const SLOTS = { thread: "Threads", process: "Processes", coroutine: "Coroutines" };

/** Return {element, show(workers)}. workers: as the API has it; null when it does not tell. */
export function workersPanel() {
  const content = h("div", { class: "workers" });
  return {
    element: panel("Workers", {}, content),
    show(found) {
      if (!found) return fill(content, note("This service does not tell that yet."));
      fill(content, found.workers.length ? found.workers.map(worker) : note("No worker runs. Jobs wait until one does."));
    },
  };
}

function worker(found) {
  return h("article", { class: "worker", "aria-label": `Worker ${found.id}` },
    h("div", { class: "worker-head" },
      h("h3", null, found.id),
      found.state === "draining" && h("span", { class: "tag tag-paused" }, "stopping"),
      h("span", { class: "muted" }, `Errand ${found.version}, started `, time(found.started_at), ", last heard of ", time(found.heartbeat_at))),
    h("ul", { class: "slots" }, found.slots.map(slot)),
    runs(found.running));
}

function slot({ kind, total, used }) {
  const bar = h("span", { class: "meter-fill" });
  bar.style.width = `${total ? Math.min(100, (used / total) * 100) : 0}%`;
  return h("li", null,
    h("span", { class: "slot-name" }, SLOTS[kind] ?? kind),
    h("span", { class: "meter wide", "aria-hidden": "true" }, bar),
    h("span", { class: "number" }, `${count(used)} of ${count(total)} in use`));
}

function runs(jobs) {
  if (!jobs.length) return note("Runs none of your jobs at the moment.");
  const more = jobs.length - SHOWN;
  return h("ul", { class: "running" },
    jobs.slice(0, SHOWN).map((job) => h("li", null,
      h("a", { href: toHash(["jobs", job.job]), title: job.job }, shortId(job.job)),
      h("span", { class: "name" }, job.task),
      h("span", { class: "muted" }, job.queue, job.attempt > 1 && `, attempt ${job.attempt}`),
      h("span", { class: "number" }, time(job.started_at, "for")))),
    more > 0 && h("li", null, h("a", { href: toHash(["jobs"], { state: "running" }) }, `and ${plural(more, "other")}`)));
}
