// The overview of one run: what ran, did it work, what did it cost, and how it went.
//
// Owns the sections of this page; the report has the same ones. It asks for nothing: figures are handed in.

const SENTENCES = {
  never: "No run has begun here.",
  running: "It is running.",
  stopping: "It is stopping: calls in flight may finish.",
  killed: "It is not running: it was killed. Run the same command to continue.",
  finished: "It has finished.",
  interrupted: "It was interrupted. Run the same command to continue.",
  waiting: "Its batches are at the provider. Run the same command to collect them.",
  budget: "It was stopped by its budget. Run the same command to go on with the next run.",
  provider: "It was stopped, because the provider refused. Run the same command to continue.",
  systematic: "It was stopped, because row after row failed the same way. Correct the job and run it again.",
  storage: "It was stopped, because a file could not be written or read. Run the same command to continue.",
  input: "It was stopped, because the input could not be read on. Run the same command to continue.",
  job_changed: "It was closed, because the job changed. Run the same command to go on with the new one.",
  selection_changed: "It was closed, because other rows were asked for. Run the same command to go on.",
  input_changed: "It was closed, because the input changed. Run the same command to go on with the new one.",
};

/** The first screen: what ran, whether it worked, what it cost. */
function headline(overview) {
  const { status } = overview;
  const job = status.job ?? {};
  const models = (job.models ?? [job.model]).filter(Boolean).join(", ");
  return el(
    "header",
    { class: "headline" },
    el("h1", {}, foreign(job.name ?? lastName(status.folder)), " ", badge(status.state)),
    el(
      "p",
      { class: "lead" },
      safeNodes(verdict(status)),
      status.started_at ? [" ", el("span", { class: "note" }, `Started ${moment(status.started_at)}${status.ended_at ? `, ended ${moment(status.ended_at)}` : ""} (${zone()}).`)] : null,
      models ? [" ", el("span", { class: "note" }, "Model ", foreign(models), job.provider ? [" at ", foreign(job.provider)] : null, job.lane ? `, lane ${job.lane}` : null, ".")] : null,
    ),
    status.fault ? el("p", { class: "fault" }, foreign(status.fault, 2000)) : null,
    missingNote(overview.missing ?? []),
  );
}

/** That figures are without what stands in files which cannot be read; null where there is none. */
function missingNote(files) {
  if (files.length === 0) return null;
  const named = files.slice(0, 3).map((file) => file.path).join(", ");
  const more = files.length > 3 ? ` and ${count(files.length - 3)} more` : "";
  return el("p", { class: "fault", role: "alert" }, `Incomplete: ${counted(files.length, "file")} cannot be read, and what is counted over rows or calls is without ${files.length === 1 ? "it" : "them"}: `, foreign(named, 500), `${more}. `, foreign(files[0].reason, 1000));
}

/** Whether it worked, in one sentence. */
function verdict(status) {
  const sentence = SENTENCES[status.state] ?? "";
  const { rows_ok: ok = 0, rows_failed: failed = 0 } = status.totals ?? {};
  if (status.state !== "finished") return sentence;
  if (failed === 0 && ok > 0) return `It has finished: ${count(ok)} of ${counted(ok, "row")} got an answer.`;
  if (ok + failed === 0) return "It has finished: no row needed work.";
  const within = status.within_max_failed ? ` That is within what the command allowed (${status.max_failed}).` : "";
  return `It has finished: ${count(ok)} of ${counted(ok + failed, "row")} got an answer, ${count(failed)} failed.${within}`;
}

function lastName(path) {
  return String(path ?? "").split("/").filter(Boolean).pop() ?? "";
}

/** The large figures. */
function tiles(overview) {
  const { status } = overview;
  const totals = status.totals ?? {};
  const live = status.live;
  const ok = totals.rows_ok ?? 0;
  const failed = totals.rows_failed ?? 0;
  const expected = live?.expected ?? ok + failed + (status.planned?.left ?? 0);
  const left = Math.max(0, expected - ok - failed);
  const seconds = (Date.parse(status.ended_at ?? status.updated_at) - Date.parse(status.started_at)) / 1000;
  const rate = live ? live.rows_per_second : seconds > 0 ? (ok + failed) / seconds : null;
  return el(
    "div",
    { class: "tiles" },
    tile(
      "Rows answered",
      count(ok),
      stackedBar(
        [{ name: "ok", value: ok, kind: "good" }, { name: "failed", value: failed, kind: "bad" }],
        expected,
      ),
      el("span", {}, `${count(failed)} failed, ${count(left)} left`),
    ),
    tile("Cost of this run", costOf(totals), moneyBelow(status)),
    tile(
      "Tokens",
      short(totals.total_tokens ?? 0),
      `${short(totals.prompt_tokens ?? 0)} prompt, ${short(totals.completion_tokens ?? 0)} completion`,
      totals.cached_tokens ? `, ${short(totals.cached_tokens)} cached` : null,
    ),
    tile(
      "Time",
      status.started_at && seconds >= 0 ? duration(seconds) : NONE,
      rate === null ? null : `${short(rate)} rows/s`,
      live?.left_s ? `, about ${duration(live.left_s)} left` : null,
    ),
  );
}

