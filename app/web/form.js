// Forms from JSON Schema: fields within fields, as deep as a schema goes; raw JSON where one is too odd.

import { h, say, unique } from "./dom.js";
import {
  ABSENT, BooleanField, ChoiceField, JsonField, MomentField, NumberField, SecretField, TextField, isMoment,
} from "./fields.js";
import { icon } from "./icons.js";
import { accepts, choicesOf, kindOf, resolved, wordsOf } from "./schema.js";

const DEEPEST = 5; // levels; a schema may contain itself

const FIELDS = { enum: ChoiceField, number: NumberField, boolean: BooleanField, json: JsonField };

/**
 * Return a field for a schema; see `fields.js` for what it can do.
 * options: {root: where references lead, name, required, depth, within: the objects around it, by their properties}.
 */
export function fieldOf(schema, options) {
  const found = resolved(schema, options.root);
  const field = bare(found, { depth: 0, ...options });
  if ("default" in found && found.default !== null) field.show(found.default);
  return field;
}

function bare(schema, options) {
  if (schema.writeOnly) return new SecretField(schema, options);
  const union = choicesOf(schema, options.root);
  if (union) return unionOf(schema, union, options);
  const kind = kindOf(schema);
  if (kind === "string") return isMoment(schema) ? new MomentField(schema, options) : new TextField(schema, options);
  if (FIELDS[kind] || options.depth >= DEEPEST) return new (FIELDS[kind] ?? JsonField)(schema, options);
  return new { object: ObjectField, map: MapField, list: ListField, tuple: TupleField }[kind](schema, options);
}

function unionOf(schema, { choices, nullable }, options) {
  const { anyOf, oneOf, type, ...beside } = schema;
  const own = choices.length === 1 ? { ...choices[0], ...beside } : null;
  // Texts under several rules are one text; whether a rule is kept, the service says.
  const text = !own && choices.every((choice) => kindOf(choice) === "string" && !isMoment(choice))
    && { ...beside, type: "string" };
  const make = () => (own || text ? bare(own || text, options) : new UnionField(beside, choices, options));
  if (!nullable) return make();
  const group = !text && (!own || isGroup(own, options));
  return new Nullable(make, schema, { ...options, group, again: own && isWithin(own, options) });
}

function isGroup(schema, { root, depth }) {
  const kind = kindOf(schema);
  if (schema.writeOnly) return false;
  return choicesOf(schema, root) !== null || (kind !== "string" && !FIELDS[kind] && depth < DEEPEST);
}

/** Tell whether an object is within one of its own kind. */
const isWithin = (schema, { within = [] }) => within.includes(schema.properties);

const inside = (options, name, required = true, shown = null) =>
  ({ root: options.root, name, required, shown, depth: options.depth + 1, within: options.within });

/** Tell those around that something was changed other than by typing. */
const touch = (element) => element.dispatchEvent(new Event("change", { bubbles: true }));

/** A group of fields under one name. */
class Group {
  constructor(schema, options, content, { words = wordsOf(schema) } = {}) {
    this.schema = schema;
    this.error = h("p", { class: "field-error", id: unique("group-error") });
    this.element = h("fieldset", { class: "group", "aria-describedby": this.error.id },
      h("legend", null, options.name, h("span", { class: "hint" }, ` ${words}${options.required ? ", required" : ""}`)),
      schema.description && h("p", { class: "field-help" }, schema.description),
      content, this.error);
  }

  say(text) {
    say(this.error, text);
  }

  at() {
    return this;
  }

  focus() {
    this.element.querySelector("input, textarea, select, button")?.focus();
  }
}

/** A field's value, or null. */
class Nullable {
  /** make(): the field. options.group: whether it is one. options.again: whether it is within its like. */
  constructor(make, schema, options) {
    this.make = make;
    // A group of fields is in the way as long as it is not wanted.
    this.hides = options.group;
    this.box = h("input", { type: "checkbox", "aria-label": `${options.name} is null`, onchange: () => this.hide() });
    this.box.checked = schema.default === null || (!("default" in schema) && (!options.required || options.again));
    this.element = h("div", { class: this.hides ? "nullable-group" : "nullable",
      // Whoever types something means it.
      oninput: (event) => event.target !== this.box && (this.box.checked = false) },
    h("label", { class: "check" }, this.box, this.hides ? `${options.name} is null` : "null"));
    this.hide();
  }

