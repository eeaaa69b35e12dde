// Lets the pages be used with the keyboard alone.
//
// Owns which key does what, and the list of keys that `?` shows. Keys are left alone while somebody types.

const KEYS = [
  ["?", "this list"],
  ["1 … 5", "the pages, in their order"],
  ["f", "all folders"],
  ["j  k", "next and previous row of a list"],
  ["n  p", "next and previous page, or row"],
  ["u", "from a row back to its list"],
  ["/", "filter by text"],
  ["Tab, Enter", "move on, open"],
  ["Esc", "close this list"],
];

function helpDialog() {
  const dialog = el(
    "dialog",
    { id: "help", "aria-labelledby": "help-title" },
    el("h2", { id: "help-title" }, "Keys"),
    el("dl", { class: "keys" }, KEYS.map(([key, text]) => el("div", {}, el("dt", {}, el("kbd", {}, key)), el("dd", {}, text)))),
    el("form", { method: "dialog" }, el("button", {}, "Close")),
  );
  return dialog;
}

/** Listen for keys; `go` opens the page with that number, `folders` the list of folders. */
function listenForKeys(go, folders) {
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, select, textarea, [contenteditable]");
    if (event.ctrlKey || event.metaKey || event.altKey || typing) return;
    const dialog = document.getElementById("help");
    if (event.key === "?") dialog.open ? dialog.close() : dialog.showModal();
    else if (dialog.open) return;
    else if (/^[1-9]$/.test(event.key)) go(Number(event.key) - 1);
    else if (event.key === "f") folders();
    else if (event.key === "j" || event.key === "k") moveInList(event.key === "j" ? 1 : -1);
    else if (event.key === "/") document.querySelector('form.filters input[name="text"]')?.focus();
    else if (!follow(event.key)) return;
    event.preventDefault();
  });
}

/** Follow the link of the page that has this key; arrows are the keys of the neighbours. */
function follow(key) {
  const name = { ArrowRight: "n", ArrowLeft: "p" }[key] ?? key;
  const link = /^[npu]$/.test(name) ? document.querySelector(`main a[data-key="${name}"]`) : null;
  link?.click();
  return link !== null;
}

function moveInList(step) {
  const links = [...document.querySelectorAll("main table.data tbody tr")].map((row) => row.querySelector("a")).filter(Boolean);
  if (links.length === 0) return;
  const now = links.indexOf(document.activeElement);
  const next = now < 0 ? (step > 0 ? 0 : links.length - 1) : Math.max(0, Math.min(links.length - 1, now + step));
  links[next].focus();
}
