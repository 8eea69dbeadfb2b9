// Tokens on a graph that a reader draws: which answers stay possible after those that were given.
import { applied, Circuit, expectation } from "./simulator.js";
import { button, draw, make, sentence } from "./figure.js";

const IMPOSSIBLE = 1e-9; // probabilities below count as zero
const N = 3; // vertices
const PAIRS = [[0, 1], [0, 2], [1, 2]];
const LOW = "₀₁₂";

/** Return the operator of a token: X of its vertex, Z of those that the edges join to it. */
export function operator(vertex, edges) {
  const joined = edges.filter((edge) => edge.includes(vertex)).flat().filter((v) => v !== vertex);
  return [[1, [[vertex, "X"], ...joined.map((v) => [v, "Z"])]]];
}

/** Return the state of no graph: every qubit in |+>. */
export function nothing() {
  const operations = Array.from({ length: N }, (_, w) => ({
    kind: "rotation", wires: [w], word: "Y", shift: Math.PI / 2,
  }));
  return new Circuit({ wires: N, operations }).state();
}

/** Return the probability of an answer, 1 or -1. */
export const chance = (state, token, sign) => (1 + sign * expectation(state, token)) / 2;

/** Return the state after an answer. */
export function after(state, token, sign) {
  const turned = applied(token, state), scale = 2 * Math.sqrt(chance(state, token, sign));
  const kept = (part) => state[part].map((v, i) => (v + sign * turned[part][i]) / scale);
  return { n: state.n, re: kept("re"), im: kept("im") };
}

export function tokens(part, { start }) {
  let edges = start.map((edge) => [...edge]), state = nothing(), told = [], over = false;
  const picture = make("div"), rows = make("tbody"), status = sentence();
  const history = make("ol", { "aria-label": "answers" });
  const name = (vertex) => `${operator(vertex, edges)[0][1].sort((a, b) => a[0] - b[0])
    .map(([wire, letter]) => letter + LOW[wire]).join("")}`;
  const has = ([a, b]) => edges.some((edge) => edge[0] === a && edge[1] === b);
  const toggles = PAIRS.map((pair) => button(`edge ${pair.join("–")}`, () => {
    edges = has(pair) ? edges.filter((edge) => String(edge) !== String(pair)) : [...edges, pair];
    show(`${edges.length} edges.`);
  }));
  const signs = { 1: "+1", [-1]: "−1" };

  const answer = (vertex, sign) => {
    const token = operator(vertex, edges), p = chance(state, token, sign), words = name(vertex);
    over = p < IMPOSSIBLE;
    told.push(`${words}: ${signs[sign]}${over ? ", impossible" : ""}`);
    if (!over) state = after(state, token, sign);
    show(over
      ? `${words} cannot be ${signs[sign]} after these answers: wrong at token ${told.length}.`
      : `${words} is ${signs[sign]}. ${told.length} answers, all possible.`);
  };
  const show = (words) => {
    toggles.forEach((toggle, i) => toggle.setAttribute("aria-pressed", has(PAIRS[i])));
    picture.replaceChildren(graph(edges));
    history.replaceChildren(...told.map((line) => make("li", {}, line)));
    const focused = document.activeElement?.dataset?.answer;
    rows.replaceChildren(...Array.from({ length: N }, (_, vertex) => {
      const cells = [1, -1].map((sign) => {
        const p = chance(state, operator(vertex, edges), sign);
        const percent = p < IMPOSSIBLE ? "impossible" : `${Math.round(100 * p)} %`;
        const give = button(`${signs[sign]}: ${percent}`, () => answer(vertex, sign));
        give.setAttribute("aria-label", `answer ${signs[sign]} to ${name(vertex)}, ${percent}`);
        give.dataset.answer = `${vertex} ${sign}`;
        give.disabled = over;
        return make("td", {}, give);
      });
      return make("tr", {}, make("th", { scope: "row" }, name(vertex)), ...cells);
    }));
    if (focused) (over ? again : rows.querySelector(`[data-answer="${focused}"]`)).focus();
    status.say(words);
  };
  const again = button("start again", () => {
    [state, told, over] = [nothing(), [], false];
    show("No answers yet.");
  });
  const head = ["token", "answer", "or"].map((words) => make("th", { scope: "col" }, words));
  part.append(
    picture, make("div", { class: "controls" }, ...toggles),
    make("table", {}, make("thead", {}, make("tr", {}, ...head)), rows),
    status.element, history, again,
  );
  show("No answers yet.");
}

function graph(edges) {
  const places = [[60, 110], [180, 24], [300, 110]];
  const words = edges.map((edge) => edge.join("–")).join(", ");
  const svg = draw("svg", {
    viewBox: "0 0 360 134", role: "img", "aria-label": `Graph of three vertices, edges: ${words || "none"}.`,
  });
  for (const [a, b] of edges) {
    const [[x1, y1], [x2, y2]] = [places[a], places[b]];
    svg.append(draw("line", { x1, y1, x2, y2, stroke: "var(--line)", "stroke-width": 3 }));
  }
  places.forEach(([cx, cy], vertex) => svg.append(
    draw("circle", { cx, cy, r: 16, fill: "var(--first)" }),
    draw("text", { x: cx, y: cy + 4, "text-anchor": "middle", style: "fill: var(--paper)" }, vertex),
  ));
  return svg;
}
