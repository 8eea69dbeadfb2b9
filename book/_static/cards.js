// Cards: what a link leads to, beside it, while the pointer or the keyboard is on it. A card stays
// while the pointer is on it, and goes with Escape. A finger follows the link as ever.
document.addEventListener("DOMContentLoaded", () => {
  const article = document.querySelector(".bd-article");
  if (!article) return;
  const kept = document.getElementById("qmlbook-cards")?.content;
  const card = document.createElement("div");
  Object.assign(card, { id: "qmlbook-card", hidden: true });
  card.setAttribute("role", "tooltip");
  document.body.append(card);
  let shown = null, waits = 0;

  // A copy without what may be there only once, and without what could be pressed.
  const copied = (element) => {
    const copy = element.cloneNode(true);
    copy.querySelectorAll(".headerlink, button, script").forEach((part) => part.remove());
    copy.querySelectorAll("a").forEach((link) => link.replaceWith(...link.childNodes));
    [copy, ...copy.querySelectorAll("[id]")].forEach((part) => part.removeAttribute("id"));
    copy.querySelectorAll("img").forEach((image) => image.removeAttribute("loading"));
    return copy;
  };

  const said = (link) => {
    const address = link.getAttribute("href");
    const other = kept?.querySelector(`[data-card="${CSS.escape(address)}"]`);
    if (other) return copied(other);
    if (link.dataset.title) return document.createTextNode(link.dataset.title);
    if (!address.startsWith("#")) return null;
    const target = document.getElementById(decodeURIComponent(address.slice(1)));
    const part = target?.closest("figure, div.math");
    return part ? copied(part) : null;
  };

  const hide = () => {
    clearTimeout(waits);
    shown?.removeAttribute("aria-describedby");
    shown = null;
    card.hidden = true;
  };

  const show = (link) => {
    const content = said(link);
    if (!content) return;
    hide();
    shown = link;
    card.replaceChildren(content);
    card.hidden = false;
    window.MathJax?.typesetPromise?.([card]);
    link.setAttribute("aria-describedby", card.id);
    const at = link.getClientRects()[0], room = document.documentElement.clientWidth;
    const left = Math.max(8, Math.min(at.left, room - card.offsetWidth - 8));
    const below = at.bottom + card.offsetHeight + 8 < innerHeight || at.top < card.offsetHeight + 8;
    const top = below ? at.bottom + 4 : at.top - card.offsetHeight - 4;
    card.style.left = `${left + scrollX}px`;
    card.style.top = `${top + scrollY}px`;
  };

  const later = (what, after) => {
    clearTimeout(waits);
    waits = setTimeout(what, after);
  };

  for (const link of article.querySelectorAll('a.reference.internal[href*="#"]')) {
    if (link.title && !link.closest("nav")) {
      link.dataset.title = link.title; // the browser would show it beside the card
      link.removeAttribute("title");
    }
    link.addEventListener("pointerenter", ({ pointerType }) => {
      if (pointerType !== "touch") later(() => show(link), 250);
    });
    link.addEventListener("pointerleave", () => later(hide, 250));
    link.addEventListener("focus", () => {
      if (link.matches(":focus-visible")) show(link);
    });
    link.addEventListener("blur", hide);
  }
  card.addEventListener("pointerenter", () => clearTimeout(waits));
  card.addEventListener("pointerleave", () => later(hide, 250));
  document.addEventListener("keydown", ({ key }) => {
    if (key === "Escape") hide();
  });
});
