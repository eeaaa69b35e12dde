// Shows Markdown that a model wrote, as nodes of our own making.
//
// Owns a small part of CommonMark: headings, lists, quotes, code, tables, emphasis and links. What it does not know
// stays text. No HTML is read and nothing is loaded: a picture becomes a link that tells its address. Each character is
// looked at a bounded number of times, whatever the text.

const MOST_MARKDOWN = 100_000;
const DEEPEST = 8;
const LIST_ITEM = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const RULE = /^ {0,3}([-*_])( *\1){2,} *$/;

/** Markdown as one element; text too long to be prose is shown as it is. */
function markdown(text) {
  if (text.length > MOST_MARKDOWN) return foreignBlock(text);
  return el("div", { class: "markdown", dir: "auto" }, blocks(text.split(/\r?\n/), 0));
}

/** Lines as blocks: each branch takes the lines that belong to it. */
function blocks(lines, depth) {
  const nodes = [];
  let at = 0;
  while (at < lines.length) {
    const line = lines[at];
    const fence = /^ {0,3}(`{3,}|~{3,})\s*([\w+-]*)/.exec(line);
    const heading = /^ {0,3}(#{1,6})\s+(.*)$/.exec(line);
    if (line.trim() === "") at += 1;
    else if (fence) {
      const end = lines.findIndex((other, place) => place > at && other.trim().startsWith(fence[1]));
      const last = end < 0 ? lines.length : end;
      nodes.push(foreignBlock(lines.slice(at + 1, last).join("\n"), "code"));
      at = last + 1;
    } else if (heading) {
      nodes.push(el("p", { class: `heading h${heading[1].length}`, role: "heading", "aria-level": "4" }, inline(heading[2].replace(/\s#+\s*$/, ""))));
      at += 1;
    } else if (RULE.test(line)) {
      nodes.push(el("hr"));
      at += 1;
    } else if (depth < DEEPEST && /^ {0,3}>/.test(line)) {
      const end = until(lines, at, (other) => !/^ {0,3}>/.test(other));
      const inner = lines.slice(at, end).map((other) => other.replace(/^ {0,3}> ?/, ""));
      nodes.push(el("blockquote", {}, blocks(inner, depth + 1)));
      at = end;
    } else if (depth < DEEPEST && LIST_ITEM.test(line)) {
      const [list, end] = listFrom(lines, at, depth);
      nodes.push(list);
      at = end;
    } else if (line.includes("|") && isTableRule(lines[at + 1] ?? "")) {
      const end = until(lines, at, (other) => !other.includes("|"));
      nodes.push(tableFrom(lines.slice(at, end)));
      at = end;
    } else {
      const end = until(lines, at + 1, (other) => other.trim() === "" || /^ {0,3}(#{1,6}\s|>|`{3}|~{3})/.test(other) || LIST_ITEM.test(other));
      const text = lines.slice(at, Math.max(end, at + 1));
      nodes.push(el("p", {}, text.flatMap((other, place) => (place ? [el("br"), inline(other)] : [inline(other)]))));
      at = Math.max(end, at + 1);
    }
  }
  return nodes;
}

/** The place of the first line from `at` on that ends a block. */
function until(lines, at, ends) {
  let end = at;
  while (end < lines.length && !ends(lines[end])) end += 1;
  return end;
}

/** A list: its items, with what is indented below each of them. */
function listFrom(lines, start, depth) {
  const [, indent, mark] = LIST_ITEM.exec(lines[start]);
  const ordered = /\d/.test(mark);
  const list = el(ordered ? "ol" : "ul", ordered && parseInt(mark, 10) !== 1 ? { start: parseInt(mark, 10) } : {});
  let at = start;
  while (at < lines.length) {
    const item = LIST_ITEM.exec(lines[at]);
    if (!item || item[1].length !== indent.length || /\d/.test(item[2]) !== ordered) break;
    const inside = [item[3]];
    at += 1;
    while (at < lines.length && (lines[at].trim() === "" ? /^\s/.test(lines[at + 1] ?? "") : /^\s*/.exec(lines[at])[0].length > indent.length)) {
      inside.push(lines[at].slice(Math.min(indent.length + 2, /^\s*/.exec(lines[at])[0].length)));
      at += 1;
    }
    list.append(el("li", {}, inside.length > 1 ? blocks(inside, depth + 1) : inline(item[3])));
  }
  return [list, at];
}

/** Whether a line is what stands below the names of a table. */
function isTableRule(line) {
  return line.includes("|") && line.includes("-") && /^[\s|:-]+$/.test(line);
}

/** A table of lines with bars; the second line says that it is one. */
function tableFrom(lines) {
  const cells = (line) => line.trim().replace(/^\||\|$/g, "").split("|");
  const row = (line, tag) => el("tr", {}, cells(line).map((cell) => el(tag, {}, inline(cell.trim()))));
  const body = lines.slice(2).map((line) => row(line, "td"));
  return el("div", { class: "scroll" }, el("table", {}, el("thead", {}, row(lines[0], "th")), el("tbody", {}, body)));
}

const MARKS = [["**", "strong"], ["__", "strong"], ["~~", "del"], ["*", "em"], ["_", "em"]];

/** One line of text with emphasis, code and links. */
function inline(text, depth = 0) {
  const nodes = [];
  const missing = new Set(); // marks that no longer come: looked for once, not from every place
  let plain = 0;
  let at = 0;
  const find = (mark, from) => {
    if (missing.has(mark)) return -1;
    const found = text.indexOf(mark, from);
    if (found < 0) missing.add(mark);
    return found;
  };
  const take = (end, node) => {
    if (at > plain) nodes.push(safeNodes(text.slice(plain, at)));
    nodes.push(node);
    at = plain = end;
  };
  while (at < text.length) {
    const sign = text[at];
    if (sign === "\\" && /[\\`*_~[\]()#+.!|-]/.test(text[at + 1] ?? "")) {
      take(at + 2, text[at + 1]);
      continue;
    }
    if (sign === "`") {
      const end = find("`", at + 1);
      if (end > at) {
        take(end + 1, el("code", {}, safeNodes(text.slice(at + 1, end))));
        continue;
      }
    }
    if (sign === "[" && depth < DEEPEST) {
      const close = find("](", at);
      const end = close < 0 ? -1 : find(")", close);
      if (end > 0 && !text.slice(at + 1, close).includes("[")) {
        take(end + 1, linkTo(text.slice(close + 2, end).trim(), text.slice(at + 1, close), depth));
        continue;
      }
    }
    const mark = depth < DEEPEST ? MARKS.find(([name]) => text.startsWith(name, at)) : undefined;
    if (mark && text[at + mark[0].length]?.trim() && !(mark[0][0] === "_" && /\w/.test(text[at - 1] ?? ""))) {
      const end = find(mark[0], at + mark[0].length);
      if (end > at && text[end - 1].trim()) {
        take(end + mark[0].length, el(mark[1], {}, inline(text.slice(at + mark[0].length, end), depth + 1)));
        continue;
      }
    }
    at += 1;
  }
  if (text.length > plain) nodes.push(safeNodes(text.slice(plain)));
  return nodes;
}

/** A link that tells its address; one that is no web or mail address stays text. */
function linkTo(address, text, depth) {
  if (!/^(https?:\/\/|mailto:)[^\s"<>]+$/i.test(address)) return [inline(text, depth + 1), safeNodes(` (${address})`)];
  return el(
    "a",
    { href: address, rel: "noopener noreferrer nofollow", target: "_blank", title: address },
    text ? inline(text, depth + 1) : safeNodes(address),
  );
}
