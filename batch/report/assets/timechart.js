// Draws figures over time with uPlot, in the colours of the page.
//
// Owns the charts that are on the page, so that they follow its width, its colours and the printer. It knows no figure.

const charts = new Set();
const CHART_HEIGHT = 170;

/** The value of one of the page's colours now. */
function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/**
 * A chart of one or more series over the same times.
 *
 * title: said above it. times: seconds since 1970. series: each with name, values, colour (a variable of the page),
 * and optionally `fill`. shown: writes a value. Null when there is nothing to draw.
 */
function timeChart(title, times, series, shown) {
  const drawn = series.filter(({ values }) => values && values.some((value) => value !== null));
  if (!times || times.length < 2 || drawn.length === 0) return null;
  const room = el("div", { class: "chart-room" });
  const figure = el(
    "figure",
    { class: "chart" },
    el("figcaption", {}, title),
    el("div", { role: "img", "aria-label": summary(title, times, drawn, shown) }, room),
  );
  const chart = { room, times, drawn, shown, plot: null, width: 0 };
  charts.add(chart);
  return figure;
}

/** What a chart shows, in a sentence for those who do not see it. */
function summary(title, times, drawn, shown) {
  const parts = drawn.map(({ name, values }) => {
    const known = values.filter((value) => value !== null);
    const most = known.reduce((one, other) => Math.max(one, other), -Infinity);
    return `${name} at most ${shown(most)}, at last ${shown(known[known.length - 1])}`;
  });
  return `${title}, ${moment(times[0])} to ${moment(times[times.length - 1])}: ${parts.join("; ")}`;
}

/** Draw the charts that are on the page now, and forget those that are gone; called when a page is laid out. */
function drawCharts() {
  for (const chart of charts) {
    if (!chart.room.isConnected) {
      chart.plot?.destroy();
      charts.delete(chart);
    } else if (chart.room.clientWidth && chart.width !== chart.room.clientWidth) {
      draw(chart);
    }
  }
}

/** Draw all anew, in the colours of now. */
function redrawCharts() {
  for (const chart of charts) if (chart.room.isConnected) draw(chart);
}

const TIME_STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800, 2_419_200, 31_536_000];

/** The times below a chart: days where a step is a day, the day once where it changes, else hours. */
function timeTicks(_, ticks, __, ___, step) {
  let day = "";
  return ticks.map((tick) => {
    const [date, time] = moment(tick).split(" ");
    if (step >= 86_400) return date;
    const changed = date !== day;
    day = date;
    const short = step < 60 ? time : time.slice(0, 5);
    return changed ? `${short}\n${date}` : short;
  });
}

function draw(chart) {
  chart.plot?.destroy();
  chart.width = chart.room.clientWidth;
  const axis = { stroke: colour("muted"), grid: { stroke: colour("grid"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
  const lines = chart.drawn.map((one) => ({
    label: one.name,
    stroke: colour(one.colour),
    fill: one.fill ? `${colour(one.colour)}22` : undefined,
    width: 1.5,
    points: { show: chart.times.length < 40, size: 4 },
    spanGaps: true,
    value: (_, value) => (value === null ? NONE : chart.shown(value)),
  }));
  chart.plot = new uPlot(
    {
      width: chart.width,
      height: CHART_HEIGHT,
      cursor: { y: false, drag: { x: false, y: false } },
      legend: { show: true, live: true },
      scales: { y: { range: (_, low, high) => [Math.min(0, low), high > 0 ? high * 1.08 : 1] } },
      axes: [{ ...axis, incrs: TIME_STEPS, values: timeTicks, size: 40, space: 70 }, { ...axis, size: 58, values: (_, ticks) => ticks.map(chart.shown) }],
      series: [{ label: "time", value: (_, value) => moment(value) }, ...lines],
    },
    [chart.times, ...chart.drawn.map(({ values }) => values)],
    chart.room,
  );
}

/** Keep the charts right when the window, the colours or the paper change. */
function watchCharts() {
  let waiting = 0;
  window.addEventListener("resize", () => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(drawCharts);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redrawCharts);
  for (const [event, printing] of [["beforeprint", true], ["afterprint", false]]) {
    window.addEventListener(event, () => {
      document.documentElement.classList.toggle("printing", printing);
      redrawCharts();
    });
  }
}
