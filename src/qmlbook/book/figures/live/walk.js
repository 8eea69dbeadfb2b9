// A layer of two qubits that is fed its own answer, from where a reader clicks.
import { Circuit, expectation } from "./simulator.js";
import { draw, frame, make, sentence, shown, slider } from "./figure.js";

const STEPS = 40; // drawn
const LONG = 400; // until it is said where a walk ends
const CYCLES = 8; // the longest that is looked for
const CLOSE = 1e-9;

/** Return the layer: expectation values of Z after encoding the answer m, twice, plus data. */
export function layer({ structure, numbers, data }, size) {
  const circuit = new Circuit(structure), [first, second] = [0, 1].map((w) => [[1, [[w, "Z"]]]]);
  return (m) => {
    const v = data.map((u, i) => m[i % 2] + size * u), length = Math.hypot(...v);
    const state = circuit.state({ ...numbers, amplitudes: v.map((x) => x / length) });
    return [expectation(state, first), expectation(state, second)];
  };
}

const far = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);

/** Return the points of a walk, the start first. */
export function walked(f, start, steps) {
  const path = [start];
  for (let step = 0; step < steps; step++) path.push(f(path[step]));
  return path;
}

/** Return the slopes of the layer, by differences. */
export function slopes(f, m) {
  const step = 1e-5;
  const columns = [0, 1].map((i) => {
    const [up, down] = [step, -step].map((s) => f(m.map((x, j) => (i === j ? x + s : x))));
    return up.map((value, j) => (value - down[j]) / (2 * step));
  });
  return [[columns[0][0], columns[1][0]], [columns[0][1], columns[1][1]]];
}

/** Return the largest magnitude of an eigenvalue of two by two numbers. */
export function radius([[a, b], [c, d]]) {
  const half = (a + d) / 2, under = half * half - (a * d - b * c);
  return under < 0 ? Math.sqrt(a * d - b * c) : Math.abs(half) + Math.sqrt(under);
}

/** Return the fixed points that Newton's method finds from a grid of starts, each with its radius. */
export function roots(f) {
  const found = [], grid = [-0.9, -0.6, -0.3, 0, 0.3, 0.6, 0.9];
  for (const start of grid.flatMap((x) => grid.map((y) => [x, y]))) {
    let m = start;
    for (let step = 0; step < 30 && m; step++) {
      const gap = f(m).map((value, i) => value - m[i]);
      if (Math.hypot(...gap) < 1e-11) break;
      const [[a, b], [c, d]] = slopes(f, m), det = (a - 1) * (d - 1) - b * c;
      const moved = [((1 - d) * gap[0] + b * gap[1]) / det, ((1 - a) * gap[1] + c * gap[0]) / det];
      m = m.map((x, i) => x + moved[i]);
      if (!m.every((x) => Math.abs(x) <= 1)) m = null; // answers lie between -1 and 1
    }
    if (m && far(f(m), m) < CLOSE && found.every((other) => far(other.at, m) > 1e-6)) {
      found.push({ at: m, radius: radius(slopes(f, m)) });
    }
  }
  return found;
}

/** Return where a walk ends: {kind: "point" | "cycle" | "neither", length}. */
export function end(path) {
  const last = path.length - 1;
  if (far(path[last], path[last - 1]) < CLOSE) return { kind: "point", length: 1 };
  for (let length = 2; length <= CYCLES; length++) {
    if (far(path[last], path[last - length]) < 1e-6) return { kind: "cycle", length };
  }
  return { kind: "neither", length: 0 };
}

