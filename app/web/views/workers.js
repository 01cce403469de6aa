// Who runs the jobs: how much of what they have is in use, and what they run.

import { time } from "../clock.js";
import { fill, h, keyed, say } from "../dom.js";
import { count, plural, shortId } from "../format.js";
import { note, panel } from "../parts.js";
import { toHash } from "../router.js";

const SHOWN = 8; // jobs of a worker
const SLOTS = { thread: "Threads", process: "Processes", coroutine: "Coroutines, generators" };

/** Return {element, show(workers)}. workers: as the API has it; null when it does not tell. */
export function workersPanel() {
  const none = note("");
  const list = h("div", { class: "workers" });
  const show = keyed(list, (worker) => new WorkerPart(worker));
  return {
    element: panel("Workers", {}, none, list),
    show(found) {
      none.hidden = found?.workers.length > 0;
      say(none, found ? "No worker runs, so jobs wait. `errand serve` runs one: its log says what has become of it."
        : "This service does not tell that yet.");
      show((found?.workers ?? []).map((worker) => [worker.id, worker]));
    },
  };
}

class WorkerPart {
  constructor(worker) {
    this.stopping = h("span", { class: "tag tag-paused" }, "stopping");
    this.heard = h("span", { class: "muted" });
    this.slots = h("ul", { class: "slots" });
    this.running = h("ul", { class: "running" });
    this.jobs = keyed(this.running, (job) => ({ element: runs(job) }));
    this.rest = note("");
    this.element = h("article", { class: "worker", "aria-label": `Worker ${worker.id}` },
      h("div", { class: "worker-head" }, h("h3", null, worker.id), this.stopping, this.heard),
      this.slots, this.running, this.rest);
  }

  show({ state, version, started_at: started, heartbeat_at: heard, slots, running }) {
    this.stopping.hidden = state !== "draining";
    fill(this.heard, `Errand ${version}, started `, time(started), ", last heard of ", time(heard));
    fill(this.slots, slots.map(slot));
    this.jobs(running.slice(0, SHOWN).map((job) => [`${job.job} ${job.attempt} ${job.started_at}`, job]));
    const more = running.length - SHOWN;
    this.rest.hidden = running.length > 0 && more <= 0;
    fill(this.rest, running.length
      ? h("a", { href: toHash(["jobs"], { state: "running" }) }, `and ${plural(more, "other")}`)
      : "Runs none of your jobs at the moment.");
  }
}

function slot({ kind, total, used }) {
  const bar = h("span", { class: "meter-fill" });
  bar.style.width = `${total ? Math.min(100, (used / total) * 100) : 0}%`;
  return h("li", null,
    h("span", { class: "slot-name" }, SLOTS[kind] ?? kind),
    h("span", { class: "meter wide", "aria-hidden": "true" }, bar),
    h("span", { class: "number" }, `${count(used)} of ${count(total)} in use`));
}

const runs = (job) => h("li", null,
  h("a", { href: toHash(["jobs", job.job]), title: job.job }, shortId(job.job)),
  h("span", { class: "name" }, job.task),
  h("span", { class: "muted" }, job.queue, job.attempt > 1 && `, attempt ${job.attempt}`),
  h("span", { class: "number" }, time(job.started_at, "for")));
