// The functions that can be called, and a form that calls each.

import { get, getIfThere, isAbort, jobPath, submitJob } from "../api.js";
import { ArgumentsForm, optionsForm } from "../call_form.js";
import { submissionOf } from "../curl.js";
import { fill, h } from "../dom.js";
import { Unreadable } from "../fields.js";
import { duration, plural, shortId } from "../format.js";
import { copyCommand, crumbs, facts, loading, note, panel, toast, trouble } from "../parts.js";
import { go, toHash } from "../router.js";

/** Return the view. */
export function tasksView(route, signal) {
  const view = new TasksView(route.parts[1] ?? null, route.query.get("from"), signal);
  return { title: route.parts[1] ?? "Tasks", element: view.element };
}

class TasksView {
  constructor(name, from, signal) {
    this.name = name;
    this.from = from;
    this.signal = signal;
    this.list = h("nav", { class: "task-list", "aria-label": "All tasks" }, loading("tasks"));
    this.detail = h("div", { class: "task-detail stack" });
    this.element = h("div", { class: `view tasks ${name ? "has-task" : ""}`.trim() },
      name ? crumbs(["Tasks", "#/tasks"], name) : h("div", { class: "view-head" }, h("h1", null, "Tasks")),
      h("div", { class: "task-columns" }, this.list, this.detail));
    this.load();
  }

  async load() {
    try {
      // Exact numbers: a default, or an argument of the job to be repeated, may be one.
      const [{ tasks }, job] = await Promise.all([
        get("/tasks", { signal: this.signal, exact: true }),
        this.from && getIfThere(jobPath(this.from), { signal: this.signal, exact: true }),
      ]);
      if (this.from && !job) toast("The job to begin with is no longer there", "bad");
      this.show(tasks, job || null);
    } catch (error) {
      if (isAbort(error)) return;
      fill(this.list);
      fill(this.detail, this.name && h("h1", null, this.name), trouble(error, () => this.load()));
    }
  }

  show(tasks, job) {
    fill(this.list, tasks.length
      ? h("ul", null, tasks.map((task) => this.item(task)))
      : note("No tasks. Name modules with tasks in ERRAND_TASKS when the service starts."));
    if (this.name === null) return fill(this.detail);
    const task = tasks.find(({ name }) => name === this.name);
    if (task) return fill(this.detail, taskPanel(task), new SubmitForm(task, job).element);
    return fill(this.detail, h("div", { class: "trouble" }, h("h1", null, this.name),
      h("p", null, "No task of this name is registered in this service.")));
  }

  item(task) {
    const first = task.doc.split("\n")[0];
    return h("li", null,
      h("a", { href: toHash(["tasks", task.name]), "aria-current": task.name === this.name ? "page" : null,
        class: "name" }, task.name),
      // Beside an open task there is room for names only.
      this.name === null && [first && h("span", { class: "task-doc" }, first),
        h("span", { class: "task-kind" }, `Runs ${runs(task)}, queue ${task.options.queue}`)]);
  }
}

const RUNS = { thread: "in a thread", process: "in a process of its own", coroutine: "without a thread of its own" };

const runs = ({ executor }) => RUNS[executor] ?? `as ${executor}`;

function taskPanel(task) {
  const { options } = task;
  return h("div", { class: "task-head" },
    h("h1", null, task.name),
    task.doc && h("p", { class: "doc" }, task.doc),
    facts([
      ["Runs", runs(task)],
      ["Queue", options.queue],
      options.timeout !== null && ["Timeout", duration(Number(options.timeout))],
      ["Attempts", String(options.retry.max_attempts)],
      options.max_running !== null && ["At a time",
        `${options.max_running}${options.limit_key ? ` for each ${options.limit_key}` : ""}`],
      ["Jobs", h("a", { href: toHash(["jobs"], { task: task.name }) }, "See its jobs")],
    ]));
}

class SubmitForm {
  /** job: one whose arguments and options are filled in; null for none. */
  constructor(task, job) {
    this.task = task;
    this.call = new ArgumentsForm(task.parameters);
    this.options = optionsForm(task.options);
    this.options.element.classList.add("top");
    this.errors = h("div", { class: "form-errors", role: "alert", tabindex: -1, hidden: true });
    this.button = h("button", { type: "submit", class: "primary" }, "Submit");
    const more = h("details", { class: "options" }, h("summary", null, "Options"), this.options.element);
    this.more = more;
    const form = h("form", { novalidate: true, onsubmit: (event) => (event.preventDefault(), this.submit()),
      onkeydown: (event) => this.pressed(event) },
      this.errors, this.call.element, more,
      h("div", { class: "form-buttons" }, this.button,
        h("button", { type: "button", onclick: () => this.copy() }, "Copy as curl")));
    const title = job ? ["Submit again, like ",
      h("a", { href: toHash(["jobs", job.id]) }, shortId(job.id))] : "Submit a job";
    this.element = panel(title, { class: "submit-panel" }, form);
    if (job) this.fillIn(job);
  }

  fillIn(job) {
    this.call.show(job);
    const { task, args, kwargs, ...options } = submissionOf(job);
    const own = this.task.options;
    // What the task would give it anyway is left to the task.
    for (const name of ["queue", "priority", "timeout"]) if (options[name] === own[name]) delete options[name];
    if (options.retry?.max_attempts === own.retry.max_attempts) delete options.retry;
    this.options.show(options);
    this.more.open = Object.keys(options).length > 0;
  }

  pressed(event) {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.submit();
  }

  /** Return the submission; null when something in the form cannot be read, which its field says. */
  read() {
    this.clear();
    try {
      return { task: this.task.name, ...this.call.read(), ...this.options.read() };
    } catch (error) {
      if (!(error instanceof Unreadable)) throw error;
      this.element.querySelector("[aria-invalid=true]")?.focus();
      return null;
    }
  }

  copy() {
    const submission = this.read();
    if (submission) copyCommand(submission);
  }

  async submit() {
    const submission = this.read();
    if (!submission || this.button.disabled) return;
    this.button.disabled = true;
    try {
      const job = await submitJob(submission);
      go(toHash(["jobs", job.id]));
    } catch (error) {
      this.fail(error);
    } finally {
      this.button.disabled = false;
    }
  }

  clear() {
    this.errors.hidden = true;
    for (const element of this.element.querySelectorAll("[aria-invalid]")) element.removeAttribute("aria-invalid");
    for (const element of this.element.querySelectorAll(".field-error")) element.textContent = "";
  }

  /** Say what is wrong: at its field where there is one, and above what has none. */
  fail(error) {
    const placed = [];
    const others = [];
    for (const fault of error.errors ?? []) {
      const field = this.fieldOf(fault.loc);
      if (field) {
        field.say(fault.msg);
        placed.push(field);
      } else others.push(fault);
    }
    const n = placed.length;
    const attention = n && `${plural(n, "field")} ${n === 1 ? "needs" : "need"} attention`;
    this.errors.hidden = false;
    fill(this.errors,
      h("p", null, h("strong", null, attention || (error.title ?? "It was not submitted"))),
      !placed.length && !others.length && h("p", null, error.detail || error.message),
      others.map((fault) => h("p", null, `${fault.loc.join(" / ")}: ${fault.msg}`)));
    if (placed.some((field) => this.more.contains(field.element))) this.more.open = true;
    (placed[0] ?? { focus: () => this.errors.focus() }).focus();
  }

  fieldOf(loc) {
    if (loc[0] === "args" || loc[0] === "kwargs") return this.call.at(loc);
    return this.options.parts.has(loc[0]) ? this.options.at(loc) : null;
  }
}
