// A trained circuit, sampled a few times a picture: how many shots until it is ahead of its rival.
import { Circuit, generator, probabilities } from "./simulator.js";
import { mean } from "./numbers.js";
import { button, frame, make, sentence, shown, slider } from "./figure.js";

const REPEATS = 10;

/** Return for every picture the running sum of the chances of all outcomes. */
export function chances({ structure, numbers, angles }) {
  const circuit = new Circuit(structure), trained = numbers.parameters.slice(structure.wires);
  return angles.map((turns) => {
    let sum = 0;
    const parameters = [...turns.map((v) => v / 1000), ...trained];
    return probabilities(circuit.state({ ...numbers, parameters })).map((p) => (sum += p));
  });
}

/** Return <Z> of every wire: of so many shots, or exactly without a number. */
export function features(running, wires, shots, random) {
  const ones = new Array(wires).fill(0);
  const count = (outcome, weight) => {
    for (let w = 0; w < wires; w++) if ((outcome >> (wires - 1 - w)) & 1) ones[w] += weight;
  };
  if (!shots) running.forEach((upTo, outcome) => count(outcome, upTo - (outcome ? running[outcome - 1] : 0)));
  for (let shot = 0; shot < shots; shot++) {
    const drawn = random() * running[running.length - 1];
    let low = 0, high = running.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (running[middle] > drawn) high = middle;
      else low = middle + 1;
    }
    count(low, 1 / shots);
  }
  return ones.map((share) => 1 - 2 * share);
}

/** Return the share of pictures that the linear probe names rightly, in per cent. */
export function named(all, given, shots, random) {
  const { labels, weight, bias, structure } = given;
  const right = all.filter((running, i) => {
    const y = features(running, structure.wires, shots, random);
    const sums = weight.map((line, c) => line.reduce((sum, v, k) => sum + v * y[k], bias[c]));
    return sums.indexOf(Math.max(...sums)) === labels[i];
  });
  return (100 * right.length) / all.length;
}

export function shots(part, given) {
  const { counts: sizes, rival } = given, all = chances(given), exact = named(all, given);
  const random = generator(1), drawn = sizes.map(() => []), status = sentence();
  let at = sizes.indexOf(given.start);
  const plot = frame("", {
    height: 240,
    x: { from: -0.5, to: sizes.length - 0.5, ticks: sizes.map((_, i) => i), said: (i) => String(sizes[i]), label: "shots a picture" },
    y: { from: 15, to: 50, ticks: [20, 30, 40, 50], label: "accuracy in %" },
  });
  const show = () => {
    dotted(plot, drawn, at, exact, rival);
    const ahead = drawn[at].filter((v) => v > rival).length;
    const words = `${sizes[at]} ${sizes[at] === 1 ? "shot" : "shots"}: ${shown(mean(drawn[at]), 1)} % of ${all.length} ` +
      `pictures named rightly, ahead of the classical network in ${ahead} of ${drawn[at].length} samples. ` +
      `Exactly ${shown(exact, 1)} %, the classical network ${shown(rival, 1)} %.`;
    plot.name(words);
    status.say(words);
  };
  const sampled = () => {
    drawn[at].push(...Array.from({ length: REPEATS }, () => named(all, given, sizes[at], random)));
    show();
  };
  const range = { min: 0, max: sizes.length - 1, step: 1, value: at, said: (i) => String(sizes[i]) };
  part.append(
    make("div", { class: "controls" },
      slider("shots", range, (i) => {
        at = i;
        if (drawn[at].length) show();
        else sampled();
      }),
      button(`sample ${REPEATS} times more`, sampled)),
    plot.svg, status.element,
  );
  sampled();
}

function dotted(plot, drawn, at, exact, rival) {
  plot.clear();
  const ends = [plot.x(-0.5), plot.x(drawn.length - 0.5)];
  const level = (value, colour, dashes, words, up) => {
    const line = { x1: ends[0], x2: ends[1], y1: plot.y(value), y2: plot.y(value), stroke: colour };
    plot.add("line", { ...line, "stroke-width": 2, "stroke-dasharray": dashes });
    plot.add("text", { x: ends[0] + 4, y: plot.y(value) + (up ? -5 : 14), style: `fill: ${colour}` }, words);
  };
  level(exact, "var(--first)", "6 3", "ring, exactly", true);
  level(rival, "var(--second)", "2 3", "classical network", false);
  drawn.forEach((values, i) => values.forEach((value, k) => plot.add("circle", {
    cx: plot.x(i) + 14 * (((k * 0.618034) % 1) - 0.5), cy: plot.y(Math.max(value, 15)), r: 3,
    fill: "var(--first)", "fill-opacity": i === at ? 0.9 : 0.4,
  })));
}
