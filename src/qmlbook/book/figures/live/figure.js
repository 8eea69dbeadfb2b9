// What live figures share: elements, controls, a frame to draw in, a sentence that is read out.

const SVG = "http://www.w3.org/2000/svg";

/** Build the figures of a kind that the page has and that do not run yet. */
export function mount(kind, build) {
  document.querySelectorAll(`.qmlbook-live[data-kind="${kind}"]:not([data-on])`).forEach((box) => {
    if (box.closest(".reveal")) return; // a slide has no room for controls
    box.dataset.on = "";
    const part = box.querySelector("[role=group]"), picture = box.querySelector(":scope > img");
    build(part, JSON.parse(box.querySelector("[type='application/json']").textContent));
    part.hidden = false;
    if (picture) picture.hidden = true; // but not on paper
  });
}

/** Return an element with attributes; functions listen, `false` leaves an attribute out. */
export function make(name, attributes = {}, ...children) {
  return fitted(document.createElement(name), attributes, children);
}

/** Return an element of a drawing. */
export function draw(name, attributes = {}, ...children) {
  return fitted(document.createElementNS(SVG, name), attributes, children);
}

function fitted(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== false && value != null) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

/** Return a number with a minus sign and a fixed number of digits. */
export const shown = (value, digits = 2) =>
  (Math.abs(value) < 0.5 * 10 ** -digits ? 0 : value).toFixed(digits).replace("-", "−");

/** Return a labelled slider; `said` puts its value in words, `changed` is called with it. */
export function slider(label, { min, max, step, value, said = String }, changed) {
  const words = make("output", { "aria-hidden": "true" });
  const input = make("input", { type: "range", min, max, step, value });
  const tell = () => {
    words.textContent = said(+input.value);
    input.setAttribute("aria-valuetext", said(+input.value));
  };
  input.addEventListener("input", () => {
    tell();
    changed(+input.value);
  });
  tell();
  return make("label", {}, label, input, words);
}

export function button(words, pressed) {
  return make("button", { type: "button", click: pressed }, words);
}

/** Return a labelled choice among names; `changed` is called with the one that is chosen. */
export function choice(label, names, chosen, changed) {
  const options = names.map((name) => make("option", { selected: name === chosen }, name));
  const select = make("select", {}, ...options);
  select.addEventListener("change", () => changed(select.value));
  return make("label", {}, label, select);
}

/** Return a sentence that is read out when it changes; call `.say(words)`. */
export function sentence() {
  const element = make("p", { role: "status", "aria-live": "polite" });
  return { element, say: (words) => (element.textContent = words) };
}

/** Return whether the reader asked for things not to move. */
export const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/**
 * Return a drawing with axes: `x` and `y` turn numbers into places, `clear` empties it. Either axis
 * is {from, to, ticks, label, said}.
 */
export function frame(label, { width = 360, height = 220, left = 44, x, y }) {
  const bottom = x.label ? 40 : 24, right = 8, top = 8;
  const across = (v) => left + ((v - x.from) / (x.to - x.from)) * (width - left - right);
  const up = (v) => height - bottom - ((v - y.from) / (y.to - y.from)) * (height - bottom - top);
  const axes = draw("g"), inside = draw("g");
  const line = { stroke: "var(--faint)", "stroke-width": 1 };
  for (const tick of x.ticks ?? []) {
    axes.append(
      draw("line", { ...line, x1: across(tick), x2: across(tick), y1: top, y2: height - bottom }),
      draw("text", { x: across(tick), y: height - bottom + 15, "text-anchor": "middle" }, tickWords(x, tick)),
    );
  }
  for (const tick of y.ticks ?? []) {
    axes.append(
      draw("line", { ...line, x1: left, x2: width - right, y1: up(tick), y2: up(tick) }),
      draw("text", { x: left - 6, y: up(tick) + 4, "text-anchor": "end" }, tickWords(y, tick)),
    );
  }
  const middle = { "text-anchor": "middle" };
  if (x.label) {
    axes.append(draw("text", { ...middle, x: (left + width - right) / 2, y: height - 6 }, x.label));
  }
  if (y.label) {
    const at = (top + height - bottom) / 2;
    axes.append(draw("text", { ...middle, x: 11, y: at, transform: `rotate(-90 11 ${at})` }, y.label));
  }
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label }, axes, inside);
  return {
    svg,
    x: across,
    y: up,
    clear: () => inside.replaceChildren(),
    add: (name, attributes, ...children) => inside.append(draw(name, attributes, ...children)),
    name: (words) => svg.setAttribute("aria-label", words),
    back: (event) => {
      const box = svg.getBoundingClientRect();
      const at = (event.clientX - box.left) * (width / box.width);
      const down = (event.clientY - box.top) * (height / box.height);
      return [
        x.from + ((at - left) / (width - left - right)) * (x.to - x.from),
        y.from + ((height - bottom - down) / (height - bottom - top)) * (y.to - y.from),
      ];
    },
  };
}

const tickWords = (axis, tick) => (axis.said ?? ((v) => String(v).replace("-", "−")))(tick);
