// What the pages get wrong for screen readers, and for readers without a server.
document.addEventListener("DOMContentLoaded", () => {
  // The children of a list must be its items.
  document
    .querySelectorAll('[role="list"] > [role="doc-biblioentry"]')
    .forEach((entry) => entry.setAttribute("role", "listitem"));
  // What opens a part of the contents has an arrow and no name.
  document.querySelectorAll(".bd-sidebar li.has-children > details > summary").forEach((arrow) => {
    const page = arrow.closest("li").querySelector(":scope > a").textContent.trim();
    arrow.setAttribute("aria-label", `Pages below ${page}`);
  });
});

// What was hidden may scroll. The theme looks for that when the window changes, and lets the
// keyboard reach it.
document.addEventListener("click", ({ target }) => {
  if (target.closest(".admonition.toggle, details")) window.dispatchEvent(new Event("resize"));
});

// Opened as a file, a page may not read the others: results of a search come without excerpts.
if (location.protocol === "file:") {
  DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
}

// What is wider than a small screen scrolls, by keyboard too.
const reach = () => {
  document.querySelectorAll(".qmlbook-plot").forEach((plot) => {
    if (plot.scrollWidth > plot.clientWidth) plot.tabIndex = 0;
    else plot.removeAttribute("tabindex");
  });
};
addEventListener("resize", reach);
document.addEventListener("DOMContentLoaded", reach);
