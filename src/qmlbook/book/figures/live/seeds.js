// A class of seeds: everybody runs twenty and hands in a text; one page checks texts and decides.
import { button, frame, make, sentence, shown, slider, still } from "./figure.js";
import { interval } from "./studies.js";
import { draws, judged, split, train } from "./training.js";

const MARK = "qlr1", PER = 20, MOST = 60; // of a text, seeds in it, texts of a class

// --- the rule ---

/** Return the share of Student's t within ±t for whole df [Abramowitz and Stegun 26.7.3, 26.7.4]. */
function within(t, df) {
  const angle = Math.atan(t / Math.sqrt(df)), square = Math.cos(angle) ** 2, odd = df % 2;
  let term = odd ? Math.cos(angle) : 1, sum = df > 1 ? term : 0;
  for (let k = 2 + odd; k <= df - 2; k += 2) {
    term *= (square * (k - 1)) / k;
    sum += term;
  }
  return odd ? (2 / Math.PI) * (angle + Math.sin(angle) * sum) : Math.sin(angle) * sum;
}

/** Return the t within which a share of Student's distribution lies. */
export function quantile(df, level) {
  let low = 0, high = 1;
  while (within(high, df) < level) high *= 2;
  for (;;) {
    const middle = (low + high) / 2;
    if (middle === low || middle === high) return high;
    if (within(middle, df) < level) low = middle;
    else high = middle;
  }
}

/** Return the interval of paired differences, and what the book's rule for an order says of them. */
export function order(differences, { margin, level, least }) {
  if (differences.length < least) return { word: "incomplete" };
  const { mean, half } = interval(differences, quantile(differences.length - 1, level));
  const low = mean - half, high = mean + half;
  const word = low > 0 ? "reproduced" : high <= margin ? "not reproduced" : "inconclusive";
  return { mean, low, high, word };
}

// --- texts ---

/** Return eight letters that change with the text [Fowler, Noll and Vo, FNV-1a of 32 bits]. */
export function checksum(text) {
  let sum = 0x811c9dc5;
  for (const letter of text) sum = Math.imul(sum ^ letter.codePointAt(0), 0x01000193) >>> 0;
  return sum.toString(16).padStart(8, "0");
}

const range = (first) => `seeds ${first} to ${first + PER - 1}`;

/** Return the text that carries the results of twenty seeds: numbers of images named rightly. */
export function written(experiment, first, pairs) {
  const said = [MARK, experiment, first, ...pairs.map((pair) => pair.join("."))].join(" ");
  return `${said} ${checksum(said)}`;
}

/**
 * Return the texts in what was pasted, each as {first, pairs} or as {problem}, a sentence. Other
 * words between texts, such as those of a chat, are passed over.
 */
export function read(pasted, experiment, images) {
  const parts = pasted.toLowerCase().trim().split(new RegExp(`(?=\\b${MARK}\\b)`));
  const texts = parts.length > 1 ? parts.filter((part) => part.startsWith(MARK)) : parts;
  return texts.map((text) => one(text.trim().split(/\s+/).slice(0, PER + 4), experiment, images));
}

function one(words, experiment, images) {
  const start = words.slice(0, 4).join(" ").slice(0, 24);
  if (words[0] !== MARK) return { problem: `“${start}” belongs to no text: each begins with ${MARK}.` };
  if (words.length !== PER + 4) {
    return { problem: `“${start} …” is cut or garbled: it has ${words.length} words instead of ${PER + 4}.` };
  }
  const said = words.slice(0, -1), first = Number(words[2]);
  const pairs = said.slice(3).map((word) => word.split(".").map(Number));
  const whole = (n, most) => Number.isInteger(n) && n >= 0 && n <= most;
  if (checksum(said.join(" ")) !== words.at(-1)) {
    return { problem: `“${start} …” was changed on its way: its checksum does not fit.` };
  }
  if (words[1] !== experiment) {
    return { problem: `“${start} …” is of another edition of this page: its experiment is not ${experiment}.` };
  }
  if (!whole((first - 1) / PER, MOST - 1)) {
    return { problem: `“${start} …” begins with seed ${words[2]}; texts begin with 1, 21, 41 and so on to ${PER * (MOST - 1) + 1}.` };
  }
  if (!pairs.every((pair) => pair.length === 2 && pair.every((n) => whole(n, images)))) {
    return { problem: `The text of ${range(first)} holds a result that is no pair of numbers from 0 to ${images}.` };
  }
  return { first, pairs };
}

