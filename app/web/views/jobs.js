// The list of jobs: found by filters in the address, kept up to date without moving, changed many at a time.

import { get, isAbort } from "../api.js";
import { announce } from "../connection.js";
import { arrange, fill, h, say } from "../dom.js";
import { plural } from "../format.js";
import { icon } from "../icons.js";
import { coalesced, live } from "../live.js";
import { commandBox, loading, table, trouble } from "../parts.js";
import { watchPauses } from "../queues.js";
import { go, replaceHash, toHash } from "../router.js";
import { sampleCommand } from "../curl.js";
import { filterForm, fits, queryOf, streamQueryOf, valuesOf } from "./filters.js";
import { JobRow, COLUMNS, widthsOf } from "./job_row.js";
import { selection } from "./selection.js";

const NEW_SHOWN = 999; // of these, "999+"
const EMPTY_PAGES = 5; // that are passed over before somebody has to say so

/** Return the view. */
export function jobsView(route, signal) {
  return new JobsView(route, signal);
}

class JobsView {
  constructor(route, signal) {
    this.title = "Jobs";
    this.signal = signal;
    this.rows = new Map();
    this.fresh = new Set();
    this.changed = new Set();
    this.paused = new Set(); // queues
    this.next = null;
    this.loading = null;
    this.heard = null; // events of while a page is on its way
    this.early = false; // whether the stream was open before the page was there
    this.opened = false; // whether it has been open before
    this.turned = false; // whether the page is another one now, and was asked for by a button
    this.values = valuesOf(route.query);
    this.cursor = route.query.get("cursor");
    this.form = filterForm(this.values, (values) => this.filter(values), signal);
    this.chosen = selection({
      rows: this.rows, conditions: () => queryOf(this.values), more: () => this.next !== null,
      done: () => this.load({ quiet: true }),
    });
    this.redraw = coalesced(() => this.draw(), signal);
    this.build();
    this.lookAtQueues = watchPauses(() => [...this.rows.values()].some((row) => row.job.state === "pending"),
      (paused) => this.pause(paused), signal);
    this.load();
    this.listen();
  }

  build() {
    this.freshButton = h("button", { type: "button", class: "fresh", onclick: () => this.showFresh() });
    this.freshLine = h("div", { class: "fresh-line", hidden: true }, this.freshButton);
    const { element, body } = table("Jobs, newest first", [
      { name: "Select", content: this.chosen.all, class: "col-select" }, ...COLUMNS,
    ], "jobs-table");
    this.body = body;
    this.tableElement = element;
    this.below = h("div", { class: "below" });
    this.pager = h("nav", { class: "pager", "aria-label": "Pages" });
    this.summary = h("p", { class: "muted summary", role: "status" });
    this.element = h(
      "div", { class: "view jobs" },
      h("div", { class: "view-head" }, h("h1", null, "Jobs"), this.summary),
      this.form.element,
      this.chosen.bar,
      this.freshLine,
      h("div", { class: "panel flush" }, element, this.below),
      this.pager,
    );
  }

  /** The address has changed by Back, by a link, or by a page's button. */
  update(route) {
    const values = valuesOf(route.query);
    const other = JSON.stringify(values) !== JSON.stringify(this.values);
    this.values = values;
    this.cursor = route.query.get("cursor");
    this.form.show(values);
    this.chosen.clear();
    this.load();
    if (other) this.listen();
  }

  /** The form has changed. */
  filter(values) {
    if (JSON.stringify(values) === JSON.stringify(this.values)) return;
    this.values = values;
    this.cursor = null;
    replaceHash(toHash(["jobs"], queryOf(values)), null);
    this.chosen.clear();
    this.load();
    this.listen();
  }

