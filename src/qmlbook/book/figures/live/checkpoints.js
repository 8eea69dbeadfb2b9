// Stored runs of any two networks: their curves, and paired differences against the published ones.
import { interval, mean } from "./numbers.js";
import { choice, frame, make, sentence, shown, slider } from "./figure.js";

const LEAST = 3; // seeds in common

/** Return the runs of two networks with the most checkpoints, at equal seeds; null if there are none. */
export function paired(sources, names) {
  const found = sources.map(({ batches, networks }) => {
    const [one, other] = names.map((name) => networks[name] ?? {});
    const seeds = Object.keys(one).filter((seed) => seed in other);
    return { batches, seeds, runs: [one, other].map((of) => seeds.map((seed) => of[seed])) };
  }).filter(({ seeds }) => seeds.length >= LEAST);
  return found.sort((a, b) => b.batches.length - a.batches.length)[0] ?? null;
}

/** Return the paired differences after some batches, by seed; null where nothing is stored. */
export function differences(pair, batch) {
  const k = pair ? pair.batches.indexOf(batch) : -1;
  return k < 0 ? null : pair.runs[0].map((run, i) => run[k] - pair.runs[1][i][k]);
}

/** Return the difference of published means and both standard deviations combined, or null. */
export function recorded(published, names, batch) {
  const k = published.batches.indexOf(batch), [one, other] = names.map((name) => published.curves[name]);
  if (k < 0 || !one || !other) return null;
  return { mean: one.mean[k] - other.mean[k], spread: Math.hypot(one.spread[k], other.spread[k]) };
}

const signed = (value) => `${value > 0 ? "+" : ""}${shown(value, 1)}`;

export function checkpoints(part, { sources, published, quantiles, least, start }) {
  const every = [...new Set(sources.flatMap(({ networks }) => Object.keys(networks)))];
  let names = [...start], pair = null, batches = [], batch = 0;
  const status = sentence(), place = make("span");
  const curves = frame("", {
    height: 230,
    x: { from: 0, to: 195, ticks: [0, 50, 100, 150], label: "batches without labels" },
    y: { from: 25, to: 55, ticks: [25, 35, 45, 55], label: "accuracy in %" },
  });
  const leads = frame("", {
    height: 150, left: 76,
    x: { from: -12, to: 12, ticks: [-10, -5, 0, 5, 10], label: "difference in points" },
    y: { from: 2.5, to: -0.5, ticks: [0, 1, 2], said: (i) => ["published", "ours", "runs"][i] },
  });
  const show = () => {
    const values = differences(pair, batch), theirs = recorded(published, names, batch);
    const ours = values && interval(values, quantiles[values.length - least]);
    lines(curves, pair, published, names, batch);
    row(leads, values, ours, theirs);
    const told = ours
      ? `ours ${signed(ours.mean)} [${signed(ours.mean - ours.half)}, ${signed(ours.mean + ours.half)}], ` +
        `ahead in ${values.filter((v) => v > 0).length} of ${values.length} seeds`
      : "no runs of ours with equal seeds";
    const words = `${names[0]} minus ${names[1]} after ${batch} ${batch === 1 ? "batch" : "batches"}: ${told}; ` +
      `${theirs ? `published ${signed(theirs.mean)} ± ${shown(theirs.spread, 1)}` : "not published"}.`;
    leads.name(words);
    curves.name(`Accuracy against batches of ${names[0]} and ${names[1]}. ${words}`);
    status.say(words);
  };
  const renew = () => {
    pair = paired(sources, names);
    const theirs = names.every((name) => name in published.curves) ? published.batches : [];
    batches = [...new Set([...(pair?.batches ?? []), ...theirs])].sort((a, b) => a - b);
    if (!batches.includes(batch)) batch = batches[batches.length - 1] ?? 0;
    const range = { min: 0, max: Math.max(batches.length - 1, 0), step: 1, value: batches.indexOf(batch) };
    place.replaceChildren(slider("batches", { ...range, said: (i) => String(batches[i] ?? "none") }, (i) => {
      batch = batches[i];
      show();
    }));
    show();
  };
  const choices = ["network", "minus"].map((label, i) => choice(label, every, names[i], (name) => {
    names[i] = name;
    renew();
  }));
  batch = published.batches[published.batches.length - 1];
  part.append(make("div", { class: "controls" }, ...choices, place), curves.svg, leads.svg, status.element);
  renew();
}

const LOOK = ["var(--first)", "var(--second)"];

function lines(plot, pair, published, names, batch) {
  plot.clear();
  const now = { x1: plot.x(batch), x2: plot.x(batch), y1: plot.y(25), y2: plot.y(55) };
  plot.add("line", { ...now, stroke: "currentColor", "stroke-dasharray": "3 3" });
  names.forEach((name, i) => {
    const colour = LOOK[i], words = { x: plot.x(120), y: plot.y(30 - 3.5 * i), style: `fill: ${colour}` };
    plot.add("text", words, `${["●", "■"][i]} ${name}`);
    const theirs = published.curves[name];
    theirs?.mean.forEach((level, k) => {
      const x = plot.x(published.batches[k]), y = plot.y(level), bar = { x1: x, x2: x, stroke: "currentColor" };
      plot.add("line", { ...bar, y1: plot.y(level - theirs.spread[k]), y2: plot.y(level + theirs.spread[k]) });
      plot.add("path", { d: `M${x} ${y - 5}L${x + 5} ${y}L${x} ${y + 5}L${x - 5} ${y}Z`, fill: colour, stroke: "currentColor" });
    });
    if (!pair) return;
    const points = pair.batches.map((at, k) => [plot.x(at), plot.y(mean(pair.runs[i].map((run) => run[k])))]);
    plot.add("polyline", { points: points.map(String).join(" "), fill: "none", stroke: colour, "stroke-width": 2 });
    for (const [x, y] of points) {
      if (i) plot.add("rect", { x: x - 4, y: y - 4, width: 8, height: 8, fill: colour });
      else plot.add("circle", { cx: x, cy: y, r: 4.5, fill: colour });
    }
  });
}

function row(plot, values, ours, theirs) {
  plot.clear();
  const at = (v) => plot.x(Math.max(-12, Math.min(12, v))), [top, bottom] = [plot.y(-0.5), plot.y(2.5)];
  plot.add("line", { x1: at(0), x2: at(0), y1: top, y2: bottom, stroke: "currentColor", "stroke-width": 1.5 });
  const bar = (y, middle, half, colour) => {
    const ends = { x1: at(middle - half), x2: at(middle + half), y1: plot.y(y), y2: plot.y(y) };
    plot.add("line", { ...ends, stroke: colour, "stroke-width": 3 });
    plot.add("circle", { cx: at(middle), cy: plot.y(y), r: 5, fill: colour });
  };
  if (theirs) bar(0, theirs.mean, theirs.spread, "currentColor");
  if (ours) bar(1, ours.mean, ours.half, "var(--first)");
  (values ?? []).forEach((v, i) => plot.add("circle", {
    cx: at(v), cy: plot.y(2) + 16 * (((i * 0.618034) % 1) - 0.5), r: 3, fill: "var(--first)", "fill-opacity": 0.7,
  }));
}