/** What the run has cost; zero where all its calls are known to have cost nothing. */
function costOf(totals) {
  const free = totals.calls > 0 && !totals.unknown && !totals.unknown_usage && !totals.unpriced;
  return Object.keys(totals.cost ?? {}).length === 0 && free ? money("0", null) : amounts(totals.cost);
}

/** What stands below the cost: what is expected, what is left of a limit, what is not known. */
function moneyBelow(status) {
  const totals = status.totals ?? {};
  const said = [];
  const projected = status.live?.projected_cost ?? {};
  if (Object.keys(projected).length) said.push(el("span", {}, amounts(projected), " when done"));
  if (totals.unknown) said.push(el("span", {}, `${counted(totals.unknown, "call")} possibly billed beyond it`));
  if (totals.unknown_usage) said.push(el("span", {}, `${counted(totals.unknown_usage, "answer")} billed without a word on tokens`));
  if (Object.keys(totals.cost_bound ?? {}).length) {
    const both = totals.unbounded ? [", and of ", counted(totals.unbounded, "call"), " nothing can be said"] : [];
    said.push(el("span", {}, "at most ", amounts(totals.cost_bound), " for these", both));
  }
  if (totals.unpriced) said.push(el("span", {}, `${counted(totals.unpriced, "call")} without a known price`));
  return said.flatMap((one, place) => (place ? ["; ", one] : [one]));
}

/** What the run does now, and what it may spend; `rowLink` leads to a row by its id. Null when it is over, without a limit. */
function nowSection(overview, rowLink) {
  const { status } = overview;
  const live = status.live;
  const rows = live
    ? [
        ["Waits for", live.waits_for ? foreign(live.waits_for) : "nothing"],
        ["Calls in flight", count(live.in_flight)],
        ["Tasks at the provider", live.waiting_tasks ? count(live.waiting_tasks) : null],
        ["Held back by limits", live.held_back ? count(live.held_back) : null],
        ["Rows that wait for another try", live.waiting_rows ? count(live.waiting_rows) : null],
        ["Figures of", moment(status.updated_at)],
      ]
    : [];
  return section(live ? "Now" : "What is left", { id: "now" }, facts(rows), budgetTable(status.budget), limitBars(overview), batchTable(status.batches ?? []), oldestTable(overview.oldest ?? [], rowLink));
}

/** What may be spent, and what is left of it. */
function budgetTable(budget) {
  const limits = Object.entries(budget ?? {}).map(([name, found]) => ({ name, ...(typeof found === "object" ? found : { left: found }) }));
  return dataTable(
    "Budget",
    [
      { name: "Key", cell: (one) => el("code", {}, safeNodes(one.name)) },
      { name: "Limit", kind: "number", cell: (one) => foreign(one.limit) },
      { name: "Left", kind: "number", cell: (one) => foreign(one.left) },
    ],
    limits,
  );
}

/** How much of each limit is used; nothing when the run does not tell it. */
function limitBars(overview) {
  const limits = Array.isArray(overview.limits) ? overview.limits : (overview.status.live?.limits ?? []);
  return barTable("Share of each limit in use: calls in flight, or what left within the last minute", limits, {
    label: (one) => [words(one.name), one.model ? [" of ", foreign(one.model)] : null],
    value: (one) => one.used,
    most: (one) => one.limit,
    shown: (one) => `${percent(one.limit ? one.used / one.limit : null)}  ${count(one.used)} of ${count(one.limit)}`,
  });
}

/** The files of requests of lane bulk that are on their way. */
function batchTable(batches) {
  return dataTable(
    "Batches that are not collected",
    [
      { name: "Batch", cell: (batch) => (batch.batch_id ? foreign(batch.batch_id) : `file ${batch.wave}`) },
      { name: "Model", cell: (batch) => foreign(batch.model) },
      { name: "State", cell: (batch) => foreign(words(batch.state)) },
      { name: "Requests", kind: "number", cell: (batch) => count(batch.lines) },
      { name: "Done", kind: "number", cell: (batch) => (batch.done === null ? NONE : count(batch.done)) },
      { name: "Age", kind: "number", cell: (batch) => duration(batch.age_s) },
      { name: "Ends by", cell: (batch) => (batch.expires_at ? moment(batch.expires_at) : NONE) },
    ],
    batches,
  );
}

