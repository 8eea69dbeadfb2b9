// The verdicts: filtered, each with a picture, opened to what is behind it.
import { button, choice, draw, frame, make, sentence, shown, slider } from "./figure.js";

const SIGNS = {
  reproduced: "✓",
  "not reproduced": "✗",
  inconclusive: "?",
  compatible: "≈",
};
const COLOURS = {
  reproduced: "var(--third)",
  "not reproduced": "var(--second)",
  compatible: "var(--first)",
};
const ALL = "all";

const word = (row) => row.outcome.split(" (")[0];
const said = (row) => `${SIGNS[word(row)] ?? "·"} ${row.outcome}`;
const colour = (name) => COLOURS[name] ?? "currentColor";
const centre = ({ published: p }) => p?.mean ?? p?.single ?? p?.best;

/** Return what the row's rule would say with another margin; undefined where it has none. */
export function would(row, margin) {
  const { kind, published, ours } = row;
  if (!ours || ours.low === undefined) return undefined;
  const { low, high } = ours;
  if (kind === "order") return low > 0 ? "reproduced" : high <= margin ? "not reproduced" : "inconclusive";
  if (kind !== "value" || !published || "best" in published) return undefined;
  if ("single" in published) {
    if (published.single < low || published.single > high) return "not reproduced";
    return (high - low) / 2 <= margin ? "compatible" : "inconclusive";
  }
  const from = low - published.mean, to = high - published.mean;
  if (from >= -margin && to <= margin) return "reproduced";
  return from > margin || to < -margin ? "not reproduced" : "inconclusive";
}

/** Return the rows that a reader asks for. */
export function chosen(rows, { paper, outcome, controls, provenance, text }) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = (wanted, value) => wanted === ALL || wanted === value;
  return rows.filter((row) => {
    const all = [row.paper, row.claim, row.statement, row.note, row.source, row.outcome, row.controls,
      ...row.details].join(" ").toLowerCase();
    return fits(paper, row.paper) && fits(outcome, word(row)) &&
      fits(controls, row.controls.startsWith("explained") ? "explained" : row.controls) &&
      fits(provenance, row.provenance) && words.every((one) => all.includes(one));
  });
}

/** Return the ends of an axis that has all that is drawn of a row. */
export function ends(row, margin = row.margin) {
  const { ours, others } = row, at = centre(row), numbers = [...row.values];
  if (ours?.low !== undefined) numbers.push(ours.low, ours.high);
  for (const [, low, high] of Object.values(others)) numbers.push(low, high);
  if (at !== undefined) numbers.push(at);
  if (row.kind === "order") numbers.push(0, margin ?? 0);
  else if (at !== undefined && margin != null) numbers.push(at - margin, at + margin);
  if (!numbers.length) return null;
  const [low, high] = [Math.min(...numbers), Math.max(...numbers)], room = 0.06 * (high - low || 1);
  return [low - room, high + room];
}

function shade(row, margin, x, add, top, height) {
  const at = centre(row);
  const band = row.kind === "order" ? [0, margin] : at === undefined ? [] : [at - margin, at + margin];
  if (margin != null && band.length) {
    const [from, to] = band.map(x);
    add("rect", { x: from, y: top, width: Math.max(to - from, 1), height, fill: "var(--faint)" });
  }
  if (row.kind === "order") {
    add("line", { x1: x(0), x2: x(0), y1: top, y2: top + height, stroke: "var(--line)" });
  }
}

function bar(add, x, y, [mean, low, high], look, wide) {
  add("line", { x1: x(low), x2: x(high), y1: y, y2: y, stroke: look, "stroke-width": wide });
  add("circle", { cx: x(mean), cy: y, r: wide, fill: look });
}

const diamond = (add, x, y) =>
  add("path", { d: `M${x} ${y - 6}L${x + 6} ${y}L${x} ${y + 6}L${x - 6} ${y}Z`, fill: "currentColor" });

/** Return a row's picture, a line high. */
function small(row) {
  const width = 200, others = Object.values(row.others).slice(0, 4), height = 18 + 5 * others.length;
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
  const add = (name, attributes) => svg.append(draw(name, attributes)), span = ends({ ...row, values: [] });
  if (!span || row.ours?.low === undefined) return svg;
  const x = (v) => ((v - span[0]) / (span[1] - span[0])) * width;
  shade(row, row.margin, x, add, 0, height);
  const { mean, low, high } = row.ours;
  bar(add, x, 9, [mean, low, high], colour(word(row)), 3);
  if (centre(row) !== undefined) diamond(add, x(centre(row)), 9);
  others.forEach((one, i) => bar(add, x, 18 + 5 * i, one, "var(--line)", 1.2));
  return svg;
}

