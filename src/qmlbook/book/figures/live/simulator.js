// Runs circuits in a page, in double precision: the structures that qmlbook.statevector writes as
// JSON, with the numbers of a call. Wire 0 is the most significant bit.
//
// `numbers` holds what a structure leaves open: parameters, an array of angles; matrices, each a
// list of rows; amplitudes, of the prepared wires. Complex numbers are pairs [real, imaginary]; real
// amplitudes may be plain numbers. An observable is a list of [weight, [[wire, letter], ...]].

const bitOf = (n, wire) => 1 << (n - 1 - wire);
const parity = (bits) => {
  let odd = 0;
  for (; bits; bits &= bits - 1) odd ^= 1;
  return odd;
};

/** Return the basis states of some of n wires, the first wire most significant. */
export function basisStates(wires, n) {
  return wires.reduce((found, wire) => found.flatMap((s) => [s, s + bitOf(n, wire)]), [0]);
}

/** Return what a word of Paulis does: bits to flip, bits whose 1 changes the sign, the number of Y. */
function pauli(letters, n) {
  let flip = 0, sign = 0, ys = 0;
  for (const [wire, letter] of letters) {
    if (letter !== "Z") flip |= bitOf(n, wire);
    if (letter !== "X") sign |= bitOf(n, wire);
    if (letter === "Y") ys += 1;
  }
  return { flip, sign, ys: ys % 4 };
}

// (-i) to the power 0 to 3.
const POWERS = [[1, 0], [0, -1], [-1, 0], [0, 1]];

function flat(rows) {
  const entries = rows.flat();
  return {
    size: rows.length,
    re: Float64Array.from(entries, (z) => z[0]),
    im: Float64Array.from(entries, (z) => z[1]),
  };
}

function dagger({ size, re, im }) {
  const made = { size, re: new Float64Array(size * size), im: new Float64Array(size * size) };
  for (let row = 0; row < size; row++) {
    for (let column = 0; column < size; column++) {
      made.re[column * size + row] = re[row * size + column];
      made.im[column * size + row] = -im[row * size + column];
    }
  }
  return made;
}

function isUnitary(matrix) {
  const { size, re, im } = matrix;
  for (let a = 0; a < size; a++) {
    for (let b = 0; b < size; b++) {
      let real = a === b ? -1 : 0, imaginary = 0;
      for (let k = a * size, l = b * size; k < (a + 1) * size; k++, l++) {
        real += re[k] * re[l] + im[k] * im[l];
        imaginary += im[k] * re[l] - re[k] * im[l];
      }
      if (Math.hypot(real, imaginary) > 1e-13) return false;
    }
  }
  return true;
}

/** A structure, ready to be run with any numbers. */
export class Circuit {
  constructor(structure) {
    const n = (this.wires = structure.wires);
    this.basis = structure.basis ?? [];
    this.prepared = structure.prepared ?? [];
    this.parameters = structure.parameters ?? 0;
    this.operations = structure.operations.map((given) => {
      const operation = { scale: 1, shift: 0, controls: [], values: [], word: "", ...given };
      const { kind, wires, controls, values, word, matrix } = operation;
      const value = controls.reduce((sum, w, i) => sum + (values[i] ? bitOf(n, w) : 0), 0);
      const control = controls.reduce((sum, w) => sum | bitOf(n, w), 0);
      if (kind === "rotation") {
        const letters = wires.map((wire, i) => [wire, word[i]]);
        return { ...operation, control, value, ...pauli(letters, n) };
      }
      const mask = wires.reduce((sum, w) => sum | bitOf(n, w), control);
      const offsets = basisStates(wires, n);
      return { ...operation, mask, value, offsets, matrix: matrix ? flat(matrix) : null };
    });
  }

  /** Return the final state. */
  state(numbers = {}) {
    const state = this.initial(numbers.amplitudes), matrices = (numbers.matrices ?? []).map(flat);
    for (const operation of this.operations) this.apply(operation, state, numbers, matrices, false);
    return state;
  }

  initial(amplitudes) {
    const size = 1 << this.wires;
    const state = { n: this.wires, re: new Float64Array(size), im: new Float64Array(size) };
    const start = this.basis.reduce((sum, bit, w) => sum + (bit ? bitOf(this.wires, w) : 0), 0);
    if (!this.prepared.length) {
      state.re[start] = 1;
      return state;
    }
    basisStates(this.prepared, this.wires).forEach((place, i) => {
      const z = amplitudes[i];
      [state.re[start + place], state.im[start + place]] = Array.isArray(z) ? z : [z, 0];
    });
    return state;
  }

