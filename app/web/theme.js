// Which theme the page has: the one that was chosen here before, or else the system's.
// A classic script, run before anything is painted; `main.js` does the rest.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("errand.theme");
  } catch {
    // Storage may be forbidden; then the choice lasts as long as the page.
  }
  if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
})();