  /** Made when it is wanted: one that contains its like may have any number of fields. */
  get field() {
    if (!this.made) {
      this.made = this.make();
      this.element.prepend(this.made.element);
      this.hide();
    }
    return this.made;
  }

  hide() {
    const hidden = this.hides && this.box.checked;
    if (this.made || !hidden) this.field.element.hidden = hidden;
  }

  read() {
    return this.box.checked ? null : this.field.read();
  }

  show(value) {
    this.box.checked = value === null;
    this.hide();
    if (value !== null) this.field.show(value);
  }

  say(text) {
    this.field.say(text);
  }

  at(place) {
    return this.field.at(place);
  }

  focus() {
    this.field.focus();
  }
}

/** Named fields. One that is not required is left out until somebody touches it: the default holds. */
export class ObjectField extends Group {
  constructor(schema, options) {
    const content = h("div", { class: "group-fields" });
    super(schema, options, content);
    const required = new Set(schema.required ?? []);
    this.parts = new Map();
    const around = { ...options, within: [...(options.within ?? []), schema.properties] };
    for (const [name, property] of Object.entries(schema.properties)) {
      const field = fieldOf(property, inside(around, schema.titles?.[name] ?? name, required.has(name)));
      const part = { field, touched: required.has(name) };
      for (const type of ["input", "change"]) field.element.addEventListener(type, () => (part.touched = true));
      this.parts.set(name, part);
      content.append(field.element);
    }
  }

  read() {
    // Assigned one by one, `__proto__` would not be a member.
    return Object.fromEntries([...this.parts]
      .map(([name, { field, touched }]) => [name, touched ? field.read() : ABSENT])
      .filter(([, value]) => value !== ABSENT));
  }

  /** Throws RangeError for what there is no field for. */
  show(value) {
    for (const [name, own] of Object.entries(value)) {
      const part = this.parts.get(name);
      if (!part) throw new RangeError(name);
      part.field.show(own);
      part.touched = true;
    }
  }

  at([name, ...rest]) {
    const part = this.parts.get(name);
    return part ? part.field.at(rest) : this;
  }
}

/** Any number of fields of the same kind. */
class ListField extends Group {
  constructor(schema, options) {
    const list = h("div", { class: "group-fields" });
    const add = h("button", { type: "button", class: "small", "aria-label": `Add to ${options.name}`,
      onclick: () => (this.add().focus(), touch(this.element)) }, icon("plus"), "Add");
    super(schema, options, [list, add]);
    Object.assign(this, { list, adder: add, options, items: [] });
    // Something to type into; left empty, it is not there.
    if (options.required && kindOf(resolved(schema.items ?? {}, options.root)) === "string") this.blank = this.add();
  }

  add() {
    const item = this.make(this.items.length);
    const remove = h("button", {
      type: "button", class: "icon-button small", "aria-label": `Remove ${item.name}`, title: "Remove",
      onclick: () => this.remove(item),
    }, icon("close"));
    item.element = h("div", { class: "item" }, item.content, remove);
    this.items.push(item);
    this.list.append(item.element);
    return item;
  }

  make(index) {
    const name = `${this.options.name} ${index + 1}`;
    const field = fieldOf(this.schema.items, inside(this.options, name));
    return { name, field, content: field.element, focus: () => field.focus() };
  }

  remove(item) {
    this.items.splice(this.items.indexOf(item), 1);
    item.element.remove();
    touch(this.element);
    this.adder.focus();
  }

  clear() {
    this.items = [];
    this.list.replaceChildren();
  }

  read() {
    return this.items.map((item) => [item, item.field.read()])
      .filter(([item, value]) => value !== ABSENT && !(item === this.blank && value === "")).map(([, value]) => value);
  }

