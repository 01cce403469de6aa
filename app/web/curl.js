// Submissions as a command that works when it is pasted into a shell.

import { key } from "./api.js";
import { write } from "./json.js";

/** Quote a text for a POSIX shell. */
export const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

/** Return the command that submits. Where keys are in use, the key is a variable of the shell's. */
export function curlOf(submission) {
  return [
    "curl -s",
    "-H 'Content-Type: application/json'",
    key.get() ? '-H "Authorization: Bearer $ERRAND_API_KEY"' : "",
    `-d ${quoted(write(submission))}`,
    quoted(`${location.origin}/jobs`),
  ].filter(Boolean).join(" ");
}

/** The submission that would make a job like this one. */
export function submissionOf(job) {
  const submission = { task: job.task };
  if (job.args.length) submission.args = job.args;
  if (Object.keys(job.kwargs).length) submission.kwargs = job.kwargs;
  submission.queue = job.queue;
  submission.priority = job.priority;
  if (job.timeout !== null) submission.timeout = job.timeout;
  if (job.max_attempts > 1) submission.retry = { max_attempts: job.max_attempts };
  if (job.key !== null) submission.key = job.key;
  if (Object.keys(job.tags).length) submission.tags = job.tags;
  return submission;
}

/** A first job. */
export const sampleCommand = () => curlOf({ task: "count_words", args: ["to be or not to be"] });