  /** Change a state by an operation, or undo it. */
  apply(operation, state, numbers, matrices, undo) {
    if (operation.kind === "rotation") {
      const { parameter, scale, shift } = operation;
      const angle = (parameter == null ? 0 : scale * numbers.parameters[parameter]) + shift;
      rotate(operation, state, undo ? -angle / 2 : angle / 2);
    } else {
      const matrix = operation.matrix ?? matrices[operation.parameter];
      multiply(operation, state, undo ? dagger(matrix) : matrix);
    }
  }

  /**
   * Return the expectation value of an observable, and its gradient, by walking back: by
   * parameters; by entries of matrices and by amplitudes as pairs (derivatives by real and by
   * imaginary parts). What no unitary matrix did cannot be undone: then the states are kept.
   */
  gradient(numbers, observable) {
    const matrices = (numbers.matrices ?? []).map(flat);
    const fixed = this.operations.filter((o) => o.matrix).map((o) => o.matrix);
    const undone = [...fixed, ...matrices].every(isUnitary), kept = [];
    let state = this.initial(numbers.amplitudes);
    for (const operation of this.operations) {
      if (!undone) kept.push({ ...state, re: state.re.slice(), im: state.im.slice() });
      this.apply(operation, state, numbers, matrices, false);
    }
    const adjoint = applied(observable, state);
    const value = overlap(adjoint, state)[0];
    const parameters = new Float64Array(this.parameters);
    const byMatrix = matrices.map(({ size }) => ({
      size, re: new Float64Array(size * size), im: new Float64Array(size * size),
    }));
    for (const operation of [...this.operations].reverse()) {
      if (operation.kind === "rotation" && operation.parameter != null) {
        parameters[operation.parameter] += operation.scale * slope(operation, adjoint, state);
      }
      if (undone) this.apply(operation, state, numbers, matrices, true);
      else state = kept.pop();
      if (operation.kind === "given") felt(operation, adjoint, state, byMatrix[operation.parameter]);
      this.apply(operation, adjoint, numbers, matrices, true);
    }
    const start = this.basis.reduce((sum, bit, w) => sum + (bit ? bitOf(this.wires, w) : 0), 0);
    const places = this.prepared.length ? basisStates(this.prepared, this.wires) : [];
    return {
      value,
      parameters,
      matrices: byMatrix.map(({ size, re, im }) => Array.from({ length: size }, (_, row) =>
        Array.from({ length: size }, (_, column) => [re[row * size + column], im[row * size + column]]))),
      amplitudes: places.map((at) => [2 * adjoint.re[start + at], 2 * adjoint.im[start + at]]),
    };
  }
}

/** Apply exp(-i half P) where the controls have their values. */
function rotate({ flip, sign, ys, control, value }, { re, im }, half) {
  const cosine = Math.cos(half), sine = Math.sin(half);
  const [fr, fi] = POWERS[(ys + 1) % 4]; // of -i P, but for signs
  const high = flip ? 1 << (31 - Math.clz32(flip)) : 0;
  for (let j = 0; j < re.length; j++) {
    if ((j & control) !== value || j & high) continue;
    const k = j ^ flip;
    const a = parity(j & sign) ? -sine : sine;
    const ar = re[j], ai = im[j], br = re[k], bi = im[k];
    re[j] = cosine * ar + a * (fr * br - fi * bi);
    im[j] = cosine * ai + a * (fr * bi + fi * br);
    if (!flip) continue;
    const b = parity(k & sign) ? -sine : sine;
    re[k] = cosine * br + b * (fr * ar - fi * ai);
    im[k] = cosine * bi + b * (fr * ai + fi * ar);
  }
}

/** Apply a matrix where the controls have their values. */
function multiply({ mask, value, offsets }, { re, im }, { size, re: mr, im: mi }) {
  const oldR = new Float64Array(size), oldI = new Float64Array(size);
  for (let j = 0; j < re.length; j++) {
    if ((j & mask) !== value) continue;
    for (let column = 0; column < size; column++) {
      oldR[column] = re[j + offsets[column]];
      oldI[column] = im[j + offsets[column]];
    }
    for (let row = 0, entry = 0; row < size; row++) {
      let real = 0, imaginary = 0;
      for (let column = 0; column < size; column++, entry++) {
        real += mr[entry] * oldR[column] - mi[entry] * oldI[column];
        imaginary += mr[entry] * oldI[column] + mi[entry] * oldR[column];
      }
      re[j + offsets[row]] = real;
      im[j + offsets[row]] = imaginary;
    }
  }
}

