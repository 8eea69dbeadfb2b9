"""The glossary: every term is defined once and linked, and chapters link what they use."""

import re
from pathlib import Path

import pytest
from rooms import OURS

from qmlbook import papers
from qmlbook.book import chapters

ROOT = Path(__file__).resolve().parents[1]
TEXTS = {
    name.removeprefix("book/"): (ROOT / f"{name}.md").read_text("utf-8")
    for name in chapters.documents(ROOT)
}
GLOSSARY = re.search(r"```\{glossary\}\n:sorted:\n\n(.*?)\n```", TEXTS["glossary"], re.DOTALL)[1]
ENTRIES = [entry.split("\n") for entry in GLOSSARY.split("\n\n")]
TERMS = [entry[0] for entry in ENTRIES]
LINK = re.compile(r"\{term\}`(?:[^`<]*<([^`>]+)>|([^`]+))`")
# What cannot hold such a link: code, formulas, headings, other links and references.
CLOSED = re.compile(
    r"(?ms)(?P<term>\{term\}`[^`]*`)|\A---\n.*?^---$|^```(\{code-cell\}[^\n]*|\w*)\n.*?^```$"
    r"|^#[^\n]*|\$[^$]*\$|`[^`]*`|\[[^\]]*\]\([^)]*\)"
)
LINKED = {name: [a or b for a, b in LINK.findall(text)] for name, text in TEXTS.items()}
# Pages that need not link: the glossary, what is made from docstrings, a paper of the reader's own.
FREE = {
    "glossary",
    *(name for name in TEXTS if name.startswith("api")),
    *(set(papers.names()) - set(OURS)),
}
# Where a word of the glossary is used as everybody uses it.
ORDINARY = {"c2q": {"loss"}}


def use_of(term, text):
    """Return where a text first uses a term, in the singular or plural."""
    return re.search(rf"(?i)(?<![\w-]){re.escape(term)}s?(?![\w-])", text)


def test_terms_are_sorted_unique_and_explained_in_a_few_sentences():
    assert 40 <= len(TERMS) <= 80
    assert len({term.lower() for term in TERMS}) == len(TERMS)
    assert sorted(TERMS, key=str.lower) == TERMS
    for term, *definition in ENTRIES:
        text = " ".join(definition)
        assert all(line.startswith("  ") for line in definition), term
        assert 1 <= len(re.findall(r"[.!?)](?: |$)", text)) <= 4, term


def test_every_link_leads_to_a_term():
    known = {term.lower() for term in TERMS}
    for name, linked in LINKED.items():
        assert not {term.lower() for term in linked} - known, name


def test_every_term_is_linked_from_a_page():
    linked = {
        term.lower() for name, terms in LINKED.items() if name != "glossary" for term in terms
    }
    assert not {term.lower() for term in TERMS} - linked


@pytest.mark.parametrize("name", [name for name in TEXTS if name != "glossary"])
def test_a_page_links_a_term_once(name):
    terms = [term.lower() for term in LINKED[name]]
    assert sorted(set(terms)) == sorted(terms)


@pytest.mark.parametrize("name", [name for name in TEXTS if name != "glossary"])
def test_it_is_the_first_use_of_the_word_that_is_linked(name):
    text = CLOSED.sub(lambda part: part["term"] or " " * len(part[0]), TEXTS[name])
    for link in LINK.finditer(text):
        term, before = link[1] or link[2], LINK.sub("", text[: link.start()])
        used = use_of(term, before)
        assert not used, f"{term}: ...{before[max(0, used.start() - 40) : used.end() + 20]}"


@pytest.mark.parametrize("name", [name for name in TEXTS if name not in FREE])
def test_a_page_links_the_words_of_the_glossary_that_it_uses(name):
    text = CLOSED.sub(lambda part: " " * len(part[0]), TEXTS[name])
    used = {term.lower() for term in TERMS if use_of(term, text)}
    linked = {term.lower() for term in LINKED[name]}
    ordinary = {"power"} | ORDINARY.get(name, set())
    assert not used - linked - ordinary


@pytest.mark.parametrize("name", ["circuits", "evidence", *OURS])
def test_chapters_link_what_they_use(name):
    assert len(LINKED[name]) >= 10
