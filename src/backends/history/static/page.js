// Filters, tables and figures of the report. The data, and the description of each figure, are in
// the page; nothing is fetched.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const element = (id) => document.getElementById(id);
const records = ({ columns, rows }) =>
  rows.map((row) => Object.fromEntries(columns.map((name, i) => [name, row[i]])));
const speedups = records(data.speedups);
const winners = records(data.winners);
const crossovers = records(data.crossovers);
const changes = records(data.changes);
const points = records(data.points);
const roofs = records(data.roofs);
const LARGEST = "largest";
const MOST_ROWS = 100;
const unique = (values) => [...new Set(values)];
const kernelOf = (benchmark) => data.kernels[benchmark] || "";

// Numbers, as people read them.
const digits = (x, n = 3) =>
  x === 0 ? "0" : Math.abs(x) >= 1e5 || Math.abs(x) < 1e-3 ? x.toExponential(n - 1) : String(Number(x.toPrecision(n)));
const times = (x) => `${digits(x)}x`;
const interval = ({ low, high }) => (high === null ? "unknown" : `${times(low)} to ${times(high)}`);
const count = (n) => n.toLocaleString("en");
const day = (ms) => new Date(ms).toISOString().slice(0, 10);
const about = (size) => {
  const power = Math.max(0, Math.min(Math.floor(Math.log10(size) / 3), 3));
  return `${Number(size.toPrecision(2)) / 1000 ** power}${["", "k", "M", "G"][power]}`;
};
const short = (hash) => hash.slice(0, 8);
const UNITS = { seconds: "s", bytes: "B" };
const PREFIXES = [[1, "s"], [1e-3, "ms"], [1e-6, "µs"], [0, "ns"]];
function seconds(x) {
  const [unit, name] = PREFIXES.find(([unit]) => x >= unit);
  return `${digits(x / (unit || 1e-9))} ${name}`;
}
const measured = (x, unit) => (unit === "seconds" ? seconds(x) : `${digits(x, 4)} ${unit}`);

// What is chosen. It is in the address too, so that a link shows the same.
const CHOICES = ["machine", "benchmark", "dtype", "size", "quantity", "which", "where"];
const choice = { size: LARGEST };
const hidden = new Set();

function readAddress() {
  const asked = new URLSearchParams(location.hash.slice(1));
  for (const name of CHOICES) if (asked.has(name)) choice[name] = asked.get(name);
}

function writeAddress() {
  history.replaceState(null, "", `#${new URLSearchParams(CHOICES.map((name) => [name, choice[name]]))}`);
}

// Numbers are packed, three bytes each, the upper ones of a float32.
function unpack(id) {
  const text = atob(element(id).textContent.trim());
  const view = new DataView(new ArrayBuffer(4));
  return (i) => {
    for (let byte = 0; byte < 3; byte++) view.setUint8(byte, text.charCodeAt(3 * i + byte));
    return view.getFloat32(0);
  };
}

// The series of a machine.
const unpacked = new Map();
function seriesOf(machine) {
  if (!unpacked.has(machine)) {
    const { series, commits, intervals, id } = data.tables[machine];
    const value = unpack(`values-${id}`);
    const end = unpack(`intervals-${id}`);
    const column = new Map(commits.map((at, i) => [at, i - (commits.length - intervals)]));
    const found = series.map(([benchmark, dtype, size, label], row) => ({
      benchmark, dtype, size, label,
      // [number of the commit, value], where there is one.
      values: () => commits.map((at, i) => [at, value(row * commits.length + i)]).filter(([, y]) => !Number.isNaN(y)),
      // The interval of the speedup at a commit, if it is in the page and has two ends.
      interval: (at) => {
        const i = row * intervals + column.get(at);
        const [low, high] = column.get(at) < 0 ? [0, 0] : [end(i), end(series.length * intervals + i)];
        return low > 0 && high < Infinity ? { low, high } : {};
      },
    }));
    unpacked.set(machine, found);
  }
  return unpacked.get(machine);
}

function fill(select, options, chosen) {
  select.replaceChildren(...options.map(([value, text]) => new Option(text, value, false, value === chosen)));
  select.disabled = options.length < 2;
}

