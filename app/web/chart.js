// Charts of the last hour, minute by minute, drawn by hand: bars that are stacked, and marks.
//
// Each is a picture with a name, a line of text that says what is under the pointer (or under the cursor
// that the arrow keys move), and a table for whoever would rather read the numbers.

import { fill, h, say, svg, unique } from "./dom.js";
import { clock, count, duration } from "./format.js";

const HEIGHT = 150;
const TOP = 8;
const BOTTOM = 20;
const LEFT = 44;
const RIGHT = 6;
const LABEL = 36; // the width of a time

/**
 * Return {element, show(minutes)}.
 * over: a series that is drawn as steps above the others; null for none.
 * series: [{name, look, of(minute)}], `of` a number or null. kind: "bars" or "marks". words(n), tick(n): a value
 * as text, and beside its line.
 * summary(minutes): what the picture shows, in a sentence.
 */
export function chart(title, { series, over = null, kind, words, tick = words, summary }) {
  const all = over ? [over, ...series] : series;
  let minutes = [];
  let cursor = null; // the index of a minute
  const id = unique("chart");
  const readout = h("p", { class: "chart-readout", id: `${id}-readout` });
  const picture = svg("svg", { class: "chart-picture", role: "img", height: HEIGHT });
  const frame = h("div", {
    class: "chart-frame", tabindex: 0, role: "group",
    "aria-label": `${title}, by minute; arrow keys move through it`, "aria-describedby": readout.id,
    onkeydown: step, onpointermove: point, onpointerleave: () => place(null), onblur: () => place(null),
  }, picture);
  const body = h("tbody");
  const numbers = h("details", { class: "chart-table", ontoggle: () => drawTable() },
    h("summary", null, "Numbers"),
    h("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": `${title} as a table` },
      h("table", { class: "table" }, h("caption", { class: "visually-hidden" }, title),
        h("thead", null, h("tr", null, h("th", { scope: "col" }, "Minute"),
          all.map(({ name }) => h("th", { scope: "col", class: "col-number" }, name)))), body)));
  const element = h("figure", { class: "chart" },
    h("figcaption", null, h("h3", null, title), legend(series, over, kind)), readout, frame, numbers);
  new ResizeObserver(() => draw()).observe(frame);

  function show(next) {
    minutes = next;
    draw();
    drawTable();
  }

  function draw() {
    const width = Math.max(200, frame.clientWidth);
    if (!minutes.length || !frame.clientWidth) return;
    const plot = scaleOf(minutes, series, over, kind, width);
    picture.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    picture.setAttribute("width", width);
    picture.setAttribute("aria-label", summary(minutes));
    fill(picture, grid(plot, tick), axis(minutes, plot),
      (kind === "bars" ? bars : marks)(minutes, series, plot),
      over && steps(minutes, over, plot), mark(plot));
    tell();
  }

  function mark(plot) {
    if (cursor === null) return null;
    return svg("rect", { class: "chart-mark", x: plot.x(cursor), y: TOP, width: plot.step, height: plot.bottom - TOP });
  }

  function tell() {
    // Read out as the cursor moves, and not each time that there are other numbers.
    readout.setAttribute("aria-live", cursor === null ? "off" : "polite");
    const minute = minutes[cursor];
    if (!minute) return say(readout, summary(minutes));
    const values = all.map(({ name, of }) => `${name.toLowerCase()} ${of(minute) === null ? "–" : words(of(minute))}`);
    say(readout, `${clock(minute.at)}  ${values.join(", ")}`);
  }

  function place(index) {
    const next = index === null ? null : Math.max(0, Math.min(minutes.length - 1, index));
    if (next === cursor) return;
    cursor = next;
    draw();
  }

  function point(event) {
    const x = event.clientX - frame.getBoundingClientRect().left - LEFT;
    place(Math.floor((x / (frame.clientWidth - LEFT - RIGHT)) * minutes.length));
  }

  function step(event) {
    const to = { ArrowLeft: (cursor ?? minutes.length) - 1, ArrowRight: (cursor ?? -1) + 1, Home: 0,
      End: minutes.length - 1, Escape: null }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    place(to);
  }

  function drawTable() {
    if (!numbers.open) return;
    fill(body, [...minutes].reverse().map((minute) => h("tr", null, h("th", { scope: "row" }, clock(minute.at)),
      all.map(({ of }) => h("td", { class: "col-number" }, of(minute) === null ? "–" : words(of(minute)))))));
  }

  return { element, show };
}

const legend = (series, over, kind) =>
  h("span", { class: "legend" }, [over, ...series].filter(Boolean).map((entry) =>
    h("span", { class: "legend-item" },
      svg("svg", { viewBox: "0 0 14 10", width: 14, height: 10, "aria-hidden": "true" },
        entry === over ? svg("path", { class: `line line-${entry.look}`, d: "M0 5h14" })
          : kind === "bars" ? svg("rect", { class: `bar-${entry.look}`, x: 2, width: 10, height: 10, rx: 2 })
            : markOf(entry.look, 7, entry.look === "p99" ? 8 : 5)), entry.name)));

/** Where what is drawn: x(index), y(value), the values at which lines are, and the bottom. */
function scaleOf(minutes, series, over, kind, width) {
  const values = minutes.map((minute) => series.map(({ of }) => of(minute)).filter((value) => value !== null));
  const { ticks, share } = kind === "bars"
    ? linear([...values, ...minutes.map((minute) => [over.of(minute)])])
    : logarithmic(values.flat());
  const bottom = HEIGHT - BOTTOM;
  const step = (width - LEFT - RIGHT) / minutes.length;
  return { ticks, bottom, step, width, x: (i) => LEFT + i * step,
    y: (value) => bottom - share(value) * (bottom - TOP) };
}

