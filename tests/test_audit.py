"""Stored runs are drawn and made again, and what is said of all records follows from them."""

import json
import shutil
import sys
from dataclasses import replace

import pytest
from pydantic import TypeAdapter
from rooms import OURS

from qmlbook import cli, papers
from qmlbook.base.errors import QmlbookError, UsageError
from qmlbook.base.paths import results_dir
from qmlbook.book import status
from qmlbook.evidence import sweep
from qmlbook.evidence.audit import RESULTS, Audit, Stratum, audit, bound
from qmlbook.evidence.report import outline
from qmlbook.evidence.store import Store
from qmlbook.evidence.sweep import failed_record

PAPER = "contextuality"
# Of its runs: a quarter of the smallest margin for the metric `validity` of full baselines and
# HRNNs, and what the HRNNs may be off on another machine.
QUARTER, BETWEEN_MACHINES = 0.0025, 0.01


def again(change=lambda record: record):
    """Return a runner that gives the book's own records, some of them changed."""

    def runner(jobs):
        stored = {(r.paper, r.key): r for p in papers.names() for r in Store().records(p)}
        for job in jobs:
            yield change(stored[job.paper, job.key])

    return runner


def off(experiment, by):
    """Return a change of one experiment's validity."""

    def change(record):
        if record.experiment != experiment or "validity" not in record.metrics:
            return record
        moved = record.metrics["validity"] - by
        return replace(record, metrics={**record.metrics, "validity": moved})

    return change


def store_of(root, *experiments):
    """Return a store with some of the paper's experiments."""
    (root / PAPER).mkdir(parents=True)
    for name in experiments:
        shutil.copy(results_dir() / PAPER / f"{name}.jsonl", root / PAPER)
    return Store(root)


def name(record):
    return f"{record.cell} ({record.profile}), seed {record.seed}"


def drawn(made):
    return [run for one in made.strata for run in one.agree]


@pytest.mark.parametrize(("k", "percent"), [(1, 95.0), (4, 52.7), (20, 13.9), (40, 7.2)])
def test_the_bound_is_the_share_that_shows_itself_in_all_but_one_of_twenty_audits(k, percent):
    share = bound([Stratum("a", "cheaper", 99, 1.0, k, ["run"] * k)])
    assert round(100 * share, 1) == percent
    assert (1 - share) ** k == pytest.approx(0.05)


def test_strata_count_alike_and_one_that_disagrees_leaves_no_bound():
    two, three = (Stratum("a", "cheaper", 9, 1.0, k, ["run"] * k) for k in (2, 3))
    assert bound([two, two]) == pytest.approx(1 - 0.05 ** (1 / 4))
    assert bound([two, three]) == bound([two, two])
    assert bound([two, replace(three, agree=["run"] * 2, not_made=["killed"])]) is None


def test_every_paper_is_drawn_from_and_half_of_its_runs_are_dear():
    made = audit(OURS, k=23, seed=1, runner=again())
    assert made.good
    assert [(one.paper, one.half) for one in made.strata] == [
        (paper, half) for paper in OURS for half in ("cheaper", "dearer")
    ]
    assert [one.k for one in made.strata] == [2, 3, 2, 3, 2, 3, 2, 2, 2, 2]
    assert all(len(set(one.agree)) == one.k for one in made.strata)
    for cheap, dear in zip(made.strata[::2], made.strata[1::2], strict=True):
        seconds = {name(record): record.seconds for record in Store().records(cheap.paper)}
        assert all(seconds[run] <= cheap.seconds for run in cheap.agree)
        assert all(cheap.seconds <= seconds[run] <= dear.seconds for run in dear.agree)
        assert abs(cheap.runs - dear.runs) <= 1
    *_, (_, last) = outline(made)
    assert last.startswith(
        "all papers: 23 of 23 agree; with 95% confidence, fewer than 13.9% of a "
    )
    assert last.endswith("runs, on average over papers, could be wrong")


def test_the_same_seed_draws_the_same_runs_and_the_day_is_a_seed():
    first, same, other, today = (
        audit([PAPER], k=20, seed=seed, runner=again()) for seed in (1, 1, 2, None)
    )
    assert drawn(first) == drawn(same) != drawn(other)
    assert str(today.seed) == today.date.replace("-", "")


def test_dear_runs_are_left_out_and_nothing_follows_for_them():
    made = audit([PAPER], k=10, seed=0, budget=0.5, runner=again())
    everything = audit([PAPER], k=10, seed=0, runner=again())
    assert made.strata[1].seconds <= 30 < everything.strata[1].seconds
    runs = [sum(one.runs for one in each.strata) for each in (made, everything)]
    assert runs[0] < runs[1]
    assert any("more than 0.5 min" in sentence for _, sentence in outline(made))


@pytest.mark.parametrize(("by", "differ"), [(0.9 * QUARTER, 0), (1.1 * QUARTER, 88)])
def test_a_run_agrees_within_a_quarter_of_the_margin_that_it_decides(tmp_path, by, differ):
    def change(record):  # those of other cells decide nothing and are held to rounding
        return off("baselines", by)(record) if name(record) in deciding else record

    store = store_of(tmp_path, "baselines")
    full = audit([PAPER], k=200, seed=0, store=store, runner=again(off("baselines", QUARTER / 2)))
    deciding = set(drawn(full))
    assert len(deciding) == 88
    made = audit([PAPER], k=200, seed=0, store=store, runner=again(change))
    assert sum(len(one.differ) for one in made.strata) == differ
    assert made.good == (not differ)


