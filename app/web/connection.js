// How the page stands to its service, shown in the header: live, lost, draining, paused.

import { asking, call } from "./api.js";
import { fill, h, say } from "./dom.js";

const WORDS = {
  connecting: "Connecting",
  live: "Live",
  nokey: "No key",
  lost: "Reconnecting",
  draining: "Stopping",
  paused: "Paused",
};

const BANNERS = {
  lost: ["The service does not answer. ",
    "What you see may be old; this page goes on by itself when the service is back."],
  draining: ["The service is stopping. ", "It takes no new jobs; what runs is given time to end."],
};

let state = "connecting";
let telling = null;

/** Tells "back" when the service answers again. */
export const service = new EventTarget();

/** What the header says. */
export const connection = {
  get state() {
    return state;
  },

  /** Say how it stands. */
  set(next) {
    // That it answers is of no use to those whom it tells nothing.
    if (next === "live" && asking.wanted) next = "nokey";
    if (next === state) return;
    const was = state;
    state = next;
    show();
    if (next !== "live" || was === "connecting") return;
    service.dispatchEvent(new Event("back"));
    // What could not be had is tried again.
    for (const button of document.querySelectorAll("[data-again]")) button.click();
    // Told, for those who do not see it, only when it matters.
    if (was === "lost") announce("The service answers again");
  },

  /** Note that the service did not answer, or answered that it cannot. */
  lost(error) {
    this.set(error?.status === 503 && error.kind === "draining" ? "draining" : "lost");
  },
};

function show() {
  const element = document.getElementById("link-state");
  element.dataset.state = state;
  say(element.querySelector(".word"), WORDS[state]);
  clearTimeout(telling);
  // A moment's patience: most interruptions are over before they could be read.
  telling = setTimeout(showBanner, BANNERS[state] ? 1200 : 0);
}

function showBanner() {
  const banner = document.getElementById("banner");
  const [head, text] = BANNERS[state] ?? [];
  banner.hidden = !head;
  banner.dataset.state = state;
  fill(banner, head ? [h("strong", null, head), text] : []);
}

/** Tell those who listen to the page rather than see it. */
export function announce(text) {
  say(document.getElementById("announcer"), "");
  setTimeout(() => say(document.getElementById("announcer"), text), 50);
}

const USUALLY = 5000; // milliseconds between two looks
const IN_TROUBLE = 2000;

/** Look from time to time whether the service takes jobs: no stream says that it is about to stop. */
export async function watch() {
  if (!document.hidden) await look();
  setTimeout(watch, BANNERS[state] ? IN_TROUBLE : USUALLY);
}

async function look() {
  try {
    await call("GET", "/health/ready");
    connection.set("live");
  } catch (error) {
    connection.lost(error);
  }
}
