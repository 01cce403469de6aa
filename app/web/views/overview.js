// How things are at a glance: counts, the last hour, queues, workers, failures.

import { get, isAbort } from "../api.js";
import { time } from "../clock.js";
import { latencyChart, throughputChart } from "../chart.js";
import { sampleCommand } from "../curl.js";
import { changes, fill, h, keyed, say, set } from "../dom.js";
import { count, cut, duration, shortId } from "../format.js";
import { icon } from "../icons.js";
import { every, live } from "../live.js";
import { cell, commandBox, headCell, loading, note, panel, row, table, trouble } from "../parts.js";
import { setPaused } from "../queues.js";
import { toHash } from "../router.js";
import { workersPanel } from "./workers.js";

const EVERY = 5; // seconds
const QUEUES_SHOWN = 100;
const OTHERS = "(others)"; // of many kinds of failures those that are not told apart
const STATES = ["pending", "running", "finished", "cancelled"];

/** Return the view. */
export function overview(_, signal) {
  const view = new Overview(signal);
  return { title: "Overview", element: view.element };
}

class Overview {
  constructor(signal) {
    this.signal = signal;
    this.once = changes();
    this.counts = h("ul", { class: "counts" });
    this.first = h("div", { class: "place" });
    this.trouble = h("div", { class: "place" });
    this.hour = new HourPanel();
    this.queues = new QueuesPanel(() => this.refresh());
    this.workers = workersPanel();
    this.failures = new FailuresPanel();
    // Nothing is said of what is not known yet.
    this.known = h("div", { class: "view", hidden: true }, this.counts, this.first, this.hour.element,
      h("div", { class: "columns even" }, this.queues.element, this.failures.element), this.workers.element);
    this.element = h("div", { class: "view overview" },
      h("div", { class: "view-head" }, h("h1", null, "Overview")), this.trouble, this.known);
    fill(this.trouble, loading("the overview"));
    this.refresh = every(EVERY, () => this.load(), signal);
    this.listen();
  }

  /** Events say that something has changed; what, the next look tells. */
  listen() {
    let soon = null;
    const look = () => {
      soon ??= setTimeout(() => ((soon = null), this.refresh()), 2000);
    };
    this.signal.addEventListener("abort", () => clearTimeout(soon));
    live("/events", { event: (type) => type === "state" && look(), gap: look, opened: () => this.failed && look() },
      { signal: this.signal });
  }

  async load() {
    const { signal } = this;
    try {
      const [stats, queues, workers] = await Promise.all([
        get("/stats", { signal }), get("/queues", { signal }), get("/workers", { signal }),
      ]);
      this.failed = false;
      this.trouble.replaceChildren();
      this.known.hidden = false;
      this.show(stats, queues.queues, workers.workers);
    } catch (error) {
      if (isAbort(error)) return;
      this.failed = true;
      // What is shown stays: the header says that it may be old. Without a key it is nobody's.
      if (error.status === 401) this.known.hidden = true;
      if (this.known.hidden) fill(this.trouble, trouble(error, () => this.refresh()));
    }
  }

  show(stats, queues, workers) {
    this.once("counts", [stats.jobs, stats.hour], () => this.showCounts(stats.jobs, stats.hour));
    this.once("queues", queues, () => this.queues.show(queues));
    this.once("workers", workers, () => this.workers.show(workers));
    this.once("failures", stats.failures, () => this.failures.show(stats.failures));
    this.once("hour", stats.minutes, () => this.hour.show(stats));
    const empty = STATES.every((state) => stats.jobs[state] === 0);
    this.once("first", empty, () => fill(this.first, empty ? firstJob() : []));
  }

  showCounts(counts, hour) {
    this.tiles ??= tilesIn(this.counts);
    for (const state of STATES) {
      const { number, under } = this.tiles[state];
      say(number, count(counts[state]));
      fill(under, UNDER[state](hour));
    }
  }
}

/** What the last hour has to say of each. */
const UNDER = {
  pending: (hour) => `${count(hour.submitted)} submitted this hour`,
  running: (hour) => (hour.run ? `half take less than ${duration(hour.run.p50)}` : ""),
  finished: (hour) => [`${count(hour.succeeded)} succeeded, `,
    h("span", { class: hour.failed > 0 && "failure" }, `${count(hour.failed)} failed`), " this hour"],
  cancelled: (hour) => `${count(hour.cancelled)} this hour`,
};

/** Make the tiles once; only their numbers change, so that a link keeps its focus. */
function tilesIn(list) {
  const tiles = {};
  fill(list, STATES.map((state) => {
    const [number, under] = [h("span", { class: "tile-number" }), h("span", { class: "tile-under" })];
    tiles[state] = { number, under };
    return h("li", null, h("a", { class: `tile tile-${state}`, href: toHash(["jobs"], { state }) },
      h("span", { class: "tile-name" }, icon(state), state[0].toUpperCase() + state.slice(1)),
      number, under));
  }));
  return tiles;
}

const firstJob = () =>
  panel("No jobs yet", { class: "first" },
    h("p", null, "Submit the first one from a terminal, or with the form of ",
      h("a", { href: "#/tasks" }, "a task"), "."),
    commandBox(sampleCommand()));

