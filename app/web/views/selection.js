// Many jobs at a time: which rows are selected, and what is done with them.

import { call, cancelJob, retryJob } from "../api.js";
import { h, say } from "../dom.js";
import { plural } from "../format.js";
import { ask, toast, toastProblem } from "../parts.js";
import { canCancel, canRetry } from "../states.js";

const AT_A_TIME = 4; // requests; a browser has six connections to a service, and one bears the events

const DEEDS = {
  cancel: { one: cancelJob, may: canCancel, path: "/jobs/cancel", word: "Cancel", past: "asked to cancel" },
  retry: { one: retryJob, may: canRetry, path: "/jobs/retry", word: "Retry", past: "to be run again" },
};

/**
 * rows: a map of rows. conditions(): the filter in force. more(): whether there are other pages.
 * done(): called when jobs were changed. Returns {all, bar, changed, clear}.
 */
export function selection({ rows, conditions, more, done }) {
  let everything = false; // all that the filter fits, not only what is on the page
  const all = h("input", { type: "checkbox", "aria-label": "Select all on this page",
    onchange: () => selectAll(all.checked) });
  const words = h("span", { class: "selected-words" });
  const widen = h("button", { type: "button", class: "quiet", onclick: () => ((everything = true), changed()) });
  const buttons = Object.entries(DEEDS).map(([name, deed]) =>
    h("button", { type: "button", onclick: () => run(name, deed), class: name === "cancel" ? "danger-quiet" : "" },
      deed.word));
  const bar = h("div", { class: "selected-bar", role: "group", "aria-label": "Selected jobs", hidden: true },
    words, widen, h("span", { class: "spacer" }), ...buttons,
    h("button", { type: "button", class: "quiet", onclick: () => clear() }, "Select none"));

  const chosen = () => [...rows.values()].filter((row) => row.selected);

  function selectAll(on) {
    for (const row of rows.values()) row.selected = on;
    everything = false;
    changed();
  }

  function clear() {
    selectAll(false);
  }

  function changed() {
    const selected = chosen();
    const n = selected.length;
    if (n < rows.size) everything = false;
    all.checked = n > 0 && n === rows.size;
    all.indeterminate = n > 0 && n < rows.size;
    bar.hidden = n === 0;
    if (!n) return;
    say(words, everything ? "All jobs that fit the filters" : `${n} selected`);
    const filtered = Object.keys(conditions()).length > 0;
    widen.hidden = everything || n < rows.size || !more() || !filtered;
    say(widen, "Select all that fit the filters, on every page");
    Object.values(DEEDS).forEach((deed, i) =>
      (buttons[i].disabled = !everything && !selected.some((row) => deed.may(row.job))));
  }

  async function run(name, deed) {
    buttons.forEach((button) => (button.disabled = true));
    try {
      await (everything ? runAll(name, deed) : runSome(deed));
    } finally {
      changed();
    }
  }

  async function runSome(deed) {
    const jobs = chosen().filter((row) => deed.may(row.job)).map((row) => row.job);
    const failed = await forEach(jobs, deed.one);
    const changedJobs = jobs.length - failed.length;
    if (changedJobs) toast(`${plural(changedJobs, "job")} ${deed.past}`);
    if (failed.length) toastProblem(failed[0]);
    clear();
    await done();
  }

  async function runAll(name, deed) {
    const sure = await ask(`${deed.word} all jobs that fit?`,
      [h("p", null, "Every job that fits the filters now, on this page and on all others:"),
        h("p", null, h("code", null, Object.entries(conditions()).map((pair) => pair.join("=")).join(", ")))],
      { yes: `${deed.word} all`, danger: name === "cancel" });
    if (!sure) return;
    try {
      const tally = await (await call("POST", deed.path, { body: conditions() })).json();
      toast(`${plural(tally.changed, "job")} ${deed.past}, of ${plural(tally.matched, "job")} that fit`);
    } catch (error) {
      toastProblem(error);
    }
    clear();
    await done();
  }

  const beside = h("span", { class: "hit-words", "aria-hidden": "true" }, "All on this page");
  return { all: h("label", { class: "hit" }, all, beside), bar, changed, clear };
}

/** Call `work` for each, a few at a time. Returns what was thrown. */
async function forEach(jobs, work) {
  const failed = [];
  const left = [...jobs];
  const worker = async () => {
    for (let job = left.shift(); job; job = left.shift()) await work(job.id).catch((error) => failed.push(error));
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, worker));
  return failed;
}
