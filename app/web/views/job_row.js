// A job as a row of the list. Its nodes stay the same while it changes, so that focus, selection and place
// do too.

import { time } from "../clock.js";
import { changes, fill, h, set } from "../dom.js";
import { between, cut, duration, shortId } from "../format.js";
import { cell, headCell, raised, row } from "../parts.js";
import { toHash } from "../router.js";
import { dueLater, isDone, showBadge } from "../states.js";

/** The columns after the one for selection. */
export const COLUMNS = [
  { name: "Job" },
  { name: "Task" },
  { name: "Status" },
  { name: "Details", class: "col-details" },
  { name: "Queue" },
  { name: "Submitted", class: "col-time" },
  { name: "Took", class: "col-number" },
];

const TAGS_SHOWN = 2;
const [LEAST, MOST] = [90, 250]; // pixels of a column that is as wide as it needs

/** Return the widths that tasks, with tags, and queues need. Estimated: measuring costs layout. */
export function widthsOf(jobs) {
  const widest = (of) => `${Math.min(MOST, Math.max(LEAST, ...jobs.map(of)))}px`;
  return {
    "--task-width": widest(({ task, tags }) =>
      tagTexts(tags).reduce((n, tag) => n + 7 * tag.length + 18, 8 * task.length + 32)),
    "--queue-width": widest(({ queue }) => 8 * queue.length + 20),
  };
}

export class JobRow {
  /** selected: called when it is selected, or not any more. */
  constructor(job, selected) {
    this.job = job;
    this.box = h("input", { type: "checkbox", "aria-label": `Select ${job.id}`, onchange: selected });
    this.state = h("span", { class: "state" });
    this.details = cell("Details", "col-details");
    this.created = cell("Submitted", "col-time", time(job.created_at));
    this.took = cell("Took", "col-number");
    this.once = changes();
    this.element = row(
      { class: "job-row" },
      cell("Select", "col-select", h("label", { class: "hit" }, this.box)),
      headCell("Job", "col-id", h("a", { href: toHash(["jobs", job.id]), title: job.id }, shortId(job.id))),
      cell("Task", "col-task", h("span", { class: "name" }, job.task), tags(job.tags)),
      cell("Status", "col-state", this.state),
      this.details,
      cell("Queue", "col-queue", h("span", { title: job.queue }, job.queue)),
      this.created,
      this.took,
    );
  }

  get selected() {
    return this.box.checked;
  }

  set selected(on) {
    this.box.checked = on;
  }

  /** Note what an event says; `draw` shows it. */
  hear(type, data) {
    const job = this.job;
    if (type === "progress" && job.state === "running") {
      this.job = { ...job, progress: { done: data.done, total: data.total, message: data.message } };
    }
    if (type !== "state" || data.version < job.version) return;
    const { version, state, outcome, run, attempt, exception, at } = data;
    const cancellation = data.cancellation && { requested_at: at, ...job.cancellation, ...data.cancellation };
    const begins = state === "running" && attempt !== (job.state === "running" ? job.attempt : null);
    this.job = {
      ...job, version, state, outcome, run, attempt, exception, cancellation,
      started_at: begins ? at : state === "pending" ? null : job.started_at,
      finished_at: isDone(data) ? at : null,
      progress: begins ? null : job.progress,
    };
  }

  /** paused: the names of the queues that are. */
  draw(paused) {
    const job = this.job;
    const held = job.state === "pending" && paused.has(job.queue);
    showBadge(this.state, job);
    this.once("details", detailsOf(job, held), () => {
      fill(this.details, spoken(job, held));
      // What there is no room for.
      const { type, message } = (job.outcome === "failed" && job.exception) || {};
      set(this.details, "title", type ? `${type}: ${message}` : null);
    });
    this.once("took", `${job.state} ${job.started_at} ${job.finished_at}`, () => fill(this.took, took(job)));
  }
}

function tags(tags) {
  const texts = tagTexts(tags);
  return texts.length > 0 && h("span", { class: "tags" }, texts.map((text) => h("span", { class: "tag" }, text)));
}

function tagTexts(tags) {
  const pairs = Object.entries(tags);
  const shown = pairs.slice(0, TAGS_SHOWN).map(([name, value]) => cut(`${name}:${value}`, 40));
  return pairs.length > TAGS_SHOWN ? [...shown, `+${pairs.length - TAGS_SHOWN}`] : shown;
}

/** What the details depend on, as a text. */
function detailsOf(job, held) {
  return [held, job.state, job.outcome, job.attempt, job.run_at, job.exception?.type, job.exception?.message,
    job.cancellation?.outcome, job.progress?.done, job.progress?.total, job.progress?.message].join("\n");
}

function spoken(job, held) {
  const tries = job.attempt > 1 ? `attempt ${job.attempt} of ${job.max_attempts}` : "";
  if (job.outcome === "failed") {
    return h("span", { class: "failure" }, job.exception && raised(job.exception), also(tries));
  }
  if (job.state === "running") return [running(job), also(tries)];
  if (job.state === "pending") return pending(job, held);
  if (job.outcome === "cancelled") return [h("span", { class: "muted" }, CANCELLED[job.cancellation?.outcome] ?? "")];
  return [h("span", { class: "muted" }, job.cancellation ? "before it was stopped" : tries)];
}

const also = (text) => text && h("span", { class: "muted" }, ` · ${text}`);

const CANCELLED = { not_started: "never began", cooperative: "noticed and stopped", killed: "ended with its process" };

function pending(job, held) {
  const later = dueLater(job);
  const word = job.attempt ? "next attempt" : later ? "due" : "";
  return [held && h("span", { class: "held" }, "queue ", h("bdi", null, job.queue), " is paused"),
    h("span", { class: "muted" }, held && word && " · ", word, later && [" ", time(later)])];
}

function running({ progress }) {
  if (!progress) return "";
  const share = progress.total > 0 ? Math.min(1, progress.done / progress.total) : null;
  const bar = share !== null && meter(share);
  const words = share === null ? `${progress.done} done` : `${Math.floor(share * 100)} %`;
  return [bar, h("span", { class: "number" }, words),
    progress.message && h("span", { class: "muted" }, ` ${cut(progress.message, 60)}`)];
}

function meter(share) {
  const fillBar = h("span", { class: "meter-fill" });
  fillBar.style.width = `${share * 100}%`;
  return h("span", { class: "meter", "aria-hidden": "true" }, fillBar);
}

function took(job) {
  if (job.state === "running" && job.started_at) return time(job.started_at, "for");
  const seconds = isDone(job) ? between(job.started_at, job.finished_at) : null;
  return seconds === null ? h("span", { class: "none" }, "–") : duration(seconds);
}