@pytest.mark.parametrize(
    ("by", "result"),
    [
        (QUARTER / 2, "agree"),
        (2 * QUARTER, "not_assessable"),
        (2 * BETWEEN_MACHINES, "differ"),
    ],
)
def test_what_may_be_rounding_is_not_assessable(tmp_path, by, result):
    store = store_of(tmp_path, "hrnn")
    made = audit([PAPER], k=100, seed=0, store=store, runner=again(off("hrnn", by)))
    found = [run for one in made.strata for run in getattr(one, result)]
    assert len(found) >= 32
    assert made.good == (result == "agree")
    if result == "not_assessable":
        assert "relative difference of 0.0025, and 0.01 between two machines" in found[0]
        assert any("32 of 44 not assessable; no bound follows" in said for _, said in outline(made))


def test_a_run_that_was_killed_is_told():
    def runner(jobs):
        first, *rest = jobs
        yield failed_record(first, "KilledWorker: every worker that tried this run died of it")
        yield from again()(rest)

    told = []
    made = audit([PAPER], k=4, seed=0, runner=runner, echo=told.append)
    assert not made.good
    (killed,) = made.strata[0].not_made
    assert killed.endswith(": KilledWorker: every worker that tried this run died of it")
    assert (2, killed) in list(outline(made))
    assert [sentence.split(": ")[1] for sentence in told] == ["not made", *["agree"] * 3]
    assert [bound([one]) is None for one in made.strata] == [True, False]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 3}, "k is 3 and must be 4 or more, 4 of every paper"),
        ({"budget": -1}, "no two stored runs of today's versions that took at most -1 min"),
    ],
)
def test_requests_that_make_no_sense(options, message):
    with pytest.raises(UsageError, match=message):
        audit([PAPER], runner=again(), **options)


@pytest.mark.parametrize("minutes", ["nan", "inf", "-1", "0"])
def test_a_budget_of_the_command_that_is_no_time_is_one_sentence(monkeypatch, capsys, minutes):
    monkeypatch.setattr(sys, "argv", ["qmlbook", "audit", "--budget", minutes])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    said = f"Error: --budget is {minutes} and must be minutes, a number above 0.\n"
    assert (stop.value.code, *capsys.readouterr()) == (2, "", said)


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """Return the command with a few records of its own: exit status and standard output."""
    store = store_of(tmp_path / "data" / "results", "gradients", "properties")
    originals = {record.key: record for record in store.records(PAPER)}
    monkeypatch.setenv("QMLBOOK_ROOT", str(tmp_path))
    monkeypatch.setattr(sweep, "in_turn", lambda jobs: (originals[job.key] for job in jobs))

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["qmlbook", "audit", "--k", "100", *words])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        run.told, run.noted = capsys.readouterr()
        return stop.value.code or 0, run.told

    run.file = store.root / PAPER / "gradients.jsonl"
    return run


def test_an_altered_record_is_found(call):
    first, *others = call.file.read_text("utf-8").splitlines()
    record = json.loads(first)
    record["metrics"]["slope"] += 1
    call.file.write_text("\n".join([json.dumps(record), *others]) + "\n", "utf-8")
    code, out = call("--seed", "0")
    assert code == 1
    assert "55 of 56 agree, 1 of 56 differ; no bound follows" in out
    assert (
        f"    gradients/{record['variant']} ({record['profile']}), seed {record['seed']}: slope is "
        in out
    )


def test_records_that_are_set_aside_are_told_beside_what_agrees(call):
    with call.file.open("a", encoding="utf-8") as file:
        file.write("{\n")
    status, _ = call("--paper", PAPER)
    assert status == 0
    assert f"{PAPER}/gradients.jsonl: a line is set aside (it is no JSON" in call.noted


def test_an_audit_is_kept_and_shown_in_words(call):
    assert status.last_audit().startswith("No audit is kept")
    code, out = call("--save", "--format", "json")
    content = json.loads(out)
    assert (code, content) == (0, json.loads(status.audit_file().read_text("utf-8")))
    assert content["bound"] == pytest.approx(1 - 0.05 ** (1 / 56))
    assert content["strata"][0]["bound"] == pytest.approx(1 - 0.05 ** (1 / 28))
    assert content["machine"] == status.machine()
    code, out = call("--seed", str(content["seed"]))
    shown = status.last_audit().splitlines()
    assert [line.strip().removeprefix("- ") for line in shown] == [
        line.strip() for line in out.splitlines()
    ]
    assert any(line.startswith("  - cheaper half") for line in shown)


@pytest.mark.usefixtures("call")
def test_a_file_that_holds_no_audit_is_refused():
    status.audit_file().write_text("[]")
    with pytest.raises(QmlbookError, match=r"audit\.json does not hold an audit"):
        status.last_audit()


def test_the_audit_of_the_book_follows_from_the_runs_that_it_names():
    text = status.audit_file().read_text("utf-8")
    kept = TypeAdapter(Audit).validate_json(text)
    assert kept.to_json() == text
    assert {one.paper for one in kept.strata} == set(OURS)
    for one in kept.strata:
        told = [run for result in RESULTS for run in getattr(one, result)]
        assert len(told) == len(set(told)) == one.k
        stored = {name(record): record for record in Store().records(one.paper)}
        assert all(run in stored for run in one.agree)
        assert all(stored[run].seconds <= one.seconds for run in one.agree)
