// JSON whose numbers stay what they are: 354224848179261915075 is no number of JavaScript's, and would be
// shown, and sent again, as another one.

/** A number as it was written. */
export class Exact {
  constructor(source) {
    this.source = source;
  }

  toString() {
    return this.source;
  }

  valueOf() {
    return Number(this.source);
  }
}

const NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;

/** Return a JSON number that was typed: as a number where it fits, otherwise exact; undefined if it is none. */
export function number(text) {
  return NUMBER.test(text) ? fitting(Number(text), text) : undefined;
}

const fitting = (value, source) => (String(value) === source ? value : new Exact(source));

/** Parse JSON. Throws SyntaxError. */
export function parse(text) {
  // `context.source` is what was written; a browser that does not tell it yet shows what it can.
  return JSON.parse(text, (_, value, context) =>
    typeof value === "number" && context?.source !== undefined ? fitting(value, context.source) : value,
  );
}

/** Write JSON. indent: spaces per level; 0 for a single line. */
export function write(value, indent = 0, depth = 0) {
  if (value instanceof Exact) return value.source;
  if (value === null || typeof value !== "object") return JSON.stringify(value) ?? "null";
  const list = Array.isArray(value);
  const items = list
    ? value.map((item) => write(item, indent, depth + 1))
    : Object.entries(value)
        .filter(([, item]) => item !== undefined)
        .map(([key, item]) => `${JSON.stringify(key)}:${indent ? " " : ""}${write(item, indent, depth + 1)}`);
  const [open, close] = list ? "[]" : "{}";
  if (!items.length) return open + close;
  if (!indent) return open + items.join(",") + close;
  const pad = " ".repeat(indent * (depth + 1));
  return `${open}\n${pad}${items.join(`,\n${pad}`)}\n${" ".repeat(indent * depth)}${close}`;
}

/** Tell whether two values are written the same way. */
export function same(a, b) {
  return write(a) === write(b);
}
