document.querySelectorAll(".qmlbook-signs:not(.live)").forEach((box) => {
  const { lines, columns, initial, best, when_best } = JSON.parse(box.dataset.table);
  const table = box.querySelector("table"), products = box.querySelectorAll("[data-holds]");
  const text = (sign) => (sign > 0 ? "+1" : "−1");
  let signs = [...initial], record = 0;
  const show = () => {
    buttons.forEach((button, i) => {
      const [name, sign] = button.children, word = signs[i] > 0 ? "plus" : "minus";
      sign.textContent = text(signs[i]);
      button.dataset.sign = word;
      button.setAttribute("aria-label", `${name.textContent}: ${word} 1, press to change`);
    });
    const failing = lines.filter(([name, places, wanted], i) => {
      const product = places.reduce((so_far, place) => so_far * signs[place], 1);
      products[i].dataset.holds = product === wanted;
      products[i].innerHTML = `${text(product)}, wanted&nbsp;${text(wanted)}: ` +
        `<b>${product === wanted ? "holds" : "fails"}</b>`;
      return product !== wanted;
    }).map(([name]) => name);
    const held = lines.length - failing.length;
    record = Math.max(record, held);
    box.querySelector("output").textContent = `${held} of ${lines.length} products hold` +
      (failing.length ? `; failing: ${failing.join(", ")}` : "") +
      `. Best so far: ${record} of ${lines.length}.`;
    if (record === best) box.querySelector("div").textContent = when_best;
  };
  const buttons = [...table.querySelectorAll("[data-cell]")].map((cell, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...cell.childNodes);
    cell.append(button);
    button.addEventListener("click", () => { signs[i] *= -1; show(); });
    return button;
  });
  table.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
    if (!(event.key in steps) || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    buttons[buttons.indexOf(event.target) + steps[event.key]]?.focus();
  });
  const again = box.querySelector("p[hidden]");
  again.hidden = false;
  again.querySelector("button").addEventListener("click", () => { signs = [...initial]; show(); });
  box.classList.add("live");
  show();
});
