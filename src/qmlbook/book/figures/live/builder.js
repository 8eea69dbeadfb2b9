// A circuit that a reader builds from six gates, its amplitudes, expectation values and shots.
import { Circuit, expectation, generator, probabilities, sample } from "./simulator.js";
import { button, choice, draw, frame, make, sentence, shown, slider } from "./figure.js";

const MOST = 12; // gates
const STEP = Math.PI / 24; // of an angle
const ESTIMATES = 100;
const SHOTS = [10, 30, 100, 300, 1000, 3000, 10000];

/** Return the structure and numbers of placed gates: [{gate, wires, angle}], on n wires. */
export function assembled(placed, gates, n) {
  const parameters = [], operations = [];
  for (const { gate, wires, angle } of placed) {
    const on = (places) => (places ?? []).map((w) => wires[w]);
    for (const part of gates[gate].operations) {
      const moved = { ...part, wires: on(part.wires), controls: on(part.controls) };
      if (part.parameter != null) moved.parameter = parameters.length;
      operations.push(moved);
    }
    if (gates[gate].turns) parameters.push(angle);
  }
  const basis = new Array(n).fill(0);
  return { structure: { wires: n, basis, operations, parameters: parameters.length }, numbers: { parameters } };
}

/** Return mean values of Z of every wire in repeated samples of some shots: [sample][wire]. */
export function estimates(state, shots, repeats, random) {
  const chances = probabilities(state), n = state.n;
  return Array.from({ length: repeats }, () => {
    const counts = sample(chances, shots, random), means = new Array(n).fill(0);
    counts.forEach((count, outcome) => {
      for (let w = 0; w < n; w++) means[w] += (outcome >> (n - 1 - w)) & 1 ? -count : count;
    });
    return means.map((sum) => sum / shots);
  });
}

export function builder(part, { wires: n, gates, start }) {
  const placed = start.map((one) => ({ ...one, angle: Math.round(one.angle / STEP) * STEP }));
  const names = Object.keys(gates), numbers = Array.from({ length: n }, (_, w) => String(w));
  let shots = 100, seed = 1;
  const drawing = make("div"), list = make("ol", { "aria-label": "gates" });
  const rows = make("tbody"), status = sentence();
  const plot = frame("", {
    height: 40 + 44 * n, left: 60,
    x: { from: -1, to: 1, ticks: [-1, -0.5, 0, 0.5, 1], label: "expectation value of Z" },
    y: { from: n - 0.5, to: -0.5, ticks: numbers.map(Number), said: (w) => `wire ${w}` },
  });

  const show = () => {
    const { structure, numbers: given } = assembled(placed, gates, n);
    const state = new Circuit(structure).state(given), chances = probabilities(state);
    drawing.replaceChildren(diagram(placed, gates, n));
    table(rows, state, chances);
    const exact = numbers.map((_, w) => expectation(state, [[1, [[w, "Z"]]]]));
    scatter(plot, exact, estimates(state, shots, ESTIMATES, generator(seed)), shots);
    const spread = exact.map((z) => Math.sqrt(Math.max(0, 1 - z * z) / shots));
    const words = exact.map((z, w) => `wire ${w}: ${shown(z)}, estimates ± ${shown(spread[w])}`);
    const said = `Z of ${words.join("; ")}.`;
    plot.name(`Expectation values and ${ESTIMATES} estimates from ${shots} shots each. ${said}`);
    status.say(`${placed.length} gates. ${said}`);
  };

  const entries = () => {
    list.replaceChildren(...placed.map((one, i) => {
      const name = `${one.gate} on ${one.wires.join(" → ")}`;
      const remove = button("×", () => {
        placed.splice(i, 1);
        entries();
        show();
        const left = list.querySelectorAll("button"); // what was focused is gone
        (left[Math.min(i, left.length - 1)] ?? add).focus();
      });
      remove.setAttribute("aria-label", `remove gate ${i + 1}, ${name}`);
      const turn = (value) => {
        one.angle = value * STEP;
        show();
      };
      const range = { min: -24, max: 24, step: 1, value: Math.round(one.angle / STEP) };
      const angle = slider(name, { ...range, said: (v) => `${shown(v / 24)} π` }, turn);
      return make("li", {}, make("span", { class: "controls" }, gates[one.gate].turns ? angle : name, remove));
    }));
    add.disabled = placed.length >= MOST;
  };

  let next = { gate: names[0], first: 0, second: 1 };
  const add = button("add", () => {
    const { gate, first, second } = next;
    if (gates[gate].wires > 1 && first === second) return status.say("Choose two different wires.");
    placed.push({ gate, wires: gates[gate].wires > 1 ? [first, second] : [first], angle: Math.PI / 4 });
    entries();
    show();
  });
  const second = choice("to wire", numbers, "1", (w) => (next.second = +w));
  const kinds = choice("gate", names, names[0], (gate) => {
    next.gate = gate;
    second.style.display = gates[gate].wires < 2 ? "none" : "";
  });
  second.style.display = gates[next.gate].wires < 2 ? "none" : "";
  const first = choice("on wire", numbers, "0", (w) => (next.first = +w));
  const head = ["outcome", "amplitude", "probability"].map((name) => make("th", { scope: "col" }, name));
  const range = { min: 0, max: SHOTS.length - 1, step: 1, value: 2, said: (i) => String(SHOTS[i]) };
  part.append(
    drawing, list, make("div", { class: "controls" }, kinds, first, second, add),
    make("table", {}, make("thead", {}, make("tr", {}, ...head)), rows),
    plot.svg,
    make("div", { class: "controls" },
      slider("shots", range, (i) => {
        shots = SHOTS[i];
        show();
      }),
      button("measure again", () => {
        seed += 1;
        show();
      })),
    status.element,
  );
  entries();
  show();
}

