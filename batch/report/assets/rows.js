// The page of rows: filters, a table of one page, the way to the next, and the filtered rows as a file.
//
// Owns the form and what its fields are called in addresses. Filters stand in the address of the page, so that a list
// can be kept, sent and gone back to.

const FILTERS = [
  { name: "status", label: "Status", options: ["", "ok", "failed"] },
  { name: "label", label: "Label" },
  { name: "flag", label: "Flag" },
  { name: "error", label: "Error", hint: "kind or kind/code" },
  { name: "tag", label: "Tag", hint: "NAME:VALUE" },
  { name: "variant", label: "Variant" },
  { name: "text", label: "Text", hint: "in input or answer" },
  { name: "where", label: "Column", hint: "COLUMN:VALUE", several: true },
  { name: "min", label: "At least", hint: "COLUMN:NUMBER", several: true },
  { name: "max", label: "At most", hint: "COLUMN:NUMBER", several: true },
  { name: "order", label: "Order", options: ["", "slowest", "dearest", "tokens"] },
  { name: "size", label: "Rows a page", options: ["", "25", "50", "100", "200"] },
];
const DOWNLOADS = [
  ["csv", "CSV"],
  ["jsonl", "JSONL"],
  ["review", "Review file"],
];

/** The address of a page of this folder, with what is asked for in its query. */
function routeTo(folder, name, query) {
  const text = query ? new URLSearchParams(query).toString() : "";
  return `#/${encodeURIComponent(folder)}/${name}${text ? `?${text}` : ""}`;
}

function rowsPage(context, rows, query) {
  const { folder, source } = context;
  const plain = new URLSearchParams(query);
  plain.delete("page");
  plain.delete("size");
  return [
    el("h1", {}, "Rows"),
    filterForm(context, query),
    el("p", { class: "note", role: "status" }, rowsSaid(rows)),
    rowTable(context, rows, query),
    pager(folder, rows, query),
    el(
      "p",
      { class: "downloads" },
      "Take these rows along: ",
      DOWNLOADS.map(([ending, name]) => [el("a", { href: source.download(folder, ending, plain.toString()), download: "" }, name), " "]),
    ),
  ];
}

function rowsSaid(rows) {
  const shown = rows.rows.length;
  if (shown === 0) return "No row is like this. Take a filter away.";
  const total = rows.total === null || rows.total === undefined ? "" : ` of ${count(rows.total)}`;
  const order = rows.ordered_by && rows.ordered_by !== "row_number" ? ` Ordered by ${words(rows.ordered_by)}, the first 1,000 only.` : "";
  return `Page ${count(rows.page)}: ${counted(shown, "row")}${total}.${order}`;
}

function filterForm(context, query) {
  const fields = FILTERS.flatMap((filter) => {
    const values = filter.several ? [...query.getAll(filter.name), ""].slice(0, Math.max(1, query.getAll(filter.name).length)) : [query.get(filter.name) ?? ""];
    return values.map((value) => filterField(filter, value, context.orders));
  });
  const form = el("form", { class: "filters", role: "search", "aria-label": "Filter rows" }, fields, el("div", { class: "actions" }, el("button", { type: "submit" }, "Show"), el("a", { href: routeTo(context.folder, "rows") }, "Take all filters away")));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const asked = [...new FormData(form)].filter(([, value]) => value.trim() !== "");
    location.hash = routeTo(context.folder, "rows", asked);
  });
  form.addEventListener("change", (event) => {
    if (event.target.tagName === "SELECT") form.requestSubmit();
  });
  return form;
}

function filterField(filter, value) {
  const id = `filter-${filter.name}`;
  const options = filter.options && (filter.options.includes(value) ? filter.options : [...filter.options, value]);
  const input = options
    ? el("select", { name: filter.name }, options.map((option) => el("option", { value: option, selected: option === value }, option || "any")))
    : el("input", { name: filter.name, value, placeholder: filter.hint, autocomplete: "off", spellcheck: "false", id: filter.several ? null : id });
  return el("label", {}, el("span", {}, filter.label), input);
}

const KNOWN_CELLS = {
  row_number: (row) => count(row.row_number),
  status: (row) => (row.status ? badge(row.status) : null),
  label: (row) => foreign(row.label, 80),
  flags: (row) => (row.flags?.length ? foreign(row.flags.join(", "), 80) : null),
};

function rowTable(context, rows, query) {
  const link = (row) => el("a", { href: rowRoute(context.folder, row, query) }, foreign(row.row_id, 60));
  const columns = [
    { name: "No.", kind: "number", cell: KNOWN_CELLS.row_number },
    { name: "Row", cell: link, always: true },
    { name: "Variant", cell: (row) => foreign(row.variant, 40) },
    { name: "Status", cell: KNOWN_CELLS.status },
    { name: "Label", cell: KNOWN_CELLS.label },
    { name: "Error", cell: (row) => (row.error_kind ? el("code", {}, safeNodes(row.error_code ? `${row.error_kind}/${row.error_code}` : row.error_kind)) : null) },
    { name: "Flags", cell: KNOWN_CELLS.flags },
    { name: "Input", kind: "wide", cell: (row) => inputText(row.input ?? row.inputs) },
    { name: "Answer", kind: "wide", cell: (row) => foreign(row.answer ?? row.error_message, 200) },
    { name: "Tokens", kind: "number", cell: (row) => count(row.tokens ?? row.total_tokens) },
    { name: "Cost", kind: "number", cell: (row) => money(row.cost, row.currency) },
    { name: "Took", kind: "number", cell: (row) => duration(row.duration_s) },
  ];
  return dataTable("Rows, in the order of the table", columns, rows.rows);
}

/** The input of a row in one line: its text, or each column with its name. */
function inputText(input) {
  if (input === null || input === undefined) return null;
  if (typeof input !== "object") return foreign(String(input), 200);
  return Object.entries(input)
    .filter(([, value]) => value !== null)
    .slice(0, 6)
    .map(([name, value]) => [el("span", { class: "name" }, safeNodes(name)), " ", foreign(jsonLine(value), 160), " "]);
}

/** The address of a row; the filters come along, so that the way back leads to the same list. */
function rowRoute(folder, row, query) {
  const kept = new URLSearchParams(query ?? "");
  if (row.variant !== null && row.variant !== undefined) kept.set("of", row.variant);
  return routeTo(folder, `row/${row.row_number}`, kept);
}

function pager(folder, rows, query) {
  const page = rows.page ?? 1;
  const to = (number) => {
    const asked = new URLSearchParams(query);
    asked.set("page", number);
    return routeTo(folder, "rows", asked);
  };
  return el(
    "nav",
    { class: "pager", "aria-label": "Pages of rows" },
    page > 1 ? el("a", { href: to(page - 1), rel: "prev", "data-key": "p" }, "← Previous page") : null,
    rows.more ? el("a", { href: to(page + 1), rel: "next", "data-key": "n" }, "Next page →") : null,
  );
}
