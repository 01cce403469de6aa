// What keeps a view up to date: its one stream, opened while the page is seen, and renders that are few.

import { isAbort } from "./api.js";
import { connection } from "./connection.js";
import { follow } from "./sse.js";

const APART = 250; // milliseconds between two renders
const AWAY = 10000; // how long a page may be hidden before its stream is closed

/**
 * Return a function that has `render` called soon: at most four times a second, and only when the browser
 * paints. Nothing is called after `signal`.
 */
export function coalesced(render, signal) {
  let timer = null;
  let last = 0;
  signal.addEventListener("abort", () => clearTimeout(timer));
  return () => {
    if (timer !== null || signal.aborted) return;
    timer = setTimeout(() => requestAnimationFrame(run), Math.max(0, last + APART - Date.now()));
  };
  function run() {
    timer = null;
    last = Date.now();
    if (!signal.aborted) render();
  }
}

/**
 * Follow a stream for as long as the view is there and the page is seen.
 * listener: as for `follow`. resume: go on where it was when the page is seen again; otherwise it begins
 * anew and `gap` is told, because much may have happened.
 */
export function live(path, listener, { signal, resume = false }) {
  let stop = null;
  let last = null;
  let over = false;
  let hiding = null;

  const told = {
    ...listener,
    event(type, data, id) {
      last = id;
      listener.event(type, data, id);
    },
    opened() {
      connection.set("live");
      listener.opened?.();
    },
    lost(error) {
      connection.lost(error);
      listener.lost?.(error);
    },
  };

  async function start() {
    // A tab that was opened behind others begins when it is looked at.
    if (stop || over || signal.aborted || document.hidden) return;
    const own = new AbortController();
    stop = own;
    try {
      await follow(path, told, { signal: AbortSignal.any([own.signal, signal]), from: resume ? last : null });
      // Ended by the service, not from here.
      if (!own.signal.aborted && !signal.aborted) over = true;
    } catch (error) {
      if (!isAbort(error)) listener.failed?.(error);
    }
    if (stop === own) stop = null;
  }

  function end() {
    stop?.abort();
    stop = null;
  }

  function seen() {
    clearTimeout(hiding);
    if (document.hidden) hiding = setTimeout(() => (connection.set("paused"), end()), AWAY);
    else if (!stop && !over) {
      if (!resume) listener.gap?.();
      start();
    }
  }

  document.addEventListener("visibilitychange", seen, { signal });
  signal.addEventListener("abort", () => clearTimeout(hiding));
  start();
  return {
    /** Begin again after the service had ended it: the job has a new run. */
    again() {
      over = false;
      start();
    },
  };
}

/** Call `work` now and every so many seconds while the page is seen. Never twice at a time. */
export function every(seconds, work, signal) {
  let timer;
  let busy = false;
  let again = false;
  async function run() {
    clearTimeout(timer);
    if (busy) {
      again = true;
      return;
    }
    busy = true;
    again = false;
    try {
      await work();
    } finally {
      busy = false;
    }
    if (!signal.aborted) timer = setTimeout(tick, (again ? 1 : seconds) * 1000);
  }
  const tick = () => (document.hidden ? undefined : run());
  document.addEventListener("visibilitychange", tick, { signal });
  signal.addEventListener("abort", () => clearTimeout(timer));
  run();
  return run;
}
