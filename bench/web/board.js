"use strict";
// Everything that comes from the records is set as text, never as markup.
const board = JSON.parse(document.getElementById("board").textContent);
const byId = (id) => document.getElementById(id);
const make = (tag, options = {}, children = []) => {
  const element = Object.assign(document.createElement(tag), options);
  element.append(...children);
  return element;
};
const SVG = "http://www.w3.org/2000/svg";
const draw = (tag, attributes, children = []) => {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
};

// A text's first number; more than the most that was run counts as twice that; null stands last.
const number = (text) => {
  const found = parseFloat(text.replaceAll(",", "").replace("−", "-").replace(/^[^-\d]+/, ""));
  return Number.isNaN(found) ? null : text.startsWith(">") ? 2 * found : found;
};
const name = (row) => (row.division === board.scratch ? row.method : `${row.method} (${row.division})`);
const data = (row) => `${row.table.place.modality}/${row.table.place.dataset}`;
const COLUMNS = [
  // key, title, what is shown, what is sorted by
  ["method", "method", name, (r) => r.method],
  ["score", "score ±", (r) => r.score_text, (r) => r.score],
  ["data", "data", data, data],
  ["views", "views", (r) => r.table.place.views, (r) => r.table.place.views],
  ["cut", "cut", (r) => r.table.cut, (r) => r.table.fraction],
  ["rank", "rank", (r) => r.rank ?? "—", (r) => r.rank],
  ["supervised", "vs supervised", (r) => r.supervised, (r) => number(r.supervised)],
  ["base", "vs base", (r) => r.base, (r) => number(r.base)],
  ["gap", "gap closed", (r) => r.gap, (r) => number(r.gap)],
  ["needs", "supervised needs", (r) => r.needs, (r) => number(r.needs)],
  ["cost", "seconds", (r) => r.cost, (r) => number(r.cost)],
  ["memory", "MiB", (r) => r.memory, (r) => number(r.memory)],
  ["seeds", "seeds", (r) => r.seeds_text, (r) => r.n],
];
const WHERE = new Set(["data", "views", "cut"]); // said above the table where all rows agree
const WORDS = new Set(["method", ...WHERE]);
const FILTERS = [
  // each offers what those before it leave
  ["modality", "Modality", (r) => r.table.place.modality],
  ["dataset", "Data set", (r) => r.table.place.dataset],
  ["views", "Views", (r) => r.table.place.views],
  ["cut", "Labels or rows", (r) => r.table.cut],
  ["setting", "Budget and protocol", (r) => r.table.place.setting],
  ["division", "Division", (r) => r.division],
];
const MOST = 24; // curves drawn at once
const MANY = 300; // rows shown at once
const STEPS = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity };
for (const table of board.tables) table.place = board.places[table.place];
const [TEXTS, VALUES] = board.columns;
board.rows = board.rows.map((cells, order) => {
  const texts = TEXTS.map((key, i) => [key, board.texts[cells[i]]]);
  const values = VALUES.map((key, i) => [key, cells[TEXTS.length + i] ?? null]);
  const row = { ...Object.fromEntries(texts), ...Object.fromEntries(values), order };
  return { ...row, table: board.tables[row.table] };
});

const EMPTY = { sort: "data", method: "", q: "", ...Object.fromEntries(FILTERS.map(([key]) => [key, ""])), division: board.scratch };
let view = { ...EMPTY };
let shown = MANY;

const read = () => {
  const said = new URLSearchParams(location.hash.slice(1));
  view = { ...EMPTY };
  for (const key of Object.keys(EMPTY)) if (said.has(key)) view[key] = said.get(key);
  if (!COLUMNS.some(([key]) => key === view.sort.replace(/^-/, ""))) view.sort = EMPTY.sort;
};
const write = () => {
  const said = new URLSearchParams();
  for (const [key, value] of Object.entries(view)) if (value !== EMPTY[key]) said.set(key, value);
  const hash = said.toString();
  if (hash !== location.hash.slice(1)) history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
};