  /**
   * Fetch the page that the address names. quiet: keep what is shown until then. still: and the rows after it.
   */
  async load({ quiet = false, still = false } = {}) {
    this.loading?.abort();
    const own = (this.loading = new AbortController());
    const signal = AbortSignal.any([own.signal, this.signal]);
    const heard = (this.heard = []);
    if (!quiet && !this.rows.size) {
      this.tableElement.hidden = true;
      fill(this.below, loading("jobs"));
    }
    this.tableElement.setAttribute("aria-busy", "true");
    try {
      const page = await this.fetch(this.cursor, signal);
      signal.throwIfAborted();
      if (still && this.rows.size) this.settle(page);
      else this.show(page);
      for (const [type, data] of unknown(heard, this.rows)) this.hear(type, data);
      if (!quiet && history.state?.y) window.scrollTo(0, history.state.y);
    } catch (error) {
      if (!isAbort(error)) this.fail(error, quiet);
    }
    if (this.loading === own) this.loaded();
  }

  loaded() {
    this.loading = this.heard = null;
    this.tableElement.removeAttribute("aria-busy");
    if (this.early && !this.signal.aborted) this.catchUp();
  }

  /**
   * The stream is open: fetch the page once more, for what has happened since the last time is not told.
   * At first that is next to nothing, and nothing moves; later, much may be missed.
   */
  catchUp() {
    this.early = this.loading !== null;
    if (this.early) return;
    this.load({ quiet: true, still: !this.opened });
    this.opened = true;
  }

  settle(page) {
    const first = page.jobs.findIndex((job) => this.rows.has(job.id));
    if (!this.cursor) page.jobs.slice(0, Math.max(0, first)).forEach((job) => this.fresh.add(job.id));
    for (const job of page.jobs) {
      const row = this.rows.get(job.id);
      if (row) row.job = job;
      this.changed.add(job.id);
    }
    this.redraw();
  }

  async fetch(cursor, signal) {
    let path = `/jobs?${new URLSearchParams(pairs({ ...queryOf(this.values), cursor }))}`;
    for (let pages = 1; ; pages += 1) {
      const page = await get(path, { signal });
      // Some filters look at a part of all jobs a page: an empty one may have others behind it.
      if (page.jobs.length || !page.next || pages === EMPTY_PAGES) return page;
      path = page.next;
      fill(this.below, loading("jobs: none found so far, still looking"));
    }
  }

  show(page) {
    this.clearFresh();
    this.next = page.next;
    const kept = new Map(page.jobs.map((job) => [job.id, this.rows.get(job.id)]));
    this.rows.clear();
    for (const job of page.jobs) {
      const row = kept.get(job.id) ?? new JobRow(job, this.chosen.changed);
      row.job = job;
      row.draw(this.paused);
      this.rows.set(job.id, row);
    }
    arrange(this.body, [...this.rows.values()].map((row) => row.element));
    for (const [name, width] of Object.entries(widthsOf(page.jobs))) this.tableElement.style.setProperty(name, width);
    this.chosen.changed();
    this.showRest();
    this.lookAtQueues();
  }

  showRest() {
    const n = this.rows.size;
    this.tableElement.hidden = n === 0;
    say(this.summary, n ? `${plural(n, "job")}${this.next || this.cursor ? " on this page" : ""}` : "");
    fill(this.below, n ? [] : this.empty());
    this.showPager();
    // The button that turned the page is gone; a keyboard goes on from its first job.
    if (this.turned) this.body.querySelector("a")?.focus({ preventScroll: true });
    this.turned = false;
  }

  empty() {
    if (this.next) {
      return h("div", { class: "empty" },
        h("p", null, "None found among the newest jobs. There are older ones to look through."),
        h("button", { type: "button", onclick: () => this.older() }, "Search further"));
    }
    if (Object.keys(queryOf(this.values)).length || this.cursor) {
      return h("div", { class: "empty" }, h("p", null, "No job fits these filters."),
        h("p", null, h("a", { href: "#/jobs" }, "Show all jobs")));
    }
    return h("div", { class: "empty" }, h("h2", null, "No jobs yet"),
      h("p", null, "Submit the first one from a terminal, or with the form of ",
        h("a", { href: "#/tasks" }, "a task"), "."),
      commandBox(sampleCommand()));
  }

