"""The status page: what chapters take is measured, what evidence took is read from records."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from small_project import PARAMETERS, chapter

from qmlbook.base.errors import QmlbookError, UsageError
from qmlbook.book import chapters, status, verdict_pages
from qmlbook.evidence.store import Store

ROOT = Path(__file__).resolve().parents[1]
COST = status.Cost(12.3, 10.2, 456, "2026-01-02", "Abacus, 2 cores, 8 GiB, Linux", "3.12.1")


def cells(table):
    """Return the rows of a Markdown table below its head, as lists of cells."""
    return [
        [cell.strip().replace("\u00a0", " ") for cell in line.strip("|").split("|")]
        for line in table.splitlines()[2:]
    ]


def test_costs_are_shown_and_gaps_are_named(project):
    project.chapters(one=chapter("One", "1"), two=chapter("Two", "2"))
    content = {"one": {"quick": vars(COST)}, "two": {"full": vars(COST)}}
    project.write("book/status.json", json.dumps(content))
    assert status.costs(project.root) == {"one": {"quick": COST}, "two": {"full": COST}}
    one, two = cells(status.chapters_table(project.root))
    assert one[1:] == ["12 s", "10 s", "456 MB", status.NOT_MEASURED]
    assert two[1:] == [status.NOT_MEASURED, "–", "–", "12 s, 10 s, 456 MB"]
    said = f"{COST.machine}; Python 3.12.1; measured on 2026-01-02"
    assert status.conditions(project.root) == [f"full: {said}", f"quick: {said}"]


def test_long_times_are_said_in_minutes_and_every_number_keeps_its_unit():
    said = status._words(replace(COST, seconds=1852.3, cpu_seconds=599.0))
    assert said == ["31\u00a0min", "599\u00a0s", "456\u00a0MB"]


def test_without_a_checkout_a_sentence_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("QMLBOOK_ROOT", str(tmp_path))
    assert "No checkout of the book" in status.chapters_table()
    assert status.conditions() == []


TIME = re.compile(
    r"^\*\*Time\*\* (\d+) s .*?, (\d+) (s|minutes) in the \{term\}`profile` `full`", re.M
)
GLANCE = {
    name: text
    for name, source in chapters.sources(ROOT).items()
    if "**Time**" in (text := source.read_text("utf-8"))
}


@pytest.mark.parametrize("name", GLANCE)
def test_a_chapter_says_at_a_glance_what_was_measured(name):
    """Within a factor of three: a reader may have measured their own machine."""
    quick, full, unit = TIME.search(GLANCE[name]).groups()
    seconds = {"quick": int(quick), "full": int(full) * {"s": 1, "minutes": 60}[unit]}
    for profile, cost in status.costs(ROOT)[name].items():
        assert seconds[profile] / 3 < cost.seconds < seconds[profile] * 3


@pytest.mark.parametrize("content", ["{", "[1]", '{"one": {"quick": {"seconds": 1}}}'])
def test_a_file_that_holds_no_costs_is_refused(project, content):
    project.write("book/status.json", content)
    with pytest.raises(QmlbookError, match=r"status\.json does not hold costs"):
        status.costs(project.root)


def test_an_unknown_chapter_is_refused_before_anything_runs(project):
    with pytest.raises(UsageError, match="nosuch"):
        status.measure(["nosuch"], root=project.root)
    assert not status.file(project.root).exists()


def test_machines_have_no_names():
    import socket

    said = status.machine()
    assert re.search(r", \d+ cores, \d+ GiB, \w+$", said)
    assert socket.gethostname() not in said


def test_the_evidence_is_added_up(tmp_path):
    record = Store().records("klssl", "circuit")[0]
    store = Store(tmp_path)
    for seed, seconds, day in ((0, 1800.0, "2026-03-01"), (1, 900.0, "2026-03-04")):
        at = f"{day}T12:00:00+00:00"
        store.add(replace(record, seed=seed, seconds=seconds, threads=2, started_at=at))
    found = dict(
        zip(verdict_pages.reading_order(), cells(status.evidence_table(store=store)), strict=True)
    )
    runs, hours, made, device, versions = found["klssl"][1:]
    assert (runs, hours, made) == ("2", "1.5", "2026-03-01 to 2026-03-04")
    assert device == record.device
    assert f"torch {record.versions['torch']}" in versions
    assert found["qdeq"][1:] == ["0", "–", "–", "–", "–"]


@pytest.mark.parametrize("name", status.costs(ROOT))
def test_what_a_chapter_says_it_takes_is_of_the_order_of_what_it_took(name):
    text = chapters.sources(ROOT)[name].read_text("utf-8")
    cost = status.costs(ROOT)[name]["quick"]  # a chapter without it is shown as not measured
    assert cost.memory_mb > 50
    if "At a glance\n" in text:
        (said,) = re.findall(r"^\*\*Time\*\* (\d+) s of one core", text, re.MULTILINE)
        assert 1 / 4 < cost.cpu_seconds / int(said) < 4
    else:  # pages without the box are quick
        assert cost.cpu_seconds < 60


@pytest.mark.nightly
def test_each_chapter_is_measured_by_itself(project):
    large = "block = bytearray(400_000_000)\nprint(sum(k * k for k in range(30_000_000)) % 7)"
    project.chapters(
        large=chapter("Large", ("parameters", PARAMETERS), large),
        small=chapter("Small", ("parameters", PARAMETERS), "print(1)"),
    )
    found = status.measure(root=project.root, echo=project.said.append)
    assert found == status.costs(project.root)
    assert list(found) == ["large", "small"]
    one, other = found["large"]["quick"], found["small"]["quick"]
    assert one.memory_mb > 400 > other.memory_mb > 20
    assert one.cpu_seconds > other.cpu_seconds > 0
    assert [line.split(":")[0] for line in project.said] == ["large", "small"]