const passes = (row, filters = FILTERS) => filters.every(([key, , of]) => !view[key] || of(row) === view[key]);
const found = (filters = FILTERS) => board.rows.filter((row) => row.method.includes(view.q) && passes(row, filters));

const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b);
const sorted = (rows) => {
  const down = view.sort.startsWith("-");
  const of = COLUMNS.find(([key]) => key === view.sort.replace(/^-/, ""))[3];
  const keyed = rows.map((row) => [of(row), row]);
  const known = keyed.filter(([key]) => key !== null);
  known.sort(([a, r], [b, s]) => (down ? -1 : 1) * compare(a, b) || r.order - s.order);
  return [...known, ...keyed.filter(([key]) => key === null)].map(([, row]) => row);
};

const options = (index) => {
  const before = FILTERS.slice(0, index);
  return [...new Set(board.rows.filter((row) => passes(row, before)).map(FILTERS[index][2]))].sort(compare);
};
const choose = (index, value) => {
  view[FILTERS[index][0]] = value;
  for (let later = index + 1; later < FILTERS.length; later++) {
    const [key] = FILTERS[later];
    if (view[key] && !options(later).includes(view[key])) view[key] = EMPTY[key];
  }
  show();
};

const showFilters = () => {
  FILTERS.forEach(([key], index) => {
    const select = byId(`filter-${key}`);
    const values = options(index);
    if (view[key] && !values.includes(view[key])) values.push(view[key]);
    select.replaceChildren(make("option", { value: "", textContent: "all" }), ...values.map((value) => make("option", { value, textContent: value })));
    select.value = view[key];
  });
  const search = byId("filter-q");
  if (search.value !== view.q) search.value = view.q;
};

const interval = (row) => {
  if (row.score === null) return row.failed || "not run";
  if (row.half === null) return `${row.score_text}, one seed, no interval`;
  const [low, high] = [row.score - row.half, row.score + row.half].map((end) => end.toFixed(1));
  return `${row.score_text}, from ${low} to ${high}, ${row.n} seeds`;
};
const describe = (row) => {
  const { place, cut } = row.table;
  const seeds = row.seeds ? ` Seeds, scores and run ids: ${row.seeds}.` : row.n ? "" : " No finished run.";
  const open = row.open ? ` Ranks that the scores leave open at 95 %: ${[...new Set(row.open)].join(" to ")}.` : "";
  const alone = row.division === board.scratch ? "" : ` Not ranked, of the division ${row.division}.`;
  return `${row.method} on ${data(row)}, views ${place.views}, ${cut}, ${place.setting}: ${interval(row)}.${alone}${seeds}${open}`;
};

const highlight = (method) => {
  view.method = view.method === method ? "" : method;
  show();
};

