// Pieces that several views are made of.

import { asking } from "./api.js";
import { curlOf } from "./curl.js";
import { fill, h, unique } from "./dom.js";
import { bytes, cut } from "./format.js";
import { icon } from "./icons.js";
import { write } from "./json.js";

const SHOWN = 20000; // characters of a text that are shown until more is asked for

/** A panel with a heading. extra: what stands beside the heading. */
export function panel(title, { extra = null, level = 2, class: name = "" } = {}, ...children) {
  const id = unique("panel");
  return h(
    "section", { class: `panel ${name}`.trim(), "aria-labelledby": id },
    h("div", { class: "panel-head" }, h(`h${level}`, { id }, title), extra),
    ...children,
  );
}

/**
 * A table. columns: [{name, class?, hidden?}], hidden for a name that only listeners need. Returns
 * {element, body}. Roles are written out because the style makes cards of rows where there is little room.
 */
export function table(caption, columns, name = "") {
  const body = h("tbody", { role: "rowgroup" });
  const head = columns.map((column) =>
    h("th", { scope: "col", role: "columnheader", class: column.class },
      column.hidden ? h("span", { class: "visually-hidden" }, column.name) : (column.content ?? column.name)));
  const element = h(
    "table", { class: `table ${name}`.trim(), role: "table" },
    h("caption", { class: "visually-hidden" }, caption),
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, head)),
    body,
  );
  return { element, body };
}

/** A row's cell. label: its column's name, for where rows are cards. */
export const cell = (label, name, ...children) =>
  h("td", { role: "cell", class: name || null, "data-label": label }, ...children);

/** The cell that names its row. */
export const headCell = (label, name, ...children) =>
  h("th", { scope: "row", role: "rowheader", class: name || null, "data-label": label }, ...children);

/** A row. */
export const row = (attributes, ...cells) => h("tr", { role: "row", ...attributes }, ...cells);

/** Where a view is. above: [name, address]. */
export const crumbs = ([name, address], here) =>
  h("nav", { class: "crumbs", "aria-label": "Where this is" }, h("a", { href: address }, name), " / ",
    h("span", null, here));

/** An exception in a line: what its type does to the direction of writing ends with it. */
export const raised = ({ type, message }) => [h("bdi", null, cut(type, 100)), `: ${cut(message, 200)}`];

/** Something small to say instead of content. */
export const note = (...children) => h("p", { class: "note" }, ...children);

/** What is shown until there is something to show. */
export const loading = (what) => h("p", { class: "loading", role: "status" }, `Loading ${what}`);

/** What is shown instead of what could not be had. retry: called by its button. */
export function trouble(problem, retry) {
  if (problem.status === 401) return keyless();
  return h(
    "div", { class: "trouble", role: "alert" },
    h("p", null, h("strong", null, problem.title ?? "This page made a mistake")),
    h("p", null, problem.detail || (problem.title ? "" : String(problem.message))),
    retry && h("p", null, h("button", { type: "button", "data-again": problem.status === 0 || problem.status === 503,
      onclick: retry }, "Try again")),
  );
}

const keyless = () =>
  h("div", { class: "trouble keyless" },
    h("h2", null, "A key is needed"),
    h("p", null, "This service shows its jobs to those who have an API key. Whoever runs it can give you one."),
    h("button", { type: "button", class: "primary", onclick: enterKey }, "Enter a key"));

async function enterKey() {
  asking.refused = false;
  // All that was refused begins anew.
  if (await asking.forKey(null)) location.reload();
}

/** Say something that goes away by itself. text: or what an element takes. */
export function toast(text, kind = "good") {
  const element = h("p", { class: `toast toast-${kind}` }, text);
  document.getElementById("toasts").append(element);
  setTimeout(() => element.remove(), kind === "bad" ? 8000 : 4000);
}

/** Say that a call failed. */
export const toastProblem = (error) =>
  toast(error.status === 401 ? "A key is needed" : error.detail || error.title || String(error.message), "bad");

/** Put text on the clipboard; where that is not allowed, show it to be copied by hand. */
export async function copy(text, what, hint = "") {
  try {
    await navigator.clipboard.writeText(text);
    toast(`${what} copied${hint}`);
  } catch {
    const field = h("textarea", { readonly: true, rows: 6, value: text, "aria-label": what });
    await ask(`Copy the ${what.toLowerCase()}`, [field], { yes: "Done", no: null });
  }
}

