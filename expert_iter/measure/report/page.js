
// Draws the report from the JSON beside it. Every text goes in as a text node, never as markup.

const content = JSON.parse(document.getElementById("report-data").textContent);
const { data } = content;
const NARROW = matchMedia("(max-width: 40rem)");
const PRINT = matchMedia("print");

// --- Elements

// Attributes that are functions listen to events; those that are null or false are left out.
function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

const make = (tag, attributes = {}, ...children) =>
  fill(document.createElement(tag), attributes, children);

const draw = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

// What depends on widths: done once the page is put together, and again whenever they change.
function whenLaidOut(act) {
  for (const event of ["load", "resize", "beforeprint", "afterprint"]) addEventListener(event, act);
}

function choose(name, options, change) {
  const input = make("select", { change }, ...options.map(([value, text]) => make("option", { value }, text)));
  return { input, box: make("label", {}, name, input) };
}

// --- Numbers and names

const DASH = "–";
const UNITS = { tokens: "tokens", flops: "FLOPs" };
const known = (number) => typeof number === "number";
const fixed = (number, digits) => (known(number) ? number.toFixed(digits).replace(/^-/, "−") : DASH);
const percent = (share) => fixed(known(share) ? 100 * share : null, 1);
const whole = (number) => (known(number) ? number.toLocaleString("en") : DASH);
const amount = (number, unit) => (unit === "flops" ? si(number, "FLOP") : `${si(number)} tokens`);
const distinct = (items) => [...new Set(items)];
const oneLine = (text) => text.split(/\s+/).join(" ").trim();
const words = (name) => name.replaceAll("_", " ").replace(/\bmcts\b/gi, "MCTS");
const labels = new Map(content.labels.map(([method, budget, name]) => [`${method} ${budget}`, name]));
const labelOf = (row) => labels.get(`${row.method} ${row.budget}`);

function interval({ accuracy, low, high }, middle = accuracy, unit = "", show = percent) {
  return show(middle) + unit + (known(low) && known(high) ? ` (${show(low)} to ${show(high)})` : "");
}

function si(number, unit = "") {
  if (!known(number)) return DASH;
  const prefixes = ["", "k", "M", "G", "T", "P", "E"];
  let scaled = number;
  while (scaled >= 999.5 && prefixes.length > 1) {
    scaled /= 1000;
    prefixes.shift();
  }
  const digits = scaled >= 9.95 || Number.isInteger(scaled) ? 0 : 1;
  return scaled.toFixed(digits) + (unit ? ` ${prefixes[0]}${unit}` : prefixes[0]);
}

function duration(seconds) {
  if (!known(seconds)) return DASH;
  if (seconds < 0.9995) return si(seconds * 1000, "ms");
  if (seconds < 59.5) return si(seconds, "s");
  const [minutes, rest] = [Math.floor(Math.round(seconds) / 60), Math.round(seconds) % 60];
  const [first, second, names] = minutes < 60 ? [minutes, rest, "ms"] : [Math.floor(minutes / 60), minutes % 60, "hm"];
  return `${first}${names[0]}${String(second).padStart(2, "0")}${names[1]}`;
}

function verdict({ verdict: isRight, finished }) {
  if (isRight === true) return make("span", { class: "verdict right" }, "✓ right");
  if (isRight === false) return make("span", { class: "verdict wrong" }, "✗ wrong");
  return make("span", { class: "verdict" }, finished ? "finished" : "");
}

// --- Tables

const LONG = 24; // rows; more scroll in their box
const textColumn = (title, read) => ({ title, value: read, cell: read });
const numberColumn = (title, value, show, cell = (row) => show(value(row))) =>
  ({ title, value, cell, number: true });

// A column: title, cell(row) -> text or node, value(row) -> what it sorts by, number: align right.
// A group: rows, and a note where they stand apart. Returns {box, show(groups)}.
function table(caption, columns, groups) {
  let sorting = { column: null, sign: 1 };
  const heads = columns.map((column) => make("th", { scope: "col", class: column.number && "number" },
    column.value ? make("button", { type: "button", click: () => sortBy(column) }, column.title) : column.title));
  const body = make("table", {}, make("thead", {}, make("tr", {}, ...heads)));
  const isLong = groups.flatMap((group) => group.rows).length > LONG;
  const box = make("div", {}, make("p", { class: "caption" }, caption), make("div",
    { class: isLong ? "scroll long" : "scroll", tabindex: 0, role: "region", "aria-label": caption }, body));

  function sortBy(column) {
    const first = column.number ? -1 : 1;
    sorting = { column, sign: sorting.column === column ? -sorting.sign : first };
    for (const cell of heads) cell.removeAttribute("aria-sort");
    heads[columns.indexOf(column)].setAttribute("aria-sort", sorting.sign > 0 ? "ascending" : "descending");
    show(groups);
  }

  function show(next) {
    groups = next;
    for (const old of [...body.tBodies]) old.remove();
    const filled = groups.filter(({ rows }) => rows.length);
    body.append(...filled.map(({ note, rows }) => tableBody(columns, note, sorted(rows, sorting))));
  }
  show(groups);
  return { box, show };
}

function tableBody(columns, note, rows) {
  const apart = note ? [make("tr", { class: "apart" },
    make("th", { scope: "rowgroup", colspan: columns.length }, make("span", {}, note)))] : [];
  return make("tbody", {}, ...apart, ...rows.map((row) => make("tr", {}, ...columns.map((column, i) =>
    make(i ? "td" : "th", { class: column.number && "number", scope: i ? null : "row" }, column.cell(row))))));
}

