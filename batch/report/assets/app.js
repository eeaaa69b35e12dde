// Starts the pages: which one an address means, what it asks for, and how it stays true while a run is at work.
//
// Owns addresses (`#/0/rows?status=failed`), the bar above all pages, and the moment at which figures are asked again.

const PAGES = [
  ["overview", "Overview"],
  ["rows", "Rows"],
  ["compare", "Compare"],
  ["labels", "Labels"],
  ["money", "Money"],
];
const REFRESH_MS = 2000;

class App {
  constructor(source) {
    this.source = source;
    this.folders = [];
    this.shown = 0; // how often a page was asked for: an answer for an earlier one is not shown
    this.route = null;
    this.timer = 0;
    this.unwatch = () => {};
    this.main = el("main", { id: "content", tabindex: "-1" });
    this.bar = el("header", { class: "bar-top" });
  }

  async start() {
    document.body.prepend(skipLink(), this.bar, this.main, helpDialog());
    window.addEventListener("hashchange", () => this.open(true));
    listenForKeys(
      (number) => PAGES[number] && this.route && (location.hash = routeTo(this.route.folder, PAGES[number][0])),
      () => (location.hash = "#/"),
    );
    watchCharts();
    try {
      this.folders = await this.source.folders();
    } catch (error) {
      this.show([failure(error)]);
      return;
    }
    await this.open(false);
  }

  /** Show the page of the address. */
  async open(moved) {
    clearTimeout(this.timer);
    this.timer = 0;
    this.route = routeOf(location.hash, this.folders);
    this.unwatch();
    this.unwatch = () => {};
    this.drawBar();
    if (this.route.folder !== null) {
      this.unwatch = this.source.watch(this.route.folder, (first) => this.changed(first), (heard) => this.told(heard));
    }
    this.main.setAttribute("aria-busy", "true");
    const drawn = await this.load(false);
    if (drawn && moved) {
      window.scrollTo(0, 0);
      this.main.focus({ preventScroll: true });
    }
  }

  /** Ask for the figures of the page and show them; false when another page was opened meanwhile. */
  async load(again) {
    const ticket = (this.shown += 1);
    let nodes;
    try {
      nodes = await this.page();
    } catch (error) {
      if (again && error instanceof NoFigures) return false; // the old figures are better than none
      nodes = [failure(error)];
    }
    if (ticket !== this.shown) return false;
    if (!again || !somethingIsSelected()) this.show(nodes, again);
    return true;
  }

  /** The nodes of the page of the address. */
  async page() {
    const { folder, name, row, query } = this.route;
    if (folder === null) return this.folderPage();
    const context = { folder, source: this.source };
    const openLink = (one) => el("a", { href: routeTo(folder, "row", { id: one.row_id }) }, foreign(one.row_id, 60)); // in no table yet
    const rowLink = (one) => el("a", { href: rowRoute(folder, one) }, foreign(one.row_id, 60));
    if (name === "overview") {
      const overview = await this.source.figure(folder, "overview", query.toString());
      return [headline(overview), tiles(overview), nowSection(overview, openLink), historySection(overview, runChoice(folder, overview)), errorSection(overview, null, rowLink), extremeSection(overview, rowLink), settingSection(overview)];
    }
    if (name === "rows") return rowsPage(context, await this.source.figure(folder, "rows", query.toString()), query);
    if (name === "row") {
      const id = query.get("id");
      const found = id === null ? this.source.figure(folder, `row/${row}`, onlyFilters(query)) : this.source.figure(folder, "row", `id=${encodeURIComponent(id)}`);
      return rowPage(context, await found, query);
    }
    if (name === "compare") {
      const found = variantSections(await this.source.figure(folder, "compare", query.toString()), rowLink);
      return [el("h1", {}, "Compare"), found];
    }
    if (name === "labels") {
      const form = labelForm(folder, query);
      try {
        const labels = await this.source.figure(folder, "labels", query.toString());
        return [el("h1", {}, "Labels"), form, labelSections(labels, cellLinkOf(folder, labels))];
      } catch (error) {
        return [el("h1", {}, "Labels"), form, failure(error, "h2")];
      }
    }
    return this.moneyPage(folder, query);
  }

