// Draws bars, histograms and matrices as SVG and tables of our own: their text can be selected, read aloud and printed.
//
// Owns no figure and no page. Widths are in percent, so a plot fits any screen without being drawn again.

/** A table of names, bars and numbers; a bar is full at `most` of an item, by default at the largest value. */
function barTable(caption, items, { value, label, shown, most }) {
  if (items.length === 0) return null;
  const largest = Math.max(...items.map((item) => value(item) ?? 0), 0);
  const share = (item) => (value(item) ?? 0) / ((most ? most(item) : largest) || 1);
  const rows = items.map((item) =>
    el(
      "tr",
      {},
      el("th", { scope: "row" }, label(item)),
      el("td", { class: "bar" }, bar(share(item))),
      el("td", { class: "number" }, shown(item)),
    ),
  );
  return el("div", { class: "scroll" }, el("table", { class: "bars" }, el("caption", {}, caption), el("tbody", {}, rows)));
}

/** One bar; a share from 0 to 1 of the room there is. */
function bar(share, kind = "") {
  const width = `${(Math.max(0, Math.min(1, share)) * 100).toFixed(2)}%`;
  return svg(
    "svg",
    { class: "bar-plot", width: "100%", height: "10", "aria-hidden": "true" },
    svg("rect", { class: "bar-room", width: "100%", height: "10", rx: "2" }),
    svg("rect", { class: `bar-fill ${kind}`, width, height: "10", rx: "2" }),
  );
}

/** Parts of a whole, one behind another: ok, failed, left. */
function stackedBar(parts, whole) {
  let from = 0;
  const said = parts.map(({ name, value }) => `${name} ${count(value)}`).join(", ");
  const rects = parts.map(({ value, kind }) => {
    const width = whole ? (value / whole) * 100 : 0;
    const rect = svg("rect", { class: `bar-fill ${kind}`, x: `${from.toFixed(3)}%`, width: `${width.toFixed(3)}%`, height: "14" });
    from += width;
    return rect;
  });
  return svg(
    "svg",
    { class: "bar-plot", width: "100%", height: "14", role: "img", "aria-label": said },
    svg("rect", { class: "bar-room", width: "100%", height: "14", rx: "2" }),
    rects,
  );
}

/** Counts between edges, as columns; below them the first, the middle and the last edge. */
function histogram(caption, edges, counts, shown) {
  const total = counts.reduce((sum, number) => sum + number, 0);
  if (!total) return null;
  const used = counts.map((number, place) => (number ? place : -1)).filter((place) => place >= 0);
  const first = used[0];
  const last = used[used.length - 1];
  const seen = counts.slice(first, last + 1);
  const most = Math.max(...seen);
  const step = 100 / seen.length;
  const columns = seen.map((number, place) => {
    const height = (number / most) * 100;
    const title = `${shown(edges[first + place])} to ${shown(edges[first + place + 1])}: ${count(number)}`;
    const size = { x: `${(place * step + step * 0.06).toFixed(3)}%`, width: `${(step * 0.88).toFixed(3)}%` };
    return svg(
      "rect",
      { class: "column", ...size, y: `${(100 - height).toFixed(2)}%`, height: `${height.toFixed(2)}%` },
      svg("title", {}, title),
    );
  });
  const middle = edges[first + Math.ceil(seen.length / 2)];
  return el(
    "figure",
    { class: "histogram" },
    el("figcaption", {}, caption),
    svg("svg", { width: "100%", height: "120", role: "img", "aria-label": `${caption}: ${count(total)} in all` }, columns),
    el(
      "div",
      { class: "axis" },
      el("span", {}, shown(edges[first])),
      seen.length > 2 ? el("span", {}, shown(middle)) : null,
      el("span", {}, shown(edges[last + 1])),
    ),
  );
}

const MOST_CLASSES = 24;

/** Truth against label as a table of counts; a cell leads to its rows where `href` gives an address. */
function confusionMatrix(confusion, href, leftOut = 0) {
  const all = new Set();
  for (const [truth, labels] of Object.entries(confusion)) {
    all.add(truth);
    Object.keys(labels).forEach((label) => all.add(label));
  }
  const cell = (truth, label) => confusion[truth]?.[label] ?? 0;
  const mistakes = (name) =>
    [...all].reduce((sum, other) => (other === name ? sum : sum + cell(name, other) + cell(other, name)), 0);
  const ranked = [...all].map((name) => [name, all.size > MOST_CLASSES ? mistakes(name) : 0]);
  ranked.sort((one, other) => other[1] - one[1] || (one[0] < other[0] ? -1 : 1));
  const names = ranked.slice(0, MOST_CLASSES).map(([name]) => name);
  const sums = Object.fromEntries(names.map((name) => [name, Object.values(confusion[name] ?? {}).reduce((a, b) => a + b, 0)]));
  const rows = names.map((truth) =>
    el("tr", {}, el("th", { scope: "row" }, foreign(truth, 40)), names.map((label) => matrixCell(truth, label, cell(truth, label), sums[truth], href))),
  );
  const left = all.size - names.length + leftOut;
  return el(
    "div",
    {},
    left > 0 ? el("p", { class: "note" }, `The ${names.length} classes with the most mistakes; ${left} more are left out.`) : null,
    el(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": "Confusion matrix" },
      el(
        "table",
        { class: "matrix" },
        el("caption", {}, "Rows: the truth. Columns: the label that was given."),
        el("thead", {}, el("tr", {}, el("td"), names.map((name) => el("th", { scope: "col" }, el("span", {}, foreign(name, 40)))))),
        el("tbody", {}, rows),
      ),
    ),
  );
}

function matrixCell(truth, label, number, sum, href) {
  const strength = sum && number ? Math.max(1, Math.ceil((number / sum) * 5)) : 0;
  const kind = truth === label ? "right" : "wrong";
  const address = number && href ? href(truth, label) : null;
  const said = `${truth} labelled ${label}: ${number}`;
  return el(
    "td",
    { class: `${kind} s${strength}` },
    number ? (address ? el("a", { href: address, title: said }, count(number)) : el("span", { title: said }, count(number))) : "",
  );
}
