// Stored runs of many heads at many step sizes: a reader moves the steps and sees who is ahead.
import { mean } from "./numbers.js";
import { button, draw, frame, make, sentence, shown, slider } from "./figure.js";

const LOW = 40; // per cent, where the axis begins

/** Return the heads with their runs at the step of their kind, or of their best mean; best first. */
export function ranked(heads, chosen) {
  return heads.map(({ name, quantum, runs }) => {
    const means = runs.map(mean);
    const at = chosen ? chosen[quantum ? 0 : 1] : means.indexOf(Math.max(...means));
    return { name, quantum, at, runs: runs[at], mean: means[at] };
  }).sort((a, b) => b.mean - a.mean);
}

export function steps(part, { heads, steps: sizes, start, largest }) {
  let chosen = [...start], best = false;
  const status = sentence(), rows = heads.map((_, i) => i);
  let order = heads;
  const plot = frame("", {
    height: 48 + 18 * heads.length, left: 104,
    x: { from: LOW, to: 100, ticks: [40, 60, 80, 100], label: "accuracy in %" },
    y: { from: heads.length - 0.5, to: -0.5 },
  });
  const show = () => {
    order = ranked(heads, best ? null : chosen);
    const [quantum, others] = [true, false].map((kind) => order.filter((head) => head.quantum === kind));
    const one = order.find(({ name }) => name === largest);
    const behind = others.filter((head) => head.mean < one.mean).length;
    const said = best ? "Each head at its best step"
      : `Quantum heads with steps of ${sizes[chosen[0]]}, the others of ${sizes[chosen[1]]}`;
    const top = ({ name, mean: level }) => `${name} with ${shown(level, 1)} %`;
    const words = `${said}: of the quantum heads ${top(quantum[0])} is best, of the others ${top(others[0])}. ` +
      `${largest}, ${shown(one.mean, 1)} %, is ahead of ${behind} of ${others.length} others.`;
    dots(plot, order, rows);
    plot.name(words);
    status.say(words);
  };
  const range = { min: 0, max: sizes.length - 1, step: 1, said: (i) => String(sizes[i]) };
  const sliders = ["step of the quantum heads", "step of the others"].map((label, kind) =>
    slider(label, { ...range, value: chosen[kind] }, (i) => {
      chosen[kind] = i;
      best = false;
      show();
    }));
  const all = button("each at its best step", () => {
    best = true;
    show();
  });
  part.append(make("div", { class: "controls" }, ...sliders, all), plot.svg, status.element);
  show();
}

function dots(plot, order, rows) {
  plot.clear();
  rows.forEach((row) => {
    const { name, quantum, runs, mean: level } = order[row], y = plot.y(row);
    const colour = quantum ? "var(--first)" : "var(--second)";
    const words = { x: 98, y: y + 4, "text-anchor": "end", style: `fill: ${colour}` };
    plot.add("text", words, `${name} ${quantum ? "●" : "◆"}`);
    const place = (value) => plot.x(Math.max(value, LOW));
    for (const value of runs) {
      plot.add("circle", { cx: place(value), cy: y, r: 2.2, fill: colour, "fill-opacity": 0.5 });
    }
    const line = { x1: place(level), x2: place(level), y1: y - 7, y2: y + 7, stroke: colour };
    plot.add("line", { ...line, "stroke-width": 3 }, draw("title", {}, `${name}: ${shown(level, 1)} %`));
  });
}
