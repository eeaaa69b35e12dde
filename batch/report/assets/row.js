// The page of one row: its input, the whole conversation, the outcome, and every call that was made for it.
//
// Owns how a conversation is shown. Answers are shown as Markdown, and as they came on demand.

function rowPage(context, answer, query) {
  const { views } = answer;
  const first = views[0];
  const asked = query.get("of");
  const ordered = asked === null ? views : [...views.filter((view) => view.variant === asked), ...views.filter((view) => view.variant !== asked)];
  const back = new URLSearchParams(query);
  back.delete("of");
  back.delete("id");
  return [
    rowWays(context, answer, back),
    el("h1", {}, "Row ", foreign(first.row_id), " ", el("span", { class: "note" }, `number ${count(first.row_number)}`)),
    ordered.length > 1 ? el("p", { class: "note" }, `${ordered.length} variants, one below another.`) : null,
    ordered.map((view) => variantOf(view, ordered.length > 1)),
  ];
}

function rowWays(context, answer, back) {
  const to = (place) => (typeof place === "object" ? place : { row_number: place });
  const has = (place) => place !== null && place !== undefined;
  return el(
    "nav",
    { class: "pager", "aria-label": "Rows beside this one" },
    has(answer.previous) ? el("a", { href: rowRoute(context.folder, to(answer.previous), back), rel: "prev", "data-key": "p" }, "← Previous row") : null,
    el("a", { href: routeTo(context.folder, "rows", back), "data-key": "u" }, "Back to the list"),
    has(answer.next) ? el("a", { href: rowRoute(context.folder, to(answer.next), back), rel: "next", "data-key": "n" }, "Next row →") : null,
  );
}

function variantOf(view, several) {
  const outcome = view.outcome;
  const state = outcome?.status ?? view.stage ?? "no outcome yet";
  const name = view.variant ?? "(none)";
  return el(
    "article",
    { class: "variant", "aria-label": several ? `Variant ${name}` : "The row" },
    el("h2", {}, several ? ["Variant ", foreign(name), " "] : "Outcome ", badge(state), view.stage && outcome ? el("span", { class: "note" }, ` ${words(view.stage)}`) : null),
    outcomeFacts(outcome),
    rowSection("Input", inputOf(view)),
    rowSection("Conversation", conversationOf(view)),
    rowSection("Calls", callTable(view.calls ?? [])),
  );
}

function rowSection(title, content) {
  return content ? el("section", { "aria-label": title }, el("h3", {}, title), content) : null;
}

const OUTCOME_SHOWN = ["status", "answer", "reasoning", "row_id", "row_number", "variant", "cost", "currency", "error_message", "latency_ms", "flags", "votes"];

function outcomeFacts(outcome) {
  if (!outcome) return null;
  const labels = Object.entries(outcome).filter(([name, value]) => name.startsWith("label") && value !== null);
  const rest = Object.entries(outcome).filter(
    ([name, value]) => !OUTCOME_SHOWN.includes(name) && !name.startsWith("label") && value !== null && value !== "",
  );
  return el(
    "div",
    {},
    outcome.error_kind
      ? el("p", { class: "fault" }, el("code", {}, safeNodes([outcome.error_kind, outcome.error_code].filter(Boolean).join("/"))), " ", foreign(outcome.error_message, 4000))
      : null,
    facts([
      ...labels.map(([name, value]) => [safeNodes(words(name)), foreign(jsonLine(value), 1000)]),
      ["Votes", outcome.votes?.length ? foreign(outcome.votes.map((vote) => `${vote.count} ${vote.label}`).join(", ")) : null],
      ["Flags", outcome.flags?.length ? foreign(outcome.flags.join(", ")) : null],
      ["Cost", outcome.cost === null ? null : money(outcome.cost, outcome.currency)],
      ["Took", outcome.latency_ms === null || outcome.latency_ms === undefined ? null : duration(outcome.latency_ms / 1000)],
      ["Tokens", outcome.total_tokens === null ? null : `${count(outcome.prompt_tokens)} prompt, ${count(outcome.completion_tokens)} completion`],
    ]),
    el("details", {}, el("summary", {}, "All columns"), facts(rest.map(([name, value]) => [safeNodes(name), plainValue(name, typeof value === "object" ? JSON.stringify(value) : value)]))),
  );
}

const MOST_UNFOLDED = 20;

/** The columns of the input; of a wide table the first ones, the others folded, so that the answer is not far below. */
function inputOf(view) {
  const pairs = Object.entries(view.inputs ?? {}).filter(([, value]) => value !== null);
  const listed = (some) => el("dl", { class: "inputs" }, some.map(([name, value]) => [el("dt", {}, safeNodes(name)), el("dd", {}, valueOf(value))]));
  if (pairs.length <= MOST_UNFOLDED) return pairs.length ? listed(pairs) : null;
  const rest = pairs.slice(MOST_UNFOLDED);
  return [listed(pairs.slice(0, MOST_UNFOLDED)), el("details", {}, el("summary", {}, counted(rest.length, "more column")), listed(rest))];
}

/** A value of the input: a picture where it is one, else its text. */
function valueOf(value) {
  if (value && typeof value.bytes === "number" && "picture" in value) {
    return `${counted(value.bytes, "byte")}${value.picture ? `, ${value.picture}` : ""}`; // too large, or no picture
  }
  const address = typeof value === "string" ? pictureAddress(value) : null;
  if (address) return el("img", { class: "picture", src: address, alt: "a picture of the input" });
  const text = jsonText(value);
  return text.length < 120 && !text.includes("\n") ? foreign(text) : foreignBlock(text);
}

