// The lower part of the overview: errors, flags, the slowest and dearest rows, settings and versions.
//
// Owns these sections; the report has the same ones. `rowLink` says how a row is reached from here.

/** What failed, by kind, each with an example. */
function errorSection(overview, meanings, rowLink) {
  const errors = overview.errors ?? [];
  const table = dataTable(
    "Failures by kind, the most frequent first",
    [
      { name: "Kind", cell: (error) => el("code", {}, safeNodes(error.code ? `${error.kind}/${error.code}` : String(error.kind))) },
      { name: "Count", kind: "number", cell: (error) => count(error.count) },
      { name: "What it is", kind: "wide", cell: (error) => (meanings?.[error.kind] ? safeNodes(meanings[error.kind]) : null) },
      { name: "Again", cell: (error) => (error.retryable === undefined || error.retryable === null ? null : error.retryable ? "worth another try" : "for good") },
      { name: "Example", kind: "wide", cell: (error) => foreign(error.message, 400) },
      { name: "Row", cell: (error) => (error.row_id === null || error.row_id === undefined ? null : rowLink(error)) },
    ],
    errors,
    { empty: "Nothing failed." },
  );
  return section("Errors", { id: "errors" }, table, retryTable(overview.call_errors ?? []), flagTable(overview.status));
}

function retryTable(errors) {
  return dataTable(
    "Calls of this run that brought no answer, those that were tried again included",
    [
      { name: "Kind", cell: (error) => el("code", {}, safeNodes(error.code ? `${error.kind}/${error.code}` : String(error.kind))) },
      { name: "Calls", kind: "number", cell: (error) => count(error.calls) },
    ],
    errors,
  );
}

function flagTable(status) {
  return dataTable(
    "Flags on answers",
    [
      { name: "Flag", cell: (flag) => el("code", {}, safeNodes(flag.flag)) },
      { name: "Rows", kind: "number", cell: (flag) => count(flag.rows) },
      { name: "For example", cell: (flag) => foreign((flag.examples ?? []).join(", ")) },
    ],
    status.flagged ?? [],
  );
}

/** The rows that took longest, and those that cost most. */
function extremeSection(overview, rowLink) {
  const shared = [
    { name: "Row", cell: rowLink },
    { name: "Variant", cell: (row) => foreign(row.variant) },
  ];
  const tables = [
    dataTable("Slowest", [...shared, { name: "Took", kind: "number", cell: (row) => duration(row.duration_s) }], overview.slowest ?? []),
    dataTable("Dearest", [...shared, { name: "Cost", kind: "number", cell: (row) => money(row.cost, row.currency) }], overview.dearest ?? []),
  ].filter(Boolean);
  return section("Slowest and dearest rows", { id: "extremes" }, tables.length ? el("div", { class: "columns" }, tables) : null);
}

/** What the job was set to, and what it ran with. */
function settingSection(overview) {
  const { status } = overview;
  return section(
    "Run, settings and versions",
    { id: "settings" },
    facts([
      ["Run", status.run ? [el("code", {}, safeNodes(status.run)), ` (${counted(status.runs, "run")} in all)`] : null],
      ["Folder", foreign(status.folder)],
      ["Started", moment(status.started_at)],
      ["Ended", moment(status.ended_at)],
      ["Exit code", status.exit_code === null || status.exit_code === undefined ? null : String(status.exit_code)],
      ["Input", overview.source?.path ? [foreign(overview.source.path), overview.source.size ? `, ${bytes(overview.source.size)}` : ""] : null],
      ["Table", status.table_rows === undefined ? null : counted(status.table_rows, "row")],
    ]),
    runTable(overview.runs ?? [], status),
    settingTable("Settings", overview.settings),
    settingTable("Versions", overview.versions),
  );
}

const MOST_RUNS = 30;

/** The runs of the folder, the last one first; of that one the status knows more than its entry. */
function runTable(runs, status) {
  const { state, totals = {} } = status;
  const now = { state, rows: (totals.rows_ok ?? 0) + (totals.rows_failed ?? 0), failed: totals.rows_failed, calls: totals.calls, cost: totals.cost };
  const shown = [...runs].reverse().slice(0, MOST_RUNS).map((run) => (run.run === status.run ? { ...run, ...now } : run));
  return dataTable(
    runs.length > shown.length ? `The last ${MOST_RUNS} of ${count(runs.length)} runs` : "Runs",
    [
      { name: "Run", cell: (run) => el("code", {}, safeNodes(run.run)) },
      { name: "State", cell: (run) => badge(run.state) },
      { name: "Started", cell: (run) => moment(run.started_at) },
      { name: "Took", kind: "number", cell: (run) => (run.ended_at ? duration(run.ended_at - run.started_at) : NONE) },
      { name: "Rows", kind: "number", cell: (run) => count(run.rows) },
      { name: "Failed", kind: "number", cell: (run) => count(run.failed) },
      { name: "Calls", kind: "number", cell: (run) => count(run.calls) },
      { name: "Cost", kind: "number", cell: (run) => amounts(run.cost) },
    ],
    shown,
  );
}

/** Nested settings as a table of dotted names. */
function settingTable(caption, settings) {
  const lines = flattened(settings ?? {});
  if (lines.length === 0) return null;
  return el(
    "details",
    { open: lines.length <= 40 },
    el("summary", {}, caption),
    dataTable(caption, [
      { name: "Name", cell: ([name]) => el("code", {}, safeNodes(name)) },
      { name: "Value", kind: "wide", cell: ([, value]) => foreign(jsonLine(value), 400) },
    ], lines, { titled: false }),
  );
}

function flattened(value, name = "") {
  if (value === null || value === undefined || (typeof value === "object" && Object.keys(value).length === 0)) return [];
  if (Array.isArray(value) && value.every((one) => one === null)) return [];
  if (typeof value !== "object" || Array.isArray(value)) return [[name, value]];
  return Object.entries(value).flatMap(([key, inner]) => flattened(inner, name ? `${name}.${key}` : key));
}

function jsonLine(value) {
  if (Array.isArray(value)) return value.map((one) => (typeof one === "object" && one ? JSON.stringify(one) : String(one))).join(", ");
  return typeof value === "string" ? value : JSON.stringify(value);
}
