// The filters of a list of jobs: as fields, in the address, and as the API takes them.

import { getIfThere } from "../api.js";
import { fill, h, say } from "../dom.js";
import { icon } from "../icons.js";
import { localText } from "../moments.js";

const STATES = ["pending", "running", "finished", "cancelled"];
const OUTCOMES = ["succeeded", "failed", "cancelled"];
const NAMES = ["state", "outcome", "task", "queue", "tag", "created_after", "created_before", "q"];
const PATIENCE = 350; // milliseconds after the last key
const OFFERED = 1000; // names

/** Return the filters that an address has: an object of texts, `tag` a list of them. */
export function valuesOf(query) {
  const values = {};
  for (const name of NAMES) {
    const found = query.getAll(name).filter(Boolean);
    if (found.length) values[name] = name === "tag" ? found : found[0];
  }
  return values;
}

/** Return the filters as a query of the API's, which is the address's too. */
export const queryOf = (values) => ({ ...values });

/** Those for the stream of events: jobs enter and leave a state while looked at. */
export function streamQueryOf({ state, outcome, ...others }) {
  return others;
}

/** Tell whether an event's job has the state and outcome asked for; the service has looked at the rest. */
export function fits(values, event) {
  if (values.state && values.state !== event.state) return false;
  if (values.outcome && values.outcome !== event.outcome) return false;
  // Of all jobs only new ones are news.
  return values.state || values.outcome ? true : event.state === "pending" && event.attempt === 0 && event.run === 1;
}

/** Return the form: {element, show(values), fault(errors)}. change: called with the values when they are others. */
export function filterForm(values, change, signal) {
  const fields = makeFields();
  const clear = h("button", { type: "button", class: "quiet", onclick: () => (show({}), apply()) }, icon("close"),
    "Clear filters");
  // Only where there is little room; elsewhere the fields are always there.
  const more = h("button", { type: "button", class: "filters-more", "aria-expanded": "false",
    "aria-controls": "filters-fields",
    onclick: () => open(!element.classList.contains("open")) }, "Filters");
  let timer;

  function open(on) {
    element.classList.toggle("open", on);
    more.setAttribute("aria-expanded", String(on));
  }

  function apply() {
    clearTimeout(timer);
    const read = {};
    for (const [name, field] of Object.entries(fields)) {
      const value = field.read();
      if (field.fault()) return;
      if (value !== null && value.length) read[name] = value;
    }
    clear.hidden = !Object.keys(read).length;
    change(read);
  }

  function show(next) {
    for (const [name, field] of Object.entries(fields)) field.show(next[name] ?? null);
    clear.hidden = !Object.keys(next).length;
  }

  const element = h(
    "form", { class: "filters", role: "search", "aria-label": "Filter jobs",
      onsubmit: (event) => (event.preventDefault(), apply()),
      oninput: () => { clearTimeout(timer); timer = setTimeout(apply, PATIENCE); },
      onchange: apply },
    more,
    h("div", { class: "filters-fields", id: "filters-fields" }, Object.values(fields).map((field) => field.element)),
    clear);
  signal.addEventListener("abort", () => clearTimeout(timer));
  show(values);
  open(Object.keys(values).length > 0);
  suggest(fields, signal);
  return { element, show, fault: (errors) => errors.forEach(({ loc, msg }) => fields[loc[1]]?.say(msg)) };
}

function makeFields() {
  return {
    state: new Field("State", choice(STATES)),
    outcome: new Field("Outcome", choice(OUTCOMES)),
    task: new Field("Task", textField("filter-tasks")),
    queue: new Field("Queue", textField("filter-queues")),
    tag: new TagField("Tag", textField(null, "key:value")),
    created_after: new TimeField("Created after", moment()),
    created_before: new TimeField("Created before", moment()),
    q: new Field("Search", h("input", { type: "search", placeholder: "id or part of a task", autocomplete: "off" })),
  };
}

const choice = (options) =>
  h("select", null, h("option", { value: "" }, "Any"),
    options.map((option) => h("option", { value: option }, option[0].toUpperCase() + option.slice(1))));

const textField = (list, placeholder = "Any") =>
  h("input", { type: "text", list, placeholder, autocomplete: "off", spellcheck: "false" });

const moment = () => h("input", { type: "datetime-local" });

/** A labelled input. */
class Field {
  constructor(label, input) {
    this.input = input;
    const id = `filter-${label.toLowerCase().replace(" ", "-")}`;
    this.error = h("p", { class: "field-error", id: `${id}-error` });
    input.id = id;
    input.setAttribute("aria-describedby", this.error.id);
    const list = input.getAttribute("list");
    this.element = h("div", { class: `filter ${id}` }, h("label", { for: id }, label), input,
      list && h("datalist", { id: list }), this.error);
  }

  read() {
    this.say("");
    return this.input.value.trim() || null;
  }

  show(value) {
    this.say("");
    // What is being typed is not overwritten by what was read from it.
    if (this.read() !== value) this.input.value = value ?? "";
  }

  /** Say what is wrong; nothing for "". */
  say(text) {
    say(this.error, text);
    this.input.toggleAttribute("aria-invalid", Boolean(text));
  }

  fault() {
    return this.error.textContent;
  }
}

/** Tags, separated by commas: `team:books, env:test`. A value may have a comma, no colon after it. */
class TagField extends Field {
  read() {
    this.say("");
    const tags = this.input.value.split(/,(?=[^,:]+:)/).map((tag) => tag.trim()).filter(Boolean);
    if (tags.some((tag) => !/^[^:]+:/.test(tag))) this.say("Written key:value");
    return tags;
  }

  show(tags) {
    if ((this.read() ?? []).join() !== (tags ?? []).join()) this.input.value = (tags ?? []).join(", ");
    this.say("");
  }
}

/** A moment: the reader's own time in the field, UTC in the address. */
class TimeField extends Field {
  read() {
    this.say("");
    if (this.input.validity?.badInput) return null;
    return this.input.value ? new Date(this.input.value).toISOString() : null;
  }

  show(iso) {
    this.say("");
    const moment = new Date(iso ?? NaN);
    const value = Number.isNaN(moment.getTime()) ? "" : localText(moment);
    if (this.input.value !== value) this.input.value = value;
  }
}

/** Offer the names that there are. It does not matter when they cannot be had. */
async function suggest(fields, signal) {
  try {
    const [tasks, queues] = await Promise.all([getIfThere("/tasks", { signal }), getIfThere("/queues", { signal })]);
    offer(fields.task, (tasks?.tasks ?? []).map((task) => task.name));
    offer(fields.queue, (queues?.queues ?? []).map((queue) => queue.name));
  } catch {
    // The fields take any text.
  }
}

const offer = (field, names) => fill(field.element.querySelector("datalist"),
  names.slice(0, OFFERED).map((name) => h("option", { value: name })));
