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

const COLUMNS = [
  // key, title, what is shown, what is sorted by (null stands last)
  ["method", "method", (r) => r.method, (r) => r.method],
  ["score", "score ±", (r) => r.score_text, (r) => r.score],
  ["data", "data", (r) => `${r.table.place.modality}/${r.table.place.dataset}`, (r) => `${r.table.place.modality}/${r.table.place.dataset}`],
  ["views", "views", (r) => r.table.place.views, (r) => r.table.place.views],
  ["cut", "cut", (r) => r.table.cut, (r) => r.table.fraction],
  ["rank", "rank", (r) => r.rank ?? "—", (r) => r.rank],
  ["supervised", "vs supervised", (r) => r.supervised_text, (r) => r.supervised],
  ["base", "vs base", (r) => r.base_text, (r) => r.base],
  ["gap", "gap closed", (r) => r.gap_text, (r) => r.gap],
  ["needs", "supervised needs", (r) => r.needs_text, (r) => r.needs],
  ["cost", "seconds", (r) => r.cost_text, (r) => r.cost],
  ["memory", "MiB", (r) => r.memory_text, (r) => r.memory],
  ["seeds", "seeds", (r) => r.seeds_text, (r) => r.n],
];
const WORDS = new Set(["method", "data", "views", "cut"]);
const FILTERS = [
  ["modality", "Modality", (r) => r.table.place.modality],
  ["dataset", "Data set", (r) => r.table.place.dataset],
  ["views", "Views", (r) => r.table.place.views],
  ["cut", "Labels or rows", (r) => r.table.cut],
  ["setting", "Budget and protocol", (r) => r.table.place.setting],
];
const MOST = 24; // curves drawn at once
for (const table of board.tables) table.place = board.places[table.place];
for (const row of board.rows) row.table = board.tables[row.table];

const EMPTY = { sort: "data", method: "", q: "", ...Object.fromEntries(FILTERS.map(([key]) => [key, ""])) };
let view = { ...EMPTY };

const read = () => {
  const said = new URLSearchParams(location.hash.slice(1));
  view = { ...EMPTY };
  for (const key of Object.keys(EMPTY)) if (said.get(key)) view[key] = said.get(key);
  if (!COLUMNS.some(([key]) => key === view.sort.replace(/^-/, ""))) view.sort = EMPTY.sort;
};
const write = () => {
  const said = new URLSearchParams();
  for (const [key, value] of Object.entries(view)) if (value !== EMPTY[key]) said.set(key, value);
  const hash = said.toString();
  if (hash !== location.hash.slice(1)) history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
};

const passes = (row, without) =>
  FILTERS.every(([key, , of]) => key === without || !view[key] || of(row) === view[key]) &&
  (without === "q" || row.method.includes(view.q));

const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b);
const sorted = (rows) => {
  const down = view.sort.startsWith("-");
  const of = COLUMNS.find(([key]) => key === view.sort.replace(/^-/, ""))[3];
  const known = rows.filter((r) => of(r) !== null && of(r) !== undefined);
  const rest = rows.filter((r) => of(r) === null || of(r) === undefined);
  known.sort((a, b) => (down ? -1 : 1) * compare(of(a), of(b)) || a.order - b.order);
  return [...known, ...rest];
};

const options = (of, without) => [...new Set(board.rows.filter((r) => passes(r, without)).map(of))].sort((a, b) => compare(a, b));

const showFilters = () => {
  for (const [key, , of] of FILTERS) {
    const select = byId(`filter-${key}`);
    const found = options(of, key);
    if (view[key] && !found.includes(view[key])) found.push(view[key]);
    select.replaceChildren(make("option", { value: "", textContent: "all" }), ...found.map((value) => make("option", { value, textContent: value })));
    select.value = view[key];
  }
  const search = byId("filter-q");
  if (search.value !== view.q) search.value = view.q;
};

const describe = (row) => {
  const { place, cut } = row.table;
  const seeds = row.seeds.map(([seed, score, run]) => `${seed}: ${score} (${run})`).join(", ");
  const open = row.open ? ` Ranks that the scores leave open at 95 %: ${[...new Set(row.open)].join(" to ")}.` : "";
  return (
    `${row.method} on ${place.modality}/${place.dataset}, views ${place.views}, ${cut}, ${place.setting}: ${row.interval_text}. ` +
    (seeds ? `Seeds, scores and run ids: ${seeds}.` : `${row.n ? "" : "No finished run."}`) + open
  );
};

