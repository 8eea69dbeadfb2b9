// Writes the numbers of pages (name of the target -> number) into the table of contents.
(pages) => document.querySelectorAll("[data-page]").forEach((tag) => {
  tag.textContent = pages[tag.dataset.page];
})