/** Return why a text cannot join those that are there (first seed -> pairs), if it cannot. */
export function refused({ first, pairs }, there) {
  const known = there.get(first);
  if (!known) return "";
  return String(known) === String(pairs)
    ? `${range(first)} are here already; the second text was left out.`
    : `${range(first)} are here already with other results; the later text was left out.`;
}

/** Return why a text is not what its seed gives here, if it is not; one image may differ. */
export function doubted({ first, pairs }, seed, here) {
  const said = pairs[seed - first];
  // Browsers may round a cosine differently in its last digit, and so turn one image.
  if (said.every((n, i) => Math.abs(n - here[i]) <= 1)) return "";
  return `${range(first)} were left out: seed ${seed} gives ${here.join(" and ")} here, the text says ${said.join(" and ")}.`;
}

/** Return the verdict of a class: the rule on the planned seeds, when all of them are there. */
export function verdict(there, planned, images, rule) {
  const firsts = [...there.keys()].sort((a, b) => a - b).filter((first) => first <= planned);
  const steps = [];
  const differences = [];
  for (const first of firsts) {
    differences.push(...there.get(first).map(([before, after]) => (after - before) / images));
    steps.push({ n: differences.length, ...order(differences, rule) });
  }
  const n = differences.length, last = steps.at(-1);
  const word = n === planned ? last.word : `incomplete (${n} of ${planned} seeds)`;
  return { steps, word, soFar: n && n < planned ? last.word : "" };
}

// --- the experiment ---

/** Return a function that runs a seed: of both procedures, how many images are named rightly. */
export function experimentOf(given) {
  const seen = split(given.train), others = split(given.test), images = others.labels.length;
  const procedures = Object.values(given.procedures);
  const run = (seed) => procedures.map((config) => {
    const { network } = train(seen.images, config, draws(seed, seen.images.length, config));
    return Math.round(images * judged(network, seen, others).matched);
  });
  const { train: first, test: second } = given;
  return { run, images, name: checksum(JSON.stringify([first, second, given.procedures])) };
}

// --- the two parts of the page ---

export function seeds(part, given) {
  const experiment = experimentOf(given);
  part.append(mine(experiment), ofAll(experiment, given.rule));
}

/** Do some work piece by piece, so that the page stays awake. */
function inPieces(pieces, work, done) {
  const next = (i) => {
    if (i === pieces.length) return done();
    work(pieces[i], i);
    setTimeout(() => next(i + 1));
  };
  setTimeout(() => next(0));
}

function mine(experiment) {
  const number = make("input", { type: "number", min: 1, max: MOST, value: 1, inputmode: "numeric" });
  const text = make("textarea", { rows: 4, readonly: true });
  const bar = make("progress", { max: PER, value: 0, "aria-label": "seeds that are run" });
  const status = sentence(), copy = button("copy my text", () => {
    text.select();
    const copied = navigator.clipboard?.writeText(text.value) ?? Promise.reject();
    copied.then(() => status.say("Copied."), () => status.say("Selected: copy it with your keyboard."));
  });
  copy.disabled = true;
  const start = button(`run my ${PER} seeds`, () => {
    const place = Number(number.value);
    if (!(Number.isInteger(place) && place >= 1 && place <= MOST)) {
      return status.say(`My number must be a whole number from 1 to ${MOST}.`);
    }
    const first = PER * (place - 1) + 1, pairs = [];
    start.disabled = copy.disabled = true;
    text.value = "";
    status.say(`Running ${range(first)}.`);
    inPieces([...Array(PER).keys()], (i) => {
      pairs.push(experiment.run(first + i));
      bar.value = i + 1;
    }, () => {
      text.value = written(experiment.name, first, pairs);
      start.disabled = copy.disabled = false;
      const better = pairs.filter(([before, after]) => after > before).length;
      status.say(`S${range(first).slice(1)} are run: training helped ${better} of ${PER} networks. Hand in the text.`);
    });
  });
  return make("section", { "aria-label": "for each student" },
    make("p", { class: "word" }, "For each student"),
    make("div", { class: "controls" }, make("label", {}, "my number in the class", number), start, bar),
    make("label", {}, "my text", text), make("div", { class: "controls" }, copy), status.element);
}