const fill = (cell, key, text, row) => {
  const [first, rest] = key === "method" ? [row.method, text.slice(row.method.length)] : key === "needs" ? text.split(/(?= \()/) : [text];
  cell.append(first, ...(rest ? [make("small", { textContent: rest })] : []));
};

const showRows = (rows) => {
  const same = COLUMNS.filter(([key, , text]) => WHERE.has(key) && new Set(rows.map(text)).size === 1);
  const columns = COLUMNS.filter((column) => !same.includes(column));
  for (const cell of byId("head").children) {
    const down = view.sort === `-${cell.dataset.key}`;
    cell.hidden = same.some(([key]) => key === cell.dataset.key);
    cell.ariaSort = down ? "descending" : view.sort === cell.dataset.key ? "ascending" : "none";
  }
  const lines = rows.slice(0, shown).map((row) => {
    const cells = columns.map(([key, , text]) => {
      const cell = make(key === "method" ? "th" : "td");
      fill(cell, key, String(text(row)), row);
      if (key === "method") cell.scope = "row";
      cell.className = `${key}${WORDS.has(key) ? "" : " number"}`;
      return cell;
    });
    const line = make("tr", { tabIndex: -1, title: interval(row) }, cells);
    line.classList.toggle("control", board.looks[row.method].control);
    line.classList.toggle("best", row.rank === 1);
    line.classList.toggle("marked", row.method === view.method);
    line.onmouseenter = () => (byId("detail").textContent = describe(row));
    line.onfocus = () => {
      for (const other of byId("rows").children) other.tabIndex = -1; // the rows are one tab stop: the last that was reached
      line.tabIndex = 0;
      byId("detail").textContent = describe(row);
    };
    line.onclick = () => highlight(row.method);
    line.onkeydown = (event) => {
      const all = [...byId("rows").children];
      const place = all.indexOf(line);
      if (event.key in STEPS) all[Math.max(0, Math.min(all.length - 1, place + STEPS[event.key]))].focus();
      else if (event.key === "Enter" || event.key === " ") {
        highlight(row.method);
        byId("rows").children[place]?.focus();
      } else return;
      event.preventDefault();
    };
    return line;
  });
  if (lines.length) lines[0].tabIndex = 0;
  byId("rows").replaceChildren(...lines);
  const all = same.map(([key, , text]) => (key === "views" ? `views ${text(rows[0])}` : text(rows[0]))).join(", ");
  byId("count").textContent = `${rows.length} of ${board.rows.length} rows${all && `: ${all}`}`;
  const rest = rows.length - lines.length;
  byId("more").hidden = rest <= 0;
  byId("more").textContent = `${rest} rows more: show ${Math.min(rest, MANY)} of them`;
};

const showOthers = () => {
  const others = found(FILTERS.slice(0, -1)).filter((row) => row.division !== board.scratch);
  const kinds = [...new Set(others.map((row) => row.division))].sort().join("; ");
  const hidden = view.division === board.scratch;
  byId("others").hidden = !others.length || !(hidden || view.division === "");
  byId("others").textContent = `${hidden ? "Show" : "Hide"} ${others.length} rows of other divisions, which are not ranked: ${kinds}`;
  byId("others").onclick = () => choose(FILTERS.length - 1, hidden ? "" : board.scratch);
};

const ticks = (low, high) => {
  const rough = (high - low) / 4 || 1;
  const size = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * size).find((n) => n >= rough);
  const found = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high + 1e-9; tick += step) found.push(tick);
  return found;
};

const curve = (place, tables, lines) => {
  const points = [...lines.values()].flat();
  const fractions = tables.map((t) => t.fraction).sort((a, b) => a - b);
  const low = Math.min(...points.map((p) => p.score - (p.half ?? 0))), high = Math.max(...points.map((p) => p.score + (p.half ?? 0)));
  const span = Math.log(fractions.at(-1) / fractions[0]) || 1;
  const x = (f) => 45 + (295 * Math.log(f / fractions[0])) / span;
  const y = (v) => 205 - (190 * (v - low)) / (high - low || 1);
  const grid = ticks(low, high).flatMap((tick) => [
    draw("line", { class: "axis", x1: 38, x2: 350, y1: y(tick), y2: y(tick) }),
    draw("text", { x: 34, y: y(tick) + 4, "text-anchor": "end" }, [String(Number(tick.toPrecision(6)))]),
  ]);
  const labels = tables.map((t) => draw("text", { x: x(t.fraction), y: 222, "text-anchor": "middle" }, [t.cut.replace(/ of.*/, "")]));
  const drawn = [...lines].map(([method, run]) => {
    const look = board.looks[method];
    const ordered = [...run].sort((a, b) => a.table.fraction - b.table.fraction);
    const at = (p) => `${x(p.table.fraction).toFixed(1)},${y(p.score).toFixed(1)}`;
    const marks = ordered.flatMap((p) => [
      draw("line", { stroke: look.colour, x1: x(p.table.fraction), x2: x(p.table.fraction), y1: y(p.score - (p.half ?? 0)), y2: y(p.score + (p.half ?? 0)) }),
      draw("circle", { r: 3.5, cx: x(p.table.fraction), cy: y(p.score), stroke: look.colour, fill: look.filled ? look.colour : "var(--ground)" }, [
        draw("title", {}, [`${name(p)}, ${p.table.cut}: ${interval(p)}`]),
      ]),
    ]);
    const group = draw("g", { "data-method": method }, [
      draw("polyline", { class: "line", stroke: look.colour, "stroke-dasharray": look.dash, points: ordered.map(at).join(" ") }),
      ...marks,
    ]);
    group.classList.toggle("faded", Boolean(view.method) && method !== view.method);
    group.classList.toggle("strong", method === view.method);
    group.onclick = () => highlight(method);
    return group;
  });
  drawn.sort((a, b) => a.classList.contains("strong") - b.classList.contains("strong"));
  const title = `${place.modality}/${place.dataset}: views ${place.views}, ${place.setting}, ${place.axis}`;
  const picture = draw("svg", { viewBox: "0 0 360 230", role: "img", "aria-label": `Score in percent against the fraction, ${title}` }, [...grid, ...labels, ...drawn]);
  return make("figure", {}, [picture, make("figcaption", { textContent: title })]);
};

