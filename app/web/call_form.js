// The form of a task: its arguments, and the options of the job.

import { fill, h } from "./dom.js";
import { ABSENT, JsonField, Unreadable } from "./fields.js";
import { ObjectField, TupleField } from "./form.js";
import { resolved } from "./schema.js";

/** The arguments of a call: {element, read() to {args?, kwargs?}, show({args, kwargs}), at(loc)}. */
export class ArgumentsForm {
  constructor(schema) {
    this.root = schema;
    this.schema = resolved(schema, schema);
    this.content = h("div");
    this.toggle = h("button", { type: "button", class: "quiet small", onclick: () => this.switch() });
    this.error = h("p", { class: "field-error", role: "alert" });
    this.element = h("div", { class: "arguments" }, this.content, this.toggle, this.error);
    this.use(this.made() ?? new RawArguments());
  }

  /** Return the form that the schema makes; null if it makes none. */
  made() {
    const { type, properties, additionalProperties: more, prefixItems } = this.schema;
    if (type === "object" && properties && typeof more !== "object") return new NamedArguments(this.schema, this.root);
    if (type === "object" && !properties && !more) return new NoArguments();
    if (type === "array" && prefixItems) return new PlacedArguments(this.schema, this.root);
    return null;
  }

  use(form) {
    this.form = form;
    fill(this.content, form.element);
    const raw = form instanceof RawArguments;
    this.toggle.hidden = raw && !this.made();
    fill(this.toggle, raw ? "Edit in fields" : "Edit as JSON");
  }

  /** Take what is in the form over into the other kind. */
  switch() {
    try {
      const call = this.form.read();
      fill(this.error);
      if (this.form instanceof RawArguments) this.show(call);
      else this.raw(call);
      if (this.form instanceof RawArguments === false) return;
      this.form.focus();
    } catch (error) {
      if (!(error instanceof Unreadable)) throw error;
    }
  }

  raw(call) {
    const form = new RawArguments();
    form.show(call);
    this.use(form);
  }

  /** Fill in a call; as JSON where the fields cannot show it. */
  show(call) {
    const form = this.made();
    try {
      form.show(call);
      this.use(form);
    } catch {
      this.raw(call);
    }
  }

  read() {
    return this.form.read();
  }

  at(loc) {
    return this.form.at(loc);
  }
}

/** By name, as most functions are called. */
class NamedArguments {
  constructor(schema, root) {
    this.names = Object.keys(schema.properties);
    this.fields = new ObjectField({ ...schema, title: undefined, description: undefined },
      { root, name: "Arguments", required: false, depth: 0 });
    this.element = this.fields.element;
    this.element.classList.add("top");
  }

  read() {
    const kwargs = this.fields.read();
    return Object.keys(kwargs).length ? { kwargs } : {};
  }

  show({ args = [], kwargs = {} }) {
    if (args.length > this.names.length) throw new RangeError("too many");
    this.fields.show({ ...Object.fromEntries(args.map((value, i) => [this.names[i], value])), ...kwargs });
  }

  at([root, ...rest]) {
    return root === "kwargs" ? this.fields.at(rest) : this.fields;
  }
}

/** By place, where a function takes no names. */
class PlacedArguments {
  constructor(schema, root) {
    this.fields = new TupleField(schema, { root, name: "Arguments", required: false, depth: 0 });
    this.element = this.fields.element;
    this.element.classList.add("top");
  }

  read() {
    return { args: this.fields.read() };
  }

  show({ args = [], kwargs = {} }) {
    if (Object.keys(kwargs).length) throw new RangeError("names");
    this.fields.show(args);
  }

  at([root, ...rest]) {
    return root === "args" ? this.fields.at(rest) : this.fields;
  }
}

/** A function without parameters. */
class NoArguments {
  element = h("p", { class: "note" }, "It takes no arguments.");

  read() {
    return {};
  }

  show({ args = [], kwargs = {} }) {
    if (args.length || Object.keys(kwargs).length) throw new RangeError("too many");
  }

  at() {
    return null;
  }
}

/** As JSON, for signatures that have no schema, and for whoever likes it better. */
class RawArguments {
  constructor() {
    this.args = new JsonField({ type: "array" }, { name: "Positional arguments", required: false });
    this.kwargs = new JsonField({ type: "object" }, { name: "Named arguments", required: false });
    this.element = h("div", { class: "group-fields" }, this.args.element, this.kwargs.element);
  }

  read() {
    const call = {};
    for (const name of ["args", "kwargs"]) {
      const value = this[name].read();
      if (value !== ABSENT) call[name] = value;
    }
    return call;
  }

  show({ args = [], kwargs = {} }) {
    if (args.length) this.args.show(args);
    if (Object.keys(kwargs).length) this.kwargs.show(kwargs);
  }

  at([root]) {
    return this[root] ?? null;
  }

  focus() {
    this.args.focus();
  }
}

const seconds = (description, rest = {}) => ({ type: "number", hint: "seconds", description, ...rest });

const known = (value) => (value === null ? {} : { default: value });

/** Return the fields of a job's options, with a task's own to begin with. */
export function optionsForm({ queue, priority, timeout, retry }) {
  const schema = {
    type: "object",
    titles: {
      queue: "Queue", priority: "Priority", delay: "Delay", run_at: "Run at", timeout: "Timeout",
      expires_in: "Expires in", key: "Unique key", tags: "Tags", retry: "Retries",
    },
    properties: {
      queue: { type: "string", format: "line", hint: "name", default: queue },
      priority: { type: "integer", hint: "-100 to 100", default: priority, description: "Higher runs first." },
      delay: seconds("Before it may run; not together with a time."),
      run_at: { type: "string", format: "date-time", hint: "your time", description: "It does not run before that." },
      timeout: seconds("That it may run.", known(timeout)),
      expires_in: seconds("Within which it has to start, or it is cancelled."),
      key: { type: "string", format: "line", hint: "name",
        description: "As long as a job of this task and key is not done, there is no second one." },
      tags: { type: "object", hint: "names and texts", additionalProperties: { type: "string", format: "line" } },
      retry: retrySchema(retry),
    },
  };
  return new ObjectField(schema, { root: schema, name: "Options", required: false, depth: 0 });
}

const retrySchema = (retry) => ({
  type: "object",
  hint: "when it fails",
  titles: {
    max_attempts: "Attempts", backoff: "First wait", factor: "Factor", max_backoff: "Longest wait", jitter: "Jitter",
  },
  properties: {
    max_attempts: { type: "integer", hint: "number", default: retry.max_attempts,
      description: "In all, the first included." },
    backoff: seconds("Before the second attempt.", known(retry.backoff)),
    factor: { type: "number", hint: "number", default: retry.factor,
      description: "By which each further wait is longer." },
    max_backoff: seconds("At most.", known(retry.max_backoff)),
    jitter: { type: "boolean", hint: "", default: retry.jitter,
      description: "Take off up to half of each wait, by chance." },
  },
});