  async moneyPage(folder, query) {
    const by = query.get("by") ?? "day";
    const report = await this.source.figure(folder, "money", `by=${encodeURIComponent(by)}`);
    const overview = await this.source.figure(folder, "overview").catch(() => null);
    const tags = Object.keys(overview?.status?.job?.tags ?? {}).map((name) => `tag:${name}`);
    const choices = ["day", "model", "lane", "variant", "status", "run", ...tags];
    if (!choices.includes(by)) choices.push(by);
    const links = choices.map((name) => el("a", { href: routeTo(folder, "money", { by: name }), "aria-current": name === by ? "true" : null }, safeNodes(words(name))));
    return [el("h1", {}, "Money"), moneySection(report), el("nav", { class: "choices", "aria-label": "Group by" }, "By ", links), groupedSection(report, `By ${words(by)}`)];
  }

  /** All folders side by side. */
  async folderPage() {
    const found = await Promise.all(
      this.folders.map(async (folder) => {
        try {
          return { ...folder, status: await this.source.figure(folder.id, "status") };
        } catch (error) {
          return { ...folder, error };
        }
      }),
    );
    const totals = (folder) => folder.status?.totals ?? {};
    return [
      el("h1", {}, "Folders"),
      dataTable("Output folders, with the figures of their last run", [
        { name: "Folder", cell: (folder) => el("a", { href: routeTo(folder.id, "overview") }, foreign(folder.path, 120)), always: true },
        { name: "Job", cell: (folder) => foreign(folder.status?.job?.name ?? folder.job, 60) },
        { name: "State", cell: (folder) => (folder.error ? foreign(folder.error.message, 300) : badge(folder.status.state)) },
        { name: "Answered", kind: "number", cell: (folder) => count(totals(folder).rows_ok) },
        { name: "Failed", kind: "number", cell: (folder) => count(totals(folder).rows_failed) },
        { name: "Cost", kind: "number", cell: (folder) => amounts(totals(folder).cost) },
        { name: "Tokens", kind: "number", cell: (folder) => short(totals(folder).total_tokens) },
        { name: "Rows/s now", kind: "number", cell: (folder) => (folder.status?.live ? short(folder.status.live.rows_per_second) : null) },
        { name: "Left", kind: "number", cell: (folder) => (folder.status?.live?.left_s ? duration(folder.status.live.left_s) : null) },
        { name: "Started", cell: (folder) => moment(folder.status?.started_at) },
      ], found),
    ];
  }

  /** The folder changed: overviews are asked again, other pages say that they are older, unless they are new. */
  changed(first) {
    if (this.timer) return;
    if (this.route.name === "overview") {
      this.timer = setTimeout(async () => {
        await this.load(true);
        this.timer = 0;
      }, REFRESH_MS);
    } else if (!first) document.getElementById("older")?.removeAttribute("hidden");
  }

  /** Whether the server is heard. */
  told(heard) {
    const sign = document.getElementById("heard");
    if (!sign) return;
    sign.textContent = heard ? "live" : "not connected";
    sign.className = `badge ${heard ? "live" : "bad"}`;
  }

  drawBar() {
    const { folder, name } = this.route;
    const now = name === "row" ? "rows" : name;
    const links = folder === null ? [] : PAGES.map(([page, title]) => el("a", { href: routeTo(folder, page), "aria-current": page === now ? "page" : null }, title));
    const again = el("button", { type: "button", id: "older", hidden: true }, "The run went on: show again");
    again.addEventListener("click", () => this.open(false));
    this.bar.replaceChildren(
      el("a", { class: "brand", href: "#/" }, "promptmill"),
      this.folders.length > 1 && folder !== null ? this.folderChoice(folder) : "",
      el("nav", { "aria-label": "Pages" }, links),
      el("span", { class: "room" }),
      again,
      el("span", { id: "heard", class: "badge plain", role: "status" }, ""),
      helpButton(),
    );
  }

  folderChoice(folder) {
    const choice = el("select", { "aria-label": "Folder" }, this.folders.map((one) => el("option", { value: one.id, selected: one.id === folder }, safeNodes(one.path))));
    choice.addEventListener("change", () => (location.hash = routeTo(choice.value, this.route.name === "row" ? "rows" : this.route.name)));
    return choice;
  }