function sorted(rows, { column, sign }) {
  if (!column) return rows;
  const missing = (value) => value === null || value === undefined;
  return rows.toSorted((a, b) => {
    const [x, y] = [column.value(a), column.value(b)];
    if (missing(x) || missing(y)) return missing(x) - missing(y);
    return sign * (typeof x === "string" ? x.localeCompare(y, "en", { numeric: true }) : x - y);
  });
}

function costColumns(row = (line) => line) {
  const seconds = (own) => own.seconds_per_problem ??
    (own.problems && known(own.seconds) ? own.seconds / own.problems : null);
  return [
    numberColumn("tokens", (line) => row(line).tokens, si),
    numberColumn("prefill", (line) => row(line).prefill_tokens, si),
    numberColumn("compute", (line) => row(line).flops, (flops) => si(flops, "FLOP")),
    numberColumn("time", (line) => seconds(row(line)), duration),
  ];
}

// Oracles never stand among the methods.
function apart(rows, isOracle) {
  const note = "Oracle: the verifier picks the answer, which the network cannot do by itself";
  return [{ rows: rows.filter((row) => !isOracle(row)) }, { rows: rows.filter(isOracle), note }];
}

// Intervals on a common scale from low to high: marks [{low, middle, high, hollow}] -> a small picture.
function whiskers(marks, low, high) {
  const width = 170;
  const x = scale(low, high, 6, width - 6);
  const picture = draw("svg", { width, height: 18, class: "series c-blue", "aria-hidden": "true" },
    draw("line", { class: "grid", x1: 6, x2: width - 6, y1: 9, y2: 9 }));
  if (low < 0) picture.append(draw("line", { class: "axis", x1: x(0), x2: x(0), y1: 1, y2: 17 }));
  for (const mark of marks.filter(({ middle }) => known(middle))) {
    const ends = known(mark.low) && known(mark.high) ? `M${x(mark.low)},9H${x(mark.high)}` : "";
    const look = `marker${mark.hollow ? " hollow" : ""}`;
    picture.append(draw("path", { d: ends }),
      draw("circle", { class: look, stroke: "currentColor", cx: x(mark.middle), cy: 9, r: 3.2 }));
  }
  return picture;
}

// --- Charts

const PALETTE = ["blue", "vermillion", "green", "purple", "orange", "sky", "ink", "yellow"];
const OWN_COLOUR = { greedy: "ink", majority: "sky", value_vote: "green", best_of_n: "vermillion",
  mcts: "blue", pass_at_n: "grey", oracle: "grey" };
const MARKERS = [ // on a square from -1 to 1
  "M-1,0A1,1 0 1 1 1,0A1,1 0 1 1 -1,0Z", "M-.9,-.9H.9V.9H-.9Z", "M0,-1.1L1.1,.9H-1.1Z",
  "M0,-1.3L1.3,0L0,1.3L-1.3,0Z", "M0,1.1L1.1,-.9H-1.1Z", "M-1.1,0L.9,-1.1V1.1Z",
  "M-1,-1L1,1M1,-1L-1,1", "M0,-1.2V1.2M-1.2,0H1.2",
];

// Looks by name: a known method keeps its colour; where colours run out, markers become hollow.
function colours(names) {
  const taken = names.map((name) => OWN_COLOUR[name]);
  const pool = PALETTE.filter((colour) => !taken.includes(colour));
  let next = 0;
  return new Map(names.map((name) => {
    if (OWN_COLOUR[name]) return [name, { colour: OWN_COLOUR[name], hollow: false }];
    const hollow = Math.floor(next / pool.length) % 2 === 1;
    return [name, { colour: pool[next++ % pool.length], hollow }];
  }));
}

function scale(low, high, from, to, log = false) {
  const level = log ? Math.log : (x) => x;
  return (x) => from + ((level(x) - level(low)) / (level(high) - level(low))) * (to - from);
}

function marker(look, x, y, size) {
  return draw("path", { class: `marker${look.hollow ? " hollow" : ""}`, d: MARKERS[look.shape % MARKERS.length],
    "vector-effect": "non-scaling-stroke", transform: `translate(${x},${y}) scale(${size})` });
}

function swatch(look) {
  return draw("svg", { class: `series c-${look.colour}`, viewBox: "0 0 24 12", "aria-hidden": "true" },
    draw("path", { class: look.dotted && "dotted", d: "M1,6H23" }),
    look.shape === undefined && !look.hollow ? null : marker({ shape: 0, ...look }, 12, 6, 4));
}

function evenTicks(low, high, most, steps) {
  const step = steps.find((size) => (high - low) / size <= most) ?? steps.at(-1);
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, i) => (first + i) * step);
}

// Round numbers, as many as have room; the ends where fewer than two lie between them.
function logTicks(low, high, room) {
  const decade = (room * Math.LN10) / Math.log(high / low);
  const digits = [[1, 2, 5], [1, 3]].find(({ length }) => decade / length > 46) ?? [1];
  const decades = evenTicks(Math.floor(Math.log10(low)), Math.log10(high), Infinity, [1]);
  const ticks = decades.flatMap((power) => digits.map((digit) => digit * 10 ** power));
  const inside = ticks.filter((tick) => tick >= low && tick <= high);
  return inside.length < 2 ? [low, high] : inside;
}

