// Builds DOM nodes, and shows text from outside so that it can do no harm.
//
// Owns the one rule of all pages: text that others wrote (rows, answers, errors, names) becomes a text node, never
// markup. Characters that steer a terminal or turn the direction of text are shown by their number.

/** Make an element. A child may be a node, a text or number of ours, a list of these, or null for nothing. */
function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  add(node, children);
  return node;
}

/** Append children, as `el` takes them. */
function add(node, children) {
  for (const child of [children].flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : String(child));
  }
  return node;
}

const SVG = "http://www.w3.org/2000/svg";

/** Make an SVG element; sizes are attributes, because the page's policy allows no style in markup. */
function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  return add(node, children);
}

// Controls (C0 without tab and newline, DEL, C1), marks of direction, line separators, half surrogates.
const UNSAFE =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;
const SHOWN_AT_FIRST = 20_000;
const SHOWN_MORE = 200_000;

/** Text from outside as nodes: its unsafe characters become marks such as `U+202E`. */
function safeNodes(text) {
  const nodes = [];
  let from = 0;
  for (const found of text.matchAll(UNSAFE)) {
    if (found.index > from) nodes.push(document.createTextNode(text.slice(from, found.index)));
    const code = found[0].codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
    nodes.push(el("span", { class: "control", title: `a character that is not shown: U+${code}` }, `U+${code}`));
    from = found.index + found[0].length;
  }
  if (from < text.length) nodes.push(document.createTextNode(text.slice(from)));
  return nodes;
}

/** Short text from outside, in one line; its direction stays its own. */
function foreign(text, most = 300) {
  if (text === null || text === undefined) return null;
  const whole = typeof text === "string" ? text : JSON.stringify(text);
  const shown = whole.length > most ? `${cut(whole, most)}…` : whole;
  return el("bdi", { class: "foreign" }, safeNodes(shown));
}

/** The beginning of a text, without half a character at its end. */
function cut(text, most) {
  const half = text.charCodeAt(most - 1) >= 0xd800 && text.charCodeAt(most - 1) < 0xdc00;
  return text.slice(0, half ? most - 1 : most);
}

/** Long text from outside as a block; what is longer than a screen or two comes piece by piece. */
function foreignBlock(text, kind = "text") {
  const block = el("pre", { class: `block ${kind}`, dir: "auto" }, safeNodes(cut(text, SHOWN_AT_FIRST)));
  if (text.length <= SHOWN_AT_FIRST) return block;
  let shown = cut(text, SHOWN_AT_FIRST).length;
  const button = el("button", { type: "button", class: "more" });
  const label = () => {
    button.textContent = `Show more: ${count(shown)} of ${count(text.length)} characters are shown`;
  };
  button.addEventListener("click", () => {
    const next = cut(text.slice(shown), SHOWN_MORE);
    add(block, safeNodes(next));
    shown += next.length;
    if (shown >= text.length) button.remove();
    else label();
  });
  label();
  return el("div", {}, block, button);
}

/** A section of a page with its heading; null when there is nothing in it. */
function section(title, attributes, ...children) {
  const found = children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
  if (found.length === 0) return null;
  const id = attributes.id ?? title.toLowerCase().replace(/[^a-z]+/g, "-");
  return el(
    "section",
    { "aria-labelledby": `${id}-title`, class: attributes.class, id },
    el("h2", { id: `${id}-title` }, title),
    attributes.note ? el("p", { class: "note" }, attributes.note) : null,
    found,
  );
}