  /** Put nodes on the page; when it is the same page again, what had the focus and what was folded stay. */
  show(nodes, again = false) {
    const focused = again && this.main.contains(document.activeElement) ? signOf(document.activeElement) : null;
    const folded = again ? new Map([...this.main.querySelectorAll("details")].map((one) => [one.firstChild.textContent, one.open])) : new Map();
    this.main.replaceChildren(...add(document.createDocumentFragment(), nodes).childNodes);
    for (const one of this.main.querySelectorAll("details")) one.open = folded.get(one.firstChild.textContent) ?? one.open;
    if (focused) reachable(this.main).find((one) => signOf(one) === focused)?.focus({ preventScroll: true });
    this.main.removeAttribute("aria-busy");
    const heading = this.main.querySelector("h1")?.textContent ?? "promptmill";
    document.title = `${heading} · promptmill`;
    drawCharts();
  }
}

/** What an address means; one that means nothing is the overview of the only folder, or the list of all. */
function routeOf(hash, folders) {
  const [path, text = ""] = hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const [id, name = "overview", row = ""] = path.split("/").map(decoded);
  const query = new URLSearchParams(text);
  const folder = folders.find((one) => String(one.id) === id);
  if (!folder) return { folder: folders.length === 1 ? String(folders[0].id) : null, name: "overview", row: "", query: new URLSearchParams() };
  const known = name === "row" ? /^\d+$/.test(row) || query.has("id") : PAGES.some(([page]) => page === name);
  return { folder: String(folder.id), name: known ? name : "overview", row, query };
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** Which columns have the labels and their truth, where those of the job are not meant. */
function labelForm(folder, query) {
  const field = (name, text) => el("label", {}, el("span", {}, text), el("input", { name, value: query.get(name) ?? "", autocomplete: "off", spellcheck: "false" }));
  const form = el("form", { class: "filters", "aria-label": "Columns" }, field("label", "Column of labels"), field("gold", "Column of the truth"), el("div", {}, el("button", { type: "submit" }, "Show")));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    location.hash = routeTo(folder, "labels", [...new FormData(form)].filter(([, value]) => value.trim() !== ""));
  });
  return form;
}

const MOST_CHOICES = 8;

/** The runs whose figures over time can be shown; null where there is one. */
function runChoice(folder, overview) {
  const runs = overview.runs ?? [];
  if (runs.length < 2) return null;
  const names = ["all", ...runs.slice(-MOST_CHOICES).map((run) => run.run).reverse()];
  const links = names.map((name) =>
    el("a", { href: routeTo(folder, "overview", { run: name }), "aria-current": name === overview.run ? "true" : null }, name === "all" ? "all runs" : safeNodes(name)),
  );
  return el("nav", { class: "choices", "aria-label": "Run" }, "Of ", links);
}

/** The address of the rows behind a cell of the confusion matrix. */
function cellLinkOf(folder, labels) {
  const filters = new Map((labels.cells ?? []).map((cell) => [JSON.stringify([cell.truth, cell.label]), cell.filter]));
  return (truth, label) => {
    const filter = filters.get(JSON.stringify([truth, label]));
    if (!filter) return null;
    const pairs = Object.entries(filter).flatMap(([name, value]) => [value].flat().map((one) => [name, one]));
    return routeTo(folder, "rows", pairs);
  };
}

function failure(error, heading = "h1") {
  if (!(error instanceof NoFigures)) console.error(error);
  const text = error instanceof NoFigures ? error.message : `A bug of ours: ${error.message}`;
  return el("div", { class: "failure", role: "alert" }, el(heading, {}, "Not here"), el("p", {}, safeNodes(text)));
}

function helpButton() {
  const button = el("button", { type: "button", "aria-label": "Keys", title: "Keys (?)" }, "?");
  button.addEventListener("click", () => document.getElementById("help").showModal());
  return button;
}

/** By what an element is known again when its page was made anew: tables grow meanwhile, so its place says nothing. */
function signOf(node) {
  return [node.closest("section")?.id, node.tagName, node.getAttribute("name"), node.textContent].join(" ");
}

function reachable(node) {
  return [...node.querySelectorAll("a[href], button, input, select, summary, [tabindex]")];
}

function somethingIsSelected() {
  const selection = getSelection();
  return selection !== null && !selection.isCollapsed;
}

const source = sourceOfPage();
if (source.embedded) startReport(source);
else new App(source).start();