// What a chart spans. Hiding lines does not change it, so that looking closer moves nothing.
function extent(series, log) {
  const points = series.flatMap((one) => one.points);
  if (!points.length) return { left: 1, right: 10, bottom: 0, top: 1 };
  const x = points.map((point) => point.x);
  const y = points.flatMap((point) => [point.low, point.accuracy, point.high]).filter(known);
  let [left, right] = [Math.min(...x), Math.max(...x)];
  if (log) [left, right] = left < right ? [left / 1.12, right * 1.12] : [left / 2, right * 2];
  else if (left === right) [left, right] = [left - 0.5, right + 0.5];
  const bottom = Math.min(...y) > 0.4 ? Math.floor(Math.min(0.95, ...y) * 10) / 10 : 0;
  return { left, right, bottom, top: Math.min(1, Math.max(...y) * 1.03 + 0.02) };
}

// spec: title, axis (of x), log, tick(x) -> text, describe(point) -> lines of the tooltip.
// series: name, look, points (rows with an x, in its order). Returns {box, show(series)}.
function lineChart(spec, series) {
  const span = extent(series, spec.log);
  const stage = make("div", { class: "stage" });
  const tip = make("div", { class: "tip", hidden: "" });
  let shown = series;

  function paint() {
    const width = stage.clientWidth;
    const height = Math.round(Math.min(360, Math.max(260, width * 0.6)));
    const frame = { left: 44, right: width - 10, top: 12, bottom: height - 42 };
    const x = scale(span.left, span.right, frame.left + 8, frame.right - 8, spec.log);
    const y = scale(span.bottom, span.top, frame.bottom, frame.top);
    const picture = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img",
      "aria-label": spoken(spec, shown), class: shown.length <= 4 && "few" }, ...axes(spec, span, frame, x, y));
    const hits = shown.flatMap((one) => {
      const line = picture.appendChild(drawSeries(one, x, y));
      return one.points.map((point) => ({ one, point, line, x: x(point.x), y: y(point.accuracy) }));
    });
    for (const event of ["pointermove", "pointerdown"]) {
      picture.addEventListener(event, (where) => pointAt(picture, tip, hits, where, spec));
    }
    // A finger that is lifted leaves, too; what it pointed at stays until it points elsewhere.
    picture.addEventListener("pointerleave", ({ pointerType }) => pointerType === "mouse" && unpoint(picture, tip));
    tip.hidden = true;
    stage.replaceChildren(picture, tip);
  }

  whenLaidOut(paint);
  return { box: make("figure", {}, make("figcaption", {}, spec.title), stage), show(next) { shown = next; paint(); } };
}

function spoken(spec, shown) {
  const points = shown.flatMap((one) => one.points.map(({ accuracy }) => ({ name: one.name, accuracy })));
  if (!points.length) return `${spec.title}: nothing shown.`;
  const best = points.reduce((a, b) => (b.accuracy > a.accuracy ? b : a));
  return `${spec.title}, ${shown.length} lines. Highest: ${best.name}, ${percent(best.accuracy)}%. ` +
    "The table below has all numbers.";
}

function axes(spec, span, frame, x, y) {
  const room = frame.right - frame.left;
  const across = spec.log ? logTicks(span.left, span.right, room)
    : evenTicks(span.left, span.right, room / 40, [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]);
  const up = evenTicks(span.bottom, span.top, 6, [0.01, 0.02, 0.05, 0.1, 0.2]);
  return [
    ...up.flatMap((tick) => [
      draw("line", { class: "grid", x1: frame.left, x2: frame.right, y1: y(tick), y2: y(tick) }),
      draw("text", { x: frame.left - 6, y: y(tick) + 4, "text-anchor": "end" }, `${Math.round(100 * tick)}%`)]),
    ...across.flatMap((tick) => [
      draw("line", { class: "axis", x1: x(tick), x2: x(tick), y1: frame.bottom, y2: frame.bottom + 4 }),
      draw("text", { x: x(tick), y: frame.bottom + 18, "text-anchor": "middle" }, spec.tick(tick))]),
    draw("line", { class: "axis", x1: frame.left, x2: frame.right, y1: frame.bottom, y2: frame.bottom }),
    draw("text", { x: frame.left + room / 2, y: frame.bottom + 36, "text-anchor": "middle" }, spec.axis),
  ];
}

function drawSeries({ look, points }, x, y) {
  const at = (key) => (point) => `${x(point.x).toFixed(1)},${y(point[key]).toFixed(1)}`;
  const banded = look.dotted ? [] : points.filter((point) => known(point.low) && known(point.high));
  const edge = [...banded.map(at("high")), ...banded.toReversed().map(at("low"))].join("L");
  return draw("g", { class: `series c-${look.colour}` },
    // A band over a single x could not be seen.
    edge ? draw("path", { class: banded.length > 1 ? "band" : "whisker", d: `M${edge}Z` }) : null,
    draw("path", { class: look.dotted && "dotted", d: `M${points.map(at("accuracy")).join("L")}` }),
    ...points.map((point) => marker(look, x(point.x), y(point.accuracy), look.dotted ? 2.8 : 4)));
}

