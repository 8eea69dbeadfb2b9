"""The page on what could be read: its recipe for filling a gap does what the page says."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from rooms import OURS

from qmlbook.base.errors import QmlbookError
from qmlbook.evidence.claims import PUBLISHED, load
from qmlbook.evidence.verdicts import verdicts

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "book" / "available.md").read_text("utf-8")
# The recipe, as the page has it.
FILE, CLAIM, OLD, NEW, COMMAND = re.search(
    r'```bash\n# in (\S+), under "id: (\S+)":\n#\s+(.+?)   becomes   (.+?)\n(.+?)\n```', PAGE
).groups()


@pytest.fixture(scope="module")
def today():
    """Return claim -> verdict, as the book has them."""
    return {verdict.claim: verdict.to_json() for verdict in verdicts(["qdeq"])}


@pytest.fixture
def copy(tmp_path):
    """Return a copy of the library with its records."""
    unwanted = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=unwanted)
    shutil.copytree(ROOT / "data" / "results" / "qdeq", tmp_path / "data" / "results" / "qdeq")
    return tmp_path


def report(root):
    """Run the page's command in a checkout; return claim -> verdict."""
    _, *arguments = COMMAND.split()
    process = subprocess.run(
        [sys.executable, "-m", "qmlbook.cli", *arguments, "--format", "json"],
        env={**os.environ, "PYTHONPATH": str(root / "src"), "QMLBOOK_ROOT": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    return {row["claim"]: row for row in json.loads(process.stdout)}


def fill(root, published):
    """Replace the line that the page names."""
    path = root / FILE
    before, entry = path.read_text("utf-8").split(f"id: {CLAIM}\n")
    assert entry.index(OLD) < entry.index("- id: "), "the recipe names a line of another claim"
    path.write_text(f"{before}id: {CLAIM}\n{entry.replace(OLD, published, 1)}", "utf-8")


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("published", "outcome"),
    [(NEW, "reproduced"), ("published: {mean: 0.90}", "not reproduced")],
)
def test_one_line_and_one_command_turn_a_gap_into_a_verdict(copy, today, published, outcome):
    assert published.removeprefix("published: ") in PAGE
    assert today[CLAIM]["outcome"] == "no published value"
    fill(copy, published)
    filled = report(copy)
    assert filled[CLAIM]["outcome"] == outcome
    assert filled[CLAIM]["ours"] == today[CLAIM]["ours"]
    assert {**filled, CLAIM: today[CLAIM]} == today


def test_a_typing_mistake_is_named(copy):
    fill(copy, "published: {mean: none}")
    with pytest.raises(QmlbookError, match=rf"{CLAIM}: published\.mean is 'none' and must be"):
        load("qdeq", copy / FILE)


def test_every_form_on_the_page_is_one_that_claims_may_have():
    written = re.findall(r"^\|.*\| `published: (\{.*?\})`", PAGE, re.MULTILINE)
    assert [set(yaml.safe_load(form)) for form in written] == [set(form) for form in PUBLISHED]


def test_every_paper_has_a_section():
    sections = PAGE.split("\n## Fill ")[0].split("\n### ")[1:]
    keys = [re.search(r"\{cite:t\}`(\w+)`", section)[1] for section in sections]
    assert sorted(keys) == sorted(load(name).citation for name in OURS)
    for section in sections:
        rows = re.findall(r"^\| (\w[\w ]+) \|", section, re.MULTILINE)
        assert rows == ["read", "not read", "published values", "remains open"]
