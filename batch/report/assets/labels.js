// The page of labels: how often each was given, how sure it is, and how often it is right.
//
// Owns these sections; the report has the same ones. `cellLink` gives the address of the rows behind a cell, or null.

const MOST_BARS = 40;

function labelSections(labels, cellLink) {
  if (!labels?.label) return [];
  return [
    section("Labels given", { id: "labels", note: labelNote(labels) }, missingNote(labels.missing ?? []), labelTiles(labels), distribution(labels)),
    truthSection(labels, cellLink),
    driftSection(labels),
    groupSection(labels),
  ];
}

function labelNote(labels) {
  return `Column ${labels.label}${labels.gold ? `, held against the truth in ${labels.gold}` : ""}.`;
}

function labelTiles(labels) {
  const tiles = [
    tile("Labelled", percent(labels.coverage), `${count(labels.labelled)} of ${counted(labels.rows, "row")}, ${count(labels.failed)} failed`),
  ];
  if (labels.agreement !== null && labels.agreement !== undefined) {
    tiles.push(tile("Agreement of samples", labels.agreement.toFixed(3), `${count(labels.unanimous)} unanimous, ${count(labels.ties)} tied`));
  }
  if (labels.confidence !== null && labels.confidence !== undefined) tiles.push(tile("Confidence", labels.confidence.toFixed(3), "mean over the rows"));
  if (labels.accuracy !== null && labels.accuracy !== undefined) {
    tiles.push(tile("Right", percent(labels.accuracy), `of ${count(labels.measured)} with a known truth; 95 %: ${percent(labels.accuracy_interval?.[0])} to ${percent(labels.accuracy_interval?.[1])}`));
  }
  if (labels.kappa !== null && labels.kappa !== undefined) tiles.push(tile("Kappa", labels.kappa.toFixed(3), "1 is perfect, 0 is chance"));
  return el("div", { class: "tiles" }, tiles);
}

function distribution(labels) {
  const all = Object.entries(labels.distribution ?? {}).map(([label, figures]) => ({ label, ...figures }));
  const shown = all.slice(0, MOST_BARS);
  return [
    barTable("Distribution", shown, {
      label: (item) => foreign(item.label, 80),
      value: (item) => item.rows,
      shown: (item) => `${count(item.rows)}  ${percent(item.share)}`,
    }),
    all.length > shown.length ? el("p", { class: "note" }, `${count(all.length - shown.length)} rarer labels are left out.`) : null,
  ];
}

function truthSection(labels, cellLink) {
  if (!labels.confusion || Object.keys(labels.confusion).length === 0) return null;
  const classes = Object.entries(labels.per_class ?? {}).map(([label, figures]) => ({ label, ...figures }));
  return section(
    "Against the truth",
    { id: "truth" },
    confusionMatrix(labels.confusion, cellLink, labels.classes_left_out),
    el(
      "details",
      { open: classes.length <= 12 },
      el("summary", {}, `Precision and recall of ${counted(classes.length, "class", "classes")}`),
      dataTable("With 95 % intervals", [
        { name: "Class", cell: (item) => foreign(item.label, 80) },
        { name: "Truth", kind: "number", cell: (item) => count(item.support) },
        { name: "Given", kind: "number", cell: (item) => count(item.predicted) },
        { name: "Precision", kind: "number", cell: (item) => interval(item.precision, item.precision_interval) },
        { name: "Recall", kind: "number", cell: (item) => interval(item.recall, item.recall_interval) },
        { name: "F1", kind: "number", cell: (item) => (item.f1 === null || item.f1 === undefined ? NONE : item.f1.toFixed(3)) },
      ], classes),
    ),
  );
}

function driftSection(labels) {
  const { drift, runs } = labels;
  const between = drift
    ? [
        facts([
          ["This run", [el("code", {}, safeNodes(drift.run)), `, ${counted(drift.rows, "row")}`]],
          ["Before", [el("code", {}, safeNodes(drift.before_run)), `, ${counted(drift.before_rows, "row")}`]],
          ["Distance", drift.distance === null ? null : `${drift.distance.toFixed(3)} (0: the same, 1: nothing in common)`],
          ["New labels", drift.new?.length ? foreign(drift.new.join(", ")) : null],
          ["Gone labels", drift.gone?.length ? foreign(drift.gone.join(", ")) : null],
        ]),
        dataTable("Labels whose share moved", [
          { name: "Label", cell: (item) => foreign(item.label, 80) },
          { name: "Before", kind: "number", cell: (item) => percent(item.before_share) },
          { name: "Now", kind: "number", cell: (item) => percent(item.share) },
          { name: "Difference", kind: "number", cell: (item) => `${item.difference > 0 ? "+" : ""}${(item.difference * 100).toFixed(1)} points` },
          { name: "", cell: (item) => (item.significant ? badge("more than chance", "warn") : null) },
        ], moved(drift)),
      ]
    : null;
  return section("Drift", { id: "drift" }, between, (runs ?? []).length > 1 ? runShares(runs) : null);
}

const MOST_RUN_LABELS = 8;

/** The share of the most frequent labels in each run whose rows are in the table, the last run first. */
function runShares(runs) {
  const sums = {};
  for (const run of runs) for (const [label, rows] of Object.entries(run.distribution ?? {})) sums[label] = (sums[label] ?? 0) + rows;
  const names = Object.keys(sums).sort((one, other) => sums[other] - sums[one]).slice(0, MOST_RUN_LABELS);
  return dataTable("Rows by the run that answered them, and the shares of the most frequent labels", [
    { name: "Run", cell: (run) => el("code", {}, safeNodes(run.run ?? "")) },
    { name: "Rows", kind: "number", cell: (run) => count(run.rows) },
    { name: "Right", kind: "number", cell: (run) => (run.accuracy === null || run.accuracy === undefined ? null : percent(run.accuracy)) },
    ...names.map((label) => ({ name: foreign(label, 30), kind: "number", cell: (run) => percent(run.labelled ? (run.distribution[label] ?? 0) / run.labelled : null) })),
  ], [...runs].reverse().slice(0, 30));
}

function moved(drift) {
  const items = Object.entries(drift.classes ?? {}).map(([label, figures]) => ({ label, ...figures }));
  items.sort((one, other) => Math.abs(other.difference) - Math.abs(one.difference));
  return items.filter((item) => item.difference !== 0).slice(0, 20);
}

function groupSection(labels) {
  return section(`By ${labels.by ?? "group"}`, { id: "groups" }, dataTable("Groups", [
    { name: "Value", cell: (item) => foreign(item.value) },
    { name: "Rows", kind: "number", cell: (item) => count(item.rows) },
    { name: "Labelled", kind: "number", cell: (item) => percent(item.coverage) },
    { name: "Right", kind: "number", cell: (item) => percent(item.accuracy) },
  ], labels.groups ?? []));
}
