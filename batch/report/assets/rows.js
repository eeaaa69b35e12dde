// The page of rows: filters, a table of one page, the way to the next, and the filtered rows as a file.
//
// Owns the form and what its fields are called in addresses. Filters stand in the address of the page, so that a list
// can be kept, sent and gone back to.

const FILTERS = [
  { name: "status", label: "Status", options: { "": "any", ok: "ok", failed: "failed" } },
  { name: "label", label: "Label" },
  { name: "flag", label: "Flag" },
  { name: "error", label: "Error", hint: "kind or kind/code" },
  { name: "tag", label: "Tag", hint: "NAME:VALUE" },
  { name: "variant", label: "Variant" },
  { name: "run", label: "Run" },
  { name: "text", label: "Text", hint: "in input or answer" },
  { name: "where", label: "Column", hint: "COLUMN:VALUE", several: true },
  { name: "min", label: "At least", hint: "COLUMN:NUMBER", several: true },
  { name: "max", label: "At most", hint: "COLUMN:NUMBER", several: true },
  { name: "order", label: "Order", options: {} },
  { name: "size", label: "Rows a page", options: { "": "50", 25: "25", 100: "100", 200: "200" } },
];
const DOWNLOADS = [
  ["csv", "CSV"],
  ["jsonl", "JSONL"],
  ["review", "Review file"],
];

/** The filters of a query, without what says how a list of them is shown. */
function onlyFilters(query) {
  const kept = new URLSearchParams(query);
  for (const name of ["page", "size", "order", "of", "id"]) kept.delete(name);
  return kept.toString();
}

/** The address of a page of this folder, with what is asked for in its query. */
function routeTo(folder, name, query) {
  const text = query ? new URLSearchParams(query).toString() : "";
  return `#/${encodeURIComponent(folder)}/${name}${text ? `?${text}` : ""}`;
}

function rowsPage(context, rows, query) {
  const { folder, source } = context;
  return [
    el("h1", {}, "Rows"),
    missingNote(rows.missing ?? []),
    filterForm(context, rows, query),
    el("p", { class: "note", role: "status" }, rowsSaid(rows)),
    rowTable(context, rows, query),
    pager(folder, rows, query),
    el(
      "p",
      { class: "downloads" },
      "Take these rows along: ",
      DOWNLOADS.filter(([ending]) => ending !== "review" || hasLabels(rows)).map(([ending, name]) => [el("a", { href: source.download(folder, ending, onlyFilters(query)), download: "" }, name), " "]),
    ),
  ];
}

/** Whether there is anything to review. */
function hasLabels(rows) {
  return (rows.columns ?? []).some((column) => column.ours && /^label($|_)/.test(column.name));
}

function rowsSaid(rows) {
  const shown = rows.rows.length;
  if (shown === 0) return "No row is like this. Take a filter away.";
  const total = rows.total === null || rows.total === undefined ? "" : ` of ${count(rows.total)}`;
  const order = rows.ordered_by && rows.ordered_by !== "row_number" ? ` Ordered by ${words(rows.ordered_by.replace(/^-/, ""))}: the first 1,000 rows of this order.` : "";
  return `Page ${count(rows.page)}: ${counted(shown, "row")}${total}.${order}`;
}

const ORDERS = { "": "of the table", slowest: "slowest first", dearest: "dearest first", tokens: "most tokens first", newest: "newest first" };
const ORDERED_BY_NAME = ["row_number", "latency_ms", "cost", "total_tokens"];

/** The orders that a table can be shown in: those that have a name, and by each other column with numbers. */
function ordersOf(rows) {
  const numbers = (rows.columns ?? []).filter((column) => column.kind === "number" && !ORDERED_BY_NAME.includes(column.name));
  return { ...ORDERS, ...Object.fromEntries(numbers.map(({ name }) => [`-${name}`, `${name}, greatest first`])) };
}

function filterForm(context, rows, query) {
  const fields = FILTERS.map((filter) => (filter.name === "order" ? { ...filter, options: ordersOf(rows) } : filter)).flatMap((filter) => {
    const values = filter.several ? [...query.getAll(filter.name), ""].slice(0, Math.max(1, query.getAll(filter.name).length)) : [query.get(filter.name) ?? ""];
    return values.map((value) => filterField(filter, value));
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
  const options = filter.options && { ...filter.options, ...(value in filter.options ? {} : { [value]: value }) };
  const input = options
    ? el("select", { name: filter.name }, Object.entries(options).map(([option, text]) => el("option", { value: option, selected: option === value }, safeNodes(text))))
    : el("input", { name: filter.name, value, placeholder: filter.hint, autocomplete: "off", spellcheck: "false" });
  return el("label", {}, el("span", {}, filter.label), input);
}

function rowTable(context, rows, query) {
  const link = (row) => el("a", { href: rowRoute(context.folder, row, query) }, foreign(row.row_id, 60));
  const columns = [
    { name: "No.", kind: "number", cell: (row) => count(row.row_number) },
    { name: "Row", cell: link, always: true },
    { name: "Variant", cell: (row) => foreign(row.variant, 40) },
    { name: "Status", cell: (row) => badge(row.status) },
    { name: "Label", cell: (row) => foreign(row.label, 80) },
    { name: "Error", cell: (row) => (row.error ? el("code", {}, safeNodes(row.error)) : null) },
    { name: "Flags", cell: (row) => (row.flags.length ? foreign(row.flags.join(", "), 80) : null) },
    { name: "Input", kind: "wide", cell: (row) => inputText(row.input) },
    { name: "Answer", kind: "wide", cell: (row) => foreign(row.answer ?? row.error_message, 200) },
    { name: "Tokens", kind: "number", cell: (row) => count(row.tokens) },
    { name: "Cost", kind: "number", cell: (row) => money(row.cost, row.currency) },
    { name: "Took", kind: "number", cell: (row) => duration(row.duration_s) },
  ];
  return dataTable("Rows, in the order of the table", columns, rows.rows);
}

const MOST_COLUMNS = 6;

/** The input of a row in one line: each column with its name. */
function inputText(input) {
  return Object.entries(input)
    .filter(([, value]) => value !== null)
    .slice(0, MOST_COLUMNS)
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
