// What a JSON Schema says that a form needs to know.

import { Exact } from "./json.js";

/** Follow references, and take a single `allOf` for what it holds. What stands beside them comes first. */
export function resolved(schema, root) {
  let found = schema === true || !schema ? {} : schema;
  for (let steps = 0; steps < 20; steps += 1) {
    const { $ref, allOf, ...beside } = found;
    if ($ref) found = { ...(referred($ref, root) ?? {}), ...beside };
    else if (allOf?.length === 1) found = { ...allOf[0], ...beside };
    else return found;
  }
  return {};
}

function referred(ref, root) {
  if (!ref.startsWith("#/")) return null;
  return ref.slice(2).split("/").map((part) => decodeURIComponent(part).replaceAll("~1", "/").replaceAll("~0", "~"))
    .reduce((node, part) => node?.[part], root);
}

/** Return the choices of an `anyOf` or `oneOf`, without null: {choices, nullable}; or null if it is none. */
export function choicesOf(schema, root) {
  const all = schema.anyOf ?? schema.oneOf
    ?? (Array.isArray(schema.type) ? schema.type.map((type) => ({ ...schema, type })) : null);
  if (!all) return null;
  const choices = all.map((choice) => resolved(choice, root)).filter((choice) => choice.type !== "null");
  return { choices, nullable: choices.length < all.length };
}

/** Return which kind of field a schema is for; "json" for what no other fits. */
export function kindOf(schema) {
  if (schema.enum || "const" in schema) return "enum";
  if (schema.type === "array") return schema.prefixItems ? "tuple" : schema.items ? "list" : "json";
  if (schema.type === "object") return objectKind(schema);
  return { string: "string", integer: "number", number: "number", boolean: "boolean" }[schema.type] ?? "json";
}

function objectKind(schema) {
  const more = typeof schema.additionalProperties === "object";
  if (schema.properties && !more && !schema.patternProperties) return "object";
  return !schema.properties && more ? "map" : "json";
}

const TYPES = {
  string: "text", integer: "whole number", number: "number", boolean: "yes or no", array: "list", object: "object",
};
const FORMATS = {
  date: "date", "date-time": "date and time", time: "time", uuid: "UUID", email: "email address", uri: "address",
  password: "secret", binary: "text", duration: "duration",
};

/** Return in a few words what a value is like. `hint` is not JSON Schema's but our forms' own. */
export function wordsOf(schema) {
  if ("hint" in schema) return schema.hint;
  if (schema.enum || "const" in schema) return "one of a few";
  if (schema.items?.type && schema.type === "array") return `list of ${plural(TYPES[schema.items.type] ?? "values")}`;
  const type = FORMATS[schema.format] ?? TYPES[schema.type] ?? "JSON";
  return [type, limits(schema)].filter(Boolean).join(", ");
}

const plural = (word) => (word === "text" ? "texts" : word.endsWith("s") || word.startsWith("yes") ? word : `${word}s`);

function limits(schema) {
  const least = schema.minimum ?? schema.exclusiveMinimum;
  const most = schema.maximum ?? schema.exclusiveMaximum;
  const above = schema.minimum === undefined ? "above" : "from";
  const below = schema.maximum === undefined ? "below" : "to";
  const parts = [least !== undefined && `${above} ${least}`, most !== undefined && `${below} ${most}`];
  if (schema.maxLength !== undefined) parts.push(`at most ${schema.maxLength} characters`);
  if (schema.minLength > 1) parts.push(`at least ${schema.minLength} characters`);
  if (schema.pattern && schema.pattern.length < 40) parts.push(`like ${schema.pattern}`);
  return parts.filter(Boolean).join(" ");
}

/** Tell, at a glance, whether a value is of a schema's type; for the choice among several. */
export function accepts(schema, value) {
  if (schema.enum) return schema.enum.includes(value);
  if ("const" in schema) return schema.const === value;
  if (Array.isArray(value)) return schema.type === "array";
  const kind = value instanceof Exact ? "number" : typeof value;
  if (kind === "object" && value !== null) {
    return schema.type === "object" && (schema.required ?? []).every((name) => Object.hasOwn(value, name));
  }
  const types = { string: ["string"], number: ["number", "integer"], boolean: ["boolean"] }[kind];
  return types?.includes(schema.type) ?? false;
}
