// What a job's state is called and how it looks; and the truth about its cancellation, in words.

import { now, time } from "./clock.js";
import { fill, h } from "./dom.js";
import { between, duration } from "./format.js";
import { icon } from "./icons.js";

const WORDS = {
  pending: "Pending",
  running: "Running",
  stopping: "Stopping",
  succeeded: "Succeeded",
  failed: "Failed",
  cancelled: "Cancelled",
};

/** Return what to tell apart: the state or outcome, and whether it was asked to stop. */
export function lookOf(job) {
  if (job.state === "finished") return job.outcome;
  return job.state === "running" && job.cancellation?.outcome === "pending" ? "stopping" : job.state;
}

/** Return a badge of a look: picture, colour and word. */
export function badge(look) {
  return h("span", { class: `badge badge-${look}` }, icon(look), WORDS[look] ?? look);
}

/** Have an element show a job's badge; it is left alone while it shows that already. */
export function showBadge(element, job) {
  const look = lookOf(job);
  if (element.dataset.look === look) return;
  element.dataset.look = look;
  fill(element, badge(look));
}

export const isDone = (job) => job.state === "finished" || job.state === "cancelled";

export const canCancel = (job) => job.state === "pending" || (job.state === "running" && !job.cancellation);

export const canRetry = (job) => job.outcome === "failed" || job.outcome === "cancelled";

/** Whether an exception only asked for another attempt. */
export const isPutOff = (exception) => exception?.type === "RetryLater";

/** Return when a pending job will run, if that is not at once; otherwise null. */
export const dueLater = (job) => (job.state === "pending" && Date.parse(job.run_at) > now() + 1000 ? job.run_at : null);

/** Return what became of a cancellation, as sentences for a reader; null when none was asked for. */
export function truthOf(job) {
  const cancellation = job.cancellation;
  if (!cancellation) return null;
  return TRUTHS[cancellation.outcome]?.(cancellation, job) ?? null;
}

const TRUTHS = {
  pending: (c) => [
    // The sentence is read out; the time in it changes each second, and is not.
    "Asked to stop ", h("span", { "aria-live": "off" }, time(c.requested_at)), "; the function has not noticed yet. ",
    "The job keeps its slot until its code has ended.",
  ],
  not_started: (c, job) =>
    c.reason === "expired"
      ? ["It had not been started by ", time(job.expires_at), ", when it expired. Its code never ran."]
      : job.attempts?.length
        ? ["It was cancelled while it waited for its next attempt, which never began."]
        : ["It was cancelled before it began: its code never ran."],
  cooperative: (c, job) => ["The function noticed and stopped", after(c, job), "."],
  killed: (c, job) => [
    "It ended with the process that ran it", after(c, job), ": the function did not stop by itself.",
  ],
  too_late: () => ["It had finished before it noticed the request, so its result counts."],
};

function after(cancellation, job) {
  const seconds = between(cancellation.requested_at, job.finished_at);
  return seconds === null ? "" : `, ${duration(seconds)} after it was asked`;
}