// Choices depend on one another: what is not there for one is replaced by the nearest that is.
function settle() {
  const machines = Object.keys(data.tables);
  if (!machines.includes(choice.machine)) choice.machine = machines[0];
  const mine = seriesOf(choice.machine);
  const benchmarks = unique(mine.map((s) => s.benchmark));
  if (!benchmarks.includes(choice.benchmark)) choice.benchmark = benchmarks.find(kernelOf) || benchmarks[0];
  const same = mine.filter((s) => s.benchmark === choice.benchmark);
  const dtypes = unique(same.map((s) => s.dtype)).filter(Boolean);
  if (dtypes.length && !dtypes.includes(choice.dtype)) choice.dtype = dtypes.includes("float64") ? "float64" : dtypes[0];
  const sizes = unique(speedups.map((s) => s.size)).sort((a, b) => a - b).map(String);
  if (choice.size !== LARGEST && !sizes.includes(choice.size)) choice.size = LARGEST;
  fill(element("machine"), machines.map((name) => [name, name]), choice.machine);
  fill(element("benchmark"), benchmarks.map((name) => [name, kernelOf(name) || name]), choice.benchmark);
  fill(element("dtype"), dtypes.map((name) => [name, name]), choice.dtype);
  fill(element("size"), [[LARGEST, "largest of each kernel"], ...sizes.map((n) => [n, count(Number(n))])], choice.size);
  for (const name of ["quantity", "which", "where"]) {
    const options = [...element(name).options].map((option) => option.value);
    if (!options.includes(choice[name])) choice[name] = options[0];
    element(name).value = choice[name];
  }
}

// Of each kernel the largest size that any machine measured, so that all are compared on one.
const largest = {};
for (const { kernel, dtype, size } of winners) {
  const key = `${kernel} ${dtype}`;
  largest[key] = Math.max(largest[key] || 0, size);
}
const isChosenSize = (row) =>
  choice.size === LARGEST ? row.size === largest[`${row.kernel} ${row.dtype}`] : String(row.size) === choice.size;