/** The text itself where it is the address of a picture that lies in it, else null: nothing is loaded from elsewhere. */
function pictureAddress(text) {
  return /^data:image\/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/]/.test(text) ? text : null;
}

/** The conversation; where none is kept, the answer and what was thought before it. */
function conversationOf(view) {
  const messages = view.messages ?? [];
  const outcome = view.outcome;
  if (messages.length) return el("ol", { class: "conversation" }, messages.map(messageOf));
  if (!outcome?.answer && !outcome?.reasoning) return null;
  return el("ol", { class: "conversation" }, messageOf({ role: "assistant", content: outcome.answer, reasoning_content: outcome.reasoning }));
}

function messageOf(message) {
  const role = String(message.role ?? "?");
  const known = ["system", "user", "assistant", "tool"].includes(role) ? role : "other";
  return el(
    "li",
    { class: `message ${known}` },
    el("p", { class: "role" }, safeNodes(role), message.name ? [" ", foreign(message.name)] : null, message.tool_call_id ? el("span", { class: "note" }, " answers ", foreign(message.tool_call_id, 60)) : null),
    message.reasoning_content ? el("details", { class: "reasoning", open: true }, el("summary", {}, "What the model thought"), foreignBlock(jsonText(message.reasoning_content))) : null,
    contentOf(message.content, role),
    (message.tool_calls ?? []).map(toolCallOf),
  );
}

/** The content of a message: text, or a list of parts with pictures among them. */
function contentOf(content, role) {
  if (content === null || content === undefined || content === "") return null;
  if (Array.isArray(content)) return content.map((part) => partOf(part, role));
  const text = jsonText(content);
  const pretty = /^\s*[{[]/.test(text) ? prettyJson(text) : text;
  if (pretty !== text) return foreignBlock(pretty, "code");
  if (role !== "assistant") return foreignBlock(text);
  const plain = !/[*_`#>|[\]-]|^\d+[.)]/m.test(text);
  if (plain) return foreignBlock(text);
  return el("div", {}, markdown(text), el("details", { class: "raw" }, el("summary", {}, "As it came"), foreignBlock(text)));
}

function partOf(part, role) {
  if (typeof part === "string") return contentOf(part, role);
  if (part?.type === "text") return contentOf(part.text, role);
  const image = part?.image_url?.url ?? part?.image_url;
  const address = typeof image === "string" ? pictureAddress(image) : null;
  if (address) return el("img", { class: "picture", src: address, alt: "a picture of the conversation" });
  if (typeof image === "string") return el("p", { class: "picture-part" }, "Picture ", foreign(part.source ?? image, 300), part.source ? el("span", { class: "note" }, " ", foreign(image, 90)) : null);
  return foreignBlock(jsonText(part), "code");
}

function toolCallOf(call) {
  const asked = call?.function ?? {};
  return el(
    "div",
    { class: "tool-call" },
    el("p", {}, "calls ", el("code", {}, safeNodes(String(asked.name ?? "?"))), call?.id ? el("span", { class: "note" }, " as ", foreign(call.id, 60)) : null),
    foreignBlock(prettyJson(jsonText(asked.arguments ?? "")), "code"),
  );
}

/** JSON with line breaks; other text as it is. Numbers that would lose digits keep the text as it came. */
function prettyJson(text) {
  if (text.length > 100_000 || /\d{16}/.test(text)) return text;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

function callTable(calls) {
  return dataTable("Every call that was made for the row, failed ones too", [
    { name: "Turn", kind: "number", cell: (call) => count(call.turn) },
    { name: "Try", kind: "number", cell: (call) => count((call.attempt ?? 0) + 1) },
    { name: "For", cell: (call) => foreign(call.purpose) },
    { name: "State", cell: (call) => badge(call.state ?? "open") },
    { name: "HTTP", kind: "number", cell: (call) => (call.http_status ? String(call.http_status) : null) },
    { name: "Model", cell: (call) => foreign(call.model_served ?? call.model_asked) },
    { name: "Prompt", kind: "number", cell: (call) => count(call.prompt_tokens) },
    { name: "Completion", kind: "number", cell: (call) => count(call.completion_tokens) },
    { name: "Cached", kind: "number", cell: (call) => (call.cached_tokens ? count(call.cached_tokens) : null) },
    { name: "Cost", kind: "number", cell: (call) => money(call.cost, call.currency) },
    { name: "Sent", cell: (call) => moment(call.sent_at) },
    { name: "Waited", kind: "number", cell: (call) => (call.wait_ms ? duration(call.wait_ms / 1000) : null) },
    { name: "Took", kind: "number", cell: (call) => (call.latency_ms === null || call.latency_ms === undefined ? null : duration(call.latency_ms / 1000)) },
    { name: "First chunk", kind: "number", cell: (call) => (call.first_chunk_ms ? duration(call.first_chunk_ms / 1000) : null) },
    { name: "Error", cell: (call) => (call.error_kind ? el("code", {}, safeNodes([call.error_kind, call.error_code].filter(Boolean).join("/"))) : null) },
    { name: "Ids", cell: (call) => foreign([call.client_call_id, call.task_id, call.batch_id].filter(Boolean).join(" "), 120) },
  ], calls);
}
