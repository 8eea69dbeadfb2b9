// Studies of a known truth: a reader moves runs, margin and truth, and sees how often rules are wrong.
import { generator, normal } from "./simulator.js";
import { interval } from "./numbers.js";
import { button, frame, make, sentence, shown, slider } from "./figure.js";

const STUDIES = 1000;
const DRAWN = 20;

/** What each rule says of ours − published: "reproduced", "not reproduced" or "inconclusive". */
export const RULES = {
  "interval within the margin": ({ mean, half }, margin) =>
    -margin <= mean - half && mean + half <= margin ? "reproduced"
      : mean - half > margin || mean + half < -margin ? "not reproduced" : "inconclusive",
  "no significant difference": ({ mean, half }) =>
    Math.abs(mean) <= half ? "reproduced" : "not reproduced",
  "mean within the margin": ({ mean }, margin) =>
    Math.abs(mean) <= margin ? "reproduced" : "not reproduced",
};

/** Return how often each rule says what, and how often that is wrong. */
export function tally(studies, margin, truth) {
  const right = Math.abs(truth) < margin ? "reproduced" : "not reproduced";
  return Object.entries(RULES).map(([name, rule]) => {
    const said = studies.map((study) => rule(study, margin));
    const share = (wanted) => said.filter(wanted).length / said.length;
    return {
      name,
      reproduced: share((word) => word === "reproduced"),
      inconclusive: share((word) => word === "inconclusive"),
      wrong: share((word) => word !== "inconclusive" && word !== right),
    };
  });
}

export function studies(part, { quantiles, sd, least, start }) {
  let { n, margin, truth } = start, seed = 1;
  const rows = make("tbody"), status = sentence();
  const plot = frame("", {
    height: 260, left: 14,
    x: { from: -0.2, to: 0.2, ticks: [-0.2, -0.1, 0, 0.1, 0.2], label: "ours − published" },
    y: { from: DRAWN - 0.5, to: -0.5 },
  });
  const percent = (share) => `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;
  const show = () => {
    const next = normal(generator(seed));
    const found = Array.from({ length: STUDIES }, () =>
      interval(Array.from({ length: n }, () => truth + sd * next()), quantiles[n - least]));
    picture(plot, found.slice(0, DRAWN), margin, truth);
    const counted = tally(found, margin, truth);
    rows.replaceChildren(...counted.map(({ name, reproduced, inconclusive, wrong }) =>
      make("tr", {}, make("th", { scope: "row" }, name), ...[reproduced, inconclusive, wrong].map((share) =>
        make("td", {}, percent(share))))));
    const fact = Math.abs(truth) < margin ? "does not matter" : "matters";
    const says = counted.map(({ name, wrong }) => `“${name}” ${percent(wrong)}`).join(", ");
    plot.name(`Intervals of ${DRAWN} studies of ${n} runs; the truth is ${shown(truth)}, the margin ${shown(margin)}.`);
    status.say(`${n} runs; the true difference ${shown(truth, 3)} ${fact} by the margin ${shown(margin, 3)}. ` +
      `Wrong in ${STUDIES} studies: ${says}.`);
  };
  const head = ["rule", "reproduced", "decides nothing", "wrong"];
  const three = (v) => shown(v, 3);
  part.append(
    make("div", { class: "controls" },
      slider("runs", { min: least, max: least + quantiles.length - 1, step: 1, value: n }, (v) => {
        n = v;
        show();
      }),
      slider("margin", { min: 0.01, max: 0.1, step: 0.005, value: margin, said: three }, (v) => {
        margin = v;
        show();
      }),
      slider("true difference", { min: 0, max: 0.12, step: 0.005, value: truth, said: three }, (v) => {
        truth = v;
        show();
      }),
      button("draw other studies", () => {
        seed += 1;
        show();
      })),
    plot.svg,
    make("table", {},
      make("thead", {}, make("tr", {}, ...head.map((name) => make("th", { scope: "col" }, name)))), rows),
    status.element,
  );
  show();
}

const LOOKS = {
  reproduced: ["var(--third)", "✓"],
  "not reproduced": ["var(--second)", "✗"],
  inconclusive: ["var(--line)", "?"],
};

function picture(plot, found, margin, truth) {
  plot.clear();
  const [top, bottom] = [plot.y(-0.5), plot.y(DRAWN - 0.5)];
  const place = (v) => plot.x(Math.max(-0.2, Math.min(0.2, v)));
  const band = { x: place(-margin), y: top, width: place(margin) - place(-margin), height: bottom - top };
  plot.add("rect", { ...band, fill: "var(--faint)", "fill-opacity": 0.6 });
  const line = { y1: top, y2: bottom, x1: plot.x(truth), x2: plot.x(truth) };
  plot.add("line", { ...line, stroke: "currentColor", "stroke-width": 1.5, "stroke-dasharray": "4 3" });
  found.forEach((study, i) => {
    const [colour, sign] = LOOKS[Object.values(RULES)[0](study, margin)], y = plot.y(i);
    const ends = { x1: place(study.mean - study.half), x2: place(study.mean + study.half), y1: y, y2: y };
    plot.add("line", { ...ends, stroke: colour, "stroke-width": 3 });
    plot.add("circle", { cx: place(study.mean), cy: y, r: 3, fill: colour });
    plot.add("text", { x: 2, y: y + 4, style: `fill: ${colour}; font-size: 11px` }, sign);
  });
}
