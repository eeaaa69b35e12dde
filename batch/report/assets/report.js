// The report: the figures of all pages below one another, as one document to read, send and print.
//
// Owns the order of its sections. It asks for nothing but what stands in the page itself.

function startReport(source) {
  const { data } = source;
  const { overview, money, money_by: groups = [], labels, compare, rows = [] } = data.figures;
  const has = new Set(rows.map((row) => row.row_number));
  const rowLink = (row) => (has.has(row.row_number) ? el("a", { href: `#row-${row.row_number}` }, foreign(row.row_id, 60)) : foreign(row.row_id, 60));
  const sections = [
    moneySection(money),
    groups.filter((report) => report.groups.length > 1 || report.by[0] === "day").map((report) => groupedSection(report, `Money by ${report.by.join(", ")}`)),
    historySection(overview),
    nowSection(overview, (row) => foreign(row.row_id, 60)),
    errorSection(overview, data.meanings, rowLink),
    labelSections(labels, () => null),
    variantSections(compare, rowLink),
    extremeSection(overview, rowLink),
    settingSection(overview),
    rows.length ? section("Rows with their text", { id: "rows" }, rows.map(reportRow)) : null,
  ].flat(Infinity).filter(Boolean);
  document.title = `${overview.status.job?.name ?? "Report"}: report of a run`;
  document.body.prepend(
    skipLink(),
    el(
      "main",
      { id: "content", class: "report", tabindex: "-1" },
      headline(overview),
      tiles(overview),
      el("nav", { class: "contents", "aria-label": "Sections" }, sections.map((one) => el("a", { href: `#${one.id}` }, one.querySelector("h2").textContent))),
      (data.left_out ?? []).map((text) => el("p", { class: "note" }, safeNodes(text))),
      sections,
      el("footer", {}, `Made ${moment(data.made_at)} (${zone()}) by promptmill ${data.version}. `, safeNodes(data.text_said)),
    ),
  );
  drawCharts();
  watchCharts();
}

function reportRow(row) {
  return el("details", { class: "row-text", id: `row-${row.row_number}` }, el("summary", {}, "Row ", foreign(row.row_id, 60), ` (${row.reasons.join(", ")})`), row.views.map((view) => variantOf(view, row.views.length > 1)));
}

/** The first thing that Tab reaches: past the bar, to what the page is about. */
function skipLink() {
  const link = el("a", { class: "skip", href: "#content" }, "Skip to the content");
  link.addEventListener("click", (event) => {
    event.preventDefault(); // an address with # is a page here
    document.getElementById("content").focus();
  });
  return link;
}