const highlight = (method) => {
  view.method = view.method === method ? "" : method;
  show();
};

const showRows = (rows) => {
  for (const cell of byId("head").children) {
    const down = view.sort === `-${cell.dataset.key}`;
    cell.ariaSort = down ? "descending" : view.sort === cell.dataset.key ? "ascending" : "none";
  }
  byId("rows").replaceChildren(
    ...rows.map((row) => {
      const cells = COLUMNS.map(([key, , shown]) => {
        const cell = make(key === "method" ? "th" : "td", { textContent: shown(row) });
        if (key === "method") cell.scope = "row";
        cell.className = `${key}${WORDS.has(key) ? "" : " number"}`;
        return cell;
      });
      const line = make("tr", { tabIndex: 0 }, cells);
      line.classList.toggle("control", row.control);
      line.classList.toggle("best", row.rank === 1);
      line.classList.toggle("marked", row.method === view.method);
      line.title = row.interval_text;
      line.onmouseenter = line.onfocus = () => (byId("detail").textContent = describe(row));
      line.onclick = () => highlight(row.method);
      line.onkeydown = (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        const place = [...byId("rows").children].indexOf(line);
        highlight(row.method);
        byId("rows").children[place]?.focus();
      };
      return line;
    }),
  );
  byId("count").textContent = `${rows.length} of ${board.rows.length} rows`;
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
  const low = Math.min(...points.map((p) => p.score - p.half)), high = Math.max(...points.map((p) => p.score + p.half));
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
      draw("line", { stroke: look.colour, x1: x(p.table.fraction), x2: x(p.table.fraction), y1: y(p.score - p.half), y2: y(p.score + p.half) }),
      draw("circle", { r: 3.5, cx: x(p.table.fraction), cy: y(p.score), stroke: look.colour, fill: look.filled ? look.colour : "var(--ground)" }, [
        draw("title", {}, [`${method}, ${p.table.cut}: ${p.interval_text}`]),
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
  const name = `${place.modality}/${place.dataset}: views ${place.views}, ${place.setting}, ${place.axis}`;
  const picture = draw("svg", { viewBox: "0 0 360 230", role: "img", "aria-label": `Score in percent against the fraction, ${name}` }, [...grid, ...labels, ...drawn]);
  return make("figure", {}, [picture, make("figcaption", { textContent: name })]);
};

const showCurves = (rows) => {
  const methods = [...new Set(rows.map((r) => r.method))].sort();
  byId("methods").replaceChildren(
    ...methods.map((method) => {
      const chip = make("button", { type: "button", textContent: method, onclick: () => { highlight(method); [...byId("methods").children].find((c) => c.textContent === method)?.focus(); } });
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
  const found = [];
  for (const [place, lines] of places) {
    const tables = [...new Set([...lines.values()].flat().map((r) => r.table))];
    if (tables.length > 1) found.push([place, tables, lines]);
  }
  const rest = found.length - MOST;
  const note = rest > 0 ? `${rest} more curves: narrow the filters to see them.` : found.length ? "" : "No curve: a curve needs two fractions. Choose all labels or rows.";
  byId("curves").replaceChildren(...found.slice(0, MOST).map((one) => curve(...one)), ...(note ? [make("p", { textContent: note })] : []));
};

const show = () => {
  write();
  showFilters();
  const rows = sorted(board.rows.filter((row) => passes(row)));
  showRows(rows);
  showCurves(rows);
};

const build = () => {
  const fields = FILTERS.map(([key, title]) => {
    const select = make("select", { id: `filter-${key}`, onchange: () => { view[key] = select.value; show(); } });
    return make("label", { textContent: title }, [select]);
  });
  const search = make("input", { id: "filter-q", type: "search", placeholder: "part of a name", oninput: () => { view.q = search.value.trim(); show(); } });
  const reset = make("button", { type: "button", id: "reset", textContent: "Show everything", onclick: () => { view = { ...EMPTY }; show(); } });
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
  byId("data").append(...board.data.map((facts) => make("tr", {}, facts.map((fact) => make("td", { textContent: fact })))));
  byId("made").textContent = board.made;
};

board.rows.forEach((row, i) => (row.order = i));
build();
read();
show();
addEventListener("hashchange", () => { read(); show(); });