/** Return a row's picture with its runs, at some margin. */
function large(row, margin) {
  const span = ends(row, margin), names = Object.keys(row.others);
  const lines = ["published", "ours", ...(row.values.length ? ["runs"] : []), ...names];
  const step = 10 ** Math.floor(Math.log10((span[1] - span[0]) / 2.5));
  const size = [5, 2, 1].map((k) => k * step).find((s) => (span[1] - span[0]) / s >= 2.5) ?? step;
  const digits = Math.max(0, -Math.floor(Math.log10(size)));
  const ticks = [];
  for (let k = Math.ceil(span[0] / size); k * size <= span[1]; k++) ticks.push(k * size);
  const label = row.kind === "order" ? "difference" : "value";
  const plot = frame("", {
    height: 48 + 26 * lines.length, left: 96,
    x: { from: span[0], to: span[1], ticks, label, said: (v) => shown(v, digits) },
    y: { from: lines.length - 0.5, to: -0.5, ticks: lines.map((_, i) => i), said: (i) => short(lines[i]) },
  });
  const top = plot.y(-0.5);
  shade(row, margin, plot.x, plot.add, top, plot.y(lines.length - 0.5) - top);
  if (centre(row) !== undefined) diamond(plot.add, plot.x(centre(row)), plot.y(0));
  const { mean, low, high } = row.ours;
  bar(plot.add, plot.x, plot.y(1), [mean, low, high], colour(word(row)), 4);
  row.values.forEach((value, i) => plot.add("circle", {
    cx: plot.x(value), cy: plot.y(2) + 14 * (((i * 0.618034) % 1) - 0.5), r: 2, fill: "var(--first)", "fill-opacity": 0.6,
  }));
  names.forEach((name, i) =>
    bar(plot.add, plot.x, plot.y(lines.length - names.length + i), row.others[name], "var(--line)", 3));
  plot.name(`Published ${row.published_text}; ours ${row.ours_text}; ${row.values.length} runs as dots; ` +
    names.map((name) => `${name} ${row.others[name].slice(1).map((v) => shown(v, 3)).join(" to ")}`).join("; "));
  return plot.svg;
}

const short = (name) => (name.length > 14 ? `${name.slice(0, 13)}…` : name);

function address(row) {
  const canonical = document.querySelector("link[rel=canonical]")?.href;
  return `${canonical ?? location.href.split("#")[0]}#${row.paper}-${row.claim}`;
}

/** Return what an opened row shows; `close` is called at its end. */
function opened(row, close) {
  const picture = make("div"), box = make("div", { class: "opened" }, picture);
  const drawn = (margin) => {
    if (row.ours?.low !== undefined) picture.replaceChildren(large(row, margin));
  };
  drawn(row.margin);
  if (row.margin != null && would(row, row.margin) !== undefined) {
    const verdict = sentence(), tell = (margin) => {
      drawn(margin);
      const same = Math.abs(margin - row.margin) < 1e-12;
      verdict.say(same ? `The margin, fixed beforehand, is ${row.margin}: ${row.outcome}.`
        : `With a margin of ${+margin.toPrecision(3)} it would be: ${would(row, margin)}. ` +
          `This is a thought; the margin was fixed at ${row.margin}.`);
    };
    const top = row.margin ? 4 * row.margin : Math.abs(row.ours.high);
    const range = { min: 0, max: top, step: top / 80, value: row.margin, said: (v) => String(+v.toPrecision(3)) };
    const moved = (v) => tell(Math.abs(v - row.margin) < top / 160 ? row.margin : v);
    box.append(slider("what if the margin were", range, moved), verdict.element);
    tell(row.margin);
  }
  const seconds = row.cost_s >= 60 ? `${Math.round(row.cost_s / 60)} min` : `${row.cost_s} s`;
  const lines = {
    published: row.published_text,
    ours: row.ours_text,
    controls: row.controls,
    rule: [row.kind, row.evidence, row.margin == null ? "" : `margin ${row.margin}`, row.why]
      .filter(Boolean).join("; "),
    "asked by": row.provenance === "published" ? "the paper" : row.provenance,
    "not counted": row.uncounted,
    details: row.details.join(". "),
    note: row.note,
    "first edition": row.before || (row.changed ? "" : "the same"),
    "why it changed": row.changed,
    source: row.source,
    "runs took": row.cost_s ? seconds : "",
  };
  const list = make("dl");
  for (const [name, text] of Object.entries(lines)) {
    if (text) list.append(make("dt", {}, name), make("dd", {}, text));
  }
  if (row.command) list.append(make("dt", {}, "make the runs"), make("dd", {}, make("code", {}, row.command)));
  const cited = `Quantum Learning, Rerun: verdict ${row.paper} ${row.claim}, “${row.statement}”: ` +
    `${row.outcome}; controls: ${row.controls}. ${address(row)}`;
  const field = make("input", { type: "text", readonly: true, value: cited, "aria-label": "citation" });
  const done = sentence();
  const copy = make("button", {
    type: "button",
    click: async () => {
      field.select();
      try {
        await navigator.clipboard.writeText(cited);
        done.say("Copied.");
      } catch {
        done.say("The citation is selected: copy it with Ctrl+C.");
      }
    },
  }, "copy citation");
  box.append(list, make("div", { class: "controls" }, field, copy), done.element,
    button(`close ${row.paper} ${row.claim}`, close));
  return box;
}