function ofAll(experiment, rule) {
  const there = new Map(), refusals = make("ul"), status = sentence(), word = make("p", { class: "word" });
  const pasted = make("textarea", { rows: 5 });
  let planned = 10 * PER, repeats = 1;
  const plot = frame("", {
    height: 240, left: 52,
    x: {
      from: 0, to: 1.05, ticks: [0, 0.5, 1], label: "planned seeds",
      said: (share) => ({ 0: "none", 0.5: "half", 1: "all" })[share],
    },
    y: { from: -0.12, to: 0.12, ticks: [-0.1, -0.05, 0, 0.05, 0.1], label: "trained − untrained" },
  });
  const show = () => {
    const found = verdict(there, planned, experiment.images, rule), last = found.steps.at(-1);
    narrowing(plot, found.steps, planned, rule.margin);
    word.textContent = `Verdict: ${found.word}` + (found.soFar ? `; the rule alone would say so far: ${found.soFar}` : "");
    if (last?.low != null) {
      const three = (v) => shown(v, 3);
      const beyond = [...there.keys()].filter((first) => first > planned).length;
      const more = beyond ? ` Texts beyond the plan, which do not count: ${beyond}.` : "";
      const told = `${last.n} seeds: ${three(last.mean)} [${three(last.low)}, ${three(last.high)}], margin ${three(rule.margin)}.${more}`;
      plot.name(`The interval narrows with the seeds. ${told}`);
      return told;
    }
    plot.name("No interval yet.");
    return "";
  };
  const refuse = (why) => refusals.append(make("li", {}, why[0].toUpperCase() + why.slice(1)));
  const add = button("add and check", () => {
    const texts = read(pasted.value, experiment.name, experiment.images);
    let added = 0;
    refusals.replaceChildren();
    add.disabled = true;
    status.say(`Checking ${texts.length} texts.`);
    inPieces(texts, (text) => {
      const why = text.problem || refused(text, there) || repeated(text, repeats, experiment);
      if (why) return refuse(why);
      there.set(text.first, text.pairs);
      added += 1;
      if (!still()) show();
    }, () => {
      add.disabled = false;
      pasted.value = "";
      status.say(`${added} of ${texts.length} texts were added, ${texts.length - added} refused. ${show()}`);
    });
  });
  const again = button("start again", () => {
    there.clear();
    refusals.replaceChildren();
    show();
    status.say("All texts are gone.");
  });
  const element = make("section", { "aria-label": "for the lecturer" },
    make("p", { class: "word" }, "For the lecturer"),
    make("div", { class: "controls" },
      slider("texts planned", { min: 1, max: MOST, step: 1, value: planned / PER }, (v) => {
        planned = v * PER;
        show();
      }),
      slider("seeds to repeat of each text", { min: 0, max: 5, step: 1, value: repeats }, (v) => (repeats = v))),
    make("label", {}, "texts of the class", pasted), make("div", { class: "controls" }, add, again),
    status.element, refusals, plot.svg, word);
  show();
  return element;
}

/** Run some seeds of a text again, chosen where it is read; return why it is doubted, if it is. */
function repeated(text, repeats, experiment) {
  const left = text.pairs.map((_, i) => text.first + i);
  for (let i = 0; i < repeats; i++) {
    const [seed] = left.splice(Math.floor(Math.random() * left.length), 1);
    const why = doubted(text, seed, experiment.run(seed));
    if (why) return why;
  }
  return "";
}

const SIGNS = {
  reproduced: ["var(--third)", "✓"],
  "not reproduced": ["var(--second)", "✗"],
  inconclusive: ["var(--line)", "?"],
};

function narrowing(plot, steps, planned, margin) {
  plot.clear();
  const place = (v) => plot.y(Math.max(-0.12, Math.min(0.12, v)));
  const across = { x1: plot.x(0), x2: plot.x(1), stroke: "currentColor" };
  plot.add("line", { ...across, y1: place(0), y2: place(0) });
  plot.add("line", { ...across, y1: place(margin), y2: place(margin), "stroke-dasharray": "4 3" });
  plot.add("text", { x: plot.x(0) + 4, y: place(margin) - 4 }, `margin ${shown(margin)}`);
  for (const { n, mean, low, high, word } of steps.filter((step) => step.low != null)) {
    const x = plot.x(n / planned), [colour, sign] = SIGNS[word];
    const line = { x1: x, x2: x, y1: place(low), y2: place(high), stroke: colour, "stroke-width": 3 };
    plot.add("line", line);
    plot.add("circle", { cx: x, cy: place(mean), r: 3, fill: colour });
    const said = { x, y: plot.y(-0.12) - 3, "text-anchor": "middle", style: `fill: ${colour}` };
    plot.add("text", said, sign);
  }
}