// Brings out the line of the point nearest to a place, and says what it is.
function pointAt(picture, tip, hits, where, spec) {
  const { left: x, top: y } = picture.getBoundingClientRect();
  const far = (hit) => Math.hypot(hit.x + x - where.clientX, hit.y + y - where.clientY);
  const nearest = hits.reduce((a, b) => (a && far(a) <= far(b) ? a : b), null);
  unpoint(picture, tip);
  if (!nearest || far(nearest) > 48) return;
  picture.classList.add("pointed");
  nearest.line.classList.add("nearest");
  const lines = spec.describe(nearest.point).map((line) => make("div", {}, line));
  tip.replaceChildren(make("strong", {}, nearest.one.name), ...lines);
  tip.hidden = false;
  const left = Math.max(0, Math.min(nearest.x - tip.offsetWidth / 2, picture.clientWidth - tip.offsetWidth));
  const above = nearest.y - tip.offsetHeight - 12;
  tip.style.transform = `translate(${left}px, ${above < 0 ? nearest.y + 14 : above}px)`;
}

function unpoint(picture, tip) {
  picture.classList.remove("pointed");
  for (const line of picture.querySelectorAll(".nearest")) line.classList.remove("nearest");
  tip.hidden = true;
}

// Buttons that narrow down what is shown. choices: {facet: {legend, looks: Map of name to look}}.
// Where none is pressed in a facet, all of it is shown. Calls change(keep), keep(item) -> bool.
function facets(choices, change) {
  const pressed = Object.fromEntries(Object.keys(choices).map((facet) => [facet, new Set()]));
  const keep = (item) => Object.entries(pressed).every(([facet, set]) => !set.size || set.has(item[facet]));
  const press = (facet, name) => ({ currentTarget }) => {
    const isOn = !pressed[facet].delete(name);
    if (isOn) pressed[facet].add(name);
    currentTarget.setAttribute("aria-pressed", isOn);
    change(keep);
  };
  const rows = Object.entries(choices).map(([facet, { legend, looks }]) => make("fieldset", { class: "choices" },
    make("legend", {}, legend), ...[...looks].map(([name, look]) => make("button",
      { type: "button", "aria-pressed": "false", click: press(facet, name) }, swatch(look), words(name)))));
  const note = "Press names to see only those; none pressed shows all.";
  return make("div", {}, ...rows, make("p", { class: "note" }, note));
}

// --- Rounds, before and after

function fillRounds(section) {
  const rows = data.rounds.filter((row) => known(row.round) && known(row.accuracy));
  const looks = colours(distinct(rows.map((row) => row.method)));
  const series = [...Map.groupBy(rows, labelOf)].map(([name, own], shape) => {
    const look = { ...looks.get(own[0].method), shape, dotted: content.oracles.includes(own[0].method) };
    return { name, look, points: own.map((row) => ({ ...row, x: row.round })).sort((a, b) => a.x - b.x) };
  });
  const chart = lineChart({ title: "Problems solved", axis: "round", tick: String,
    describe: (row) => [`round ${row.round}`, interval(row, row.accuracy, "%")] }, series);
  const choices = { name: { legend: "Method", looks: new Map(series.map(({ name, look }) => [name, look])) } };
  const columns = [
    numberColumn("round", (row) => row.round, String),
    textColumn("method", labelOf),
    numberColumn("accuracy", (row) => row.accuracy, percent, (row) => interval(row)),
  ];
  section.append(facets(choices, (keep) => chart.show(series.filter(keep))), chart.box,
    make("details", {}, make("summary", {}, "The numbers as a table"),
      table("Accuracy in % (95% interval) by round", columns, [{ rows }]).box));
}

function fillFinals(section) {
  const times = distinct(data.finals.map((row) => row.when)).sort((a, b) => (b === "before") - (a === "before"));
  const last = times.at(-1);
  const lines = [...Map.groupBy(data.finals, labelOf)].map(([name, rows]) => {
    const at = Object.fromEntries(rows.map((row) => [row.when, row]));
    return { name, at, latest: at[times.findLast((when) => at[when])] };
  });
  const problems = distinct(data.finals.map((row) => whole(row.problems))).join(" or ");
  const marks = ({ at }) => times.filter((when) => at[when]).map((when) =>
    ({ ...at[when], middle: at[when].accuracy, hollow: when !== last }));
  const columns = [
    textColumn("method", (line) => line.name),
    ...times.map((when) => numberColumn(when, (line) => line.at[when]?.accuracy, percent,
      (line) => (line.at[when] ? interval(line.at[when]) : DASH))),
    { title: "0 to 100%", cell: (line) => whiskers(marks(line), 0, 1) },
    ...costColumns((line) => line.latest),
  ];
  const caption = `Accuracy in % (95% interval) on ${problems} problems; costs per problem` +
    (times.length > 1 ? `, ${last}. Filled dot: ${last}.` : ".");
  section.append(table(caption, columns, apart(lines, ({ latest }) => content.oracles.includes(latest.method))).box);
}

// --- Comparison

function fillComparison(section) {
  if (data.comparison?.length) fillCurves(section);
  if (data.paired?.length) fillPaired(section);
  if (data.slopes?.length) fillSlopes(section);
}

