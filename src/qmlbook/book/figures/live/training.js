// The classifier of chapter klssl, trained in the page: its encoder, the closed form of its circuit
// at two layers, its losses and its memory bank, as qmlbook.papers.klssl.training has them.
import { generator } from "./simulator.js";
import { button, choice, frame, make, sentence, shown, slider, still } from "./figure.js";

const SIDE = 14, KERNEL = 7, STRIDE = 5, FEATURES = 4, EPS = 1e-5;
const XAVIER = Math.sqrt(6 / (2 * KERNEL ** 2));
const ANGLES = [[0], [1, 3, 8], [4, 9, 11], [5, 7]]; // which of the 12 angles make each phase
const SEEDS = 20;

// --- crops ---

/** Return for each output pixel of a line two input pixels, and the share of the second. */
function interpolation(start, length) {
  return Array.from({ length: SIDE }, (_, d) => {
    const source = Math.max(((d + 0.5) * length) / SIDE - 0.5, 0);
    const low = Math.min(Math.floor(source), length - 1), high = Math.min(low + 1, length - 1);
    return [start + low, start + high, source - low];
  });
}

/** Return an image cropped, resized back and perhaps mirrored. */
export function cropped(image, { top, left, height, width, flip }) {
  const rows = interpolation(top, height), columns = interpolation(left, width);
  if (flip) columns.reverse();
  const made = new Float64Array(SIDE * SIDE), line = new Float64Array(SIDE);
  rows.forEach(([low, high, share], r) => {
    for (let c = 0; c < SIDE; c++) {
      line[c] = (1 - share) * image[low * SIDE + c] + share * image[high * SIDE + c];
    }
    columns.forEach(([first, second, part], c) => {
      made[r * SIDE + c] = (1 - part) * line[first] + part * line[second];
    });
  });
  return made;
}

function drawCrop(random) {
  const whole = (below) => Math.floor(random() * below);
  for (let attempt = 0; attempt < 10; attempt++) {
    const area = SIDE * SIDE * (0.08 + 0.92 * random());
    const aspect = Math.exp(Math.log(3 / 4) + random() * Math.log(16 / 9));
    const width = Math.round(Math.sqrt(area * aspect)), height = Math.round(Math.sqrt(area / aspect));
    if (width > 0 && width <= SIDE && height > 0 && height <= SIDE) {
      const [top, left] = [whole(SIDE - height + 1), whole(SIDE - width + 1)];
      return { top, left, height, width, flip: random() < 0.5 };
    }
  }
  return { top: 0, left: 0, height: SIDE, width: SIDE, flip: random() < 0.5 };
}

// --- all that is random in a run ---

