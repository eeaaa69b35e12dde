// The page of money: what was paid, for what, for nothing, and what was saved.
//
// Owns these sections; the report has the same ones.

const WAYS = [
  ["failed", "for rows that failed"],
  ["retried", "for answers that were asked again"],
  ["reasked", "for answers without a valid label"],
  ["duplicate", "for answers that came twice"],
];
const PERIODS = ["hour", "day", "week", "month"];
const SAVINGS = [
  ["saved_by_cache", "by cached tokens"],
  ["saved_by_tier", "by batch and flex prices"],
  ["saved_off_peak", "by cheaper hours"],
];

/** What all calls of the folder have cost. */
function moneySection(report) {
  const totals = report.totals ?? [];
  if (totals.length === 0) return section("Money paid", { id: "money" }, el("p", { class: "note" }, "No call has ended yet."));
  const priced = totals.filter((total) => total.currency !== null);
  return section(
    "Money paid",
    { id: "money", note: `All runs of this folder${report.first_sent_at ? `, ${moment(report.first_sent_at)} to ${moment(report.last_sent_at)} (${zone()})` : ""}.` },
    missingNote(report.missing ?? []),
    (priced.length ? priced : totals).map(moneyTiles),
    unknownFacts(report, priced.length ? totals.filter((total) => total.currency === null) : []),
  );
}

function moneyTiles(total) {
  const wasted = WAYS.filter(([way]) => Number(total[`${way}_cost`] ?? 0) > 0);
  const saved = SAVINGS.filter(([name]) => Number(total[name] ?? 0) > 0);
  const listed = (pairs, amount) => pairs.flatMap(([name, text], place) => [place ? ", " : "", money(amount(name), total.currency), ` ${text}`]);
  const sum = saved.reduce((all, [name]) => all + Number(total[name]), 0);
  return el(
    "div",
    { class: "tiles" },
    tile("Paid", money(total.cost, total.currency), counted(total.calls, "call")),
    tile("Of that for nothing", money(total.wasted_cost, total.currency), listed(wasted, (way) => total[`${way}_cost`])),
    saved.length ? tile("Saved", money(sum.toPrecision(12), total.currency), listed(saved, (name) => total[name])) : null,
    total.prompt_tokens === null ? null : tile("Tokens", short((total.prompt_tokens ?? 0) + (total.completion_tokens ?? 0)), total.cached_tokens ? `${short(total.cached_tokens)} came from the provider's cache` : null),
  );
}

/** What the sums do not know, said plainly; `others` are the totals in no currency that have no tiles of their own. */
function unknownFacts(report, others = []) {
  const sum = (name) => (report.totals ?? []).reduce((all, total) => all + (total[name] ?? 0), 0);
  const bounds = (report.totals ?? []).filter((total) => Number(total.unknown_at_most ?? 0) > 0);
  const unpriced = (report.unpriced ?? []).map((one) => `${one.provider}/${one.model} (${counted(one.calls, "call")})`).join(", ");
  return facts([
    ["Possibly billed", sum("unknown_calls") ? `${counted(sum("unknown_calls"), "call")} that were sent and never answered` : null],
    ["Not measured", sum("unmeasured_calls") ? `${counted(sum("unmeasured_calls"), "answer")} that said nothing of tokens` : null],
    ["These at most", bounds.length ? bounds.flatMap((total, place) => [place ? " + " : "", money(total.unknown_at_most, total.currency)]) : null],
    ["Of them without a bound", sum("unbounded_calls") ? `${counted(sum("unbounded_calls"), "call")} of which nothing can be said` : null],
    ["Without a price", unpriced ? foreign(unpriced, 1000) : null],
    ["In no currency", others.length ? `${counted(others.reduce((all, total) => all + total.calls, 0), "call")} that were refused or have no price` : null],
    ["In no file yet", report.unpublished_calls ? `${counted(report.unpublished_calls, "call")}, counted here all the same` : null],
    ["Without a row", report.calls_without_row ? `${counted(report.calls_without_row, "answered call")} of rows that are in no table: under way, or pruned` : null],
  ]);
}

/** The cost in groups, one line for each group and currency. */
function groupedSection(report, title) {
  const groups = report.groups ?? [];
  const names = (report.by ?? []).map((name) => (groups[0] && name in groups[0] ? name : `column:${name}`));
  if (groups.length === 0 || names.length === 0) return null;
  const zones = Object.entries(report.zones ?? {}).map(([zone, providers]) => `${zone} (${providers.join(", ")})`).join(", ");
  const timed = names.some((name) => PERIODS.includes(name));
  const most = {}; // by currency: amounts of two are not held against each other
  for (const { currency, cost } of groups) most[currency] = Math.max(most[currency] ?? 0, Number(cost ?? 0));
  return section(
    title,
    { id: `by-${names.join("-").replace(/[^\w-]/g, "-")}`, note: timed && zones ? `In the time of the bill: ${zones}.` : null },
    dataTable(title, [
      ...names.map((name) => ({ name: words(name), cell: (group) => groupName(group[name] ?? "(none)"), always: true })),
      { name: "Cost", kind: "number", cell: (group) => money(group.cost, group.currency) },
      { name: "Share", kind: "bar", cell: (group) => (most[group.currency] ? bar(Number(group.cost ?? 0) / most[group.currency]) : null) },
      { name: "For nothing", kind: "number", cell: (group) => (Number(group.wasted_cost) ? money(group.wasted_cost, group.currency) : null) },
      { name: "Calls", kind: "number", cell: (group) => count(group.calls) },
      { name: "Prompt", kind: "number", cell: (group) => short(group.prompt_tokens) },
      { name: "Completion", kind: "number", cell: (group) => short(group.completion_tokens) },
      { name: "Cached", kind: "number", cell: (group) => (group.cached_tokens ? short(group.cached_tokens) : null) },
      { name: "Saved", kind: "number", cell: savedCell },
    ], groups.slice(0, 400), { titled: false }),
    groups.length > 400 ? el("p", { class: "note" }, `${count(groups.length - 400)} more lines: promptmill cost OUT --by ${report.by.join(",")}`) : null,
  );
}

const SHORT = 24;

/** The value of a group; a short one, such as a day, stays in one line. */
function groupName(value) {
  return el("span", { class: String(value).length <= SHORT ? "nowrap" : null }, foreign(value));
}

function savedCell(group) {
  const sum = SAVINGS.reduce((all, [name]) => all + Number(group[name] ?? 0), 0);
  return sum > 0 ? money(sum.toPrecision(12), group.currency) : null;
}