// Colour tells experts apart, and the marker read-outs; with one expert, both tell read-outs.
function fillCurves(section) {
  const rows = data.comparison;
  const [experts, readouts] = [distinct(rows.map((row) => row.expert)), distinct(rows.map((row) => row.readout))];
  const facet = experts.length > 1 ? "expert" : "readout";
  const looks = colours(facet === "expert" ? experts : readouts);
  const shapes = new Map(readouts.map((name, shape) => [name, { shape, dotted: name === "oracle" }]));
  const look = (row) => ({ ...looks.get(row[facet]), ...shapes.get(row.readout) });
  const charts = Object.keys(UNITS).filter((unit) => rows.some((row) => row.unit === unit)).map((unit) => {
    const series = curves(rows.filter((row) => row.unit === unit), unit, look);
    return { series, chart: lineChart(curveSpec(unit), series) };
  });
  const isOracle = (row) => row.readout === "oracle";
  const points = table(comparisonCaption(rows), comparisonColumns(), apart(rows, isOracle));
  const plain = facet === "expert" ? { colour: "grey", hollow: false } : {};
  const choices = facet === "expert" ? { expert: { legend: "Expert", looks } } : {};
  choices.readout = { legend: "Read-out", looks: new Map(readouts.map((name) =>
    [name, { ...looks.get(name), ...plain, ...shapes.get(name) }])) };
  const narrow = (keep) => {
    for (const { chart, series } of charts) chart.show(series.filter(keep));
    points.show(apart(rows.filter(keep), isOracle));
  };
  section.append(facets(choices, narrow), make("div", { class: "charts" }, ...charts.map(({ chart }) => chart.box)),
    make("h3", {}, "All points"), points.box);
}

function curves(rows, unit, look) {
  const spent = (row) => row[unit] ?? row.budget;
  const usable = rows.filter((row) => known(row.accuracy) && spent(row) > 0);
  return [...Map.groupBy(usable, (row) => JSON.stringify([row.expert, row.readout])).values()].map((own) => ({
    name: `${words(own[0].expert)} (${words(own[0].readout)})`,
    expert: own[0].expert,
    readout: own[0].readout,
    look: look(own[0]),
    points: own.map((row) => ({ ...row, x: spent(row) })).sort((a, b) => a.x - b.x),
  }));
}

function curveSpec(unit) {
  return { title: `Accuracy by ${UNITS[unit]}`, log: true, tick: (x) => si(x),
    axis: `${unit === "tokens" ? "tokens generated" : "FLOPs"} per problem (logarithmic)`,
    describe: (row) => [interval(row, row.accuracy, "%"),
      ...(known(row.seed_low) && row.seeds > 1 ? [`seeds: ${percent(row.seed_low)} to ${percent(row.seed_high)}`] : []),
      `budget: ${amount(row.budget, row.unit)}`,
      `spent: ${amount(row.tokens, "tokens")}, ${amount(row.flops, "flops")}`] };
}

function comparisonCaption(rows) {
  const problems = distinct(rows.map((row) => whole(row.problems))).join(" or ");
  return `Accuracy in % (95% interval) on ${problems} problems, seeds averaged; costs per problem.`;
}

function comparisonColumns() {
  return [
    textColumn("expert", (row) => words(row.expert)),
    textColumn("read-out", (row) => words(row.readout)),
    textColumn("equal", (row) => UNITS[row.unit]),
    numberColumn("budget", (row) => row.budget, si),
    numberColumn("accuracy", (row) => row.accuracy, percent, (row) => interval(row)),
    numberColumn("seeds", (row) => row.seeds, whole),
    ...costColumns(),
  ];
}

function fillPaired(section) {
  const ends = data.paired.flatMap((row) => [row.low, row.difference, row.high]).filter(known);
  const reach = Math.max(0.01, ...ends.map(Math.abs));
  const isClear = (row) => known(row.low) && known(row.high) && (row.low > 0 || row.high < 0);
  const columns = [
    textColumn("method", (row) => words(row.method)),
    textColumn("baseline", (row) => words(row.baseline)),
    textColumn("equal", (row) => UNITS[row.unit]),
    numberColumn("budget", (row) => row.budget, si),
    numberColumn("difference", (row) => row.difference, percent, (row) => interval(row, row.difference)),
    { title: `−${percent(reach)} to ${percent(reach)}`, cell: (row) =>
      whiskers([{ ...row, middle: row.difference, hollow: !isClear(row) }], -reach, reach) },
  ];
  section.append(make("h3", {}, "Paired differences"),
    table("Accuracy of the method less that of the baseline on the same problems, in points (95% interval). " +
      "Filled dot: the interval is clear of zero.", columns, [{ rows: data.paired }]).box);
}

function fillSlopes(section) {
  const points = (number) => fixed(number, 1);
  const columns = [
    textColumn("method", (row) => words(row.method)),
    textColumn("cost in", (row) => UNITS[row.unit]),
    numberColumn("points a doubling", (row) => row.slope, points,
      ({ slope, low, high }) => interval({ low, high }, slope, "", points)),
    numberColumn("doublings", (row) => row.doublings, points),
  ];
  section.append(make("h3", {}, "Slopes"),
    table("Percentage points of accuracy for each doubling of the cost (95% interval), and how often it " +
      "doubles from the cheapest to the dearest budget.", columns, [{ rows: data.slopes }]).box);
}

// --- Calibration

