// Numbers, times and lengths of time as people read them.

const NUMBERS = new Intl.NumberFormat("en");
const MOMENT = new Intl.DateTimeFormat(undefined, {
  year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit",
  fractionalSecondDigits: 3, timeZoneName: "short",
});
const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const DAY = new Intl.DateTimeFormat("en", { day: "numeric", month: "short" });
const CLOCK_SECONDS = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23",
});

export const count = (n) => NUMBERS.format(n);

/** "1 job", "12 jobs". */
export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

/** The exact time, in the reader's own zone. */
export const exact = (iso) => MOMENT.format(new Date(iso));

export const clock = (iso) => CLOCK.format(new Date(iso));

/** A time by the clock, with the day if that is another one. now: milliseconds. */
export const at = (iso, now) =>
  Math.abs(now - Date.parse(iso)) < 86400000 / 2 ? clockSeconds(iso) : `${DAY.format(new Date(iso))}, ${clock(iso)}`;

export const clockSeconds = (iso) => CLOCK_SECONDS.format(new Date(iso));

/**
 * The end of a job's id. Ids begin with the time, so jobs of the same minute have the same beginning;
 * their ends are chance.
 */
export const shortId = (id) => id.slice(-8);

/** A length of time in at most two units. seconds: a number, or null for a dash. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || Number.isNaN(seconds)) return "–";
  if (seconds < 0.0005) return "0 ms";
  if (seconds < 0.9995) return `${Number((seconds * 1000).toPrecision(2))} ms`;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  return inTwoUnits(Math.round(seconds));
}

const UNITS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];

function inTwoUnits(seconds) {
  const first = UNITS.findIndex(([, size]) => seconds >= size);
  if (first < 0) return "0 s";
  const [unit, size] = UNITS[first];
  const head = `${Math.floor(seconds / size)} ${unit}`;
  if (first === UNITS.length - 1) return head;
  const [nextUnit, nextSize] = UNITS[first + 1];
  const rest = Math.floor((seconds % size) / nextSize);
  return rest ? `${head} ${rest} ${nextUnit}` : head;
}

/** How long ago, or how far ahead. seconds: positive in the past. */
export function ago(seconds) {
  const away = Math.abs(seconds);
  if (away < 5 && seconds > -1) return "just now";
  const text = coarse(away);
  return seconds < 0 ? `in ${text}` : `${text} ago`;
}

function coarse(seconds) {
  // In steps: a page on which every number changes each second cannot be read.
  if (seconds < 60) return seconds < 10 ? `${Math.floor(seconds)} s` : `${Math.floor(seconds / 5) * 5} s`;
  const [unit, size] = UNITS.find(([, length]) => seconds >= length);
  return `${Math.floor(seconds / size)} ${unit}`;
}

/** A file's size. */
export function bytes(n) {
  if (n < 1024) return `${n} B`;
  return n < 1048576 ? `${(n / 1024).toFixed(0)} KiB` : `${(n / 1048576).toFixed(1)} MiB`;
}

/** Between two times, in seconds; null unless both are there. */
export const between = (from, to) => (from && to ? Math.max(0, (Date.parse(to) - Date.parse(from)) / 1000) : null);

/** What comes first of a text that is too long. */
export const cut = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
