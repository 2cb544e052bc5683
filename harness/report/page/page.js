"use strict";
// Filters, keys and the panel of one cell. The matrix stands in the page already; this script
// makes elements and text nodes only, so that data stays data.

const data = JSON.parse(document.getElementById("data").textContent);
const grid = document.querySelector("table[role=grid]");
const panel = document.getElementById("panel");
const form = document.getElementById("filters");
const byId = (id) => document.getElementById(id);
const LOST = new Set(["infra", "missing", "not-run"]);
const UNMET = new Set(["mismatch", "fixed"]); // what came is not what the reason is about
const NO_OUTCOME = new Set([...LOST, "not-applicable"]); // nothing that could differ from another

// --- what is where: rows[scenario].cells[column] = {td, cell}

const rows = [...grid.querySelectorAll("tr[data-s]")].map((tr) => {
  const scenario = data.scenarios[Number(tr.dataset.s)];
  const cells = [];
  const tds = [...tr.querySelectorAll("td[data-c]")];
  for (const cell of scenario.cells) cells[cell.c] = { td: tds[cell.c], cell, column: cell.c };
  return { tr, tds, scenario, cells, family: tr.parentNode, words: null };
});
const rowOf = new Map(rows.map((row) => [row.tr, row]));
const rowNamed = new Map(rows.map((row) => [row.scenario.name, row]));
const columnNamed = new Map(data.columns.map((column, place) => [column.id, place]));

// --- small things

function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") made.addEventListener("click", value);
    else if (value !== false && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== undefined && child !== ""));
  return made;
}

const outcome = (words, tone) => element("code", { class: `tone ${tone || ""}` }, words);
const count = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;
const reasonOf = (cell) => data.reasons[cell.r] || {};

// --- filters

const chosen = { family: new Set(), arch: new Set(), kernel: new Set(), verdict: new Set() };

function choices(kind, values, label) {
  if (values.length < 2) return undefined;
  const buttons = values.map((value) =>
    element("button", {
      type: "button", class: "choice", "aria-pressed": "false",
      "data-kind": kind, "data-value": value,
      onclick: () => {
        if (!chosen[kind].delete(value)) chosen[kind].add(value);
        apply();
      },
    }, value));
  return element("fieldset", {}, element("legend", {}, label), ...buttons);
}

function distinct(values) {
  return [...new Set(values)];
}

function setUpFilters() {
  byId("choices").append(...[
    choices("kernel", distinct(data.columns.map((column) => column.kernel)), "kernel"),
    choices("arch", distinct(data.columns.map((column) => column.arch)).sort(), "arch"),
    choices("verdict", data.verdicts, "verdict"),
    choices("family", distinct(rows.map((row) => row.family.dataset.family)), "family"),
  ].filter(Boolean));
  byId("find").addEventListener("input", apply);
  byId("differ").addEventListener("change", apply);
  byId("byarch").addEventListener("change", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => {
    for (const set of Object.values(chosen)) set.clear();
    setTimeout(apply); // when the fields are empty
  });
  form.hidden = false;
}

const passes = (set, value) => set.size === 0 || set.has(value);

function words(row) {
  if (row.words === null) {
    const parts = new Set([row.scenario.name, row.scenario.summary]);
    for (const cell of row.scenario.cells) {
      const reason = reasonOf(cell);
      for (const part of [cell.o, cell.failure, reason.because, reason.bug]) parts.add(part);
      for (const piece of reason.evidence || []) parts.add(data.evidence[piece].place);
    }
    row.words = [...parts].join("\n").toLowerCase();
  }
  return row.words;
}

function visibleColumns() {
  return data.columns
    .map((column, place) => ({ column, place }))
    .filter(({ column }) => passes(chosen.arch, column.arch) && passes(chosen.kernel, column.kernel))
    .map(({ place }) => place);
}

