// Writes numbers, money, times and shares for people.
//
// Owns the form of each and no page. Money comes as decimal text with all its digits; it is rounded only to be shown,
// and the exact amount is in the title of the element.

const NUMBER = new Intl.NumberFormat("en-US");
const NONE = "–";

/** A whole number with separators: 1,319. */
function count(number) {
  return number === null || number === undefined ? NONE : NUMBER.format(number);
}

/** A number with its noun: 1 row, 1,319 rows. */
function counted(number, noun, plural = `${noun}s`) {
  return `${count(number)} ${number === 1 ? noun : plural}`;
}

/** A number in few characters, for axes and tiles: 58,139 as 58.1 k. */
function short(number) {
  if (number === null || number === undefined) return NONE;
  const size = Math.abs(number);
  for (const [limit, unit] of [[1e9, "G"], [1e6, "M"], [1e4, "k"]]) {
    if (size >= limit) return `${+(number / (unit === "k" ? 1e3 : limit)).toPrecision(3)} ${unit}`;
  }
  return size >= 1000 ? NUMBER.format(Math.round(number)) : String(+number.toPrecision(3));
}

/** A size in bytes: 1,958 B, 15.8 kB. */
function bytes(number) {
  const text = short(number);
  return /[a-z]$/i.test(text) ? `${text}B` : `${text} B`;
}

/** A share from 0 to 1 in percent; small ones keep a digit that is not zero. */
function percent(share) {
  if (share === null || share === undefined) return NONE;
  const value = share * 100;
  if (value > 0 && value < 0.1) return `${+value.toPrecision(1)} %`;
  if (value > 99.9 && value < 100) return "99.9 %";
  return `${value.toFixed(value % 1 === 0 ? 0 : 1)} %`;
}

/** A share with its 95 % interval. */
function interval(share, bounds) {
  return bounds ? `${percent(share)} (${percent(bounds[0])} to ${percent(bounds[1])})` : percent(share);
}

/** Decimal text without needless zeros, but with two decimals at least. */
function exact(amount) {
  const plain = /e/i.test(String(amount)) ? Number(amount).toFixed(12) : String(amount); // 0E-12 is how a zero may come
  const [whole, fraction = ""] = plain.split(".");
  const sign = whole.startsWith("-") ? "-" : "";
  const digits = whole.replace("-", "").replace(/\B(?=(\d{3})+$)/g, ",");
  return `${sign}${digits}.${fraction.replace(/0+$/, "").padEnd(2, "0")}`;
}

/** An amount for reading, as a node: from 1 on two decimals, below it three digits that are not zero. */
function money(amount, currency) {
  if (amount === null || amount === undefined) return NONE;
  const text = exact(amount);
  const value = Number(amount);
  let shown = text;
  if (Math.abs(value) >= 1) shown = exact(value.toFixed(2));
  else if (value !== 0) shown = Number(value.toPrecision(3)).toFixed(Math.min(12, 2 - Math.floor(Math.log10(Math.abs(value)))));
  const unit = currency ? ` ${currency}` : "";
  return el("span", { class: "money", title: `${text}${unit}` }, safeNodes(`${shown}${unit}`));
}

/** Amounts by currency, joined by a plus. */
function amounts(costs) {
  const found = Object.entries(costs ?? {});
  if (found.length === 0) return NONE;
  return found.flatMap(([currency, amount], place) => (place ? [" + ", money(amount, currency)] : [money(amount, currency)]));
}

/** Seconds as people say them: 0.6 s, 12 min 3 s, 3 h 5 min, 2 d 4 h. */
function duration(seconds) {
  if (seconds === null || seconds === undefined) return NONE;
  if (seconds === 0) return "0 s";
  if (seconds < 0.9995) return `${+(seconds * 1000).toPrecision(3)} ms`;
  if (seconds < 60) return `${seconds.toPrecision(3)} s`;
  const whole = Math.round(seconds);
  const units = [[86_400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const first = units.findIndex(([size]) => whole >= size);
  const [size, unit] = units[first];
  const [nextSize, nextUnit] = units[first + 1] ?? [1, ""];
  const rest = Math.floor((whole % size) / nextSize);
  return rest && nextUnit ? `${Math.floor(whole / size)} ${unit} ${rest} ${nextUnit}` : `${Math.floor(whole / size)} ${unit}`;
}

/** A moment in the reader's own time zone: seconds since 1970, or ISO text. */
function moment(value) {
  if (value === null || value === undefined) return NONE;
  const date = new Date(typeof value === "number" ? value * 1000 : value);
  if (Number.isNaN(date.getTime())) return String(value);
  if (date.getTime() < 86_400_000) return NONE; // not known: a ledger that was made again begins at zero
  const two = (number) => String(number).padStart(2, "0");
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** The reader's time zone, said once on a page. */
function zone() {
  return Intl.DateTimeFormat().resolvedOptions().timeZone || "local time";
}

/** A word of ours for people: `rate_limit` as `rate limit`. */
function words(name) {
  return String(name).replaceAll("_", " ");
}
