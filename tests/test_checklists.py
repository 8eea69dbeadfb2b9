"""The checklists: every answer is one, has evidence, and the evidence exists."""

import re
from pathlib import Path

import pytest
import yaml
from rooms import OURS

from qmlbook.base.errors import QmlbookError, UsageError
from qmlbook.book import checklists
from qmlbook.evidence.verdicts import verdicts

ROOT = Path(__file__).resolve().parents[1]
RELEASED = yaml.safe_load((ROOT / "tests" / "released.yml").read_text("utf-8"))
OURS_TOO = {"papers.json", "cost_s", "data/weights"}  # of this book, named beside what others have
# What would answer an item by its name, and by a heading of the README.
SIGNS = {
    "licences": (r"licen[cs]e|copying", r"licen[cs]e"),
    "dependencies": (
        r"(^|/)(requirements\S*\.txt|environment\.ya?ml|setup\.(py|cfg)|pyproject\.toml|pipfile)$",
        r"require|install|dependenc",
    ),
    "models": (r"\.(pth?|h5|ckpt|npz|tar|safetensors)$", r"(pre)?trained model|checkpoint"),
}


def evidence():
    """Yield subject, item, answer and evidence of every answer."""
    for subject, answers in checklists.read()["subjects"].items():
        for item, (answer, told) in answers.items():
            yield subject, item, answer, told


def test_every_paper_and_the_book_answer_every_item():
    assert set(checklists.subjects()) == {*OURS, "book"}
    content = checklists.read()
    assert len(content["items"]) == 11
    text = checklists.all_markdown()
    assert text.count("<h2>") == len(content["subjects"]) == 6
    assert sum(text.count(question) for question in content["items"].values()) == 66


def test_files_of_this_repository_that_are_named_exist():
    named = [name for subject, *_, told in evidence() if subject == "book"
             for name in re.findall("`([^` ]+)`", told)]  # fmt: skip
    known = [name for name in named if "." in name or "/" in name]
    assert len(known) >= 15
    for name in known:
        found = ROOT / name
        assert found.exists() or list((ROOT / "src").rglob(name)), name


def released(paper, what):
    """Return what all repositories of a paper have together."""
    return [entry for each in RELEASED.get(paper, []) for entry in each[what]]


def test_files_that_are_named_of_others_were_released():
    named = [(paper, name) for paper, *_, told in evidence() if paper != "book"
             for name in re.findall("`([^` ]+)`", told) if name not in OURS_TOO]  # fmt: skip
    assert len(named) >= 25
    for paper, name in named:
        files = released(paper, "files") + released(paper, "empty")
        repositories = [each["repository"] for each in RELEASED[paper]]
        assert name in files + repositories, (paper, name)


def test_commits_that_are_named_are_those_that_were_looked_at():
    named = [(paper, commit) for paper, *_, told in evidence()
             for commit in re.findall(r"\b(?=\w*\d)[0-9a-f]{7}\b", told)]  # fmt: skip
    assert len(named) >= 5
    for paper, commit in named:
        assert commit in [each["commit"] for each in RELEASED[paper]], (paper, commit)


@pytest.mark.parametrize("item", SIGNS)
def test_what_is_said_not_to_be_there_is_not(item):
    by_name, by_heading = SIGNS[item]
    none = [paper for paper, asked, answer, _ in evidence() if (asked, answer) == (item, "no")]
    for paper in none:
        signs = [name for name in released(paper, "files") if re.search(by_name, name, re.I)]
        signs += [each for each in released(paper, "headings") if re.search(by_heading, each, re.I)]
        assert not signs, (paper, signs)
    assert none, "no answer is no"


def test_claims_that_are_said_to_come_back_do():
    named = [
        (subject, name)
        for subject, item, _, told in evidence()
        for name in re.findall(r"\b(?:[A-Z]\d+|P-b)\b", re.sub("`[^`]*`", "", told))
        if item == "results"
    ]
    assert len(named) >= 8
    for subject in {subject for subject, _ in named}:
        outcomes = {verdict.claim: verdict.outcome for verdict in verdicts([subject])}
        assert {outcomes[name] for paper, name in named if paper == subject} == {"reproduced"}


def test_answers_about_others_are_courteous():
    rude = re.compile(r"\b(fail|wrong|bad|poor|sloppy|missing|never|broken|mislead|bug)", re.I)
    for *_, told in evidence():
        assert not rude.search(told), told


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{a: [maybe, x]}", "a of klssl is .* must be an answer"),
        ("{a: ['yes', '']}", "with its evidence"),
        ("{a: 'yes'}", "with its evidence"),
        ("{b: ['yes', x]}", "must answer every item"),
    ],
)
def test_an_answer_that_is_none_is_one_sentence(tmp_path, monkeypatch, content, said):
    text = f"items: {{a: question}}\nsubjects:\n  klssl: {content}\n"
    (tmp_path / "checklists.yml").write_text(text)
    monkeypatch.setattr(checklists, "FILE", tmp_path / "checklists.yml")
    with pytest.raises(QmlbookError, match=said):
        checklists.read()


def test_an_unknown_subject_is_refused():
    with pytest.raises(UsageError, match="subject 'nosuch' is not known"):
        checklists.markdown("nosuch")
