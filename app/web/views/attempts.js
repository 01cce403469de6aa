// The attempts of a job: a picture of when it waited and when it ran, and the same as a table.

import { now, time } from "../clock.js";
import { fill, h } from "../dom.js";
import { between, cut, duration } from "../format.js";
import { cell, headCell, note, panel, raised, row, table } from "../parts.js";
import { isDone, isPutOff, lookOf } from "../states.js";
import { timeline } from "../timeline.js";

const SHOWN = 100; // attempts, the newest ones

/** Return {element, show(job, begun)}. begun: when each run was asked for, by its number. */
export function attemptsPanel() {
  const picture = h("div", { class: "timelines" });
  const { element, body } = table("Attempts", [
    { name: "Attempt" }, { name: "How it ended" }, { name: "Started", class: "col-time" },
    { name: "Took", class: "col-number" }, { name: "Worker" },
  ], "attempts-table");
  const scroller = h("div", { class: "attempts-scroll", tabindex: 0, role: "group",
    "aria-label": "Attempts as a table" }, element);
  const content = h("div");
  let last = "";
  let timer;

  function show(job, begun) {
    clearInterval(timer);
    const draw = () => {
      if (picture.isConnected || !last) fill(picture, runsOf(job, begun).map(timeline));
      else clearInterval(timer);
    };
    // Only the running part of the picture grows by itself.
    if (!isDone(job)) timer = setInterval(draw, 1000);
    draw();
    const text = JSON.stringify([job.attempts, job.state, job.cancellation?.outcome]);
    if (text === last) return;
    last = text;
    fill(content, picture, job.attempts.length ? scroller : note("It has not been started yet."));
    fill(body, job.attempts.slice(-SHOWN).reverse().map((attempt) => attemptRow(attempt, job)));
  }

  return { element: panel("Attempts", {}, content), show };
}

function attemptRow(attempt, job) {
  const took = between(attempt.started_at, attempt.finished_at);
  return row({},
    headCell("Attempt", "", job.run > 1 ? `${attempt.number} of run ${attempt.run}` : String(attempt.number)),
    cell("How it ended", "", ending(attempt, job)),
    cell("Started", "col-time", time(attempt.started_at, "at")),
    cell("Took", "col-number", attempt.finished_at ? duration(took) : time(attempt.started_at, "for")),
    cell("Worker", "muted", attempt.worker ?? "–"));
}

function ending(attempt, job) {
  const look = lookOfAttempt(attempt, job);
  const { type, message } = attempt.exception ?? {};
  if (look === "postponed") {
    return ["Asked to run again later", h("span", { class: "muted" }, ` (${cut(message, 160)})`)];
  }
  return type ? h("span", { class: "failure" }, raised({ type, message })) : LOOKS[look];
}

const LOOKS = { succeeded: "Succeeded", cancelled: "Cancelled", failed: "Failed", running: "Running", ended: "Ended" };

/** How an attempt looks: the last as its job, others by what they raised. */
function lookOfAttempt(attempt, job) {
  const last = attempt === job.attempts.at(-1) && isDone(job);
  if (isPutOff(attempt.exception) && !(last && job.outcome === "failed")) return "postponed";
  if (attempt.exception) return "failed";
  if (!attempt.finished_at) return "running";
  if (last) return lookOf(job);
  // Lost with its worker, or a run that was cancelled before the one that is shown.
  return attempt.run < job.run ? "cancelled" : "ended";
}

/** Return what the picture shows: of each run its begin, end and pieces, newest first. */
function runsOf(job, begun) {
  const runs = new Map();
  for (const attempt of job.attempts.slice(-SHOWN)) {
    if (!runs.has(attempt.run)) runs.set(attempt.run, []);
    runs.get(attempt.run).push(attempt);
  }
  if (!runs.has(job.run)) runs.set(job.run, []);
  return [...runs].reverse().map(([number, attempts]) => runOf(number, attempts, job, begun));
}

function runOf(number, attempts, job, begun) {
  const current = number === job.run;
  const first = number === 1 ? job.created_at : (attempts[0]?.started_at ?? job.run_at);
  const from = Date.parse(begun.get(number) ?? first);
  const pieces = [];
  let at = from;
  for (const attempt of attempts) {
    const started = Date.parse(attempt.started_at);
    if (started > at) pieces.push({ look: pieces.length ? "retrying" : "waiting", from: at, to: started });
    at = attempt.finished_at ? Date.parse(attempt.finished_at) : now();
    pieces.push({ look: lookOfAttempt(attempt, job), from: started, to: at, number: attempt.number,
      open: !attempt.finished_at });
  }
  const end = current ? endOf(job, at) : at;
  if (end > at) pieces.push({ look: pieces.length ? "retrying" : "waiting", from: at, to: end, open: !isDone(job) });
  return { number, many: job.run > 1, from, to: Math.max(end, at), pieces };
}

/** Until when there is something to show. */
function endOf(job, at) {
  if (job.state === "pending") return Math.max(now(), at);
  return job.finished_at ? Date.parse(job.finished_at) : at;
}
