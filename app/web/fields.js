// Fields for single values. Each is {element, read(), show(value), say(text), at(place), focus()}:
// `read` returns the value, ABSENT if there is none, or throws Unreadable after it has said why;
// `at` returns the field that a fault's place leads to, itself if none within.

import { h, say, unique } from "./dom.js";
import { number, parse, same, write } from "./json.js";
import { wordsOf } from "./schema.js";
import { localText } from "./moments.js";

export const ABSENT = Symbol("absent");

/** What was typed cannot be sent. */
export class Unreadable extends Error {}

/** What a secret argument is shown as. */
const MASK = "***";

/** A labelled input, with what it takes, what is known of it, and what is wrong. */
export class Leaf {
  /** shown: what its label says where that is less than its name. */
  constructor(input, schema, { name, required, shown = null }) {
    this.input = input;
    this.schema = schema;
    const id = (input.id = unique("field"));
    const hint = h("span", { class: "hint", id: `${id}-hint` },
      [wordsOf(schema), required && "required"].filter(Boolean).join(", "));
    this.error = h("p", { class: "field-error", id: `${id}-error` });
    input.setAttribute("aria-describedby", `${hint.id} ${this.error.id}`);
    if (shown !== null) input.setAttribute("aria-label", name);
    input.addEventListener("input", () => this.say(""));
    this.element = h("div", { class: "field" },
      h("div", { class: "field-head" }, h("label", { for: id }, shown ?? name), hint),
      schema.description && h("p", { class: "field-help" }, schema.description),
      this.box(), this.error);
  }

  box() {
    return this.input;
  }

  say(text) {
    say(this.error, text);
    if (text) this.input.setAttribute("aria-invalid", "true");
    else this.input.removeAttribute("aria-invalid");
  }

  at() {
    return this;
  }

  focus() {
    this.input.focus();
  }

  unreadable(text) {
    this.say(text);
    throw new Unreadable(text);
  }
}

/** A text; an empty one is a text too. */
export class TextField extends Leaf {
  constructor(schema, options) {
    const lines = !schema.format && !(schema.maxLength < 100) && !schema.pattern;
    const attributes = { spellcheck: "false", autocomplete: "off" };
    super(lines ? h("textarea", { rows: 1, ...attributes }) : h("input", { type: "text", ...attributes }), schema,
      options);
  }

  read() {
    return this.input.value;
  }

  show(value) {
    this.input.value = typeof value === "string" ? value : write(value);
  }
}

/** A secret: it is never shown again, so it has to be typed each time. */
export class SecretField extends Leaf {
  constructor(schema, options) {
    super(h("input", { type: "password", autocomplete: "off" }), { ...schema, format: "password" }, options);
  }

  read() {
    const text = this.input.value;
    if (!text) return ABSENT;
    return this.schema.type === "string" || this.schema.type === undefined ? text : (number(text) ?? text);
  }

  show(value) {
    if (value === MASK) this.say("It is secret: type it again.");
    else this.input.value = String(value);
  }
}

/** A number. What is none is sent as text: the service says what is wrong with it. */
export class NumberField extends Leaf {
  constructor(schema, options) {
    super(h("input", { type: "text", inputmode: schema.type === "integer" ? "numeric" : "decimal",
      autocomplete: "off", class: "short" }), schema, options);
  }

  read() {
    const text = this.input.value.trim();
    return text === "" ? ABSENT : (number(text) ?? text);
  }

  show(value) {
    this.input.value = typeof value === "string" ? value : write(value);
  }
}

/** Yes or no: a box if it has a value to begin with, otherwise a choice. */
export class BooleanField extends Leaf {
  constructor(schema, options) {
    const known = typeof schema.default === "boolean";
    super(known ? h("input", { type: "checkbox" })
      : h("select", null, h("option", { value: "" }, "Choose"),
        h("option", { value: "true" }, "Yes"), h("option", { value: "false" }, "No")), schema, options);
    this.known = known;
    if (known) this.element.classList.add("field-check");
  }

  read() {
    if (this.known) return this.input.checked;
    return this.input.value === "" ? ABSENT : this.input.value === "true";
  }

  show(value) {
    if (this.known) this.input.checked = value === true;
    else this.input.value = String(value);
  }
}

/** One of a few values. */
export class ChoiceField extends Leaf {
  constructor(schema, options) {
    const values = schema.enum ?? [schema.const];
    super(h("select", null,
      h("option", { value: "" }, "Choose"),
      values.map((value, i) => h("option", { value: String(i) }, typeof value === "string" ? value : write(value)))),
    schema, options);
    this.values = values;
    if (values.length === 1 && options.required) this.input.value = "0";
  }

  read() {
    return this.input.value === "" ? ABSENT : this.values[Number(this.input.value)];
  }

  show(value) {
    const index = this.values.findIndex((known) => same(known, value));
    this.input.value = index < 0 ? "" : String(index);
  }
}

const INPUTS = {
  date: { type: "date" }, time: { type: "time", step: 1 }, "date-time": { type: "datetime-local", step: 1 },
};

export const isMoment = (schema) => schema.format in INPUTS;

/** A date, a time, or both: those with a zone in the reader's own, and sent with it. */
export class MomentField extends Leaf {
  constructor(schema, options) {
    super(h("input", INPUTS[schema.format]), schema, options);
  }

  read() {
    const text = this.input.value;
    if (text === "") return ABSENT;
    return this.input.type === "datetime-local" ? new Date(text).toISOString() : text;
  }

  show(value) {
    const text = String(value);
    const zoned = this.input.type === "datetime-local" && /(Z|[+-]\d\d:\d\d)$/.test(text)
      && !Number.isNaN(Date.parse(text));
    this.input.value = zoned ? localText(new Date(text)) : text;
    // A field of its type would drop what it cannot show.
    if (this.input.value === "" || (!zoned && this.input.type === "datetime-local")) {
      this.input.type = "text";
      this.input.value = text;
    }
  }
}

/** Any JSON, as text. */
export class JsonField extends Leaf {
  constructor(schema, options) {
    super(h("textarea", { rows: 3, class: "code", spellcheck: "false", autocomplete: "off", placeholder: "JSON" }),
      schema, options);
  }

  read() {
    const text = this.input.value.trim();
    if (text === "") return ABSENT;
    try {
      return parse(text);
    } catch (error) {
      return this.unreadable(`This is not JSON; a text needs quotes. ${error.message}`);
    }
  }

  show(value) {
    this.input.value = write(value, 2);
  }
}