function diagram(placed, gates, n) {
  // Many gates stand closer, so that their names stay as large as on a phone they must be.
  const width = 360, step = Math.min(46, 318 / placed.length), half = Math.min(17, step / 2 - 1);
  const row = (w) => 22 + 40 * w;
  const svg = draw("svg", { viewBox: `0 0 ${width} ${row(n - 1) + 22}`, role: "img" });
  const words = placed.map((one) => `${one.gate} on wire ${one.wires.join(" and ")}`).join(", ");
  svg.setAttribute("aria-label", `Circuit: ${words || "no gates"}.`);
  const line = { stroke: "var(--line)", "stroke-width": 1.5 };
  for (let w = 0; w < n; w++) {
    svg.append(draw("line", { ...line, x1: 16, x2: width, y1: row(w), y2: row(w) }));
    svg.append(draw("text", { x: 2, y: row(w) + 4 }, w));
  }
  placed.forEach(({ gate, wires }, i) => {
    const at = 40 + step * i, target = row(wires.at(-1)), label = gate.replace(/^C(?=.)/, "");
    if (wires.length > 1) {
      svg.append(draw("line", { ...line, x1: at, x2: at, y1: row(wires[0]), y2: target }));
      svg.append(draw("circle", { cx: at, cy: row(wires[0]), r: 5, fill: "currentColor" }));
    }
    svg.append(
      draw("rect", { x: at - half, y: target - 14, width: 2 * half, height: 28, rx: 3, fill: "var(--first)" }),
      draw("text", { x: at, y: target + 4, "text-anchor": "middle", style: "fill: var(--paper)" },
        label === "NOT" ? "X" : label),
    );
  });
  return svg;
}

function table(rows, { n, re, im }, chances) {
  rows.replaceChildren(...Array.from(chances, (chance, j) => {
    const amplitude = `${shown(re[j])} ${im[j] < -0.005 ? "−" : "+"} ${shown(Math.abs(im[j]))} i`;
    const bar = make("span", { class: "bar", style: `width: ${5 * chance}rem` });
    const name = make("th", { scope: "row" }, j.toString(2).padStart(n, "0"));
    return make("tr", {}, name, make("td", {}, amplitude), make("td", {}, `${shown(chance)} `, bar));
  }));
}

function scatter(plot, exact, found, shots) {
  plot.clear();
  exact.forEach((z, w) => {
    const two = 2 * Math.sqrt(Math.max(0, 1 - z * z) / shots), y = plot.y(w);
    const [low, high] = [Math.max(-1, z - two), Math.min(1, z + two)].map(plot.x);
    const band = { x: low, y: y - 14, width: Math.max(high - low, 1), height: 28 };
    plot.add("rect", { ...band, fill: "var(--first)", "fill-opacity": 0.2 });
    found.forEach((means, i) => {
      const at = y + 24 * (((i * 0.618034) % 1) - 0.5);
      plot.add("circle", { cx: plot.x(means[w]), cy: at, r: 1.8, fill: "var(--first)" });
    });
    const line = { x1: plot.x(z), x2: plot.x(z), y1: y - 16, y2: y + 16 };
    plot.add("line", { ...line, stroke: "var(--second)", "stroke-width": 2.5 });
  });
}