export function verdicts(part, { titles, rows }) {
  const wanted = { paper: ALL, outcome: ALL, controls: ALL, provenance: ALL, text: "" };
  const list = make("ul"), status = sentence(), items = new Map();
  const id = (row) => `${row.paper}-${row.claim}`;
  const show = () => {
    const kept = new Set(chosen(rows, wanted).map(id));
    for (const [name, item] of items) item.hidden = !kept.has(name);
    status.say(`${kept.size} of ${rows.length} rows.`);
  };
  // A row opens and closes by itself: nothing that a reader looks at moves when another one is opened.
  const toggle = (row, item) => {
    const head = item.querySelector("button"), open = item.querySelector(".opened");
    head.setAttribute("aria-expanded", !open);
    if (open) return open.remove();
    item.append(opened(row, () => {
      head.click();
      head.focus();
    }));
    history.replaceState(null, "", `#${id(row)}`);
  };
  for (const row of rows) {
    const name = make("b", {}, `${row.paper} ${row.claim}`);
    const outcome = make("span", { class: "word", style: `color: ${colour(word(row))}` }, said(row));
    const numbers = make("span", { class: "numbers" }, row.ours
      ? `published ${row.published_text}; ours ${row.ours_text}` : `published ${row.published_text}`);
    const control = make("span", { class: "numbers" }, `controls: ${row.controls}`);
    const item = make("li", { id: id(row) });
    const head = make("button", { type: "button", "aria-expanded": "false", click: () => toggle(row, item) },
      make("span", { class: "head" }, name, outcome), make("span", { class: "picture" }, small(row)),
      make("span", {}, row.statement), numbers, control);
    item.append(head);
    items.set(id(row), item);
    // The same address leads into the tables where scripts do not run.
    document.getElementById(id(row))?.removeAttribute("id");
  }
  list.append(...items.values());
  const names = (of) => [ALL, ...new Set(rows.map(of))];
  const filter = (label, key, values) => choice(label, values, ALL, (value) => {
    wanted[key] = value;
    show();
  });
  const text = make("input", { type: "search" });
  text.addEventListener("input", () => {
    wanted.text = text.value;
    show();
  });
  const kind = (row) => (row.controls.startsWith("explained") ? "explained" : row.controls);
  const controls = make("div", { class: "controls" },
    filter("paper", "paper", [ALL, ...Object.keys(titles)]), filter("outcome", "outcome", names(word)),
    filter("controls", "controls", names(kind)), filter("asked by", "provenance", names((row) => row.provenance)),
    make("label", {}, "text", text));
  const goTo = () => {
    const name = decodeURIComponent(location.hash.slice(1)), item = items.get(name);
    if (!item) return;
    part.hidden = item.hidden = false;
    tabulate(false);
    if (!item.querySelector(".opened")) item.querySelector("button").click();
    item.scrollIntoView();
    item.querySelector("button").focus({ preventScroll: true });
  };
  part.append(controls, status.element, list);
  const tabulate = fold(controls, list);
  show();
  addEventListener("hashchange", goTo);
  goTo();
  // When a page has loaded, the browser itself goes to the address, and takes the focus away.
  if (document.readyState !== "complete") addEventListener("load", () => setTimeout(goTo));
}

/** Add a button that shows the tables of the page in place of the list; return what turns them. */
function fold(controls, list) {
  const tables = document.querySelectorAll(".bd-article .qmlbook-tables");
  if (!tables.length) return () => {};
  const all = button("show the same as tables", () => turn(!list.hidden));
  const turn = (open) => {
    all.setAttribute("aria-pressed", open);
    list.hidden = open;
    tables.forEach((table) => table.classList.toggle("qmlbook-folded", !open)); // not on paper
  };
  controls.append(all);
  turn(false);
  return turn;
}
