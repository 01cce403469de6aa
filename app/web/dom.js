// Makes elements. Text is only ever set as text, and addresses are looked at: whatever a job
// contains (names, arguments, results, exceptions, logs) can never become markup or a script.

const SVG = "http://www.w3.org/2000/svg";
// Set as properties: the attribute of the same name is only where they begin.
const PROPERTIES = new Set(["value", "checked", "indeterminate", "selected", "disabled", "hidden", "open", "required"]);

/**
 * Make an HTML element.
 * attributes: an object or null. A function is a listener (`onclick`); null, undefined and false leave
 * the attribute out, true sets it empty. children: nodes, texts, lists of them; not null and false.
 */
export function h(name, attributes, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** Make an SVG element; see `h`. */
export function svg(name, attributes, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) set(element, name, value);
  element.append(...nodes(children));
  return element;
}

/** Set one attribute as `h` does. Throws for what could run code or break the page's policy. */
export function set(element, name, value) {
  if (typeof value === "function") element.addEventListener(name.slice(2), value);
  else if (PROPERTIES.has(name) && element.namespaceURI !== SVG) element[name] = value ?? "";
  else if (value === null || value === undefined || value === false) element.removeAttribute(name);
  else element.setAttribute(checked(name), name === "href" ? address(value) : value === true ? "" : String(value));
}

function checked(name) {
  // A listener's text would be code; a style attribute is refused by the policy.
  if (name.startsWith("on") || name === "style") throw new TypeError(`the attribute ${name} is not set from text`);
  return name;
}

/** Return an address of this page, or of what it has made itself. Throws for any other. */
function address(value) {
  if (!/^(#|blob:)/.test(value)) throw new TypeError("an address leads elsewhere");
  return value;
}

/** Flatten what `h` takes for children. */
function nodes(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}

/** Put these in place of what an element contains. */
export function fill(element, ...children) {
  element.replaceChildren(...nodes(children));
  return element;
}

/**
 * Put these elements in place of what an element contains. Those that it contains already do not leave it:
 * out of the document they would lose the focus, and a click that has begun on them.
 */
export function arrange(element, wanted) {
  const kept = new Set(wanted);
  for (const child of [...element.children]) if (!kept.has(child)) child.remove();
  // By neighbours: a place by its number is counted anew after each change.
  let next = element.firstElementChild;
  for (const child of wanted) {
    if (child === next) next = next.nextElementSibling;
    else element.insertBefore(child, next);
  }
}

/**
 * Return a function that shows a list of [key, value] in an element. make(value): {element, show?(value)}; what
 * bears a key that was there before is shown anew, not made anew.
 */
export function keyed(parent, make) {
  let kept = new Map();
  return (entries) => {
    const next = new Map();
    for (const [key, value] of entries) {
      const part = kept.get(key) ?? make(value);
      part.show?.(value);
      next.set(key, part);
    }
    kept = next;
    arrange(parent, [...next.values()].map((part) => part.element));
  };
}

/** Set an element's text, unless it is that already: an unchanged page costs no layout. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Return a function (part, value, draw) that calls `draw` when the part's value is another than before: what is
 * selected in a part, or opened, stays so as long as it shows the same.
 */
export function changes() {
  const drawn = {};
  return (part, value, draw) => {
    const text = JSON.stringify(value);
    if (drawn[part] === text) return;
    drawn[part] = text;
    draw();
  };
}

let last = 0;

/** Return an id that no other element has. */
export function unique(prefix) {
  last += 1;
  return `${prefix}-${last}`;
}