/** For whole numbers that are stacked: three or four round values from 0 to above the greatest sum. */
function linear(stacks) {
  const most = Math.max(3, ...stacks.map((stack) => stack.reduce((sum, n) => sum + n, 0)));
  const power = 10 ** Math.floor(Math.log10(most / 3));
  const size = Math.max(1, Math.round([1, 2, 5, 10].find((n) => n * power >= most / 3) * power));
  const ticks = Array.from({ length: Math.ceil(most / size) + 1 }, (_, i) => i * size);
  return { ticks, share: (value) => value / ticks.at(-1) };
}

/** For times, of which the usual and the longest are to be seen side by side: powers of ten. */
function logarithmic(values) {
  const some = values.filter((value) => value > 0);
  const low = Math.max(-4, Math.floor(Math.log10(Math.min(0.01, ...some))));
  const high = Math.max(low + 2, Math.ceil(Math.log10(Math.max(0.1, ...some))));
  const ticks = Array.from({ length: high - low + 1 }, (_, i) => 10 ** (low + i))
    .filter((_, i, all) => all.length < 6 || (all.length - 1 - i) % 2 === 0);
  return { ticks, share: (value) => Math.max(0, (Math.log10(Math.max(value, 1e-9)) - low) / (high - low)) };
}

/** A power of ten seconds, short enough for where it stands. */
function decade(seconds) {
  if (seconds < 1) return `${Number((seconds * 1000).toPrecision(1))} ms`;
  if (seconds < 1000) return `${seconds} s`;
  const [size, unit] = seconds < 10000 ? [60, "min"] : seconds < 1000000 ? [3600, "h"] : [86400, "d"];
  return `${Number((seconds / size).toPrecision(2))} ${unit}`;
}

const grid = ({ ticks, y, width }, words) =>
  ticks.map((value) => [
    svg("line", { class: "chart-grid", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }),
    svg("text", { class: "chart-text", x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, words(value)),
  ]);

function axis(minutes, { x, step, bottom, width }) {
  const every = step * 10 < 60 ? 20 : 10;
  return minutes.map((minute, i) =>
    new Date(minute.at).getMinutes() % every === 0 &&
    svg("text", { class: "chart-text", x: Math.min(x(i) + step / 2, width - LABEL / 2), y: bottom + 15,
      "text-anchor": "middle" }, clock(minute.at)));
}

function bars(minutes, series, { x, y, step, bottom }) {
  const gap = step > 4 ? 1.5 : 0.5;
  return minutes.flatMap((minute, i) => {
    let base = 0;
    return series.map(({ look, of }) => {
      const value = of(minute) ?? 0;
      if (!value) return null;
      const from = y(base);
      base += value;
      // Seen however few they are beside the others.
      const height = Math.max(1.5, from - y(base));
      return svg("rect", { class: `bar-${look}`, x: x(i) + gap / 2, y: Math.min(from - height, bottom - height),
        width: Math.max(1, step - gap), height, rx: 1 });
    });
  });
}

/** A mark for each value. No lines: nothing is known between minutes, and one slow job would tower over all. */
function marks(minutes, series, { x, y, step }) {
  return series.map(({ look, of }) => minutes.map((minute, i) =>
    of(minute) !== null && markOf(look, x(i) + step / 2, y(of(minute)))));
}

// Told apart by shape too, and where they lie upon each other: what is drawn later is smaller.
const SHAPES = { p99: "m0-6 3.6 6h-7.2z", p95: "m0-3.2 3.2 3.2-3.2 3.2-3.2-3.2z", p50: "m-3-1.2h6v2.4h-6z" };

const markOf = (look, x, y) =>
  svg("path", { class: `mark-${look}`, d: `M${x.toFixed(1)} ${y.toFixed(1)}${SHAPES[look]}` });

/** A line with a step for each minute. */
function steps(minutes, { look, of }, { x, y, step }) {
  const path = minutes.map((minute, i) =>
    `${i ? "L" : "M"}${x(i).toFixed(1)} ${y(of(minute)).toFixed(1)}h${step.toFixed(1)}`).join("");
  return svg("path", { class: `line line-${look}`, d: path });
}

/** Jobs by how they ended, and how many came. */
export const throughputChart = () =>
  chart("Jobs per minute", {
    kind: "bars",
    over: { name: "Submitted", look: "submitted", of: (minute) => minute.submitted },
    series: [
      { name: "Succeeded", look: "succeeded", of: (minute) => minute.succeeded },
      { name: "Failed", look: "failed", of: (minute) => minute.failed },
      { name: "Cancelled", look: "cancelled", of: (minute) => minute.cancelled },
    ],
    words: count,
    summary: (minutes) => {
      const sum = (name) => minutes.reduce((n, minute) => n + minute[name], 0);
      const told = ["submitted", "succeeded", "failed", "cancelled"].map((name) => `${count(sum(name))} ${name}`);
      return `In the last hour: ${told.join(", ")}`;
    },
  });

/** Percentiles of a length of time. of: the member of a minute. */
export const latencyChart = (title, of, nothing) =>
  chart(title, {
    kind: "marks",
    series: [["99 %", "p99"], ["95 %", "p95"], ["50 %", "p50"]]
      .map(([name, p]) => ({ name, look: p, of: (minute) => minute[of]?.[p] ?? null })),
    words: duration,
    tick: decade,
    summary: (minutes) => {
      const last = minutes.findLast((minute) => minute[of]);
      return last ? `Latest: 50 % ${duration(last[of].p50)}, 99 % ${duration(last[of].p99)}` : nothing;
    },
  });