function permutation(n, random) {
  const order = Array.from({ length: n }, (_, i) => i);
  for (let i = n - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

/** Return all that is drawn for a run: filter, bias, angles, and for every epoch orders and crops. */
export function draws(seed, n, config) {
  const random = generator(seed), batches = Math.ceil(n / config.batch_size);
  return {
    weight: Array.from({ length: KERNEL ** 2 }, () => (2 * random() - 1) * XAVIER),
    bias: (2 * random() - 1) / KERNEL,
    angles: Array.from({ length: 12 }, () => 2 * Math.PI * random()),
    epochs: Array.from({ length: config.epochs }, () => {
      const images = permutation(n, random);
      const partners = config.own_positives ? images : permutation(n, random);
      const crops = Array.from({ length: batches }, (_, b) => {
        const size = Math.min(config.batch_size, n - b * config.batch_size);
        return Array.from({ length: config.crops === "batch" ? 1 : size }, () => drawCrop(random));
      });
      return { images, partners, crops };
    }),
  };
}

// --- the network ---

/** Return the untrained network of some draws. */
export function build({ weight, bias, angles }) {
  return {
    weight: Float64Array.from(weight), bias: [bias], scale: [1], shift: [0],
    angles: Float64Array.from(angles), mean: 0, variance: 1,
  };
}

/** Return the filter's responses, 4 an image, one after another. */
function responses(network, images) {
  const found = new Float64Array(FEATURES * images.length);
  images.forEach((image, i) => {
    for (let p = 0; p < FEATURES; p++) {
      const corner = STRIDE * ((p >> 1) * SIDE + (p & 1));
      let sum = network.bias[0];
      for (let r = 0, k = 0; r < KERNEL; r++) {
        for (let c = 0; c < KERNEL; c++, k++) sum += network.weight[k] * image[corner + r * SIDE + c];
      }
      found[FEATURES * i + p] = sum;
    }
  });
  return found;
}

const meanOf = (values) => values.reduce((sum, v) => sum + v, 0) / values.length;
const squares = (values, mean) => values.reduce((sum, v) => sum + (v - mean) ** 2, 0);

/** Return features of responses: over themselves in training, which moves the running numbers. */
function normalised(network, found, training) {
  let { mean, variance } = network;
  if (training) {
    mean = meanOf(found);
    const sum = squares(found, mean);
    variance = sum / found.length;
    network.mean = 0.9 * network.mean + 0.1 * mean;
    network.variance = 0.9 * network.variance + (0.1 * sum) / (found.length - 1);
  }
  const spread = Math.sqrt(variance + EPS), standard = found.map((v) => (v - mean) / spread);
  return { spread, standard, features: standard.map((v) => v * network.scale[0] + network.shift[0]) };
}

const phases = ({ angles }) => ANGLES.map((of) => of.reduce((sum, i) => sum + angles[i], 0));

/** Return the parity of every image, and its four derivatives by the phases. */
function parities(features, turned) {
  const n = features.length / FEATURES, z = new Float64Array(n), slopes = new Float64Array(4 * n);
  for (let i = 0; i < n; i++) {
    const angles = turned.map((phase, p) => features[4 * i + p] + phase), cosines = angles.map(Math.cos);
    z[i] = cosines.reduce((product, c) => product * c, 1);
    for (let p = 0; p < 4; p++) {
      let others = -Math.sin(angles[p]);
      for (let q = 0; q < 4; q++) if (q !== p) others *= cosines[q];
      slopes[4 * i + p] = others;
    }
  }
  return { z, slopes };
}

const logistic = (z) => 1 / (1 + Math.exp(-z));
const outputs = (z) => [-Math.log1p(Math.exp(-z)), -Math.log1p(Math.exp(z))];
const byParity = (z) => [logistic(-z), -logistic(z)]; // of the outputs

/** Return the parities of images, as a trained network is used. */
export function answers(network, images) {
  const { features } = normalised(network, responses(network, images), false);
  return parities(features, phases(network)).z;
}

// --- the loss ---

/** Return the loss of a batch, and its derivatives by all outputs that it is made of. */
function lossOf(config, x, y, pos, bank) {
  const B = x.length, { gamma } = config, one = () => Array.from({ length: B }, () => [0, 0]);
  const by = { x: one(), y: one(), pos: one(), total: [0, 0] };
  let value = 0;
  for (let i = 0; i < B; i++) {
    for (const [a, slot] of [[x[i], by.x[i]], [y[i], by.y[i]]]) {
      for (const k of [0, 1]) {
        const p = Math.exp(a[k]);
        value += (gamma / B) * p * (a[k] - pos[i][k]);
        slot[k] += (gamma / B) * p * (a[k] - pos[i][k] + 1);
        by.pos[i][k] -= (gamma / B) * p;
      }
    }
  }
  const own = config.own_positives, count = bank.outputs.length - (own ? 1 : B);
  const rest = [0, 1].map((k) => bank.total[k] - (own ? 0 : pos.reduce((sum, o) => sum + o[k], 0)));
  const released = config.loss === "published" || config.loss === "sign_fixed";
  const sign = config.loss === "sign_fixed" || config.loss === "corrected" ? -1 : 1;
  const weight = sign * (1 - gamma) * (released ? B / count ** 2 : 1 / (B * count));
  for (let i = 0; i < (released ? 1 : B); i++) {
    for (const [a, slot] of [[x[i], by.x[i]], [y[i], by.y[i]]]) {
      for (const k of [0, 1]) {
        const p = Math.exp(a[k]), total = rest[k] - (own ? pos[i][k] : 0);
        value += weight * p * (count * a[k] - total);
        slot[k] += weight * p * (count * a[k] - total + count);
        by.total[k] -= weight * p;
        if (own) by.pos[i][k] += weight * p;
      }
    }
  }
  if (!own) by.pos.forEach((slot) => [0, 1].forEach((k) => (slot[k] -= by.total[k])));
  return { value, by };
}

/** Return the memory bank: all outputs, their sum, and their derivatives by the phases. */
function store(network, images) {
  const { features } = normalised(network, responses(network, images), false);
  const { z, slopes } = parities(features, phases(network));
  const all = Array.from(z, outputs), total = [0, 1].map((k) => all.reduce((sum, o) => sum + o[k], 0));
  const sums = [0, 1].map((k) => [0, 1, 2, 3].map((p) =>
    z.reduce((sum, one, i) => sum + byParity(one)[k] * slopes[4 * i + p], 0)));
  return { outputs: all, total, z, slopes, sums };
}

/** Add to the gradient what a view of the batch gives: by angles, and into the encoder. */
function backward(network, view, byOutputs, gradient, frozen) {
  const { z, slopes, standard, spread, images } = view, felt = new Float64Array(slopes.length);
  byOutputs.forEach((slot, i) => {
    const [a, b] = byParity(z[i]), byZ = slot[0] * a + slot[1] * b;
    for (let p = 0; p < 4; p++) {
      felt[4 * i + p] = byZ * slopes[4 * i + p];
      gradient.phases[p] += felt[4 * i + p];
    }
  });
  if (frozen) return;
  const n = felt.length, scaled = felt.map((v) => v * network.scale[0]);
  gradient.shift[0] += felt.reduce((sum, v) => sum + v, 0);
  gradient.scale[0] += felt.reduce((sum, v, i) => sum + v * standard[i], 0);
  const mean = meanOf(scaled), along = scaled.reduce((sum, v, i) => sum + v * standard[i], 0) / n;
  scaled.forEach((v, i) => {
    const byResponse = (v - mean - standard[i] * along) / spread;
    const corner = STRIDE * (((i & 3) >> 1) * SIDE + (i & 1)), image = images[i >> 2];
    gradient.bias[0] += byResponse;
    for (let r = 0, k = 0; r < KERNEL; r++) {
      for (let c = 0; c < KERNEL; c++, k++) gradient.weight[k] += byResponse * image[corner + r * SIDE + c];
    }
  });
}

// --- training ---

const ENCODER = ["weight", "bias", "scale", "shift"];
const rate = (step, base, period) => 1e-6 + ((base - 1e-6) * (1 + Math.cos((Math.PI * step) / period))) / 2;

function descend(network, moments, gradient, names, lr, decay) {
  moments.steps += 1;
  const [first, second] = [1 - 0.9 ** moments.steps, Math.sqrt(1 - 0.999 ** moments.steps)];
  for (const name of names) {
    const values = network[name], slopes = gradient[name];
    const [m, v] = (moments[name] ??= [new Float64Array(values.length), new Float64Array(values.length)]);
    for (let i = 0; i < values.length; i++) {
      m[i] = 0.9 * m[i] + 0.1 * slopes[i];
      v[i] = 0.999 * v[i] + 0.001 * slopes[i] ** 2;
      values[i] = values[i] * (1 - lr * decay) - (lr * (m[i] / first)) / (Math.sqrt(v[i]) / second + 1e-8);
    }
  }
}

function step(network, images, config, bank, batch, crops) {
  const view = (shown_) => {
    const norm = normalised(network, responses(network, shown_), true);
    return { ...norm, ...parities(norm.features, phases(network)), images: shown_ };
  };
  const clean = view(batch.map(([image]) => images[image]));
  const other = view(batch.map(([image], i) => cropped(images[image], crops[crops.length > 1 ? i : 0])));
  const pos = batch.map(([, partner]) => bank.outputs[partner]);
  const [x, y] = [clean, other].map(({ z }) => Array.from(z, outputs));
  const { value, by } = lossOf(config, x, y, pos, bank);
  const gradient = {
    phases: [0, 0, 0, 0], weight: new Float64Array(KERNEL ** 2), bias: [0], scale: [0], shift: [0],
  };
  backward(network, clean, by.x, gradient, config.frozen);
  backward(network, other, by.y, gradient, config.frozen);
  if (config.attached) {
    batch.forEach(([, partner], i) => {
      const slopes = byParity(bank.z[partner]), felt = by.pos[i][0] * slopes[0] + by.pos[i][1] * slopes[1];
      for (let p = 0; p < 4; p++) gradient.phases[p] += felt * bank.slopes[4 * partner + p];
    });
    for (let p = 0; p < 4; p++) {
      gradient.phases[p] += by.total[0] * bank.sums[0][p] + by.total[1] * bank.sums[1][p];
    }
  }
  gradient.angles = new Float64Array(12);
  ANGLES.forEach((of, p) => of.forEach((i) => (gradient.angles[i] = gradient.phases[p])));
  return { value, gradient };
}

const copy = (network) => Object.fromEntries(Object.entries(network).map(([name, value]) =>
  [name, typeof value === "number" ? value : value.slice()]));

/** Train on images with given draws; return the best network and the mean loss of every epoch. */
export function train(images, config, drawn) {
  const network = build(drawn), losses = [], moments = { steps: 0 };
  if (!config.epochs) {
    const found = responses(network, images);
    network.mean = meanOf(found);
    network.variance = squares(found, network.mean) / (found.length - 1);
    return { network, losses };
  }
  const size = config.batch_size, batches = Math.ceil(images.length / size);
  const period = config.period ?? config.epochs * batches, names = ["angles", ...(config.frozen ? [] : ENCODER)];
  let best = null;
  drawn.epochs.forEach(({ images: order, partners, crops }, epoch) => {
    const bank = store(network, images), values = [];
    for (let b = 0; b < batches; b++) {
      const batch = order.slice(b * size, (b + 1) * size).map((image, i) => [image, partners[b * size + i]]);
      const { value, gradient } = step(network, images, config, bank, batch, crops[b]);
      const lr = rate(epoch * batches + b, config.learning_rate, period);
      descend(network, moments, gradient, names, lr, config.weight_decay);
      values.push(value);
    }
    const loss = meanOf(values);
    if (!losses.length || loss <= Math.min(...losses)) best = copy(network);
    losses.push(loss);
  });
  return { network: best, losses };
}

/** Return the share of right answers, and that with answers assigned by other images. */
export function judged(network, seen, others) {
  const share = ({ images, labels }) => {
    const z = answers(network, images);
    return labels.filter((label, i) => (z[i] >= 0 ? 0 : 1) === label).length / labels.length;
  };
  const accuracy = share(others);
  return { accuracy, matched: share(seen) >= 0.5 ? accuracy : 1 - accuracy };
}

/** Return the mean of the best of m among some values, over all choices of m of them. */
export function bestOf(values, m) {
  const sorted = [...values].sort((a, b) => a - b), n = sorted.length;
  let chance = m / n, sum = 0; // that the largest is in
  for (let k = n - 1; k >= m - 1; k--) {
    sum += chance * sorted[k];
    if (k > 0) chance *= (k - m + 1) / k;
  }
  return sum;
}

const decoded = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

/** Return images as numbers in [0, 1], and their labels. */
export function split({ pixels, labels }) {
  const bytes = decoded(pixels), size = SIDE * SIDE;
  const images = labels.map((_, i) =>
    Float64Array.from(bytes.subarray(i * size, (i + 1) * size), (value) => value / 255));
  return { images, labels };
}

// --- the figure ---

const BINS = 20;

export function training(part, given) {
  const seen = split(given.train), others = split(given.test), names = Object.keys(given.procedures);
  const results = Object.fromEntries(names.map((name) => [name, []]));
  let name = names[0], m = 1, going = 0, last = null;
  const histogram = frame("", {
    height: 190,
    x: { from: -1, to: 1, ticks: [-1, -0.5, 0, 0.5, 1], label: "answer z to an image" },
    y: { from: 0, to: 60, ticks: [0, 20, 40, 60], label: "images" },
  });
  const strip = frame("", {
    height: 60 + 44 * names.length, left: 104,
    x: { from: 0, to: 1, ticks: [0, 0.25, 0.5, 0.75, 1], label: "accuracy of a run" },
    y: { from: names.length - 0.5, to: -0.5, ticks: names.map((_, i) => i), said: (i) => names[i] },
  });
  const status = sentence();
  const run = (which, seed) => {
    const config = given.procedures[which];
    const { network } = train(seen.images, config, draws(seed, seen.images.length, config));
    results[which].push(judged(network, seen, others));
    return answers(network, others.images);
  };
  const show = () => {
    bins(histogram, last.z, others.labels, `${last.name}, seed ${results[last.name].length}`);
    strips(strip, names, results, m);
  };
  const tell = () => {
    const told = names.filter((one) => results[one].length).map((one) => {
      const accuracies = results[one].map((r) => r.accuracy), n = accuracies.length;
      const matched = shown(meanOf(results[one].map((r) => r.matched)));
      const best = shown(bestOf(accuracies, Math.min(m, n)));
      return `${one}: ${n} seeds, mean accuracy ${shown(meanOf(accuracies))}, matched ${matched}, ` +
        `best of ${Math.min(m, n)} ${best}`;
    });
    const spread = Math.sqrt(squares(last.z, meanOf(last.z)) / last.z.length);
    status.say(`${told.join("; ")}. Answers of the last run spread by ${shown(spread)}.`);
  };
  const twenty = (which) => {
    const mine = (going += 1);
    results[which] = [];
    const next = () => {
      if (mine !== going) return;
      last = { name: which, z: run(which, results[which].length + 1) };
      const done = results[which].length === SEEDS;
      if (done || !still()) show();
      if (done) tell();
      else setTimeout(next);
    };
    status.say(`Training ${SEEDS} seeds, ${which}.`);
    next();
  };
  part.append(
    make("div", { class: "controls" },
      choice("trained", names, name, (chosen) => (name = chosen)),
      button(`train ${SEEDS} seeds`, () => twenty(name)),
      slider("best of m runs, m", { min: 1, max: SEEDS, step: 1, value: m }, (v) => {
        m = v;
        show();
        tell();
      })),
    histogram.svg, strip.svg, status.element,
  );
  for (let seed = 1; seed <= SEEDS; seed++) last = { name: given.first, z: run(given.first, seed) };
  show();
  tell();
}

function bins(plot, z, labels, words) {
  const counts = [0, 1].map(() => new Array(BINS).fill(0));
  z.forEach((value, i) => (counts[labels[i]][Math.min(BINS - 1, Math.floor(((value + 1) / 2) * BINS))] += 1));
  plot.clear();
  const width = (plot.x(1) - plot.x(-1)) / BINS;
  counts.forEach((line, label) => line.forEach((count, bin) => {
    const height = plot.y(0) - plot.y(Math.min(count, 60));
    const place = { x: plot.x(-1) + width * (bin + 0.5 * label), y: plot.y(0) - height };
    const look = { width: 0.45 * width, height, fill: label ? "var(--second)" : "var(--first)" };
    plot.add("rect", { ...place, ...look });
  }));
  ["class 0", "class 1"].forEach((name, label) => plot.add("text", {
    x: plot.x(0.62), y: plot.y(56 - 8 * label), style: `fill: ${label ? "var(--second)" : "var(--first)"}`,
  }, name));
  const middle = z.filter((v) => Math.abs(v) < 0.5).length;
  plot.name(`Answers to ${z.length} images, ${words}: ${middle} lie between −0.5 and 0.5.`);
}

function strips(plot, names, results, m) {
  plot.clear();
  const [top, bottom] = [plot.y(-0.5), plot.y(names.length - 0.5)];
  const coin = { x1: plot.x(0.5), x2: plot.x(0.5), y1: top, y2: bottom, "stroke-dasharray": "2 3" };
  plot.add("line", { ...coin, stroke: "currentColor" });
  names.forEach((name, row) => {
    const values = results[name].map((r) => r.accuracy);
    values.forEach((value, i) => plot.add("circle", {
      cx: plot.x(value), cy: plot.y(row) + 20 * (((i * 0.618034) % 1) - 0.5), r: 2.5, fill: "var(--first)",
    }));
    if (values.length) {
      const best = plot.x(bestOf(values, Math.min(m, values.length)));
      const line = { x1: best, x2: best, y1: plot.y(row) - 15, y2: plot.y(row) + 15 };
      plot.add("line", { ...line, stroke: "var(--second)", "stroke-width": 3 });
    }
  });
  plot.name(`Accuracies of single runs by procedure, and the best of ${m}, on average.`);
}