/** Return Im <adjoint| P |state> where the controls have their values. */
function slope({ flip, sign, ys, control, value }, adjoint, state) {
  const [fr, fi] = POWERS[ys];
  let real = 0, imaginary = 0;
  for (let j = 0; j < state.re.length; j++) {
    if ((j & control) !== value) continue;
    const k = j ^ flip, s = parity(j & sign) ? -1 : 1;
    real += s * (adjoint.re[j] * state.re[k] + adjoint.im[j] * state.im[k]);
    imaginary += s * (adjoint.re[j] * state.im[k] - adjoint.im[j] * state.re[k]);
  }
  return fr * imaginary + fi * real;
}

/** Add to the derivative by a given matrix: twice adjoint times state. */
function felt({ mask, value, offsets }, adjoint, state, made) {
  for (let j = 0; j < state.re.length; j++) {
    if ((j & mask) !== value) continue;
    for (let row = 0, entry = 0; row < made.size; row++) {
      const ar = adjoint.re[j + offsets[row]], ai = adjoint.im[j + offsets[row]];
      for (let column = 0; column < made.size; column++, entry++) {
        const br = state.re[j + offsets[column]], bi = state.im[j + offsets[column]];
        made.re[entry] += 2 * (ar * br + ai * bi);
        made.im[entry] += 2 * (ai * br - ar * bi);
      }
    }
  }
}

/** Return an observable applied to a state. */
export function applied(observable, { n, re, im }) {
  const made = { n, re: new Float64Array(re.length), im: new Float64Array(re.length) };
  for (const [weight, letters] of observable) {
    const { flip, sign, ys } = pauli(letters, n), [fr, fi] = POWERS[ys];
    for (let j = 0; j < re.length; j++) {
      const k = j ^ flip, w = parity(j & sign) ? -weight : weight;
      made.re[j] += w * (fr * re[k] - fi * im[k]);
      made.im[j] += w * (fr * im[k] + fi * re[k]);
    }
  }
  return made;
}

function overlap(a, b) {
  let real = 0, imaginary = 0;
  for (let j = 0; j < a.re.length; j++) {
    real += a.re[j] * b.re[j] + a.im[j] * b.im[j];
    imaginary += a.re[j] * b.im[j] - a.im[j] * b.re[j];
  }
  return [real, imaginary];
}

/** Return the expectation value of an observable. */
export function expectation(state, observable) {
  return overlap(state, applied(observable, state))[0];
}

/** Return the probabilities of the outcomes on some wires, all of them by default. */
export function probabilities(state, wires = Array.from({ length: state.n }, (_, w) => w)) {
  const found = new Float64Array(1 << wires.length);
  for (let j = 0; j < state.re.length; j++) {
    const outcome = wires.reduce((o, w) => 2 * o + (j & bitOf(state.n, w) ? 1 : 0), 0);
    found[outcome] += state.re[j] ** 2 + state.im[j] ** 2;
  }
  return found;
}

/**
 * Return a function that draws numbers in [0, 1), 53 bits each, the same for the same seed: the
 * generator xoshiro128** of Blackman and Vigna, its state filled by splitmix32.
 */
export function generator(seed) {
  let fill = seed >>> 0;
  const s = Array.from({ length: 4 }, () => {
    fill = (fill + 0x9e3779b9) >>> 0;
    let z = fill;
    z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
    z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
    return (z ^ (z >>> 16)) >>> 0;
  });
  const turn = (x, by) => ((x << by) | (x >>> (32 - by))) >>> 0;
  const next = () => {
    const drawn = Math.imul(turn(Math.imul(s[1], 5), 7), 9) >>> 0, shifted = s[1] << 9;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = turn(s[3], 11);
    return drawn;
  };
  return () => ((next() >>> 5) * 0x4000000 + (next() >>> 6)) / 2 ** 53;
}

/** Return a function that draws normal numbers of mean 0 and variance 1. */
export function normal(random) {
  let spare = null;
  return () => {
    if (spare !== null) {
      const kept = spare;
      spare = null;
      return kept;
    }
    const radius = Math.sqrt(-2 * Math.log(1 - random())), angle = 2 * Math.PI * random();
    spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  };
}

/** Return how often each outcome comes up in a number of shots. */
export function sample(chances, shots, random) {
  const counts = new Array(chances.length).fill(0);
  const total = chances.reduce((sum, p) => sum + p, 0);
  for (let shot = 0; shot < shots; shot++) {
    let left = random() * total, outcome = 0;
    while (outcome < chances.length - 1 && left >= chances[outcome]) left -= chances[outcome++];
    counts[outcome] += 1;
  }
  return counts;
}
