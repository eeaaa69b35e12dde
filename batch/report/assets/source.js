// Gets the figures of a page: from the server that sent it, or from the report that holds them.
//
// Owns addresses and waiting. Every figure is asked through one of the two objects below, which have the same methods,
// so no page knows where it stands.

/** Why figures cannot be had; the text is for people. */
class NoFigures extends Error {}

/** Figures of a running `promptmill view`; addresses are relative to the page. */
class ServerSource {
  embedded = false;

  folders() {
    return this.#get("api/folders");
  }

  /** One figure of a folder: overview, rows, row/7, compare, labels or money. */
  figure(folder, name, query = "") {
    return this.#get(`api/${encodeURIComponent(folder)}/${name}${query ? `?${query}` : ""}`);
  }

  /** The address of filtered rows as a file. */
  download(folder, ending, query) {
    return `api/${encodeURIComponent(folder)}/rows.${ending}${query ? `?${query}` : ""}`;
  }

  /**
   * Call `changed` with the first news of a folder (true) and whenever there are others (false), and `told` with
   * whether the server is heard; returns what ends it.
   */
  watch(folder, changed, told) {
    const events = new EventSource(`api/${encodeURIComponent(folder)}/events`);
    let last = null;
    events.onmessage = ({ data }) => {
      told(true);
      const news = JSON.stringify(JSON.parse(data).status ?? null);
      if (news !== last) changed(last === null); // the same again comes after an interruption
      last = news;
    };
    events.onopen = () => told(true);
    events.onerror = () => told(false);
    return () => events.close();
  }

  async #get(address) {
    let answer;
    try {
      answer = await fetch(address, { headers: { Accept: "application/json" } });
    } catch {
      throw new NoFigures("The server does not answer any more. Start promptmill view again, and open the address that it prints.");
    }
    let body = null;
    try {
      body = await answer.json();
    } catch {
      throw new NoFigures(`The server answered ${answer.status} and no figures. Load this page again.`);
    }
    if (!answer.ok) throw new NoFigures(body?.error ?? `The server answered ${answer.status}.`);
    return body;
  }
}

/** Figures that stand in the page itself. */
class EmbeddedSource {
  embedded = true;

  constructor(data) {
    this.data = data;
  }

  async folders() {
    return this.data.folders;
  }

  async figure(folder, name) {
    const found = this.data.figures[name];
    if (found === undefined || found === null) throw new NoFigures("The report does not hold this.");
    return found;
  }

  watch() {
    return () => {};
  }
}

/** The source of this page. */
function sourceOfPage() {
  const data = document.getElementById("figures");
  return data ? new EmbeddedSource(JSON.parse(data.textContent)) : new ServerSource();
}
