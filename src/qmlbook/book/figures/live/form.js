// The quadratic form of a circuit of two wires: a picture that changes with the angles.
import { Circuit } from "./simulator.js";
import { choice, draw, frame, make, sentence, shown, slider } from "./figure.js";

const WORDS = ["00", "01", "10", "11"], SIZE = 4;
const CELLS = 26; // along each side of the plane

/** Return A with P(1) = x'Ax / x'x for amplitudes x, where 1 is read on a wire. */
export function matrixOf({ structure, numbers }, angles, wire) {
  const circuit = new Circuit(structure), bit = 1 << (circuit.wires - 1 - wire);
  const columns = WORDS.map((_, j) => {
    const amplitudes = WORDS.map((__, i) => (i === j ? 1 : 0));
    return circuit.state({ ...numbers, parameters: angles, amplitudes });
  });
  const entry = (a, b) => a.re.reduce((sum, re, k) =>
    (k & bit ? sum + re * b.re[k] + a.im[k] * b.im[k] : sum), 0);
  return columns.map((a) => columns.map((b) => entry(a, b)));
}

/** Return the eigenvalues of a symmetric matrix in rising order, by Jacobi's rotations. */
export function eigenvalues(matrix) {
  const a = matrix.map((row) => [...row]), n = a.length;
  for (let sweep = 0; sweep < 12; sweep++) {
    for (let p = 0; p < n; p++) {
      for (let q = p + 1; q < n; q++) {
        const angle = 0.5 * Math.atan2(2 * a[p][q], a[q][q] - a[p][p]), c = Math.cos(angle), s = Math.sin(angle);
        for (const row of a) [row[p], row[q]] = [c * row[p] - s * row[q], s * row[p] + c * row[q]];
        [a[p], a[q]] = [a[p].map((v, k) => c * v - s * a[q][k]), a[p].map((v, k) => s * v + c * a[q][k])];
      }
    }
  }
  return a.map((row, i) => row[i]).sort((x, y) => x - y);
}

/** Return the directions (radians, two of them or none) in which x'Bx = 0, of two by two numbers. */
export function borders([[a, b], [, d]]) {
  const middle = (a + d) / 2, reach = Math.hypot((a - d) / 2, b);
  if (Math.abs(middle) >= reach) return [];
  const turn = Math.atan2(b, (a - d) / 2), half = Math.acos(-middle / reach);
  return [turn + half, turn - half].map((angle) => angle / 2);
}

export function form(part, given) {
  const angles = [...given.numbers.parameters], pairs = {};
  WORDS.forEach((one, i) => WORDS.slice(i + 1).forEach((other, j) => (pairs[`${one}, ${other}`] = [i, i + j + 1])));
  let plane = Object.keys(pairs)[0];
  const status = sentence(), table = draw("svg", { viewBox: "0 0 360 206", role: "img" });
  const axis = (word) => ({ from: -1, to: 1, ticks: [-1, -0.5, 0, 0.5, 1], label: `${word} feature` });
  const square = frame("", { height: 330, x: axis("first"), y: axis("second") });
  const show = () => {
    const A = matrixOf(given, angles, given.wire), values = eigenvalues(A), [i, j] = pairs[plane];
    const cut = [[A[i][i] - 0.5, A[i][j]], [A[j][i], A[j][j] - 0.5]], lines = borders(cut);
    matrix(table, A, values);
    shading(square, cut, lines);
    const words = `Trace ${shown(values.reduce((sum, v) => sum + v, 0))}, eigenvalues ` +
      `${values.map((v) => shown(v)).join(", ")}. In the plane of the features ${plane} ` +
      (lines.length ? "two borders cross at the origin." : `every answer is ${cut[0][0] > 0 ? 1 : 0}.`);
    table.setAttribute("aria-label", `The matrix A, row by row: ${A.map((row) =>
      row.map((v) => shown(v)).join(", ")).join("; ")}. ${words}`);
    square.name(words);
    status.say(words);
  };
  const range = { min: -1, max: 1, step: 0.05, said: (v) => `${shown(v)} π` };
  const sliders = angles.map((angle, k) =>
    slider(given.names[k], { ...range, value: angle / Math.PI }, (v) => {
      angles[k] = v * Math.PI;
      show();
    }));
  const planes = choice("plane of the features", Object.keys(pairs), plane, (name) => {
    plane = name;
    show();
  });
  part.append(make("div", { class: "controls" }, ...sliders, planes), table, square.svg, status.element);
  show();
}

const colour = (value) => (value < 0 ? "var(--second)" : "var(--first)");

function matrix(svg, A, values) {
  const cell = 44, left = 30, top = 26, made = [];
  const text = (x, y, words) => made.push(draw("text", { x, y, "text-anchor": "middle" }, words));
  A.forEach((row, i) => {
    text(14, top + cell * (i + 0.5) + 4, WORDS[i]);
    text(left + cell * (i + 0.5), 18, WORDS[i]);
    row.forEach((value, j) => {
      const look = { fill: colour(value), "fill-opacity": 0.55 * Math.min(1, Math.abs(value)), stroke: "var(--faint)" };
      made.push(draw("rect", { ...look, x: left + cell * j, y: top + cell * i, width: cell, height: cell }));
      text(left + cell * (j + 0.5), top + cell * (i + 0.5) + 4, shown(value));
    });
  });
  const at = 300, up = (v) => top + cell * SIZE * (1 - v);
  text(at, 18, "eigenvalues");
  made.push(draw("line", { x1: at, x2: at, y1: up(0), y2: up(1), stroke: "var(--line)" }));
  for (const tick of [0, 0.5, 1]) {
    made.push(draw("line", { x1: at - 5, x2: at + 5, y1: up(tick), y2: up(tick), stroke: "var(--line)" }));
    text(at - 20, up(tick) + 4, String(tick));
  }
  for (const value of values) made.push(draw("circle", { cx: at, cy: up(value), r: 5, fill: "var(--first)", "fill-opacity": 0.7 }));
  svg.replaceChildren(...made);
}

function shading(plot, [[a, b], [, d]], lines) {
  plot.clear();
  const side = 2 / CELLS, width = plot.x(side) - plot.x(0), height = plot.y(0) - plot.y(side);
  for (let i = 0; i < CELLS; i++) {
    for (let j = 0; j < CELLS; j++) {
      const x = -1 + (i + 0.5) * side, y = -1 + (j + 0.5) * side;
      const lead = (a * x * x + 2 * b * x * y + d * y * y) / (x * x + y * y); // of P(1) over 1/2
      const place = { x: plot.x(x) - width / 2, y: plot.y(y) - height / 2, width, height };
      plot.add("rect", { ...place, fill: colour(lead), "fill-opacity": 0.15 + 1.2 * Math.abs(lead) });
    }
  }
  for (const angle of lines) {
    const [c, s] = [Math.cos(angle), Math.sin(angle)], reach = 1 / Math.max(Math.abs(c), Math.abs(s));
    const ends = { x1: plot.x(-reach * c), x2: plot.x(reach * c), y1: plot.y(-reach * s), y2: plot.y(reach * s) };
    plot.add("line", { ...ends, stroke: "currentColor", "stroke-width": 2 });
  }
}