function oldestTable(oldest, rowLink) {
  return dataTable(
    "Rows that have been open for longest",
    [
      { name: "Row", cell: rowLink },
      { name: "Variant", cell: (row) => foreign(row.variant) },
      { name: "Open for", kind: "number", cell: (row) => duration(row.age_s) },
      { name: "Waits for", cell: (row) => foreign(row.waits_for) },
    ],
    oldest,
  );
}

/** A value as JSON has it, as a cell; names that end in `_at` are moments, in `_s` seconds. */
function plainValue(name, value) {
  if (value === null || value === undefined) return null;
  if (name.endsWith("_at")) return moment(value);
  if (name.endsWith("_s") && typeof value === "number") return duration(value);
  if (typeof value === "number") return count(value);
  return foreign(value);
}

/** The run over time. */
function historySection(overview, choice = null) {
  const { series, latency } = overview;
  if (!series?.t?.length) return section("Over time", { id: "over-time" }, choice, histogramOf(latency));
  const { times, rate } = ratesOf(series);
  const booked = overview.status.live ? bookedUntil(series) : Infinity;
  const sum = (values) => {
    let total = 0;
    return values.map((value, place) => (place > booked ? null : (total += Number(value ?? 0))));
  };
  const tokens = (values) => rate(values)?.map((value, place) => (times[place] > (series.t[booked] ?? Infinity) ? null : value));
  const colours = ["blue", "green", "orange"];
  const costs = Object.entries(series.cost ?? {}).map(([currency, values], place) => ({ name: currency, values: sum(values), colour: colours[place % 3], fill: place === 0 }));
  return section(
    "Over time",
    { id: "over-time", note: `Times are in ${zone()}.${notBooked(overview)}` },
    choice,
    series.t.length < 2 ? el("p", { class: "note" }, `All of it came within ${duration(series.bin_s)}: too soon for charts over time.`) : el(
      "div",
      { class: "charts" },
      timeChart("Rows a second", times, [
        { name: "rows", values: rate(series.rows), colour: "blue", fill: true },
        { name: "failed", values: series.failed?.some((value) => value) ? rate(series.failed) : null, colour: "red" },
      ], short),
      timeChart("Latency of calls", series.t, [
        { name: "median", values: series.latency_p50, colour: "blue" },
        { name: "95 %", values: series.latency_p95, colour: "orange" },
      ], duration),
      timeChart("Tokens a second", times, [
        { name: "prompt", values: tokens(series.tokens_in), colour: "blue", fill: true },
        { name: "completion", values: tokens(series.tokens_out), colour: "green" },
      ], short),
      timeChart("Cost, added up", series.t, costs, short),
    ),
    histogramOf(latency),
  );
}

/** What the figures over time do not have yet, though the large ones do: calls whose file came a moment ago, or is still to come. */
function notBooked({ series, status, run }) {
  const missing = run === status.run ? (status.totals?.calls ?? 0) - series.calls.reduce((sum, number) => sum + number, 0) : 0;
  return missing > 0 ? ` The last ${counted(missing, "call")} are not in these charts yet.` : "";
}

/** The last bin of a run at work whose calls are in the book; of later ones nothing is known yet, which is not zero. */
function bookedUntil(series) {
  return series.calls.findLastIndex((number) => number > 0);
}

const MOST_RATES = 240;
const FEWEST_RATES = 30;

/** Times for rates, and how counts become rates: so many bins in one that a few calls are in each, or it looks like a comb. */
function ratesOf(series) {
  const calls = (series.calls ?? []).reduce((sum, number) => sum + number, 0);
  const wanted = Math.max(FEWEST_RATES, Math.min(MOST_RATES, Math.round(calls / 4)));
  const step = Math.max(1, Math.ceil(series.t.length / wanted));
  const times = series.t.filter((_, place) => place % step === 0);
  const rate = (values) => {
    if (!values) return null;
    const sums = times.map(() => 0);
    values.forEach((value, place) => (sums[Math.floor(place / step)] += value ?? 0));
    return sums.map((sum, place) => sum / (series.bin_s * Math.min(step, values.length - place * step)));
  };
  return { times, rate };
}

function histogramOf(latency) {
  return latency?.counts?.length ? histogram("Latency of calls: how many took how long", latency.edges_s, latency.counts, duration) : null;
}
