// Moments in fields.

/** Return a moment as `datetime-local` takes it: in the reader's own time. */
export function localText(moment) {
  const local = new Date(moment.getTime() - moment.getTimezoneOffset() * 60000);
  const text = local.toISOString();
  return text.slice(0, local.getUTCSeconds() ? 19 : 16);
}