export function walk(part, given) {
  let { start, size } = given, points = [];
  const ticks = [-1, -0.5, 0, 0.5, 1], status = sentence();
  const plane = frame("", {
    height: 330,
    x: { from: -1, to: 1, ticks, label: "expectation value of qubit 0" },
    y: { from: -1, to: 1, ticks, label: "of qubit 1" },
  });
  const away = frame("", {
    height: 170, left: 60,
    x: { from: 0, to: STEPS, ticks: [0, 10, 20, 30, 40], label: "step" },
    y: { from: -12, to: 1, ticks: [-12, -8, -4, 0], label: "|f(m) − m|", said: (v) => `1e${shown(v, 0)}` },
  });
  const two = ([a, b]) => `(${shown(a)}, ${shown(b)})`;
  const walkFrom = () => {
    const f = layer(given, size), path = walked(f, start, LONG);
    pictures(plane, away, f, path, points);
    const { kind, length } = end(path), here = points.find(({ at }) => far(at, path[LONG]) < 1e-6);
    const ends = {
      point: () => `ends in the fixed point ${two(path[LONG])}, spectral radius ${shown(here?.radius ?? NaN)}`,
      cycle: () => `ends in a cycle of ${length} points`,
      neither: () => "settles nowhere",
    };
    const repel = points.filter((p) => p.radius > 1).length;
    const words = `From ${two(start)}, with data of size ${shown(size)}, the walk ${ends[kind]()}. ` +
      `Fixed points: ${points.length}, of which ${repel} repel.`;
    plane.name(words);
    away.name(`Distance from a fixed point, step by step. ${words}`);
    status.say(words);
  };
  const renew = () => {
    points = roots(layer(given, size));
    walkFrom();
  };
  const starts = [0, 1].map((i) => {
    const range = { min: -1, max: 1, step: 0.05, value: start[i], said: (v) => shown(v) };
    return slider(`start, qubit ${i}`, range, (v) => {
      start = start.map((x, j) => (i === j ? v : x));
      walkFrom();
    });
  });
  plane.svg.style.cursor = "crosshair";
  plane.svg.addEventListener("click", (event) => {
    plane.back(event).forEach((v, i) => {
      const input = starts[i].querySelector("input");
      input.value = v;
      input.dispatchEvent(new Event("input"));
    });
  });
  const range = { min: 0.1, max: 3, step: 0.1, value: size, said: (v) => shown(v, 1) };
  const sizes = slider("size of the data", range, (v) => {
    size = v;
    renew();
  });
  part.append(plane.svg, make("div", { class: "controls" }, sizes, ...starts), away.svg, status.element);
  renew();
}

function pictures(plane, away, f, path, points) {
  plane.clear();
  for (let x = -0.9; x < 1; x += 0.2) {
    for (let y = -0.9; y < 1; y += 0.2) arrow(plane, [x, y], f([x, y]));
  }
  const drawn = path.slice(0, STEPS + 1), place = (m) => `${plane.x(m[0])},${plane.y(m[1])}`;
  const line = { fill: "none", stroke: "var(--first)", "stroke-width": 1.5 };
  plane.add("polyline", { ...line, points: drawn.map(place).join(" ") });
  drawn.forEach(([x, y], i) =>
    plane.add("circle", { cx: plane.x(x), cy: plane.y(y), r: i ? 2.5 : 5, fill: "var(--first)" }));
  for (const { at, radius: size } of points) {
    const [x, y] = [plane.x(at[0]), plane.y(at[1])];
    const look = { stroke: "var(--second)", "stroke-width": 2.5, fill: size > 1 ? "none" : "var(--second)" };
    plane.add("path", { ...look, d: `M${x} ${y - 9}L${x + 9} ${y}L${x} ${y + 9}L${x - 9} ${y}Z` },
      draw("title", {}, size > 1 ? "repels" : "attracts"));
  }
  away.clear();
  const gaps = drawn.map((m) => Math.max(-12, Math.log10(Math.max(far(f(m), m), 1e-12))));
  const marks = gaps.map((gap, i) => `${away.x(i)},${away.y(gap)}`).join(" ");
  away.add("polyline", { ...line, points: marks });
}

function arrow(plane, from, to) {
  const length = far(from, to);
  if (length < 1e-3) return;
  const reach = Math.min(0.14, 0.3 * length) / length;
  const tip = from.map((v, i) => v + reach * (to[i] - v));
  const [x1, y1, x2, y2] = [plane.x(from[0]), plane.y(from[1]), plane.x(tip[0]), plane.y(tip[1])];
  plane.add("line", { x1, y1, x2, y2, stroke: "var(--line)", "stroke-width": 1 });
  plane.add("circle", { cx: x2, cy: y2, r: 1.6, fill: "var(--line)" });
}
