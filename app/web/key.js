// The dialog that asks for an API key, once for all calls that need one at the time.

import { asking, call, key } from "./api.js";
import { connection } from "./connection.js";
import { h, say } from "./dom.js";

let open = null;

/**
 * Ask for a key. refused: the one that was not accepted; null if there was none. Resolves to whether
 * there is another.
 */
export function askForKey(refused = null) {
  // Another call has got a new key while this one was on its way.
  if (refused !== key.get() && key.get()) return Promise.resolve(true);
  if (asking.refused) return Promise.resolve(false);
  asking.wanted = true;
  connection.set("nokey");
  open ??= showDialog(refused).then(answered);
  return open;
}

function answered(given) {
  open = null;
  document.getElementById("key-button").hidden = false;
  asking.wanted = asking.refused = !given;
  connection.set("live");
  return given;
}

function showDialog(refused) {
  const field = h("input", { type: "password", id: "api-key", autocomplete: "off", required: true, spellcheck: "false",
    "aria-describedby": "api-key-help api-key-error", oninput: () => wrong("") });
  const error = h("p", { class: "field-error", id: "api-key-error", role: "alert" });
  const button = h("button", { type: "submit", class: "primary" }, "Use this key");
  const dialog = h(
    "dialog", { class: "dialog", "aria-labelledby": "api-key-title" },
    h("h2", { id: "api-key-title" }, "API key"),
    h("p", { id: "api-key-help" }, "This service has API keys. Yours is kept in this tab only, until it is closed."),
    h("form", { onsubmit: (event) => (event.preventDefault(), tryKey()) },
      h("div", { class: "field" }, h("label", { for: "api-key" }, "Key"), field, error),
      h("div", { class: "dialog-buttons" },
        h("button", { type: "button", onclick: () => dialog.close() }, "Not now"), button)),
  );

  function wrong(text) {
    say(error, text);
    field.setAttribute("aria-invalid", String(Boolean(text)));
  }

  async function tryKey() {
    button.disabled = true;
    try {
      await call("GET", "/queues", { key: field.value.trim() });
      key.set(field.value.trim());
      dialog.close("yes");
    } catch (problem) {
      wrong(problem.status === 401 ? "This key is not known." : problem.detail || problem.message);
      field.select();
    } finally {
      button.disabled = false;
    }
  }

  document.body.append(dialog);
  dialog.showModal();
  if (refused) wrong("The key of this tab is not known any more.");
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    }, { once: true });
  });
}

asking.forKey = askForKey;
