// The page of variants: what each model or prompt cost, how often two agree, and the rows on which they do not.
//
// Owns these sections; the report has the sums.

function variantSections(comparison, rowLink) {
  const variants = comparison?.variants ?? [];
  if (variants.length < 2) return [];
  const rows = comparison.rows ?? {};
  return [
    section(
      "Variants",
      { id: "variants", note: `${counted(rows.read ?? 0, "row")}, ${count(rows.complete)} with a result in all, ${count(rows.differing)} on which they differ.` },
      missingNote(comparison.missing ?? []),
      variantTable(variants),
      pairTable(comparison.pairs ?? []),
    ),
    section("Where they differ", { id: "differences" }, (comparison.examples ?? comparison.differing ?? []).map((row) => differenceOf(row, rowLink))),
  ];
}

function variantTable(variants) {
  return dataTable("Variants side by side; tokens, cost and latency of what stands in the table", [
    { name: "Variant", cell: (one) => [foreign(one.variant ?? "(none)"), one.asked === false ? " (no longer asked)" : ""] },
    { name: "Ok", kind: "number", cell: (one) => count(one.ok) },
    { name: "Failed", kind: "number", cell: (one) => count(one.failed) },
    { name: "Right", kind: "number", cell: (one) => (one.accuracy === null || one.accuracy === undefined ? null : interval(one.accuracy, one.accuracy_interval)) },
    { name: "Agreement", kind: "number", cell: (one) => (one.agreement === null || one.agreement === undefined ? null : one.agreement.toFixed(3)) },
    { name: "Confidence", kind: "number", cell: (one) => (one.confidence === null || one.confidence === undefined ? null : one.confidence.toFixed(3)) },
    { name: "Tokens", kind: "number", cell: (one) => count(one.total_tokens) },
    { name: "Cost", kind: "number", cell: (one) => amounts(one.cost) },
    { name: "Latency", kind: "number", cell: (one) => (one.latency_ms === null || one.latency_ms === undefined ? null : duration(one.latency_ms / 1000)) },
  ], variants);
}

function pairTable(pairs) {
  return dataTable("How often two say the same, of the rows that both answered", [
    { name: "First", cell: (pair) => foreign(pair.first ?? "(none)") },
    { name: "Second", cell: (pair) => foreign(pair.second ?? "(none)") },
    { name: "Both answered", kind: "number", cell: (pair) => count(pair.answered) },
    { name: "The same", kind: "number", cell: (pair) => count(pair.agree) },
    { name: "Share", kind: "number", cell: (pair) => percent(pair.share) },
    { name: "", kind: "bar", cell: (pair) => bar(pair.share ?? 0, "good") },
  ], pairs);
}

const MOST_INPUTS = 8;

/** One row with its answers beside one another; of a wide table the first columns, for the page of the row has all. */
function differenceOf(row, rowLink) {
  const all = Object.entries(row.inputs ?? {}).filter(([, value]) => value !== null);
  const inputs = all.slice(0, MOST_INPUTS);
  return el(
    "article",
    { class: "difference" },
    el("h3", {}, "Row ", rowLink(row)),
    inputs.length ? facts(inputs.map(([name, value]) => [safeNodes(name), foreign(jsonLine(value), 300)])) : null,
    all.length > inputs.length ? el("p", { class: "note" }, `${counted(all.length - inputs.length, "more column")} on the page of the row.`) : null,
    el("div", { class: "answers" }, (row.answers ?? []).map((answer) =>
      el(
        "div",
        { class: "answer" },
        el("h4", {}, foreign(answer.variant ?? "(none)"), " ", answer.status === "ok" ? null : badge(answer.status)),
        answer.status === "ok" ? foreignBlock(answer.answer ?? "") : el("p", { class: "fault" }, foreign(answer.error_message ?? answer.error_kind ?? "", 600)),
      ),
    )),
  );
}