/** Copy the command that submits. What is shown as *** is not known here. */
export function copyCommand(submission) {
  const command = curlOf(submission);
  copy(command, "Command", command.includes('"***"') ? "; put the secrets in place of ***" : "");
}

export const copyButton = (text, what) =>
  h("button", { type: "button", class: "icon-button small", "aria-label": `Copy ${what}`, title: `Copy ${what}`,
    onclick: () => copy(text(), what[0].toUpperCase() + what.slice(1)) }, icon("copy"));

/** Ask in a dialog. Resolves to whether it was answered by yes. no: null for no other answer. */
export function ask(title, content, { yes, no = "Keep as it is", danger = false }) {
  const id = unique("dialog");
  const dialog = h(
    "dialog", { class: "dialog", "aria-labelledby": id },
    h("h2", { id }, title),
    ...content,
    h("div", { class: "dialog-buttons" },
      no && h("button", { type: "button", autofocus: danger, onclick: () => dialog.close() }, no),
      h("button", { type: "button", class: danger ? "danger" : "primary", autofocus: !danger,
        onclick: () => dialog.close("yes") }, yes)),
  );
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    }, { once: true });
  });
}

/** A long text in a box that scrolls; a very long one is cut until all of it is asked for. */
export function textBox(text, label) {
  const pre = h("pre", { class: "box", tabindex: 0, role: "group", "aria-label": label });
  const code = h("code", null, text.slice(0, SHOWN));
  pre.append(code);
  if (text.length <= SHOWN) return h("div", { class: "box-outer" }, pre, copyButton(() => text, label));
  const more = h("button", { type: "button", class: "quiet",
    onclick: () => (fill(code, text), more.remove(), pre.focus()) },
    `Show all ${bytes(text.length)}`);
  return h("div", { class: "box-outer" }, pre, copyButton(() => text, label), more);
}

/** JSON, indented, with its names set off. */
export function jsonBox(value, label) {
  const text = write(value, 2);
  const box = textBox(text, label);
  if (text.length <= SHOWN) fill(box.querySelector("code"), setOff(text));
  return box;
}

function setOff(text) {
  // As `write` sets it: a name begins its line, and ends with a colon.
  return text.split(/^( *"(?:[^"\\]|\\.)*":)/m)
    .map((piece, i) => (i % 2 ? h("span", { class: "json-name" }, piece) : piece));
}

/** A command to paste into a terminal. */
export const commandBox = (text) => textBox(text, "command");

/** Facts: a list of names and values. pairs: [name, value]; null for none. */
export const facts = (pairs) =>
  h("dl", { class: "facts" },
    pairs.filter(Boolean).map(([name, ...value]) => h("div", null, h("dt", null, name), h("dd", null, ...value))));

/** A bar of progress. Returns {element, show(progress)}; hidden for null. */
export function progressBar(label) {
  const fillBar = h("div", { class: "progress-fill" });
  const track = h("div", { class: "progress-track", role: "progressbar", "aria-label": label }, fillBar);
  const words = h("div", { class: "progress-words" });
  const element = h("div", { class: "progress", hidden: true }, track, words);
  function show(progress) {
    element.hidden = !progress;
    if (!progress) return;
    const [done, total] = [Number(progress.done), Number(progress.total)];
    const known = progress.total !== null && total > 0;
    const share = known ? Math.min(1, Math.max(0, done / total)) : null;
    // Set by the object model, which the page's policy allows, as opposed to a style attribute.
    fillBar.style.width = known ? `${share * 100}%` : "35%";
    element.classList.toggle("unknown", !known);
    describe(track, progress, known);
    fill(words, h("span", { class: "progress-message" }, progress.message ?? ""),
      h("span", { class: "number" },
        known ? `${progress.done} of ${progress.total} · ${Math.floor(share * 100)} %` : `${progress.done} done`));
  }
  return { element, show };
}

function describe(track, progress, known) {
  track.setAttribute("aria-valuetext",
    [progress.message, known ? `${progress.done} of ${progress.total}` : `${progress.done}`]
    .filter(Boolean).join(", "));
  if (!known) return track.removeAttribute("aria-valuenow");
  track.setAttribute("aria-valuemin", "0");
  track.setAttribute("aria-valuemax", String(progress.total));
  track.setAttribute("aria-valuenow", String(progress.done));
}
