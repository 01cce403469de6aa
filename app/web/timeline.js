// A run of a job drawn along time: when it waited, ran, and waited for its next attempt.

import { h, svg } from "./dom.js";
import { clockSeconds, duration } from "./format.js";

const WIDTH = 1000; // units; the picture is as wide as there is room
const HEIGHT = 26;
const LEAST = 5; // units: what took no time is seen all the same

const WORDS = {
  waiting: "waiting", retrying: "waiting for the next attempt", running: "running",
  succeeded: "succeeded", failed: "failed", cancelled: "cancelled", ended: "ended",
  postponed: "asked to run again later",
};
const LEGEND = {
  waiting: "Waiting", retrying: "Between attempts", running: "Running",
  succeeded: "Succeeded", failed: "Failed", cancelled: "Cancelled", ended: "Ended",
  postponed: "Asked to run again later",
};

/** run: {number, many, from, to, pieces: [{look, from, to, number?, open?}]}, in milliseconds. */
export function timeline(run) {
  const pieces = placed(run);
  const title = run.many ? `Run ${run.number}` : "Timeline";
  const label = `${title}: ${run.pieces.map(told).join(", ")}`;
  return h(
    "figure", { class: "timeline" },
    h("figcaption", null, h("span", { class: "timeline-title" }, run.many ? title : ""), legend(run)),
    svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": label },
      svg("rect", { class: "timeline-track", x: 0, y: 0, width: WIDTH, height: HEIGHT }),
      pieces.map(({ piece, x, width }) =>
        svg("g", null,
          svg("title", null, told(piece)),
          svg("rect", { class: `piece piece-${piece.look}${piece.open ? " piece-open" : ""}`, x, y: 0, width,
            height: HEIGHT })))),
    h("div", { class: "timeline-axis" },
      h("span", null, clockSeconds(new Date(run.from).toISOString())),
      h("span", { class: "timeline-length" }, duration((run.to - run.from) / 1000)),
      h("span", null, run.pieces.at(-1)?.open ? "now" : clockSeconds(new Date(run.to).toISOString()))),
  );
}

function told({ look, number, open, from, to }) {
  const who = number ? `attempt ${number} ` : "";
  return `${who}${WORDS[look]} ${open ? "for " : ""}${duration((to - from) / 1000)}`;
}

/** Give each piece its place, by its time; short ones are widened, and the others give way. */
function placed(run) {
  const whole = Math.max(1, run.pieces.reduce((sum, piece) => sum + piece.to - piece.from, 0));
  const wanted = run.pieces.map((piece) => Math.max(LEAST, ((piece.to - piece.from) / whole) * WIDTH));
  const scale = WIDTH / wanted.reduce((sum, width) => sum + width, 0);
  let x = 0;
  return run.pieces.map((piece, i) => {
    const width = wanted[i] * scale;
    x += width;
    return { piece, x: x - width, width };
  });
}

function legend(run) {
  const looks = [...new Set(run.pieces.map((piece) => piece.look))];
  return h("span", { class: "legend", "aria-hidden": "true" }, looks.map((look) =>
    h("span", { class: "legend-item" }, svg("svg", { viewBox: "0 0 10 10", width: 10, height: 10 },
      svg("rect", { class: `piece piece-${look}`, width: 10, height: 10, rx: 2 })), LEGEND[look])));
}
