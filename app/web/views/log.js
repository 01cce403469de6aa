// What a job logs and prints, as it comes.

import { call, jobPath } from "../api.js";
import { h, say } from "../dom.js";
import { clockSeconds, plural } from "../format.js";
import { coalesced } from "../live.js";
import { note, panel, toastProblem } from "../parts.js";

const KEPT = 2000; // lines on the page; the service has all of them

export class LogView {
  /** id(): the job's. */
  constructor(id, signal) {
    this.id = id;
    this.waiting = [];
    this.dropped = 0;
    this.attempt = "1 1";
    this.draw = coalesced(() => this.flush(), signal);
    this.lines = h("div", { class: "log-lines" });
    // A log is read out as it comes, which with hundreds of lines a second nobody could bear.
    this.box = h("div", { class: "log", role: "log", "aria-label": "Log", "aria-live": "off", tabindex: 0,
      onscroll: () => this.scrolled() }, this.lines);
    this.follow = h("input", { type: "checkbox", id: "log-follow", checked: true, onchange: () => this.end() });
    this.above = h("p", { class: "note log-note", hidden: true });
    this.none = note("Nothing was logged or printed.");
    const tools = h("span", { class: "panel-tools" },
      h("label", { class: "check" }, this.follow, "Follow"),
      h("button", { type: "button", class: "quiet", onclick: () => this.download() }, "Download"));
    this.element = panel("Log", { extra: tools, class: "log-panel" }, this.above, this.none, this.box);
    this.box.hidden = true;
  }

  /** Take in an event. */
  add(line) {
    this.waiting.push(line);
    // More than are kept need not even be made.
    if (this.waiting.length > KEPT) this.dropped += this.waiting.splice(0, this.waiting.length - KEPT).length;
    this.draw();
  }

  flush() {
    const lines = this.waiting.splice(0);
    const nodes = lines.flatMap((line) => this.nodesOf(line));
    this.lines.append(...nodes);
    while (this.lines.childElementCount > KEPT) {
      this.lines.firstElementChild.remove();
      this.dropped += 1;
    }
    this.none.hidden = this.lines.childElementCount > 0;
    this.box.hidden = !this.none.hidden;
    this.say();
    this.end();
  }

  say() {
    this.above.hidden = !this.dropped;
    say(this.above, `${plural(this.dropped, "earlier line")} not shown here; the download has all that is kept.`);
  }

  nodesOf(line) {
    const attempt = `${line.run} ${line.attempt}`;
    const title = line.run > 1 ? `Run ${line.run}, attempt ${line.attempt}` : `Attempt ${line.attempt}`;
    const head = attempt === this.attempt ? [] : [h("div", { class: "log-head" }, title)];
    this.attempt = attempt;
    const level = line.level.toLowerCase();
    return [...head, h("div", { class: `log-line level-${/^[a-z]+$/.test(level) ? level : "other"}` },
      h("time", { datetime: line.at, title: line.at }, clockSeconds(line.at)),
      h("span", { class: "log-level" }, line.level),
      h("span", { class: "log-text" }, line.message))];
  }

  /** Show the last line, if that is wanted. */
  end() {
    if (!this.follow.checked) return;
    this.own = true;
    this.box.scrollTop = this.box.scrollHeight;
  }

  /** Whoever scrolls up wants to read; whoever scrolls down to the end wants to follow again. */
  scrolled() {
    const atEnd = this.box.scrollHeight - this.box.scrollTop - this.box.clientHeight < 8;
    if (!this.own || atEnd) this.follow.checked = atEnd;
    this.own = false;
  }

  async download() {
    try {
      const answer = await call("GET", `${jobPath(this.id())}/logs`, { headers: { Accept: "text/plain" } });
      const url = URL.createObjectURL(await answer.blob());
      h("a", { href: url, download: `${this.id()}.log` }).click();
      setTimeout(() => URL.revokeObjectURL(url), 1000);
    } catch (error) {
      toastProblem(error);
    }
  }
}

