"""What experiments ask for is known without PyTorch, and never older than the code that says it."""

import json
import subprocess
import sys
from dataclasses import asdict

import pytest

from qmlbook import papers
from qmlbook.base.errors import UsageError
from qmlbook.base.paths import cache_dir
from qmlbook.evidence import planned as module
from qmlbook.evidence.cells import Cell
from qmlbook.evidence.claims import load_claims
from qmlbook.evidence.planned import planned, seeds_of, seeds_text
from qmlbook.evidence.store import Store, config_key


@pytest.fixture
def imported(monkeypatch, tmp_path):
    """Return the list of papers whose experiments were imported, with an empty cache."""
    asked, real = [], papers.experiments
    monkeypatch.setenv("QMLBOOK_CACHE", str(tmp_path))
    monkeypatch.setattr(papers, "experiments", lambda name: asked.append(name) or real(name))
    return asked


def test_what_is_kept_is_what_the_experiments_say(imported):
    first, again = planned("klssl"), planned("klssl")
    assert imported == ["klssl"]
    assert first == again
    experiments = papers.experiments("klssl")
    assert list(again) == list(experiments)
    for name, experiment in experiments.items():
        assert again[name].version == experiment.version
        quick = range(experiment.seeds["quick"]) if "quick" in experiment.seeds else ()
        for seeds in again[name].seeds["quick"].values():
            assert seeds == tuple(quick)
        assert again[name].devices == tuple(experiment.devices)
        for profile, variants in experiment.variants.items():
            keys = {variant: config_key(config) for variant, config in variants.items()}
            assert again[name].variants[profile] == keys


def test_seeds_are_those_of_claims_or_else_of_the_experiment(imported):
    for paper in papers.names():
        asked = {}
        for claim in load_claims(paper):
            for cell in claim.every_cell:
                asked.setdefault(cell, set()).update(claim.seeds)
        experiments = papers.experiments(paper)
        for name, found in planned(paper).items():
            for variant, seeds in found.seeds["full"].items():
                own = range(experiments[name].seeds["full"])
                assert seeds == tuple(sorted(asked.get(Cell(name, variant), own)))


def other(record, experiment):
    """Return fields of a stored configuration that its variant of today has differently."""
    offered = experiment.variants.get(record.profile, {}).get(record.variant)
    if offered is None or config_key(offered) != record.config_key:
        return []
    today = json.loads(json.dumps(asdict(offered)))
    return [field for field, value in record.config.items() if today.get(field) != value]


@pytest.mark.parametrize("paper", papers.names())
def test_stored_runs_were_asked_what_their_variants_ask_today(paper):
    """The key of a configuration leaves out its defaults, and so cannot tell that one changed."""
    experiments, compared = papers.experiments(paper), set()
    for record in Store().records(paper):
        if (run := (record.cell, record.profile, record.config_key)) not in compared:
            compared.add(run)
            if experiment := experiments.get(record.experiment):
                assert not other(record, experiment), run


@pytest.mark.parametrize(
    ("text", "seeds"), [("1", range(1)), ("20", range(20)), ("10-49", range(10, 50))]
)
def test_seeds_in_words(text, seeds):
    assert seeds_of(text) == seeds
    assert seeds_text(seeds) == text


@pytest.mark.parametrize(
    "text",
    ["", "0", "-3", "3-", "5-4", "1-2-3", "x", "1.5", "٣", "9" * 5000, "10001", "0-999999999"],
)
def test_other_words_are_no_seeds(text):
    with pytest.raises(UsageError, match="must be N, 1 or more, or A-B, both included") as caught:
        seeds_of(text)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "changed",
    ["claims.yml", "claims.py", "config.py", "grids.py", "published.yml", "sets.toml", "store.py"],
)
def test_it_is_made_anew_when_what_it_is_made_from_changes(imported, monkeypatch, changed):
    planned("klssl")
    real = module.Path.read_bytes
    monkeypatch.setattr(
        "pathlib.Path.read_bytes", lambda path: real(path) + b" " * (path.name == changed)
    )
    planned("klssl")
    assert imported == ["klssl"] * 2
    assert len(list((cache_dir() / ".planned").glob("klssl-*.json"))) == 1


@pytest.mark.parametrize("content", [b"", b"{", b'{"grid": {"version": "x"}}', b"[]"])
def test_a_damaged_file_is_made_anew(imported, content):
    expected = planned("klssl")
    (file,) = (cache_dir() / ".planned").glob("klssl-*.json")
    file.write_bytes(content)
    assert planned("klssl") == expected
    assert imported == ["klssl"] * 2


def test_without_a_cache_it_is_made_each_time(imported, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("QMLBOOK_CACHE", str(tmp_path / "file"))
    assert planned("klssl") == planned("klssl")
    assert imported == ["klssl"] * 2


def test_an_unknown_paper_is_refused():
    with pytest.raises(UsageError, match="paper 'nosuch' is not known"):
        planned("nosuch")


def test_a_report_imports_neither_torch_nor_pennylane(imported):
    planned("klssl")
    program = """
import sys
from qmlbook import cli
sys.argv = ["qmlbook", "report", "klssl"]
try:
    cli.main()
finally:
    assert not {"torch", "pennylane"} & sys.modules.keys()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "klssl" in done.stdout