function fillCalibration(section) {
  const share = (title, key) => numberColumn(title, (row) => row[key], (x) => fixed(x, 3));
  const columns = [
    textColumn("position", (row) => row.position),
    numberColumn("count", (row) => row.count, whole),
    numberColumn("came right, %", (row) => row.base_rate, percent),
    share("ECE", "ece"), share("Brier", "brier"), share("AUC", "auc"),
  ];
  section.append(make("div", { class: "panels" }, ...data.calibration.map(reliability)),
    table("The value head by position of the step. ECE: expected calibration error. AUC: how often one that " +
      "came right is valued above one that did not.", columns, [{ rows: data.calibration }]).box);
}

function reliability(row) {
  const [left, right, top, bottom] = [46, 226, 8, 188];
  const [x, y] = [scale(0, 1, left, right), scale(0, 1, bottom, top)];
  const bins = row.bins.filter((bin) => bin.count > 0 && known(bin.mean) && known(bin.share));
  const total = bins.reduce((sum, bin) => sum + bin.count, 0);
  const grid = [0, 0.5, 1].flatMap((tick) => [
    draw("line", { class: "grid", x1: left, x2: right, y1: y(tick), y2: y(tick) }),
    draw("line", { class: "grid", x1: x(tick), x2: x(tick), y1: top, y2: bottom }),
    draw("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, String(tick)),
    draw("text", { x: x(tick), y: bottom + 16, "text-anchor": "middle" }, String(tick))]);
  const dots = bins.map((bin) => draw("circle",
    { class: "dot", cx: x(bin.mean), cy: y(bin.share), r: 2.5 + 10 * Math.sqrt(bin.count / total) },
    draw("title", {}, `values ${fixed(bin.low, 2)} to ${fixed(bin.high, 2)}, mean ${fixed(bin.mean, 3)}: ` +
      `${percent(bin.share)}% of ${whole(bin.count)} came right`)));
  const line = bins.map((bin) => `${x(bin.mean)},${y(bin.share)}`).join("L");
  const said = bins.map((bin) => `${percent(bin.share)}% at ${fixed(bin.mean, 2)}`).join(", ") || "no data";
  return make("figure", {}, make("figcaption", {}, row.position,
    make("span", {}, `ECE ${fixed(row.ece, 3)}, AUC ${fixed(row.auc, 3)}`)),
    draw("svg", { viewBox: "0 0 236 226", role: "img",
      "aria-label": `Share that came right by mean value, ${row.position}: ${said}.` }, ...grid,
      draw("line", { class: "diagonal", x1: left, x2: right, y1: bottom, y2: top }),
      draw("path", { class: "reliability", d: line && `M${line}` }), ...dots,
      draw("text", { x: (left + right) / 2, y: bottom + 34, "text-anchor": "middle" }, "mean value"),
      draw("text", { transform: `translate(12,${(top + bottom) / 2}) rotate(-90)`, "text-anchor": "middle" },
        "share that came right")));
}

// --- Samples

const SAMPLES = 12; // shown at a time

function fillSamples(section) {
  const kinds = { all: () => true, right: (one) => one.verdict === true, wrong: (one) => one.verdict === false };
  const names = Object.keys(kinds).map((kind) => [kind, `${kind} (${whole(data.samples.filter(kinds[kind]).length)})`]);
  const choice = choose("Show", names, () => show(SAMPLES));
  const list = make("ul", { class: "samples" });
  const more = make("button", { type: "button", click: () => show(list.children.length + SAMPLES) });
  function show(limit) {
    const chosen = data.samples.filter(kinds[choice.input.value]);
    list.replaceChildren(...chosen.slice(0, limit).map(sample));
    more.hidden = chosen.length <= limit;
    more.textContent = `Show more (${whole(chosen.length - limit)} left)`;
  }
  section.append(make("div", { class: "controls" }, choice.box), list, more);
  show(SAMPLES);
}

function sample(one) {
  return make("li", {}, make("pre", { class: "prompt" }, one.prompt.trim()),
    make("p", { class: "about" }, verdict(one), make("span", {}, `value ${fixed(one.value, 3)}`),
      make("span", {}, `log π ${fixed(one.log_pi, 2)}`)),
    make("pre", {}, one.text.trim()));
}

// --- Search trees

const SORTS = { visits: "visits", prior: "prior", q: "Q", value: "value", given: "as generated" };

function fillTrees(section) {
  const names = data.trees.map((tree, i) => {
    const outcome = { true: ", right", false: ", wrong", null: "" }[tree.verdict];
    const search = `${words(tree.expert)}, ${whole(tree.budget)} tokens`;
    return [i, `${i + 1}. ${oneLine(tree.prompt).slice(0, 60)} (${search}${outcome})`];
  });
  const about = make("div", {});
  const view = treeView();
  const choice = choose("Problem", names, () => show(data.trees[choice.input.value]));
  function show(tree) {
    about.replaceChildren(make("p", { class: "about" }, make("strong", {}, "Answer"), verdict(tree),
      make("span", {}, `by ${words(tree.expert)} with ${whole(tree.budget)} tokens`)),
      make("pre", { class: "note" }, tree.answer.trim() || "No finished solution was found."));
    view.load(tree.root);
  }
  section.append(make("div", { class: "controls" }, choice.box), about, view.controls, view.box);
  show(data.trees[0]);
}

// Every node in preorder, as {node, parent, level (from 1), children}.
function unfold(root) {
  const items = [];
  const waiting = [{ node: root, parent: null, level: 1 }];
  while (waiting.length) {
    const item = waiting.pop();
    items.push(item);
    item.children = item.node.children.map((node) => ({ node, parent: item, level: item.level + 1 }));
    waiting.push(...item.children.toReversed());
  }
  return items;
}

// The children to show, in order; those with too few visits are folded away, but never chosen ones.
function shownChildren(item, sort, least) {
  const kept = item.children.filter(({ node }) => node.chosen || (node.visits ?? 0) >= least);
  const by = (key, a, b) => (b.node[key] ?? -1) - (a.node[key] ?? -1);
  return sort === "given" ? kept : kept.sort((a, b) => by(sort, a, b) || by("prior", a, b));
}

// Rows of a tree in which the items in `open` are expanded: {item, level, position, size}, or
// {folded: how many, level}.
function visibleRows(root, open, sort, least) {
  const rows = [];
  const waiting = [{ item: root, level: 1, position: 1, size: 1 }];
  while (waiting.length) {
    const row = waiting.pop();
    rows.push(row);
    if (!open.has(row.item)) continue;
    const kept = shownChildren(row.item, sort, least);
    const [level, size, folded] = [row.level + 1, kept.length, row.item.children.length - kept.length];
    if (folded) waiting.push({ folded, level });
    waiting.push(...kept.map((item, i) => ({ item, level, position: i + 1, size })).toReversed());
  }
  return rows;
}

// A tree of which only the rows in view are in the document. Returns {controls, box, load(root)}.
function treeView() {
  let [items, rows, open, current, deepest] = [[], [], new Set(), null, 1];
  const layer = make("div", { class: "rows", role: "none" });
  const tree = make("div", { role: "tree", tabindex: 0, "aria-label": "Search tree",
    keydown: onKey, click: onClick }, layer);
  const heads = ["step", "prior", "visits", "Q", "value", "outcome"].map((name) => make("span", {}, name));
  const view = make("div", { class: "view", scroll: () => paint() },
    make("div", { class: "columns", "aria-hidden": "true" }, ...heads), tree);
  const pane = make("aside", { class: "pane", "aria-label": "The selected step" });
  const sort = choose("Sort by", Object.entries(SORTS), () => refresh());
  const least = make("input", { type: "number", min: 0, step: 1, value: 0, input: () => refresh() });
  const status = make("span", { role: "status", class: "about" });
  const button = (name, click) => make("button", { type: "button", click }, name);
  const controls = make("div", { class: "controls" }, button("Expand all", () => openOnly(items)),
    button("Collapse", () => openOnly(items.slice(0, 1))), button("Show chosen path", showChosen),
    sort.box, make("label", {}, "At least", least, "visits"), status);

  const chosen = () => items.filter((item) => item.node.chosen || item === items[0]);
  const rowHeight = () => parseFloat(getComputedStyle(tree).getPropertyValue("--step-row"));
  const room = () => view.clientHeight - tree.offsetTop; // below the headings

  function load(root) {
    items = unfold(root);
    current = items[0];
    view.scrollTop = 0;
    openOnly(chosen());
  }

  function openOnly(some) {
    open = new Set(some.filter((item) => item.children.length));
    refresh();
  }

  function showChosen() {
    openOnly(chosen());
    select(chosen().at(-1));
  }

  function refresh() {
    rows = visibleRows(items[0], open, sort.input.value, Number(least.value));
    deepest = rows.reduce((most, row) => Math.max(most, row.level), 1);
    const shown = new Set(rows.map((row) => row.item));
    while (!shown.has(current)) current = current.parent;
    status.textContent = `${whole(rows.filter((row) => row.item).length)} of ${whole(items.length)} steps shown`;
    describe(pane, current);
    paint();
  }

  function paint() {
    const height = rowHeight();
    tree.style.height = `${rows.length * height}px`;
    const first = PRINT.matches ? 0 : Math.max(0, Math.floor(view.scrollTop / height) - 10);
    const end = PRINT.matches ? rows.length : first + Math.ceil(view.clientHeight / height) + 20;
    const indent = indentation(view.clientWidth, deepest);
    layer.style.transform = `translateY(${first * height}px)`;
    layer.replaceChildren(...rows.slice(first, end).map((row, i) => treeRow(row, first + i, indent(row.level))));
    const active = layer.querySelector(".current");
    if (active) tree.setAttribute("aria-activedescendant", active.id);
    else tree.removeAttribute("aria-activedescendant");
  }

  function treeRow(row, index, indent) {
    if (!row.item) return foldedRow(row.folded, least.value, indent);
    const marks = { isOpen: open.has(row.item), isCurrent: row.item === current, most: items[0].node.visits };
    return stepRow(row, index, indent, marks);
  }

  function select(item) {
    current = item;
    const top = rows.findIndex((row) => row.item === item) * rowHeight();
    if (top < view.scrollTop) view.scrollTop = top;
    else view.scrollTop = Math.max(view.scrollTop, top + rowHeight() - room());
    describe(pane, current);
    paint();
  }

  function toggle(item) {
    if (!open.delete(item) && item.children.length) open.add(item);
    refresh();
  }

  function move(by) {
    const steps = rows.filter((row) => row.item);
    const at = steps.findIndex((row) => row.item === current) + by;
    select(steps[Math.min(Math.max(at, 0), steps.length - 1)].item);
  }

  function onClick({ target, detail }) {
    const row = target.closest("[role=treeitem]");
    if (!row) return;
    const { item } = rows[row.dataset.index];
    select(item);
    if (target.closest(".twisty") || detail === 2) toggle(item);
  }

  const page = () => Math.max(1, Math.floor(room() / rowHeight()) - 1);
  const keys = {
    ArrowDown: () => move(1),
    ArrowUp: () => move(-1),
    PageDown: () => move(page()),
    PageUp: () => move(-page()),
    Home: () => move(-rows.length),
    End: () => move(rows.length),
    ArrowRight: () => (open.has(current) ? move(1) : toggle(current)),
    ArrowLeft: () => (open.has(current) ? toggle(current) : select(current.parent ?? current)),
    Enter: () => toggle(current),
    " ": () => toggle(current),
  };

  function onKey(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || !keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  }

  whenLaidOut(() => paint());
  return { controls, box: make("div", { class: "search" }, view, pane), load };
}

// How far a level is indented: full steps at first, smaller ones where they would leave no room.
function indentation(width, deepest) {
  const step = NARROW.matches ? 12 : 18;
  const rest = Math.min(step, (0.32 * width - 8 * step) / Math.max(1, deepest - 9));
  return (level) => step * Math.min(level - 1, 8) + rest * Math.max(0, level - 9);
}

function nameCell(indent, text) {
  const space = make("span", { class: "indent" });
  space.style.width = `${indent}px`;
  return make("span", { class: "name" }, space, make("span", { class: "twisty" }),
    make("span", { class: "step" }, text));
}

function stepRow({ item: { node, children }, level, position, size }, index, indent, { isOpen, isCurrent, most }) {
  const text = oneLine(node.text) || "(empty)";
  const word = (name) => make("span", { class: "word" }, ` ${name} `); // read out, and seen where there is no heading
  const cell = (name, value, ...more) => make("span", { class: "cell" }, word(name), value, ...more);
  const bar = make("i");
  bar.style.width = `${most ? Math.min(100, (100 * node.visits) / most) : 0}%`;
  const outcome = verdict(node);
  outcome.classList.add("cell");
  return make("div", { role: "treeitem", id: `step-${index}`, "data-index": index,
    class: `row${node.chosen ? " chosen" : ""}${isCurrent ? " current" : ""}`,
    "aria-level": level, "aria-posinset": position, "aria-setsize": size,
    "aria-expanded": children.length ? String(isOpen) : null, "aria-selected": String(isCurrent) },
    nameCell(indent, (node.chosen ? "► " : "") + text),
    cell("prior", fixed(node.prior, 2)), cell("visits", whole(node.visits), bar),
    cell("Q", fixed(node.q, 2)), cell("value", fixed(node.value, 2)), outcome);
}

function foldedRow(folded, least, indent) {
  const text = `${whole(folded)} more with fewer than ${least} visit${least === "1" ? "" : "s"}`;
  return make("div", { role: "none", class: "row folded" }, nameCell(indent, text));
}

// The selected step in full: its numbers, and the text up to it.
function describe(pane, item) {
  const path = [];
  for (let at = item.parent; at; at = at.parent) path.unshift(at.node);
  const { node } = item;
  const facts = [["prior", fixed(node.prior, 4)], ["visits", whole(node.visits)], ["Q", fixed(node.q, 4)],
    ["value", fixed(node.value, 4)], ["outcome", node.finished ? verdict(node) : "not finished"],
    ["next steps", whole(item.children.length)]];
  const steps = path.slice(1).map((step) => make("li", {}, make("pre", {}, step.text.trim())));
  const before = () => [make("h4", {}, "Before it"), make("pre", {}, path[0].text.trim()), make("ol", {}, ...steps)];
  pane.replaceChildren(make("h3", {}, path.length ? `Step ${path.length}` : "Prompt"),
    make("pre", {}, node.text.trim()),
    make("dl", {}, ...facts.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)])),
    ...(path.length ? before() : []));
}

