// Times that keep right by themselves. No list of them is kept: each tick looks through the page, so what
// has left it is forgotten.

import { h, say } from "./dom.js";
import { ago, at, duration, exact } from "./format.js";

let skew = 0;

/** Note the service's clock, from an answer's `Date`: this machine's own may be off. */
export function heard(date) {
  const there = Date.parse(date ?? "");
  // A header counts whole seconds, and an answer takes its time: small differences mean nothing.
  if (!Number.isNaN(there)) skew = Math.abs(there - Date.now()) > 3000 ? there - Date.now() : 0;
}

/** The service's time, in milliseconds since the epoch. */
export const now = () => Date.now() + skew;

const SAID = {
  at: (iso) => at(iso, now()),
  ago: (iso) => ago((now() - Date.parse(iso)) / 1000),
  for: (iso) => since(Math.max(0, Math.floor((now() - Date.parse(iso)) / 1000))),
};

// Whole seconds: more would be over before it is read.
const since = (seconds) => (seconds < 60 ? `${seconds} s` : duration(seconds));

/**
 * Return a <time> that says how long ago, or ahead; with kind "for" how long since; with "at" when, by the
 * clock. The exact time is its title. iso: null for a dash.
 */
export function time(iso, kind = "ago") {
  if (!iso) return h("span", { class: "none" }, "–");
  return h("time", { datetime: iso, title: exact(iso), "data-kind": kind }, SAID[kind](iso));
}

function tick() {
  for (const element of document.querySelectorAll("time[data-kind]")) {
    say(element, SAID[element.dataset.kind](element.dateTime));
  }
}

/** Begin to keep times right. */
export function start() {
  setInterval(() => document.hidden || tick(), 1000);
  document.addEventListener("visibilitychange", tick);
}
