// Moments in fields.

/** Return a moment as `datetime-local` takes it: in the reader's own time. */
export function localText(moment) {
  const local = new Date(moment.getTime() - moment.getTimezoneOffset() * 60000);
  return local.toISOString().slice(0, 19);
}