// --- The page

const SECTIONS = { rounds: fillRounds, finals: fillFinals, comparison: fillComparison,
  calibration: fillCalibration, samples: fillSamples, trees: fillTrees };

function fillHeader() {
  document.getElementById("facts").append(...(data.facts ?? []).map(([name, value]) =>
    make("div", {}, make("dt", {}, name), make("dd", {}, value === null ? DASH : String(value)))));
}

function fillSection(name, fillIt) {
  const section = document.getElementById(name);
  const parts = name === "comparison" ? [name, "paired", "slopes"] : [name];
  const isThere = parts.some((part) => data[part]?.length);
  if (!isThere && !content.commands[name]) return section.remove();
  const link = make("a", { href: `#${name}` }, section.querySelector("h2").textContent);
  document.getElementById("contents").append(make("li", {}, link));
  if (isThere) return fillIt(section);
  section.querySelector(".lead")?.remove();
  const command = make("code", {}, content.commands[name]);
  section.append(make("p", { class: "empty" }, "Nothing yet. This makes it: ", command));
}

// For whoever drives the page: data-ready on <html> when it is drawn, data-error where it is not.
const state = document.documentElement.dataset;
addEventListener("error", (event) => { state.error = event.message; });
fillHeader();
for (const [name, fillIt] of Object.entries(SECTIONS)) {
  try {
    fillSection(name, fillIt);
  } catch (error) {
    state.error = `${name}: ${error.message}`;
    document.getElementById(name).append(make("p", { class: "error" }, `Could not be drawn: ${error.message}`));
  }
}
state.ready = String(!state.error);
