// Pictures of 16 units by 16, drawn with the text's colour. Each stands beside a word or has a name.

import { svg } from "./dom.js";

const PATHS = {
  pending: ["M8 4.5V8l2.3 1.6", "M8 1.8a6.2 6.2 0 1 0 0 12.4A6.2 6.2 0 0 0 8 1.8Z"],
  running: ["M5.6 4.2v7.6L11.8 8Z"],
  stopping: ["M4.8 4.8h6.4v6.4H4.8Z"],
  finished: ["M4.2 14V2.4h8L10.4 5.4l1.8 3h-8"],
  succeeded: ["m3.4 8.4 3 3 6.2-6.6"],
  failed: ["M8 4.4v4.4", "M8 11.4v.2", "M8 1.8a6.2 6.2 0 1 0 0 12.4A6.2 6.2 0 0 0 8 1.8Z"],
  cancelled: ["M8 1.8a6.2 6.2 0 1 0 0 12.4A6.2 6.2 0 0 0 8 1.8Z", "m3.8 12.2 8.4-8.4"],
  sun: ["M8 5.2a2.8 2.8 0 1 0 0 5.6 2.8 2.8 0 0 0 0-5.6Z",
    "M8 1.4v1.4M8 13.2v1.4M1.4 8h1.4M13.2 8h1.4M3.3 3.3l1 1M11.7 11.7l1 1M12.7 3.3l-1 1M4.3 11.7l-1 1"],
  moon: ["M13.4 9.8A5.8 5.8 0 0 1 6.2 2.6a5.8 5.8 0 1 0 7.2 7.2Z"],
  copy: ["M5.5 5.5V2.8h7.7v7.7h-2.7", "M2.8 5.5h7.7v7.7H2.8Z"],
  close: ["m4 4 8 8M12 4l-8 8"],
  next: ["m6 3.5 4.5 4.5L6 12.5"],
  back: ["M10 3.5 5.5 8l4.5 4.5"],
  plus: ["M8 3.5v9M3.5 8h9"],
};

/** Return a picture. It says nothing to those who listen: the word beside it does. */
export function icon(name) {
  return svg(
    "svg",
    { class: `icon icon-${name}`, viewBox: "0 0 16 16", width: 16, height: 16, "aria-hidden": "true",
      focusable: "false" },
    PATHS[name].map((d) => svg("path", { d })),
  );
}