const showCurves = (rows) => {
  const methods = new Map(rows.map((r) => [r.method, name(r)]));
  byId("methods").replaceChildren(
    ...[...methods].sort(([a], [b]) => compare(a, b)).map(([method, text], place) => {
      const chip = make("button", { type: "button", textContent: text, onclick: () => { highlight(method); byId("methods").children[place]?.focus(); } });
      chip.ariaPressed = String(method === view.method);
      chip.style.borderColor = board.looks[method].colour;
      return chip;
    }),
  );
  const places = new Map();
  for (const row of rows) {
    if (row.score === null) continue;
    const lines = places.get(row.table.place) ?? new Map();
    lines.set(row.method, [...(lines.get(row.method) ?? []), row]);
    places.set(row.table.place, lines);
  }
  const drawn = [];
  for (const [place, lines] of places) {
    const tables = [...new Set([...lines.values()].flat().map((r) => r.table))];
    if (tables.length > 1) drawn.push([place, tables, lines]);
  }
  const rest = drawn.length - MOST;
  const note = rest > 0 ? `${rest} more curves: narrow the filters to see them.` : drawn.length ? "" : "No curve: a curve needs two fractions. Choose all labels or rows.";
  byId("curves").replaceChildren(...drawn.slice(0, MOST).map((one) => curve(...one)), ...(note ? [make("p", { textContent: note })] : []));
};

const show = () => {
  write();
  showFilters();
  const rows = sorted(found());
  showRows(rows);
  showOthers();
  showCurves(rows);
};

const tell = (id, facts) => {
  byId(id).append(...facts.map((row) => make("tr", {}, row.map((fact) => make("td", { textContent: fact })))));
};
const build = () => {
  const fields = FILTERS.map(([key, title], index) => {
    const select = make("select", { id: `filter-${key}`, onchange: () => choose(index, select.value) });
    return make("label", { textContent: title }, [select]);
  });
  const search = make("input", { id: "filter-q", type: "search", placeholder: "part of a name", oninput: () => { view.q = search.value.trim(); show(); } });
  const reset = make("button", { type: "button", id: "reset", textContent: "Reset", onclick: () => { view = { ...EMPTY }; show(); } });
  byId("filters").append(...fields, make("label", { textContent: "Method" }, [search]), reset);
  byId("filters").onsubmit = (event) => event.preventDefault();
  byId("head").append(
    ...COLUMNS.map(([key, title]) => {
      const cell = make("th", { scope: "col" }, [
        make("button", { type: "button", textContent: title, onclick: () => { view.sort = view.sort === key || (!WORDS.has(key) && key !== "rank" && view.sort !== `-${key}`) ? `-${key}` : key; show(); } }),
      ]);
      cell.dataset.key = key;
      return cell;
    }),
  );
  byId("more").onclick = () => { shown += MANY; show(); };
  for (const link of document.querySelectorAll(".skip")) link.onclick = () => byId(link.dataset.to).focus();
  tell("data", board.data);
  tell("gone", board.withdrawn);
  byId("withdrawn").hidden = !board.withdrawn.length;
  byId("made").textContent = board.made;
};

build();
read();
show();
addEventListener("hashchange", () => { read(); show(); });
