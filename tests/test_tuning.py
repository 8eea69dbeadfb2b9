"""The best settings are chosen from stored trials, written once, and read by the paper's grids."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import yaml
from typer.testing import CliRunner

from qmlbook import cli, papers
from qmlbook.base.errors import UsageError
from qmlbook.evidence.store import Store
from qmlbook.evidence.tuning import best, tune
from qmlbook.papers.shared.tuning import Tuning, tuned

RATES = (0.1, 0.2, 0.3)


@dataclass(frozen=True)
class Config:
    rate: float = 0.1
    wide: bool = False


class Paper:
    """A paper that tunes two models by tiny runs, whose scores are set here."""

    def __init__(self, folder):
        self.folder, self.ran, self.broken = folder, 0, False
        self.accuracy = {0.1: [0.5, 0.7], 0.2: [0.6, 0.6], 0.3: [0.2, 0.3]}  # by rate, a seed each
        self.loss = {0.1: 1.0, 0.2: 1.0, 0.3: 1.0}
        self.trials = {
            model: {f"{model}-{k}": {"rate": rate} for k, rate in enumerate(RATES)}
            for model in ("narrow", "wide")
        }

    def run(self, config, seed):
        self.ran += 1
        if self.broken and config.wide:
            raise ValueError("it broke")
        return {"accuracy": self.accuracy[config.rate][seed], "loss": self.loss[config.rate]}

    def module(self, paper, part):
        tuning = Tuning(self.trials, lambda m: (m["accuracy"], -m["loss"]), "Chosen. " * 20)
        return SimpleNamespace(TUNING=tuning) if paper == "fake" else None

    def experiments(self, paper):
        variants = {
            trial: Config(wide=model == "wide", **settings)
            for model, trials in self.trials.items()
            for trial, settings in trials.items()
        }
        made = papers.Experiment("tuning", 1, self.run, {"full": variants}, {"full": 2})
        return {"tuning": made}

    @property
    def file(self):
        return self.folder / "tuned.yml"


@pytest.fixture
def paper(monkeypatch, tmp_path):
    made = Paper(tmp_path)
    monkeypatch.setattr(papers, "names", lambda: ["bare", "fake"])
    for name in ("module", "experiments"):
        monkeypatch.setattr(papers, name, getattr(made, name))
    monkeypatch.setattr(papers, "claims_file", lambda _: tmp_path / "claims.yml")
    return made


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


def test_missing_trials_are_made_and_the_best_are_written_once(paper, store):
    summary, chosen = tune("fake", store=store)
    assert (summary.ran, paper.ran) == (12, 12)
    assert chosen == {"narrow": {"rate": 0.1}, "wide": {"rate": 0.1}}  # of equals, the first
    written = paper.file.read_bytes()
    assert yaml.safe_load(written) == chosen
    head = [line for line in written.decode().splitlines() if line.startswith("#")]
    assert max(map(len, head)) <= 100
    assert len(head) == 2
    assert head[-1].endswith("Written by `qmlbook tune fake`.")
    summary, _ = tune("fake", store=store)
    assert (summary.ran, summary.done, paper.ran) == (0, 12, 12)
    assert paper.file.read_bytes() == written


def test_the_mean_over_seeds_decides_and_then_the_next_number(paper, store):
    paper.loss = {0.1: 1.0, 0.2: 0.5, 0.3: 0.1}
    assert tune("fake", store=store)[1]["wide"] == {"rate": 0.2}


def test_what_lacks_a_run_is_not_chosen_and_nothing_is_written(paper, store):
    paper.broken = True
    summary, chosen = tune("fake", store=store)
    assert summary.failed
    assert chosen == best("fake", store) == {"narrow": {"rate": 0.1}}
    assert not paper.file.exists()


def test_a_dry_run_only_counts(paper, store):
    summary, chosen = tune("fake", store=store, dry_run=True)
    assert (summary.to_run, paper.ran, chosen) == (12, 0, {})
    assert not paper.file.exists()


def test_runs_of_other_settings_do_not_count(paper, store):
    tune("fake", store=store)
    paper.trials["wide"]["wide-2"] = {"rate": 0.2}  # the variant of a name is another one now
    assert list(best("fake", store)) == ["narrow"]


def test_a_paper_that_tunes_nothing_says_so(paper, store):
    with pytest.raises(UsageError, match="paper 'bare' tunes nothing"):
        tune("bare", store=store)


@pytest.mark.parametrize("name", ["klssl", "qdeq", "qssl", "c2q"])
def test_the_stored_trials_give_the_written_settings(name, monkeypatch, tmp_path):
    written = papers.claims_file(name).with_name("tuned.yml").read_bytes()
    waiting, chosen = tune(name, dry_run=True)
    assert list(chosen.items()) == list(tuned(name).items())
    if waiting.to_run:  # models whose trials are planned only: the command would make them
        return
    monkeypatch.setattr(papers, "claims_file", lambda _: tmp_path / "claims.yml")
    result = CliRunner().invoke(cli.app, ["tune", name])
    assert result.exit_code == 0, result.output
    assert "0 of 0 runs made" in result.output
    assert (tmp_path / "tuned.yml").read_bytes() == written