function node(name, text = "", attributes = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function row(...cells) {
  const made = document.createElement("tr");
  made.append(...cells);
  return made;
}

// A table of records: columns are [heading, function that gives the text, whether it is a number].
function table(id, rows, columns, caption) {
  const target = element(id);
  const head = document.createElement("thead");
  const body = document.createElement("tbody");
  head.append(row(...columns.map(([text, , number]) => node("th", text, { scope: "col", class: number ? "number" : "" }))));
  body.append(...rows.map((each) => row(...columns.map(([, text, number]) => {
    const shown = text(each);
    if (shown instanceof Node) { const cell = node("td"); cell.append(shown); return cell; }
    return node("td", shown, { class: number ? "number" : "" });
  }))));
  target.replaceChildren(node("caption", caption, { class: "faint" }), head, body);
}

const shade = (x) => `s${data.factors.filter((factor) => x >= factor).length}`;

function showMatrix() {
  const machines = unique(winners.map((w) => w.machine));
  const kernels = unique(winners.map((w) => w.kernel));
  const cells = new Map(winners.filter((w) => w.dtype === choice.dtype && isChosenSize(w)).map((w) => [`${w.kernel} ${w.machine}`, w]));
  const head = document.createElement("thead");
  head.append(row(node("th", "Kernel", { scope: "col" }), ...machines.map((name) => node("th", name, { scope: "col" }))));
  const body = document.createElement("tbody");
  for (const kernel of kernels) {
    const made = machines.map((machine) => {
      const best = cells.get(`${kernel} ${machine}`);
      const cell = document.createElement("td");
      if (!best) {
        cell.className = "none";
        cell.append(node("span", "-", { "aria-label": "not measured" }));
        return cell;
      }
      const button = node("button", best.backend, { type: "button", class: shade(best.speedup) });
      if (best.speedup > 1) button.prepend(node("b", times(best.speedup)));
      button.title = `size ${count(best.size)}, ${best.speedup > 1 ? interval(best) : "no backend is faster"}, commit ${short(best.commit)}`;
      button.setAttribute("aria-label", `${kernel} on ${machine}: ${best.backend}${best.speedup > 1 ? ` ${times(best.speedup)}, ${interval(best)}` : ", no backend is faster"}`);
      if (machine === choice.machine && kernel === kernelOf(choice.benchmark)) {
        button.classList.add("chosen");
        button.setAttribute("aria-current", "true");
      }
      button.addEventListener("click", () => {
        choice.machine = machine;
        choice.benchmark = Object.keys(data.kernels).find((name) => data.kernels[name] === kernel);
        show();
        element("sizes").scrollIntoView({ behavior: "smooth" });
        element("sizes").focus({ preventScroll: true });
      });
      cell.append(button);
      return cell;
    });
    if (made.some((cell) => cell.className !== "none")) body.append(row(node("th", kernel, { scope: "row" }), ...made));
  }
  const none = "There are no speedups: numpy was not measured beside another backend.";
  element("matrix").replaceChildren(...(winners.length ? [head, body] : [node("caption", none)]));
}

const isDark = () => {
  const forced = document.documentElement.dataset.theme;
  return forced ? forced === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
};

const views = {};
const turns = {};
async function draw(name, rows, caption, nothing, unit = "") {
  const target = element(name);
  const turn = turns[name] = (turns[name] ?? 0) + 1;
  target.parentElement.querySelector("figcaption").textContent = rows.length ? caption : nothing;
  target.setAttribute("aria-label", rows.length ? `${caption} Its numbers are in the table below.` : nothing);
  target.classList.toggle("empty", !rows.length);
  views[name]?.finalize();
  delete views[name];
  if (!rows.length) { target.replaceChildren(); return; }
  const labels = unique(rows.map((each) => each.label).filter(Boolean));
  const filled = { shown: data.labels.filter((label) => labels.includes(label)), commits: data.commits.map(([hash]) => hash), unit };
  const description = {
    ...data.figures[name],
    datasets: { rows },
    params: data.figures[name].params.map((param) => ({ ...param, value: filled[param.name] ?? param.value })),
  };
  const theme = data.themes[isDark() ? "dark" : "light"];
  const columns = Math.max(2, Math.floor(target.clientWidth / 130));
  // In an element of its own: what is drawn late, after another choice, is not shown.
  const place = document.createElement("div");
  place.style.width = "100%";
  target.replaceChildren(place);
  const made = await vegaEmbed(place, description, {
    actions: false,
    config: { ...theme, legend: { ...theme.legend, columns } },
    renderer: "svg",
    logLevel: 1, // errors: where a layer has no rows, Vega would warn that it has no extent
  });
  if (turn !== turns[name]) { made.finalize(); return; }
  views[name] = made;
  target.querySelector(".vega-bindings")?.remove(); // an empty form, which screen readers announce
}

function showSpeedup() {
  const kernel = kernelOf(choice.benchmark);
  const chosen = (each) => each.machine === choice.machine && each.kernel === kernel && each.dtype === choice.dtype;
  const rows = speedups.filter((each) => chosen(each) && !hidden.has(each.backend)).sort((a, b) => a.size - b.size);
  const crossed = crossovers.filter(chosen);
  const words = (each) => `${each.above} from ${about(each.size)}`;
  table("speedup-table", rows, [
    ["Backend", (each) => each.backend], ["Size", (each) => count(each.size), true],
    ["Time", (each) => seconds(each.seconds), true], ["Speedup", (each) => times(each.speedup), true],
    ["Interval", (each) => (each.backend === data.baseline ? "" : interval(each))],
    ["Verdict", (each) => each.verdict], ["Commit", (each) => short(each.commit)],
  ], `Speedups of ${kernel}, ${choice.dtype}`);
  const said = crossed.length
    ? ` The fastest changes: ${crossed.map((each) => `${each.below} up to about ${about(each.size)}, then ${each.above}`).join("; ")}.`
    : rows.length ? " The fastest is the same at all sizes." : "";
  return draw(
    "speedup",
    [...rows.map((each) => ({ kind: "speedup", label: each.backend, ...each })),
      ...(rows.length ? crossed.map((each) => ({ kind: "crossover", words: words(each), ...each })) : [])],
    `${kernel}, ${choice.dtype}, on ${choice.machine}: times numpy's speed, by size.${said}`,
    "This benchmark has no speedups: it times no kernel on several backends, or numpy was not measured.",
  );
}

const sizeOf = (group) => {
  const sizes = unique(group.map((s) => s.size)).sort((a, b) => a - b);
  return sizes.includes(Number(choice.size)) ? Number(choice.size) : sizes[sizes.length - 1];
};

function showHistory() {
  const { machine, benchmark, dtype, quantity } = choice;
  const unit = data.units[benchmark] || "";
  let group = seriesOf(machine).filter((s) => s.benchmark === benchmark && (s.dtype === dtype || !s.dtype));
  const size = sizeOf(group);
  group = group.filter((s) => s.size === size);
  const base = new Map(group.find((s) => s.label === data.baseline)?.values() ?? []);
  const rows = group.filter((s) => !hidden.has(s.label)).flatMap((s) => {
    const values = s.values();
    return values.map(([at, raw]) => ({
      kind: "time", at, label: s.label, raw,
      value: quantity === "value" ? raw : quantity === "relative" ? raw / values[0][1] : base.get(at) / raw,
      ...(quantity === "speedup" ? s.interval(at) : {}),
      commit: short(data.commits[at][0]), date: day(data.commits[at][1]),
    }));
  });
  // The axis is logarithmic: 0 has no place on it, nor has what cannot be computed.
  const placed = rows.filter((each) => each.value > 0 && each.value < Infinity);
  const off = rows.length - placed.length;
  const byPlace = new Map(placed.map((each) => [`${each.label} ${each.at}`, each]));
  const at = new Map(data.commits.map(([hash], i) => [hash, i]));
  const kind = quantity === "speedup" ? "speedup" : "value";
  const marked = changes
    .filter((c) => c.quantity === kind && c.machine === machine && c.benchmark === benchmark && c.size === size && c.dtype === (size ? dtype : "") && !hidden.has(c.label))
    .flatMap((c) => { const place = byPlace.get(`${c.label} ${at.get(c.commit)}`); return place ? [{ ...place, kind: "change", ratio: c.ratio }] : []; });
  const newest = [...rows].sort((a, b) => b.at - a.at).slice(0, 5 * MOST_ROWS);
  table("history-table", newest, [
    ["Commit", (each) => each.commit], ["Date", (each) => each.date], [size ? "Backend" : "Parameters", (each) => each.label],
    ["Measured", (each) => measured(each.raw, unit), true], ["Shown", (each) => (Number.isFinite(each.value) ? digits(each.value) : "unknown"), true],
    ...(quantity === "speedup" ? [["Interval", (each) => (each.low ? interval(each) : "")]] : []),
  ], rows.length > 5 * MOST_ROWS ? `The newest ${5 * MOST_ROWS} of ${count(rows.length)}` : `${count(rows.length)} measurements`);
  const what = { value: unit, relative: "relative to its first commit", speedup: "times numpy's speed" }[quantity];
  const worse = marked.filter((each) => each.ratio > 1).length;
  const [up, down] = quantity === "speedup" ? ["less", "more"] : unit === "seconds" ? ["slower", "faster"] : ["more", "less"];
  const name = kernelOf(benchmark) || benchmark;
  return draw(
    "history", [...placed, ...marked],
    `${name}${size ? `, ${dtype}, size ${count(size)}` : ""}, on ${machine}: ${what}, by commit. ` +
      `Steps to ${up}: ${worse}; to ${down}: ${marked.length - worse}.` +
      (off ? ` ${count(off)} ${off > 1 ? "values have" : "value has"} no place in the figure: 0, or without numpy's beside it. The table has them.` : ""),
    rows.length ? `No value of ${count(rows.length)} has a place in the figure: all are 0, or without numpy's beside them. The table has them.` : "There are no measurements for this choice.",
    quantity === "value" ? UNITS[unit] ?? "" : "x",
  );
}

function showChanges() {
  const quantity = ["lost", "gained"].includes(choice.which) ? "speedup" : "value";
  const wanted = changes
    .filter((c) => c.quantity === quantity && (c.ratio > 1) === ["slower", "lost"].includes(choice.which))
    .filter((c) => choice.where === "all" || c.machine === choice.machine)
    .sort((a, b) => Math.abs(Math.log(b.ratio)) - Math.abs(Math.log(a.ratio)));
  const dates = new Map(data.commits);
  table("changes-table", wanted.slice(0, MOST_ROWS), [
    [quantity === "speedup" ? "Speedup" : "Times", (c) => times(quantity === "speedup" ? 1 / c.ratio : c.ratio), true],
    ["Benchmark", (c) => {
      const button = node("button", kernelOf(c.benchmark) || c.benchmark, { type: "button" });
      button.addEventListener("click", () => {
        Object.assign(choice, { machine: c.machine, benchmark: c.benchmark, quantity });
        if (c.size) Object.assign(choice, { dtype: c.dtype, size: String(c.size) });
        show();
        element("commits").scrollIntoView({ behavior: "smooth" });
        element("commits").focus({ preventScroll: true });
      });
      return button;
    }],
    ["Backend", (c) => c.label], ["Dtype", (c) => c.dtype], ["Size", (c) => (c.size ? count(c.size) : ""), true],
    ["Since commit", (c) => short(c.commit)], ["Date", (c) => day(dates.get(c.commit))], ["Machine", (c) => c.machine],
  ], wanted.length > MOST_ROWS ? `The ${MOST_ROWS} largest of ${count(wanted.length)}` : `${count(wanted.length)} found`);
}

function showRoofline() {
  const limits = roofs.filter((each) => each.machine === choice.machine && each.dtype === choice.dtype);
  const rows = limits.length
    ? points.filter((each) => each.machine === choice.machine && each.dtype === choice.dtype && isChosenSize(each) && !hidden.has(each.backend))
    : [];
  table("roofline-table", rows, [
    ["Kernel", (each) => each.kernel], ["Backend", (each) => each.backend], ["Size", (each) => count(each.size), true],
    ["Operations a byte", (each) => digits(each.intensity), true], ["GFLOP/s", (each) => digits(each.rate / 1e9), true],
  ], `${count(rows.length)} results`);
  return draw(
    "roofline",
    rows.length ? [...limits.map((each) => ({ kind: "roof", ...each })), ...rows.map((each) => ({ kind: "point", label: each.backend, ...each }))] : [],
    `Results of ${choice.dtype} on ${choice.machine} under its ceilings: operations a second by operations a byte.`,
    limits.length ? "There are no results for this choice." : "No ceilings of this machine are known: the command backends machine measures them.",
  );
}

// All that was chosen, in words: what a screen reader announces after each choice.
function said() {
  const kernel = kernelOf(choice.benchmark);
  const size = choice.size === LARGEST ? "largest size" : `size ${count(Number(choice.size))}`;
  const what = kernel ? `${kernel}, ${choice.dtype}, ${size}` : choice.benchmark;
  const options = ["quantity", "which", "where"].map((name) => element(name).selectedOptions[0].text);
  const without = hidden.size ? `, without ${[...hidden].join(", ")}` : "";
  return `Shown: ${what} on ${choice.machine}${without}; the history as ${options[0]}; of changes: ${options[1]}, ${options[2]}`;
}

let drawn = Promise.resolve();
function show() {
  settle();
  writeAddress();
  showMatrix();
  showChanges();
  drawn = Promise.all([showSpeedup(), showHistory(), showRoofline()]).then(() => {
    element("said").textContent = said();
    document.documentElement.dataset.ready = "true";
  });
}

readAddress();
for (const name of CHOICES) element(name).addEventListener("change", (event) => { choice[name] = event.target.value; show(); });
for (const label of data.backends) {
  const box = node("input", "", { type: "checkbox", value: label });
  box.checked = true;
  box.addEventListener("change", () => { hidden[box.checked ? "delete" : "add"](label); show(); });
  const line = document.createElement("label");
  line.append(box, label);
  element("labels").append(line);
}
const backends = element("labels").parentElement;
backends.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || !backends.open) return;
  backends.open = false;
  backends.querySelector("summary").focus();
});
const button = element("theme");
const showTheme = () => button.setAttribute("aria-pressed", String(isDark()));
button.addEventListener("click", () => { document.documentElement.dataset.theme = isDark() ? "light" : "dark"; showTheme(); show(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { showTheme(); show(); });
addEventListener("hashchange", () => { readAddress(); show(); });
showTheme();
if (Object.keys(data.tables).length) {
  element("filters").hidden = false;
  show();
} else {
  element("said").textContent = "No result could be read: what was left out, and why, is at the end.";
  document.documentElement.dataset.ready = "true";
}