class HourPanel {
  constructor() {
    this.throughput = throughputChart();
    this.wait = latencyChart("Waiting time", "wait", "No job was started in the last hour");
    this.run = latencyChart("Run time", "run", "No job ended in the last hour");
    this.content = h("div", { class: "charts" });
    this.since = h("span", { class: "muted" });
    this.element = panel("The last hour", { extra: this.since }, this.content);
  }

  show(stats) {
    if (!this.content.contains(this.throughput.element)) {
      fill(this.content, this.throughput.element, this.wait.element, this.run.element);
    }
    this.throughput.show(stats.minutes);
    this.wait.show(stats.minutes);
    this.run.show(stats.minutes);
    const complete = Date.parse(stats.since) <= Date.parse(stats.minutes[0].at);
    fill(this.since, complete ? [] : ["counted since ", time(stats.since)]);
  }
}

class QueuesPanel {
  /** changed: called when a queue was paused or resumed. */
  constructor(changed) {
    const { element, body } = table("Queues with jobs that wait or run", [
      { name: "Queue" }, { name: "Waiting", class: "col-number" }, { name: "Running", class: "col-number" },
      { name: "Oldest", class: "col-number" }, { name: "Pause", hidden: true, class: "col-action" },
    ], "queues-table");
    this.table = element;
    this.rows = keyed(body, (queue) => new QueueRow(queue, changed));
    this.none = note("No queue has jobs that wait or run. Submit one with the form of ",
      h("a", { href: "#/tasks" }, "a task"), ".");
    this.rest = note("");
    this.element = panel("Queues", {}, this.none, element, this.rest);
  }

  show(queues) {
    this.none.hidden = queues.length > 0;
    this.table.hidden = !queues.length;
    this.rows(busiest(queues).map((queue) => [queue.name, queue]));
    const more = queues.length - QUEUES_SHOWN;
    this.rest.hidden = more <= 0;
    say(this.rest, `and ${count(more)} more with less to do`);
  }
}

/** Return the queues to show, in their order: paused ones, for who resumes them, before others. */
function busiest(queues) {
  const rank = ({ paused, pending, running }) => (paused ? 1e12 : 0) + pending + running;
  const shown = new Set(queues.toSorted((a, b) => rank(b) - rank(a)).slice(0, QUEUES_SHOWN));
  return queues.filter((queue) => shown.has(queue));
}

class QueueRow {
  constructor(queue, changed) {
    this.changed = changed;
    this.paused = h("span", { class: "tag tag-paused" }, "paused");
    this.numbers = ["Waiting", "Running", "Oldest"].map((name) => cell(name, "col-number"));
    this.button = h("button", { type: "button", class: "small", onclick: () => this.toggle() });
    this.element = row({},
      headCell("Queue", "", h("a", { href: toHash(["jobs"], { queue: queue.name }) }, queue.name), this.paused),
      this.numbers, cell("", "col-action", this.button));
  }

  show(queue) {
    this.queue = queue;
    const verb = queue.paused ? "Resume" : "Pause";
    this.paused.hidden = !queue.paused;
    const numbers = [count(queue.pending), count(queue.running),
      queue.oldest_age === null ? "–" : duration(queue.oldest_age)];
    this.numbers.forEach((number, i) => say(number, numbers[i]));
    say(this.button, verb);
    set(this.button, "aria-label", `${verb} ${queue.name}`);
  }

  async toggle() {
    await setPaused(this.queue.name, !this.queue.paused);
    this.changed();
  }
}

class FailuresPanel {
  constructor() {
    const { element, body } = table("Failures of the last hour, by exception and task", [
      { name: "Exception" }, { name: "Times", class: "col-number" }, { name: "Latest", class: "col-time" },
    ], "failures");
    this.table = element;
    this.rows = keyed(body, (failure) => new FailureRow(failure));
    this.none = note("No job failed.");
    this.element = panel("Failures of the last hour", {}, this.none, element);
  }

  show(failures) {
    this.table.hidden = !failures.length;
    this.none.hidden = failures.length > 0;
    this.rows(failures.map((failure) => [JSON.stringify([failure.type, failure.task]), failure]));
  }
}

class FailureRow {
  constructor({ type, task }) {
    this.message = h("span", { class: "failure-message" });
    this.times = cell("Times", "col-number");
    this.at = h("span");
    this.latest = h("a", { class: "under" });
    const others = type === OTHERS && task === OTHERS;
    this.element = row({},
      headCell("Exception", "",
        others ? h("span", { class: "failure-type" }, "Other kinds")
          : [h("a", { class: "failure-type", href: toHash(["jobs"], { outcome: "failed", task }) }, type),
            h("span", { class: "muted" }, " in ", task)],
        this.message),
      this.times, cell("Latest", "col-time", this.at, this.latest));
  }

  show(failure) {
    say(this.message, cut(failure.message, 200));
    say(this.times, count(failure.count));
    fill(this.at, time(failure.last_at));
    set(this.latest, "href", toHash(["jobs", failure.job]));
    set(this.latest, "title", failure.job);
    say(this.latest, shortId(failure.job));
  }
}
