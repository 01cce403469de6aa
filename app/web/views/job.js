// One job: what was asked, what became of it, attempt by attempt, and what it said; as it happens.

import { cancelJob, get, isAbort, jobPath, retryJob } from "../api.js";
import { time } from "../clock.js";
import { announce } from "../connection.js";
import { submissionOf } from "../curl.js";
import { changes, fill, h, set } from "../dom.js";
import { between, cut, duration, plural, shortId } from "../format.js";
import { coalesced, live } from "../live.js";
import {
  copyButton, copyCommand, crumbs, facts, jsonBox, loading, note, panel, progressBar, textBox, toastProblem, trouble,
} from "../parts.js";
import { setPaused, watchPauses } from "../queues.js";
import { toHash } from "../router.js";
import { canCancel, canRetry, dueLater, isDone, isPutOff, lookOf, showBadge, truthOf } from "../states.js";
import { attemptsPanel } from "./attempts.js";
import { LogView } from "./log.js";

/** Return the view. */
export function jobView(route, signal) {
  return new JobView(route.parts[1], signal);
}

class JobView {
  constructor(id, signal) {
    this.id = id;
    this.title = `Job ${shortId(id)}`;
    this.signal = signal;
    this.job = null;
    this.begun = new Map(); // when each run was asked for, as its events say
    this.once = changes();
    this.paused = new Set(); // queues
    this.heard = null; // the last state that was told
    this.told = null; // progress since then
    this.element = h("div", { class: "view job" }, loading("the job"));
    this.redraw = coalesced(() => this.refetch(), signal);
    this.refetch();
  }

  /** Fetch the job and show it; the first begins its stream. */
  async refetch() {
    try {
      const job = await get(jobPath(this.id), { signal: this.signal, exact: true });
      if (this.job === null) this.build(job);
      this.show(job);
    } catch (error) {
      if (isAbort(error)) return;
      if (this.job === null || error.status === 404) this.showTrouble(error);
      else if (error.status) toastProblem(error);
    }
  }

  showTrouble(error) {
    fill(this.element, crumbs(["Jobs", "#/jobs"], shortId(this.id)), h("h1", null, this.title),
      error.status === 404 ? unknown() : trouble(error, () => this.restart()));
  }

  restart() {
    this.job = null;
    this.once = changes();
    this.stream = null;
    fill(this.element, loading("the job"));
    this.refetch();
  }

  build(job) {
    this.state = h("span", { class: "state large" });
    this.truth = h("div", { class: "truth", role: "status" });
    this.waiting = h("div", { class: "truth waiting", role: "status", hidden: true });
    this.progress = progressBar("Progress");
    this.facts = h("div");
    this.outcome = h("div", { class: "stack" });
    this.input = h("div", { class: "stack" });
    this.attempts = attemptsPanel();
    this.log = new LogView(() => this.id, this.signal);
    this.buttons = this.makeButtons();
    fill(this.element,
      crumbs(["Jobs", "#/jobs"], shortId(job.id)),
      h("div", { class: "view-head job-head" },
        h("div", { class: "job-title" }, h("h1", { tabindex: -1 }, job.task), this.state),
        h("div", { class: "buttons" }, Object.values(this.buttons))),
      h("p", { class: "job-id" }, h("code", null, job.id), copyButton(() => job.id, "id")),
      this.truth,
      this.waiting,
      this.progress.element,
      h("div", { class: "columns" },
        h("div", { class: "stack" }, this.outcome, this.attempts.element, this.log.element),
        h("div", { class: "stack" }, panel("Facts", {}, this.facts), this.input)),
    );
    this.lookAtQueue = watchPauses(() => this.job?.state === "pending",
      (paused) => ((this.paused = paused), this.showWaiting()), this.signal);
    this.listen();
  }

  makeButtons() {
    const button = (name, work, kind = "") => h("button", { type: "button", class: kind, onclick: work }, name);
    return {
      cancel: button("Cancel", () => this.change(cancelJob, "cancel"), "danger-quiet"),
      retry: button("Retry", () => this.change(retryJob, "retry"), "primary"),
      again: h("a", { class: "button", role: "button", onkeydown: pressed }, "Submit again"),
      curl: button("Copy as curl", () => copyCommand(submissionOf(this.job))),
    };
  }

