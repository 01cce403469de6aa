// Calls of the service's own HTTP API, with the key if there is one, and its problems as errors.

import { heard } from "./clock.js";
import { parse, write } from "./json.js";

const KEPT = "errand.key";

/** What went wrong, as RFC 9457 has it. status: 0 when the service could not be reached at all. */
export class Problem extends Error {
  constructor(status, { title = "It did not work", detail = "", errors = [], type = "" } = {}) {
    super(detail || title);
    this.status = status;
    this.title = title;
    this.detail = detail;
    this.errors = errors;
    this.kind = type.split("/").pop();
  }
}

/** The key of this tab. It lives as long as the tab does, and no other site can read it. */
export const key = {
  get: () => sessionStorage.getItem(KEPT),
  set: (value) => sessionStorage.setItem(KEPT, value),
  forget: () => sessionStorage.removeItem(KEPT),
};

/**
 * forKey: set by the page; asks for a key, and resolves to whether there is another one now. wanted: whether one
 * is needed. refused: whether somebody did not want to give one; then nobody is asked again by what the page does
 * by itself.
 */
export const asking = { forKey: async () => false, wanted: false, refused: false };

/**
 * Ask the service. Returns the Response of a success (304 is one). body: sent as JSON. Throws Problem, and
 * AbortError when the signal says so. A 401 asks for a key and then tries again.
 */
export async function call(method, path, { body, signal, headers = {}, key: other } = {}) {
  for (;;) {
    const used = other ?? key.get();
    const response = await send(method, path, body, signal, headers, used);
    heard(response.headers.get("date"));
    if (response.ok || response.status === 304) return response;
    const problem = await problemOf(response);
    if (response.status !== 401 || other !== undefined || !(await asking.forKey(used))) throw problem;
    signal?.throwIfAborted();
  }
}

async function send(method, path, body, signal, headers, used) {
  const sent = { ...headers };
  if (used) sent.Authorization = `Bearer ${used}`;
  if (body !== undefined) sent["Content-Type"] = "application/json";
  try {
    return await fetch(path, {
      method, signal, headers: sent, body: body === undefined ? undefined : write(body), cache: "no-store",
    });
  } catch (error) {
    if (signal?.aborted || error.name === "AbortError") throw new DOMException("left", "AbortError");
    throw new Problem(0, { title: "The service cannot be reached", detail: "It is stopped, or the network is down." });
  }
}

async function problemOf(response) {
  try {
    return new Problem(response.status, await response.json());
  } catch {
    // A proxy's page, perhaps.
    return new Problem(response.status, { title: `The answer was ${response.status} ${response.statusText}` });
  }
}

/** GET a document. exact: numbers are kept as they were written (see `json.js`). */
export async function get(path, { exact = false, ...options } = {}) {
  const response = await call("GET", path, options);
  return exact ? parse(await response.text()) : response.json();
}

/** GET a document that this service may not have: null if it has not. */
export async function getIfThere(path, options) {
  try {
    return await get(path, options);
  } catch (error) {
    if (error.status === 404) return null;
    throw error;
  }
}

/** The path of a job. */
export const jobPath = (id) => `/jobs/${encodeURIComponent(id)}`;

/** Ask that a job be cancelled. Returns it. */
export const cancelJob = async (id) => parse(await (await call("DELETE", jobPath(id))).text());

/** Ask for a new run of a job. Returns it. */
export const retryJob = async (id) => parse(await (await call("POST", `${jobPath(id)}/retry`)).text());

/** Submit a job. Returns it. */
export const submitJob = async (body) => parse(await (await call("POST", "/jobs", { body })).text());

/** Whether an error only says that the view was left. */
export const isAbort = (error) => error?.name === "AbortError";