function isShown(row, columns, wanted) {
  if (!passes(chosen.family, row.family.dataset.family)) return false;
  const cells = columns.map((place) => row.cells[place]).filter(Boolean).map(({ cell }) => cell);
  if (cells.length === 0) return false;
  if (chosen.verdict.size && !cells.some((cell) => chosen.verdict.has(cell.v))) return false;
  if (byId("differ").checked) {
    const seen = new Set(cells.filter((cell) => !NO_OUTCOME.has(cell.v)).map((cell) => cell.o));
    if (seen.size < 2) return false;
  }
  return wanted.every((word) => words(row).includes(word));
}

/** What 100vw would be without the vertical scrollbar, see the style. */
new ResizeObserver(([page]) => {
  page.target.style.setProperty("--view", `${page.target.clientWidth}px`);
}).observe(document.documentElement);

const hiding = new CSSStyleSheet(); // columns that are not chosen; one rule instead of many cells
document.adoptedStyleSheets = [hiding];
let shownColumns = [];
let ordered = false;

function apply() {
  shownColumns = visibleColumns();
  const wanted = byId("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  const families = new Set();
  let shown = 0;
  for (const row of rows) {
    row.tr.hidden = !isShown(row, shownColumns, wanted);
    if (!row.tr.hidden) {
      shown += 1;
      families.add(row.family);
    }
  }
  for (const family of grid.tBodies) family.hidden = !families.has(family);
  const gone = data.columns.map((_, place) => place).filter((place) => !shownColumns.includes(place));
  hiding.replaceSync(gone.map((place) => `[data-c="${place}"] { display: none }`).join("\n"));
  if (byId("byarch").checked !== ordered) reorder();
  heads();
  for (const button of byId("choices").querySelectorAll("button")) {
    button.setAttribute("aria-pressed", chosen[button.dataset.kind].has(button.dataset.value));
  }
  byId("shown").textContent =
    `${shown} of ${count(rows.length, "scenario")}, ` +
    `${shownColumns.length} of ${count(data.columns.length, "column")}`;
  remember();
}

// --- columns: kernel by kernel as in the page, or arch by arch

function columnOrder() {
  const places = data.columns.map((_, place) => place);
  if (!ordered) return places;
  const arches = distinct(data.columns.map((column) => column.place));
  return arches.flatMap((arch) => places.filter((place) => data.columns[place].place === arch));
}

function reorder() {
  ordered = byId("byarch").checked;
  const order = columnOrder();
  const last = byId("places");
  const heads = new Map([...last.cells].map((th) => [Number(th.dataset.c), th]));
  last.append(...order.map((place) => heads.get(place)));
  for (const [place, th] of heads) {
    const column = data.columns[place];
    th.firstElementChild.textContent = ordered ? column.kernel : column.place;
  }
  for (const row of rows) row.tr.append(...order.map((place) => row.tds[place]));
}

/** The upper line of the head: a cell for each run of visible columns of one kernel, or arch. */
function heads() {
  const name = (place) => (ordered ? data.columns[place].place : data.columns[place].kernel);
  const made = [];
  for (const place of columnOrder().filter((one) => shownColumns.includes(one))) {
    const last = made.at(-1);
    if (last && last.name === name(place)) last.span += 1;
    else made.push({ name: name(place), span: 1, version: ordered ? "" : data.columns[place].version });
  }
  const line = byId("heads");
  for (const old of line.querySelectorAll(".kernel")) old.remove();
  line.append(...made.map((head) =>
    element("th", { scope: "colgroup", class: "kernel", colspan: head.span },
      head.name, head.version ? element("small", {}, ` ${head.version}`) : "")));
}

// --- the address: #SCENARIO@COLUMN?filters, fit for a mail

const spell = (part) => encodeURIComponent(part).replace(/%(2F|2C|3A)/g, decodeURIComponent);
let opened = null; // {row, place}
let reading = false;

function address() {
  const query = new URLSearchParams();
  for (const [kind, values] of Object.entries(chosen)) {
    for (const value of values) query.append(kind, value);
  }
  if (byId("find").value) query.set("find", byId("find").value);
  if (byId("differ").checked) query.set("differ", "1");
  if (byId("byarch").checked) query.set("byarch", "1");
  const cell = opened
    ? `${spell(opened.row.scenario.name)}@${spell(data.columns[opened.place].id)}`
    : "";
  const filters = query.toString();
  return `#${cell}${filters ? `?${filters}` : ""}`;
}

function remember() {
  if (!reading && address() !== (location.hash || "#")) history.replaceState(null, "", address());
}

/** Filters are read once, when the page opens; a link inside it only opens a cell. */
function readAddress(first) {
  reading = true;
  const [cell, filters] = location.hash.slice(1).split("?", 2);
  if (first) {
    const query = new URLSearchParams(filters || "");
    for (const [kind, values] of Object.entries(chosen)) {
      for (const value of query.getAll(kind)) values.add(value);
    }
    byId("find").value = query.get("find") || "";
    byId("differ").checked = query.has("differ");
    byId("byarch").checked = query.has("byarch");
    apply();
  }
  const found = cell.includes("@") ? locate(cell) : null;
  if (found) open(found.row, found.place);
  reading = false;
  if (!byId(cell)) remember(); // a section's own address, such as #bugs, stays
}

function locate(cell) {
  try {
    const [scenario, column] = cell.split("@", 2).map(decodeURIComponent);
    const row = rowNamed.get(scenario);
    const place = columnNamed.get(column);
    return row && row.cells[place] ? { row, place } : null;
  } catch {
    return null; // no address of ours
  }
}

// --- the panel

function open(row, place) {
  const { td, cell } = row.cells[place];
  opened = { row, place };
  panel.replaceChildren(...contents(row, place, cell));
  panel.hidden = false;
  document.body.classList.add("reading");
  select(td);
  panel.scrollTop = 0;
  panel.focus({ preventScroll: true });
  remember();
}

function close() {
  if (!opened) return;
  const { td } = opened.row.cells[opened.place];
  opened = null;
  panel.hidden = true;
  document.body.classList.remove("reading");
  panel.replaceChildren();
  select(null);
  td.focus();
  remember();
}

function select(td) {
  for (const old of grid.querySelectorAll("[aria-selected]")) old.removeAttribute("aria-selected");
  if (!td) return;
  td.setAttribute("aria-selected", "true");
  td.scrollIntoView({ block: "nearest", inline: "nearest" });
}

function contents(row, place, cell) {
  const column = data.columns[place];
  const reason = reasonOf(cell);
  const head = element("div", { class: "panel-head" },
    element("div", {},
      element("h2", { id: "panel-title" }, row.scenario.name),
      element("p", {}, `${column.id} `, element("span", { class: `verdict ${cell.v}` }, cell.v),
        cell.again ? `, ${cell.again}` : "")),
    element("button", { type: "button", onclick: () => step(-1), title: "p" }, "Previous"),
    element("button", { type: "button", onclick: () => step(1), title: "n" }, "Next"),
    element("button", { type: "button", onclick: close, title: "Esc" }, "Close"));
  return [
    head,
    row.scenario.summary ? element("p", { class: "summary" }, row.scenario.summary) : "",
    facts(cell, reason),
    ...others(row, place),
    ...(reason.evidence || []).length ? [element("h3", {}, UNMET.has(cell.v) ? "Evidence for what was expected" : "Evidence")] : [],
    ...(reason.evidence || []).map((piece) => evidence(data.evidence[piece])),
    ...section("Console", (cell.console || []).length &&
      element("pre", { tabindex: "0" }, cell.console.join("\n"))),
    ...section("Repeat it", cell.repeat && command(cell.repeat)),
    ...section("The column's QEMU", column.facts.command && element("div", {}, command(column.facts.command),
      element("p", { class: "hint" }, "As the harness starts it. The line that runs one scenario by hand is what ",
        element("code", {}, "faultline repro --print-command"), " prints."))),
    ...section("Details, recorded and not compared", cell.details && list(cell.details)),
    ...section("Column", list(Object.fromEntries(
      Object.entries(column.facts).filter(([name]) => name !== "command")))),
  ].filter((part) => part !== "");
}

function section(title, content) {
  return content ? [element("h3", {}, title), content] : [];
}

function facts(cell, reason) {
  const lines = [];
  const say = (name, ...value) => lines.push(element("dt", {}, name), element("dd", {}, ...value));
  const expected = (reason.expected || []).flatMap((words, place) =>
    [place ? " or " : "", element("code", {}, words)]);
  if (!LOST.has(cell.v)) say("observed", outcome(cell.o, cell.tone), cell.cause ? ` ${cell.cause}` : "");
  if (cell.failure) say("not observed", cell.failure);
  say("expected", ...(expected.length ? expected : ["no row matches"]));
  if (reason.because) say("because", reason.because);
  if (reason.want) say("correct", element("code", {}, reason.want));
  if (reason.bug) say("see", reason.bug);
  if (reason.declared) say("declared", element("code", {}, reason.declared));
  if (cell.ms) say("took", `${cell.ms} ms`);
  return element("dl", {}, ...lines);
}

/** What the other columns saw, by outcome, each a way to its cell. */
function others(row, place) {
  const groups = new Map();
  for (const { cell, column } of row.cells.filter(Boolean)) {
    if (!groups.has(cell.o)) groups.set(cell.o, { tone: cell.tone, columns: [] });
    groups.get(cell.o).columns.push(column);
  }
  if (row.scenario.cells.length < 2) return [];
  const lines = [...groups].map(([words, group]) =>
    element("li", {}, outcome(words, group.tone), " ", ...group.columns.map((one) =>
      one === place
        ? element("b", {}, `${data.columns[one].id} `)
        : element("button", { type: "button", onclick: () => open(row, one) }, data.columns[one].id))));
  return [element("h3", {}, "In all columns"), element("ul", { class: "others" }, ...lines)];
}

function evidence(piece) {
  const caption = element("figcaption", {}, piece.place,
    piece.status === "valid" ? "" : element("span", { class: "stale" }, ` ${piece.status}`));
  if (!piece.excerpt || !piece.excerpt.length) {
    return element("figure", {}, caption, element("pre", { class: "text" }, piece.text || ""));
  }
  const width = String(piece.first + piece.excerpt.length).length;
  const lines = piece.excerpt.map((line, offset) => {
    const number = piece.first + offset;
    const hit = number >= piece.line && number <= piece.last;
    return element("span", { class: hit ? "source hit" : "source" },
      element("span", { class: "no" }, `${String(number).padStart(width)}  `), `${line}\n`);
  });
  return element("figure", {}, caption, element("pre", { tabindex: "0" }, ...lines));
}

function command(text) {
  const button = element("button", { type: "button", class: "copy" }, "Copy");
  button.addEventListener("click", () => {
    navigator.clipboard.writeText(text).then(
      () => { button.textContent = "Copied"; },
      () => { getSelection().selectAllChildren(button.previousSibling); }, // no permission: Ctrl-C
    );
  });
  return element("div", { class: "command-line" }, element("pre", { class: "command" }, text), button);
}

function list(entries) {
  const names = Object.entries(entries);
  if (!names.length) return "";
  return element("dl", {}, ...names.flatMap(([name, value]) =>
    [element("dt", {}, name), element("dd", {}, element("code", {}, value))]));
}

// --- mouse and keys

const cellOf = (td) => {
  const row = td && rowOf.get(td.parentNode);
  return row && row.cells[Number(td.dataset.c)] ? { row, place: Number(td.dataset.c) } : null;
};

/** Said only when it is looked at: ten thousand titles would be most of the page. */
function name(td) {
  const found = cellOf(td);
  if (!found || td.title) return;
  const { cell } = found.row.cells[found.place];
  const words = `${found.row.scenario.name} on ${data.columns[found.place].id}: ${cell.o || cell.v}`;
  td.title = `${words} (${cell.v})`;
  td.setAttribute("aria-label", td.title);
}

function focusCell(td) {
  for (const old of grid.querySelectorAll('td[tabindex="0"]')) old.tabIndex = -1;
  td.tabIndex = 0;
  td.focus();
}

/** The visible cells of the visible rows, as they stand on the screen. */
function layout() {
  const order = columnOrder().filter((place) => shownColumns.includes(place));
  return rows.filter((row) => !row.tr.hidden)
    .map((row) => order.map((place) => row.cells[place] && row.cells[place].td));
}

/** To the nearest cell that a key points to; where a column has none, the one behind it. */
function move(td, key) {
  const lines = layout();
  const y = lines.findIndex((line) => line.includes(td));
  if (y < 0) return;
  const line = lines[y];
  const x = line.indexOf(td);
  const column = lines.map((one) => one[x]);
  const ahead = {
    ArrowLeft: line.slice(0, x).reverse(),
    ArrowRight: line.slice(x + 1),
    ArrowUp: column.slice(0, y).reverse(),
    ArrowDown: column.slice(y + 1),
    Home: line,
    End: [...line].reverse(),
  }[key];
  const next = ahead.find(Boolean);
  if (next) focusCell(next);
}

/** To the next cell that is no plain match of the majority, and into it if the panel is open. */
function step(direction) {
  const cells = layout().flat().filter(Boolean);
  const from = opened ? opened.row.cells[opened.place].td : document.activeElement;
  const loud = (td) => !td.classList.contains("quiet") && !td.classList.contains("not-applicable");
  const start = cells.indexOf(from);
  const ahead = direction > 0 ? cells.slice(start + 1) : cells.slice(0, Math.max(start, 0)).reverse();
  const next = ahead.find(loud);
  if (!next) return;
  if (opened) {
    const found = cellOf(next);
    open(found.row, found.place);
  } else {
    focusCell(next);
  }
}

grid.addEventListener("click", (event) => {
  const td = event.target.closest("td[data-c]");
  const found = cellOf(td);
  if (found) open(found.row, found.place);
});
grid.addEventListener("pointerover", (event) => name(event.target.closest("td[data-c]")));
grid.addEventListener("focusin", (event) => name(event.target.closest("td[data-c]")));

const MOVES = new Set(["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight", "Home", "End"]);

grid.addEventListener("keydown", (event) => {
  const td = event.target.closest("td[data-c]");
  if (!td || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Enter" || event.key === " ") {
    const found = cellOf(td);
    if (found) open(found.row, found.place);
  } else if (MOVES.has(event.key)) {
    move(td, event.key);
  } else {
    return;
  }
  event.preventDefault();
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") close();
  if (event.target.closest("input")) return;
  if (event.key === "n") step(1);
  else if (event.key === "p") step(-1);
  else if (event.key === "d") byId("differ").click();
  else if (event.key === "/") byId("find").focus();
  else return;
  event.preventDefault();
});

setUpFilters();
new ResizeObserver(() => {
  const above = getComputedStyle(form).position === "sticky" ? form.offsetHeight : 0;
  grid.style.setProperty("--top", `${above}px`); // the head sticks below the filters
  document.documentElement.style.scrollPaddingTop = `${above + grid.tHead.offsetHeight}px`;
}).observe(form);
readAddress(true);
addEventListener("hashchange", () => readAddress(false));
const start = rows.flatMap((row) => row.cells.filter(Boolean))[0];
if (start) start.td.tabIndex = 0;
