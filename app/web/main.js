// Puts the page together: header, theme, key, and the view that the address names.

import { asking, get, key } from "./api.js";
import { start as startClock } from "./clock.js";
import { connection, watch } from "./connection.js";
import { fill, h, say } from "./dom.js";
import { icon } from "./icons.js";
import { askForKey } from "./key.js";
import { replaceHash, route } from "./router.js";
import { jobView } from "./views/job.js";
import { jobsView } from "./views/jobs.js";
import { overview } from "./views/overview.js";
import { tasksView } from "./views/tasks.js";

const main = document.getElementById("main");

const VIEWS = {
  "": overview,
  jobs: (next, signal) => (next.parts.length > 1 ? jobView(next, signal) : jobsView(next, signal)),
  tasks: tasksView,
  missing: () => ({
    title: "Nothing here",
    element: h("div", { class: "trouble" }, h("h1", null, "There is nothing at this address"),
      h("p", null, h("a", { href: "#/" }, "Back to the overview"))),
  }),
};

function shown(view, { parts }, first) {
  document.title = `${view.title} · Errand`;
  const name = parts[0] ?? "overview";
  for (const link of document.querySelectorAll("nav a[data-view]")) {
    if (link.dataset.view === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  // A new page reads from its heading; at the very first the browser does that by itself.
  if (!first) {
    main.focus({ preventScroll: true });
    if (!history.state?.y) window.scrollTo(0, 0);
  }
}

// -- theme

const root = document.documentElement;
const themeButton = document.getElementById("theme");
const systemIsDark = matchMedia("(prefers-color-scheme: dark)");

const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : systemIsDark.matches);

function showTheme() {
  themeButton.setAttribute("aria-pressed", String(isDark()));
  themeButton.title = isDark() ? "Dark theme; switch to light" : "Light theme; switch to dark";
  fill(themeButton, icon(isDark() ? "moon" : "sun"));
}

function switchTheme() {
  root.dataset.theme = isDark() ? "light" : "dark";
  try {
    localStorage.setItem("errand.theme", root.dataset.theme);
  } catch {
    // It lasts as long as the page, then.
  }
  showTheme();
}

themeButton.addEventListener("click", switchTheme);
systemIsDark.addEventListener("change", showTheme);
showTheme();

// -- whose jobs these are

const keyButton = document.getElementById("key-button");

async function showTenant() {
  const { tenant } = await get("/queues");
  const element = document.getElementById("tenant");
  // Without keys there is one tenant, which need not be named.
  element.hidden = keyButton.hidden = !key.get();
  say(element, tenant);
  element.title = `The jobs of ${tenant}`;
}

keyButton.addEventListener("click", async () => {
  const before = key.get();
  key.forget();
  asking.refused = false;
  if (await askForKey()) location.reload();
  else if (before) {
    key.set(before);
    asking.wanted = asking.refused = false;
    connection.set("live");
  }
});

// -- places on the page

document.getElementById("skip").addEventListener("click", (event) => {
  // Its address would be taken for a view's.
  event.preventDefault();
  main.focus();
});

// Where a list was left: its rows come later than the browser would scroll.
history.scrollRestoration = "manual";
let scrolled;
addEventListener("scroll", () => {
  clearTimeout(scrolled);
  scrolled = setTimeout(() => replaceHash(location.hash || "#/", { ...history.state, y: Math.round(scrollY) }), 150);
}, { passive: true });

startClock();
route(VIEWS, main, shown);
showTenant().catch(() => {});
watch();
