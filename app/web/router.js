// Views by the address's fragment: `#/jobs?state=failed`. Only `/` is served; what is behind `#` never
// leaves the browser; a view with its filters can be reloaded, kept and shared.

/** Return what an address shows: the path's parts and the query. */
export function parseHash(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  return { parts: path.split("/").filter(Boolean).map(decoded), query: new URLSearchParams(query) };
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** Return the address of a view. parts: of its path. query: an object; what is empty is left out. */
export function toHash(parts, query = {}) {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    [value].flat().filter((item) => (item ?? "") !== "").forEach((item) => params.append(name, item));
  }
  const text = params.toString();
  return `#/${parts.map(encodeURIComponent).join("/")}${text ? `?${text}` : ""}`;
}

/** Change the address without a new entry in the history, and without telling anybody. */
export function replaceHash(hash, state = history.state) {
  history.replaceState(state, "", hash);
}

/** Go to another address. state: kept with the entry of the history. */
export function go(hash, state = null) {
  if (hash === location.hash) return;
  history.pushState(state, "", hash);
  window.dispatchEvent(new HashChangeEvent("hashchange"));
}

/**
 * Show views as the address says. views: by the first part of the path ("" for none), functions
 * (route, signal) that return {title, element, update?}. `signal` says that the view was left. A view that
 * has `update(route)` is told of a new query instead of being made anew.
 */
export function route(views, main, shown) {
  let left = null;
  let current = null;

  function change() {
    if (location.hash && !location.hash.startsWith("#/")) return; // a place on the page
    const next = parseHash(location.hash);
    const path = next.parts.join("/");
    if (current?.path === path && current.view.update) {
      current.view.update(next);
      return;
    }
    left?.abort();
    left = new AbortController();
    const name = next.parts[0] ?? "";
    const view = (Object.hasOwn(views, name) ? views[name] : views.missing)(next, left.signal);
    const first = current === null;
    current = { path, view };
    main.replaceChildren(view.element);
    shown(view, next, first);
  }

  window.addEventListener("hashchange", change);
  change();
}