  async change(deed, name) {
    const button = this.buttons[name];
    const hadFocus = document.activeElement === button;
    button.disabled = true;
    try {
      this.show(await deed(this.id));
    } catch (error) {
      toastProblem(error);
      this.refetch();
    } finally {
      // A button that vanishes would leave the keyboard nowhere.
      if (hadFocus) (button.hidden ? this.element.querySelector("h1") : button).focus();
    }
  }

  show(job) {
    // Answers may overtake each other.
    if (this.job && job.version < this.job.version) return;
    if (this.job && lookOf(job) !== lookOf(this.job)) announce(`The job ${SPOKEN[lookOf(job)]}`);
    const was = this.job?.state;
    this.job = job;
    showBadge(this.state, job);
    this.once("truth", job.cancellation && [job.cancellation, job.finished_at], () => this.showTruth(job));
    if (was && was !== "pending" && job.state === "pending") this.lookAtQueue();
    this.showWaiting();
    this.showProgress();
    this.once("facts", [job.state, job.attempt, job.run_at, job.started_at, job.finished_at, job.priority, job.tags,
      job.losses], () => fill(this.facts, factsOf(job)));
    this.once("input", [job.args, job.kwargs], () => fill(this.input, inputOf(job)));
    this.once("outcome", [job.outcome, job.result, job.exception], () => fill(this.outcome, outcomeOf(job)));
    this.attempts.show(job, this.begun);
    this.showButtons(job);
    this.keepUp(job);
  }

  /** What was told of this attempt, or of one that is newer, counts. */
  showProgress() {
    const { job, told, heard } = this;
    const isNews = told && (heard?.attempt === job.attempt || heard?.version > job.version);
    const progress = isNews ? told : job.progress;
    this.once("progress", [progress, job.state],
      () => this.progress.show(isDone(job) && job.outcome === "succeeded" ? null : progress));
  }

  showTruth(job) {
    const truth = truthOf(job);
    this.truth.hidden = !truth;
    this.truth.dataset.outcome = job.cancellation?.outcome ?? "";
    fill(this.truth, truth ? h("p", null, h("strong", null, "Cancellation. "), truth) : []);
  }

  /** Say what a job waits for: its time, or that its queue is resumed. */
  showWaiting() {
    const job = this.job;
    const later = dueLater(job);
    const paused = job.state === "pending" && this.paused.has(job.queue);
    this.once("waiting", [later, paused, job.attempt], () => {
      this.waiting.hidden = !later && !paused;
      this.waiting.dataset.outcome = paused ? "paused" : "";
      fill(this.waiting,
        paused && h("p", null, h("strong", null, "Queue ", h("bdi", null, job.queue), " is paused. "),
          "The job waits until it is resumed."),
        later && h("p", null, job.attempt ? "Its next attempt is due " : "It is due ",
          h("span", { "aria-live": "off" }, time(later), " (", time(later, "at"), ")"), "."),
        paused && h("button", { type: "button", class: "small", onclick: () => this.resume() }, `Resume ${job.queue}`));
    });
  }

  async resume() {
    await setPaused(this.job.queue, false);
    this.lookAtQueue();
    this.element.querySelector("h1").focus();
  }

  showButtons(job) {
    const { cancel, retry, again } = this.buttons;
    cancel.hidden = !canCancel(job);
    retry.hidden = !canRetry(job);
    cancel.disabled = retry.disabled = false;
    set(again, "href", toHash(["tasks", job.task], { from: job.id }));
  }

  listen() {
    this.stream = live(`${jobPath(this.id)}/events`, {
      event: (type, data, id) => this.hear(type, data, id),
      // Of a job's events only progress is thinned.
      gap: () => this.redraw(),
      failed: () => this.refetch(),
      over: () => isDone(this.job),
    }, { signal: this.signal, resume: true });
  }