  showPager() {
    const stack = history.state?.stack ?? [];
    fill(this.pager,
      this.cursor && h("a", { class: "button", href: toHash(["jobs"], queryOf(this.values)) }, "Newest"),
      this.cursor && stack.length > 1 && h("button", { type: "button", onclick: () => this.newer(stack) },
        icon("back"), "Newer"),
      this.next && h("button", { type: "button", onclick: () => this.older() }, "Older", icon("next")));
  }

  older() {
    const cursor = new URLSearchParams(this.next.split("?")[1]).get("cursor");
    const stack = [...(history.state?.stack ?? [null]), cursor];
    this.page(cursor, stack);
  }

  newer(stack) {
    const before = stack.slice(0, -1);
    this.page(before.at(-1), before);
  }

  page(cursor, stack) {
    this.turned = true;
    go(toHash(["jobs"], { ...queryOf(this.values), cursor }), { stack });
    window.scrollTo(0, 0);
  }

  fail(error, quiet) {
    // The stream comes back with the service, and then the rows are fetched anew.
    if (quiet && this.rows.size && (error.status === 0 || error.status === 503)) return;
    const faults = error.errors ?? [];
    if (error.status === 422 && faults.some((fault) => fault.loc[1] !== "cursor")) this.form.fault(faults);
    this.rows.clear();
    this.body.replaceChildren();
    this.tableElement.hidden = true;
    say(this.summary, "");
    this.pager.replaceChildren();
    fill(this.below, trouble(error, () => this.load()));
  }

  // -- live

  listen() {
    this.listening?.abort();
    this.opened = false;
    this.listening = new AbortController();
    const signal = AbortSignal.any([this.listening.signal, this.signal]);
    const query = new URLSearchParams(pairs(streamQueryOf(this.values))).toString();
    live(`/events${query ? `?${query}` : ""}`, {
      event: (type, data) => this.hear(type, data),
      gap: () => this.load({ quiet: true }),
      opened: () => this.catchUp(),
    }, { signal });
  }

  hear(type, data) {
    this.heard?.push([type, data]);
    const row = this.rows.get(data.job);
    if (row) {
      row.hear(type, data);
      this.changed.add(data.job);
    } else if (type === "state" && this.belongs(data)) {
      this.fresh.add(data.job);
    } else return;
    this.redraw();
  }

  pause(paused) {
    this.paused = paused;
    for (const row of this.rows.values()) row.draw(paused);
  }

  /** Whether a job that is not shown would be at the top if the list were fetched now. */
  belongs(data) {
    return !this.cursor && this.fresh.size <= NEW_SHOWN && fits(this.values, data);
  }

  draw() {
    for (const id of this.changed) this.rows.get(id)?.draw(this.paused);
    this.changed.clear();
    this.chosen.changed();
    const n = this.fresh.size;
    if (!n) return;
    // Without rows, no place is lost.
    if (!this.rows.size) {
      this.load({ quiet: true });
      return;
    }
    if (this.freshLine.hidden) announce("There are new jobs");
    this.freshLine.hidden = false;
    say(this.freshButton, n > NEW_SHOWN ? `${NEW_SHOWN}+ new jobs` : plural(n, "new job"));
  }

  showFresh() {
    const hadFocus = document.activeElement === this.freshButton;
    this.load({ quiet: true }).then(() => hadFocus && this.tableElement.querySelector("tbody a")?.focus());
  }

  clearFresh() {
    this.fresh.clear();
    this.freshLine.hidden = true;
  }
}

/** Return what was heard while a page was on its way and is not in it. */
function unknown(heard, rows) {
  const known = new Set();
  const isNews = ([type, { job, version }]) => {
    if (type === "state" && version <= rows.get(job)?.job.version) known.add(job);
    return !known.has(job);
  };
  return heard.reverse().filter(isNews).reverse();
}

function pairs(query) {
  return Object.entries(query).flatMap(([name, value]) =>
    [value].flat().filter((item) => item !== null && item !== undefined && item !== "").map((item) => [name, item]));
}