  show(values) {
    if (!Array.isArray(values)) throw new RangeError("not a list");
    this.clear();
    for (const value of values) this.add().field.show(value);
  }

  at([index, ...rest]) {
    return this.items[index]?.field.at(rest) ?? this;
  }
}

/** Any number of fields, each under a name of its own. */
class MapField extends ListField {
  make(index) {
    const name = `${this.options.name} ${index + 1}`;
    const key = new TextField({ type: "string", format: "line", hint: "" },
      { name: `Name of ${name}`, required: false, shown: "Name" });
    const field = fieldOf(this.schema.additionalProperties, inside(this.options, `Value of ${name}`, false, "Value"));
    return { name, key, field, content: h("div", { class: "pair" }, key.element, field.element),
      focus: () => key.focus() };
  }

  read() {
    const members = new Map();
    for (const { key, field } of this.items) {
      const name = key.read();
      if (members.has(name)) key.unreadable("This name is there already.");
      const value = field.read();
      if (value !== ABSENT) members.set(name, value);
    }
    return Object.fromEntries(members);
  }

  show(value) {
    this.clear();
    for (const [name, own] of Object.entries(value)) {
      const item = this.add();
      item.key.show(name);
      item.field.show(own);
    }
  }

  at([name, ...rest]) {
    return this.items.find((item) => item.key.read() === name)?.field.at(rest) ?? this;
  }
}

/** A fixed number of fields in a row, and perhaps more of the same kind. */
export class TupleField extends Group {
  constructor(schema, options) {
    const least = schema.minItems ?? schema.prefixItems.length;
    const fields = schema.prefixItems.map((item, i) =>
      fieldOf(item, inside(options, resolved(item, options.root).title ?? `${options.name} ${i + 1}`, i < least)));
    const rest = schema.items && typeof schema.items === "object"
      ? new ListField({ type: "array", items: schema.items }, inside(options, "more", false)) : null;
    super(schema, options, h("div", { class: "group-fields" }, fields.map((field) => field.element), rest?.element));
    Object.assign(this, { fields, rest });
  }

  read() {
    const values = this.fields.map((field) => field.read());
    // What is missing at the end is left out; before others it cannot be.
    while (values.at(-1) === ABSENT) values.pop();
    return [...values.map((value) => (value === ABSENT ? null : value)), ...(this.rest?.read() ?? [])];
  }

  show(values) {
    const n = this.fields.length;
    if (!Array.isArray(values) || (values.length > n && !this.rest)) throw new RangeError("too many");
    values.slice(0, n).forEach((value, i) => this.fields[i].show(value));
    this.rest?.show(values.slice(n));
  }

  at([index, ...rest]) {
    if (index < this.fields.length) return this.fields[index].at(rest);
    return this.rest?.at([index - this.fields.length, ...rest]) ?? this;
  }
}

/** One of several kinds of values. */
class UnionField extends Group {
  constructor(schema, choices, options) {
    const place = h("div");
    const select = h("select", { "aria-label": `Kind of ${options.name}`,
      onchange: () => this.choose(Number(select.value)) },
      choices.map((choice, i) => h("option", { value: String(i) }, choice.title ?? wordsOf(choice))));
    super(schema, options, [h("div", { class: "field" }, select), place], { words: "one of several kinds" });
    Object.assign(this, { place, select, choices, options });
    this.choose(Math.max(0, choices.findIndex((choice) => !isWithin(choice, options))));
  }

  choose(index) {
    this.select.value = String(index);
    this.field = fieldOf(this.choices[index], inside(this.options, this.options.name));
    this.place.replaceChildren(this.field.element);
  }

  read() {
    return this.field.read();
  }

  show(value) {
    const index = this.choices.findIndex((choice) => accepts(choice, value));
    if (index < 0) throw new RangeError("none fits");
    this.choose(index);
    this.field.show(value);
  }

  /** A fault's place names the kind before what is within. */
  at([, ...rest]) {
    return this.field.at(rest);
  }
}
