// Lays out tables and lists of facts.
//
// Owns their form and no figure. A column says how a cell is made of an item; a column that no item fills is left out.

/**
 * A table with a caption.
 *
 * columns: each with `name`, `cell` (an item → node, text or null) and optionally `kind`, a class such as `number`.
 * empty: what is said where there is no item. titled: false where a heading above says the same as the caption.
 */
function dataTable(caption, columns, items, { empty = null, titled = true } = {}) {
  if (items.length === 0) return empty ? el("p", { class: "note" }, empty) : null;
  const cells = items.map((item) => columns.map((column) => column.cell(item) ?? null));
  const used = columns.map((column, place) => column.always || cells.some((row) => row[place] !== null && row[place] !== NONE));
  const names = columns.filter((_, place) => used[place]).map((column) => el("th", { scope: "col", class: column.kind }, column.name));
  const rows = cells.map((row, line) =>
    el("tr", rowAttributes(items[line]), row.map((cell, place) => (used[place] ? el("td", { class: columns[place].kind }, cell) : null))),
  );
  return el(
    "div",
    { class: "scroll" },
    el(
      "table",
      { class: "data" },
      el("caption", { class: titled ? null : "hidden" }, caption),
      el("thead", {}, el("tr", {}, names)),
      el("tbody", {}, rows),
    ),
  );
}

function rowAttributes(item) {
  return item && item.status === "failed" ? { class: "failed" } : {};
}

/** Names and values; those without a value are left out. */
function facts(pairs) {
  const kept = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "" && value !== NONE);
  if (kept.length === 0) return null;
  return el(
    "dl",
    { class: "facts" },
    kept.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))),
  );
}

/** A large figure with what it is, and a line below. */
function tile(name, value, ...below) {
  return el(
    "div",
    { class: "tile" },
    el("p", { class: "tile-name" }, name),
    el("p", { class: "tile-value" }, value),
    below.flat(Infinity).filter(Boolean).length ? el("p", { class: "tile-below" }, below) : null,
  );
}

/** The state of a run or a row, as a word in a colour. */
function badge(state, kind = STATE_KINDS[state] ?? "plain") {
  return el("span", { class: `badge ${kind}` }, safeNodes(words(state)));
}

const STATE_KINDS = {
  running: "live",
  stopping: "live",
  finished: "good",
  ok: "good",
  answered: "good",
  killed: "bad",
  failed: "bad",
  provider: "bad",
  systematic: "bad",
  storage: "bad",
  input: "bad",
  refused: "bad",
  unknown: "warn",
  budget: "warn",
  interrupted: "warn",
  job_changed: "warn",
  input_changed: "warn",
  selection_changed: "warn",
};

/** Any JSON value as text with line breaks. */
function jsonText(value) {
  return typeof value === "string" ? value : JSON.stringify(value, null, 2);
}