  /** The stream of a job ends with it. From then on there is but a new run to hear of. */
  keepUp(job) {
    if (!isDone(job)) {
      this.after?.abort();
      this.after = null;
      this.stream.again();
    } else if (!this.after) {
      this.after = new AbortController();
      const signal = AbortSignal.any([this.after.signal, this.signal]);
      const news = { event: (type) => type === "state" && this.redraw(), gap: () => this.redraw() };
      live(`/events?q=${encodeURIComponent(this.id)}`, news, { signal });
    }
  }

  hear(type, data) {
    if (type === "log") return this.log.add(data);
    this.told = type === "progress" ? data : null;
    if (!this.told) this.heard = data;
    this.showProgress();
    if (this.told) return;
    if (data.state === "pending" && !this.begun.has(data.run)) {
      this.begun.set(data.run, data.at);
      if (data.run > 1) this.attempts.show(this.job, this.begun);
    }
    // History is told from its beginning: only what is newer than the job shown is news.
    if (data.version > this.job.version) this.redraw();
  }
}

const SPOKEN = {
  pending: "waits", running: "runs", stopping: "is asked to stop",
  succeeded: "has succeeded", failed: "has failed", cancelled: "is cancelled",
};

const unknown = () =>
  h("div", { class: "trouble", role: "alert" },
    h("p", null, h("strong", null, "There is no job of this id.")),
    h("p", null, "A job goes a week after it has ended, unless the service is set otherwise. ",
      h("a", { href: "#/jobs" }, "Show all jobs")));

/** A link that looks like a button is pressed like one. */
function pressed(event) {
  if (event.key === " ") {
    event.preventDefault();
    event.currentTarget.click();
  }
}

function factsOf(job) {
  const later = dueLater(job);
  const took = between(job.started_at, job.finished_at);
  return facts([
    ["Queue", h("a", { href: toHash(["jobs"], { queue: job.queue }) }, job.queue)],
    ["Task", h("a", { href: toHash(["jobs"], { task: job.task }) }, job.task)],
    Object.keys(job.tags).length > 0 && ["Tags",
      h("span", { class: "tags" }, Object.entries(job.tags).map(([name, value]) =>
      h("a", { class: "tag", href: toHash(["jobs"], { tag: [`${name}:${value}`] }) }, cut(`${name}:${value}`, 80))))],
    job.key !== null && ["Key", h("code", null, job.key)],
    ["Submitted", time(job.created_at, "at"), h("span", { class: "muted" }, ", ", time(job.created_at))],
    later && [job.attempt ? "Next attempt" : "Due", time(later)],
    job.started_at && ["Started", time(job.started_at, "at")],
    job.state === "running" && ["Running for", time(job.started_at, "for")],
    job.finished_at && ["Ended", time(job.finished_at, "at")],
    took !== null && ["Took", duration(took)],
    ["Attempt", job.attempt ? `${job.attempt} of ${job.max_attempts}` : `none yet, of ${job.max_attempts}`],
    job.run > 1 && ["Run", String(job.run)],
    job.losses > 0 && ["Lost with its worker", plural(job.losses, "time")],
    job.priority !== 0 && ["Priority", String(job.priority)],
    job.timeout !== null && ["Timeout", duration(Number(job.timeout))],
    job.expires_at && ["Expires", time(job.expires_at)],
  ]);
}

function inputOf(job) {
  const named = Object.keys(job.kwargs).length > 0;
  const content = job.args.length
    ? [jsonBox(job.args, named ? "positional arguments" : "arguments"), named && jsonBox(job.kwargs, "named arguments")]
    : named ? jsonBox(job.kwargs, "arguments") : note("It was called without arguments.");
  return panel("Arguments", {}, content);
}

function outcomeOf(job) {
  if (job.outcome === "succeeded") return panel("Result", {}, jsonBox(job.result, "result"));
  // One that asked to be run again has not failed by that.
  if (!job.exception || (job.outcome !== "failed" && isPutOff(job.exception))) return [];
  const { type, message, traceback } = job.exception;
  return panel("Exception", { class: "panel-failed" },
    h("p", { class: "exception" }, h("strong", null, type), message && `: ${cut(message, 2000)}`),
    traceback && textBox(traceback, "traceback"));
}

