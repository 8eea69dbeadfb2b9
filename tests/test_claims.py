"""A mistake in a ``claims.yml`` is an error that says where it is and what is allowed."""

import copy
import errno
import json
import re
from dataclasses import replace
from pathlib import Path

import ledger
import pytest
import yaml

from qmlbook import papers
from qmlbook.base.errors import QmlbookError
from qmlbook.evidence.cells import Cell
from qmlbook.evidence.claims import Claim, Settled, load, load_claims

VALUE = {
    "id": "K8",
    "statement": "Mean accuracy\n  over depths",
    "kind": "value",
    "published": {"mean": 0.513, "sd": 0.064, "n": 20},
    "source": "Fig. B",
    "experiment": "grid",
    "metric": "accuracy",
    "variants": ["n2", "n4"],
    "margin": 0.05,
    "seeds": 100,
    "controls": {"untrained": ["untrained/n2", "untrained/n4"]},
    "evidence": "measured",
    "control_margin": 0.02,
    "dead": 0.4,
    "cannot": "too little",
    "uncounted": "arithmetic",
    "note": "none",
    "why": "because",
}
ORDER = VALUE | {
    "id": "K4",
    "kind": "order",
    "published": "not available",
    "variants": {"over": ["n2", "n4"], "under": ["other/c2", "c4"]},
}
PROPERTY = {name: VALUE[name] for name in ("statement", "source", "experiment", "metric")} | {
    "id": "K6", "kind": "property", "variants": "exact", "evidence": "computed",
}  # fmt: skip
BEST = VALUE | {"id": "K1", "published": {"best": 0.7, "of": 20}, "statistic": "max"}
QUOTED = {
    "id": "X9", "statement": "faster", "kind": "order", "source": "p. 1", "evidence": "illustrated",
}  # fmt: skip


@pytest.fixture
def read(tmp_path):
    """Return a function that loads these claims from a file of a paper called ``fake``."""

    def read(*claims, **header):
        content = {"paper": "fake", "title": "A title", "citation": "key2025"} | header
        path = tmp_path / "fake" / "claims.yml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump({"claims": list(claims)} | content), encoding="utf-8")
        return load("fake", path)

    return read


def test_every_field_arrives(read):
    content = read(VALUE, ORDER, PROPERTY, BEST, QUOTED)
    assert (content.paper, content.title, content.citation) == ("fake", "A title", "key2025")
    value, order, exact, best, quoted = content.claims
    assert value == Claim(
        paper="fake", id="K8", statement="Mean accuracy over depths", kind="value",
        source="Fig. B", evidence="measured", published={"mean": 0.513, "sd": 0.064, "n": 20},
        experiment="grid", metric="accuracy", statistic="mean", variants=("n2", "n4"), under=(),
        margin=0.05, seeds=range(100), controls={"untrained": ("untrained/n2", "untrained/n4")},
        provenance="published", control_margin=0.02, dead=0.4, cannot="too little",
        uncounted="arithmetic",
        note="none", why="because",
    )  # fmt: skip
    assert (order.statistic, order.under) == ("difference", ("other/c2", "c4"))
    assert order.cells(["n2", "other/c2"]) == [Cell("grid", "n2"), Cell("other", "c2")]
    assert (exact.variants, exact.seeds, exact.controls) == (("exact",), range(1), "not applicable")
    assert best.published == {"best": 0.7, "of": 20}
    assert (quoted.experiment, quoted.published, quoted.controls) == (None, "not available", {})


def test_seeds_are_counted_from_zero_or_given_from_and_to(read):
    assert read(VALUE).claims[0].seeds == range(100)
    fresh = read(VALUE | {"seeds": {"from": 100, "to": 499}}).claims[0]
    assert fresh.seeds == range(100, 500)


def test_the_cells_of_a_claim_are_named_once(read):
    assert list(map(str, read(ORDER).claims[0].every_cell)) == [
        "grid/c4", "grid/n2", "grid/n4", "other/c2", "untrained/n2", "untrained/n4",
    ]  # fmt: skip
    assert read(QUOTED).claims[0].every_cell == []


def test_differences_have_published_values_too(read):
    change = {"kind": "value", "published": {"mean": 3.03}, "statistic": "difference"}
    assert read(ORDER | change).claims[0].under == ("other/c2", "c4")


def test_margins_of_controls_are_those_of_the_claim_or_their_own(read):
    assert read(VALUE).claims[0].controls_margin == 0.02
    without = {name: value for name, value in VALUE.items() if name != "control_margin"}
    assert read(without).claims[0].controls_margin == 0.05
    lead = {"published": {"mean": 0.09}, "control_margin": 0.03}
    assert read(ORDER | lead).claims[0].controls_margin == 0.03


SETTLED = {
    "closed form": {"exact": "K6", "because": "a formula"},
    "equal effort": {"row": "K8", "because": "asked there"},
    "same size": {"because": "none has it"},
}


def test_controls_without_runs_are_exact_asked_elsewhere_or_none(read):
    order = read(VALUE, ORDER | {"settled": SETTLED}, PROPERTY).claims[1]
    assert order.settled == {
        "closed form": Settled("a formula", exact="K6"),
        "equal effort": Settled("asked there", row="K8"),
        "same size": Settled("none has it"),
    }
    assert replace(order, margin=0.1).settled == order.settled


@pytest.mark.parametrize(
    ("settled", "message"),
    [
        (
            {"a": {"exact": "K8", "because": "b"}},
            "settled.a.exact is 'K8' and must be the id of a p",
        ),
        (
            {"a": {"row": "K9", "because": "b"}},
            "settled.a.row is 'K9' and must be the id of a claim",
        ),
        ({"a": {"exact": "K6"}}, "must be {because}, {exact, because} or {row, because}"),
        ({"a": {"because": " "}}, "must be a text that is not empty"),
        ({"untrained": {"because": "b"}}, "untrained: a control has runs or is settled without"),
        ("none", "must be name: {because}, {exact, because} or {row, because}"),
    ],
)
def test_controls_without_runs_that_say_too_little_are_refused(read, settled, message):
    with pytest.raises(QmlbookError, match=re.escape(message)):
        read(VALUE, ORDER | {"settled": settled}, PROPERTY)


def test_controls_that_make_no_sense(read):
    assert read(VALUE | {"controls": "not applicable"}).claims[0].controls == "not applicable"


REFUSED = [
    (VALUE, {"margn": 1}, "field 'margn' is not known; choose from: .*margin"),
    (VALUE, {"kind": "number"}, "kind is 'number' and must be one of: value, order, property"),
    (VALUE, {"evidence": "felt"}, "one of: proved, computed, sampled, measured, illustrated"),
    (VALUE, {"statistic": "median"}, "one of: mean, max, difference"),
    (VALUE, {"statement": "  "}, "statement is '  ' and must be a text"),
    (VALUE, {"source": None}, "source is None and must be a text"),
    (VALUE, {"margin": "1e-3"}, "margin is '1e-3' and must be a number, 0 or more .YAML"),
    (VALUE, {"margin": -0.1}, "margin is -0.1"),
    (VALUE, {"margin": True}, "margin is True"),
    (VALUE, {"margin": float("nan")}, "margin is nan"),
    (VALUE, {"margin": ...}, "margin is missing"),
    (VALUE, {"seeds": 2.0}, "seeds is 2.0 and must be a whole number"),
    (VALUE, {"seeds": 2}, "seeds is 2 and must be 3 or more"),
    (VALUE, {"seeds": {"from": 4, "to": 5}}, "seeds is 2 and must be 3 or more"),
    (VALUE, {"seeds": {"from": 4}}, "seeds is .* and must be a whole number, 1 or .*, or {from,"),
    (VALUE, {"seeds": {"from": -1, "to": 5}}, "seeds.from is -1 and must be a whole number, 0 or"),
    (VALUE, {"seeds": {"from": 9, "to": 5}}, "seeds.to is 5 and must be a whole number, 9 or more"),
    (VALUE, {"seeds": {"from": 9, "to": "x"}}, "seeds.to is 'x' and must be a whole number, 9"),
    (VALUE, {"seeds": 10_001}, "seeds is 10001 and must be 10,000 seeds at most"),
    (VALUE, {"seeds": {"from": 0, "to": 10**9}}, "must be 10,000 seeds at most"),
    (VALUE, {"seeds": "3-9"}, "seeds is '3-9' and must be a whole number, 1 or more"),
    (VALUE, {"seeds": ...}, "seeds is 1 and must be 3 or more"),
    (VALUE, {"metric": ...}, "needs a metric and variants"),
    (VALUE, {"variants": ...}, "needs a metric and variants"),
    (VALUE, {"variants": [2, 4]}, "variants is .2, 4. and must be a name or a list"),
    (VALUE, {"variants": ["n2", "n2"]}, "without repetitions"),
    (VALUE, {"variants": []}, "must be a name or a list"),
    (VALUE, {"published": {"mean": 0.5, "n": 20}}, "{mean, sd, n}, {mean}, {single}, {best, of}"),
    (VALUE, {"published": 0.5}, "published is 0.5"),
    (VALUE, {"published": "unknown"}, "published is 'unknown'"),
    (VALUE, {"published": {"mean": "65 %"}}, "published.mean is '65 %'"),
    (VALUE, {"published": {"mean": 1, "sd": -1, "n": 5}}, "published.sd is -1"),
    (VALUE, {"published": {"mean": 1, "sd": 1, "n": 1}}, "published.n is 1"),
    (VALUE, {"published": {"best": 1, "of": 0.5}, "statistic": "max"}, "published.of is 0.5"),
    (VALUE, {"published": {"single": 0.5}}, "takes one variant"),
    (VALUE, {"controls": ["n2"]}, "controls is .* and must be name"),
    (VALUE, {"controls": {"a": ["n2"]}}, "a has 1 variant and must have 2"),
    (VALUE, {"variants": ORDER["variants"]}, "a difference, and nothing else"),
    (BEST, {"statistic": ...}, "'max' and published {best, of} go together"),
    (BEST, {"published": {"mean": 0.5}}, "'max' and published {best, of} go together"),
    (BEST, {"seeds": 49}, "98 runs, and the best of 20 needs 100"),
    (VALUE, {"control_margin": -1}, "control_margin is -1 and must be a number, 0 or more"),
    (VALUE, {"control_margin": None}, "control_margin is None and must be given or left out"),
    (VALUE, {"dead": "60"}, "dead is '60' and must be a number"),
    (VALUE, {"cannot": 3}, "cannot is 3 and must be a text"),
    (VALUE, {"provenance": "ours"}, "one of: published, own after a pilot, own before any run"),
    (VALUE, {"source": "this book"}, "is 'published', and the source says .* is this book's"),
    (VALUE, {"provenance": "own after a pilot"}, "the source says that the claim is the paper's"),
    (ORDER, {"published": {"mean": 0.03}}, "control_margin is 0.02 and must be at most 0.01, a th"),
    (
        ORDER,
        {"published": {"mean": 0.06}, "control_margin": ...},
        "control_margin is 0.05 and must be at most 0.02, a third of the published lead .without",
    ),
    (ORDER, {"margin": ...}, "margin is missing"),
    (ORDER, {"seeds": 7}, "seeds is 7 and must be 8 or more .order"),
    (ORDER, {"variants": ["n2"]}, "a difference, and nothing else"),
    (ORDER, {"variants": {"over": "n2"}}, "variants: field 'under' is missing"),
    (ORDER, {"variants": {"over": ["n2"], "under": ["a", "b"]}, "controls": {}}, "under has 2"),
    (ORDER, {"statistic": "mean"}, "the statistic of an order is 'difference'"),
    (VALUE, {"variants": ["../../x"]}, "variants is '../../x' and must be variant or experiment"),
    (VALUE, {"variants": ["grid/a/b"]}, "variants is 'grid/a/b' and must be variant or exper"),
    (VALUE, {"controls": {"a": ["../n2", "n4"]}}, "controls.a is '../n2' and must be variant or"),
    (VALUE, {"experiment": None}, "experiment is None and must be given or left out"),
    (VALUE, {"margin": 10**400}, r"margin is 10+\.\.\.0+ and must be a number"),
    (VALUE, {"margin": 1e300}, r"margin is 1e\+300 and must be a number"),
    (VALUE, {"seeds": 10**20}, "seeds is 100000000000000000000 and must be a whole number"),
    (VALUE, {"published": {"mean": 10**400}}, r"published.mean is 10+\.\.\.0+ and"),
    (PROPERTY, {"controls": {"a": ["x"]}}, "a property takes no controls"),
    (PROPERTY, {"statistic": "max"}, "a property takes no statistic"),
    (QUOTED, {"source": ...}, "field 'source' is missing"),
]


@pytest.mark.parametrize(("entry", "change", "message"), REFUSED)
def test_mistakes_are_refused_by_name(read, entry, change, message):
    entry = copy.deepcopy(entry) | change
    entry = {name: value for name, value in entry.items() if value is not ...}
    with pytest.raises(QmlbookError, match=message) as caught:
        read(entry)
    text = str(caught.value)
    assert text.startswith(f"fake/claims.yml, claim {entry['id']}: ")
    assert text.endswith(".")
    assert "\n" not in text


def test_a_file_of_ones_own_is_named_as_the_reader_named_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("own.yml").write_text("[")
    for name, said in (("own.yml", "own.yml"), (tmp_path / "own.yml", f"{tmp_path.name}/own.yml")):
        with pytest.raises(QmlbookError, match=rf"^{re.escape(said)}: the file cannot be read"):
            load_claims("qdeq", name)


def test_identifiers_are_unique(read):
    with pytest.raises(QmlbookError, match=r"fake/claims.yml: id 'K8' is used by more than one"):
        read(VALUE, VALUE)


def test_an_entry_without_identifier_is_named_by_its_number(read):
    with pytest.raises(QmlbookError, match=r"claim 2: field 'id' is missing"):
        read(VALUE, {name: VALUE[name] for name in VALUE if name != "id"})
    with pytest.raises(QmlbookError, match=r"claim 1: must be a mapping"):
        read("K8")


def test_the_file_itself(read, tmp_path):
    with pytest.raises(QmlbookError, match="paper is 'other' and must be 'fake'"):
        read(VALUE, paper="other")
    with pytest.raises(QmlbookError, match="field 'citation key' is not known"):
        read(VALUE, **{"citation key": "x"})
    with pytest.raises(QmlbookError, match="title is 3"):
        read(VALUE, title=3)
    with pytest.raises(QmlbookError, match=r"absent.yml: the file is missing\.$"):
        load("fake", tmp_path / "absent.yml")
    with pytest.raises(QmlbookError, match=r"the file cannot be read \(Is a directory\)\.$"):
        load("fake", tmp_path)
    broken = tmp_path / "broken.yml"
    broken.write_text("claims: [", encoding="utf-8")
    with pytest.raises(QmlbookError, match=r"broken.yml: the file cannot be read as YAML"):
        load("fake", broken)
    broken.write_text("- !!python/object/apply:os.getcwd []", encoding="utf-8")
    with pytest.raises(QmlbookError, match="cannot be read as YAML"):
        load("fake", broken)


HEAD = "paper: fake\ncitation: key\n"
BOMB = "a: &a0 [x, x]\n" + "".join(
    f"b{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)
MERGES = "a0: &m0 {k: 1}\n" + "".join(
    f"a{i}: &m{i} {{<<: [{', '.join([f'*m{i - 1}'] * 9)}]}}\n" for i in range(1, 12)
)
# PyYAML 6.0.4 has a limit of its own, and takes what is merged many times once.
LIMITED = tuple(map(int, yaml.__version__.split(".")[:3])) >= (6, 0, 4)
DEEP = "exceeded maximum nesting" if LIMITED else "more than 20 brackets or levels are open"
MERGED = "field 'a0' is not known" if LIMITED else "more than 200 fields in one mapping"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"{HEAD}title: T\nclaims: []\nclaims: []\n", "line 5: key 'claims' is given twice"),
        (f"{HEAD}title: T\nclaims:\n  - id: a\n    seeds: 6\n    seeds: 30\n", "'seeds' is given"),
        (f"{HEAD}title: {'[' * 100_000}", DEEP),
        (f"{HEAD}title: {'[' * 3_000}{']' * 3_000}\nclaims: []", DEEP),
        (f"{HEAD}claims: []\n{BOMB}title: *a11\n", "field 'a' is not known"),
        (f"{HEAD}claims: []\ntitle:\n{BOMB.replace('a: &', '- &').replace(': &', ' &')}", "YAML"),
        (f"{MERGES}{HEAD}title: T\nclaims: []\n", MERGED),
        (f"{HEAD}title: {'9' * 5_000}\nclaims: []\n", "cannot be read as YAML"),
        (f"{HEAD}title: {'9' * 4_000}\nclaims: []\n", "title is 9+[.]{3}9+ and must be"),
        (
            f"{HEAD}title: [{'9' * 4_000}]\nclaims: []\n",
            "title is \\[9+[.]{3}",
        ),
        (f"{HEAD}title: T\nclaims:\n  - {{id: {'i' * 5_000}}}\n", "field 'statement' is missing"),
        (f"{HEAD}title: T\nclaims: []\n{'k' * 900}: 1\n", r"902 characters\) is not known"),
    ],
)
def test_a_file_made_to_break_readers_is_one_short_sentence(tmp_path, content, message):
    (tmp_path / "claims.yml").write_text(content, encoding="utf-8")
    with pytest.raises(QmlbookError, match=message) as caught:
        load("fake", tmp_path / "claims.yml")
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "given"),
    [("seeds", "010"), ("seeds", "1_0"), ("seeds", "0x10"), ("margin", "1:30"), ("margin", "010")],
)
def test_a_number_that_yaml_reads_otherwise_than_people_is_refused(tmp_path, field, given):
    text = papers.claims_file("qdeq").read_text("utf-8")
    head, found, rest = text.partition("  - id: R15\n")
    changed, count = re.subn(rf"(?m)^    {field}: .*$", f"    {field}: {given}", rest, count=1)
    assert (found, count) != ("", 0)
    (tmp_path / "claims.yml").write_text(head + found + changed, encoding="utf-8")
    with pytest.raises(QmlbookError, match=f"claim R15: {field} is '{given}' and must be a "):
        load("qdeq", tmp_path / "claims.yml")


@pytest.mark.parametrize("byte", [b"\xff", b"\xc3", b"\x07"])
def test_a_byte_that_is_no_letter_is_found_by_its_line(tmp_path, byte):
    (tmp_path / "claims.yml").write_bytes(f"{HEAD}claims: []\ntitle: caf".encode() + byte + b"\n")
    with pytest.raises(QmlbookError, match=r"cannot be read as YAML \(line 4: \w+") as caught:
        load("fake", tmp_path / "claims.yml")
    assert len(str(caught.value).splitlines()) == 1


def test_a_value_that_holds_itself_many_times_over_is_shown_in_short(tmp_path):
    """An alias bomb as a field: of a value of 9^11 items, a line is shown."""
    lines = ["claims:", "  - &b0 [x, x]"]
    lines += [f"  - &b{i} [{', '.join([f'*b{i - 1}'] * 9)}]" for i in range(1, 12)]
    content = "\n".join([*lines, "paper: fake", "citation: key", "title: *b11"])
    (tmp_path / "claims.yml").write_text(content, encoding="utf-8")
    with pytest.raises(QmlbookError, match=r"title is \[\[\[.* and must be a text") as caught:
        load("fake", tmp_path / "claims.yml")
    assert len(str(caught.value)) < 200


def test_what_is_merged_may_be_written_again(tmp_path):
    text = f"""{HEAD}title: T
claims:
  - &first {{id: a, statement: s, kind: order, source: p, evidence: illustrated}}
  - {{<<: *first, id: b, statement: other}}
"""
    (tmp_path / "claims.yml").write_text(text, encoding="utf-8")
    first, second = load("fake", tmp_path / "claims.yml").claims
    assert (first.statement, second.statement, second.source) == ("s", "other", "p")


def test_a_file_that_nobody_may_read_is_called_that(tmp_path, monkeypatch):
    def refuse(_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("pathlib.Path.read_bytes", refuse)
    with pytest.raises(QmlbookError, match=r"the file cannot be read \(Permission denied\)\.$"):
        load("fake", tmp_path / "claims.yml")


def test_the_claims_of_this_book():
    assert papers.names()
    for paper in papers.names():
        known = papers.experiments(paper)
        for claim in load_claims(paper):
            label = f"{paper} {claim.id}"
            if claim.margin is not None or len(claim.seeds) > 1:
                assert claim.why, f"{label} does not say why its margin and seeds are what they are"
            controls = claim.controls.values() if isinstance(claim.controls, dict) else ()
            names = [*claim.variants, *claim.under, *(name for group in controls for name in group)]
            for experiment, variant in claim.cells(names):
                if known:
                    assert variant in known[experiment].variants["full"], label


@pytest.mark.parametrize("paper", ["c2q", "klssl", "qssl"])
def test_rules_that_wait_for_their_runs_can_be_read(paper, tmp_path):
    written = papers.claims_file(paper).read_text("utf-8")
    flipped = tmp_path / paper / "claims.yml"
    flipped.parent.mkdir()
    flipped.write_text(written.replace("\n#+", "\n"), "utf-8")
    known = papers.experiments(paper)
    for claim in load_claims(paper, flipped):
        for cell in claim.every_cell:
            assert cell.variant in known[cell.experiment].variants["full"], (claim.id, cell)


# Every numbered claim of the papers' abstracts, tables, figures and recorded runs.
CLAIMS = {
    "qssl": [f"C{i}" for i in range(1, 14)],
    "klssl": [f"K{i}" for i in range(1, 13)],
    "c2q": [
        "P-a",
        "P-b",
        "B1",
        "B2",
        "B3",
        "R1",
        "R2",
        "R3",
        "R4",
        "K1",
        "K2",
        "K3",
        "K4",
        "K5",
        "K6",
    ],
    "qdeq": [f"Q{i}" for i in range(1, 10)],
    "contextuality": [f"X{i}" for i in range(1, 16)],
}


def test_no_claim_of_a_paper_is_missing():
    assert set(papers.names()) >= set(CLAIMS)
    for paper, wanted in CLAIMS.items():
        missing = set(wanted) - {claim.id for claim in load_claims(paper)}
        assert not missing, f"{paper}: {missing}"


def test_no_rule_is_another_than_was_noted():
    noted, today = json.loads(ledger.FILE.read_text("utf-8")), ledger.rules()
    assert sorted(noted) == sorted(today)
    for paper in noted:
        changed = sorted({name for name, _ in noted[paper].items() ^ today[paper].items()})
        assert not changed, f"{paper}: if meant, say when and why there; then tests/ledger.py"


@pytest.mark.parametrize("field", ["margin", "published", "seeds", "controls", "metric"])
def test_a_rule_that_was_changed_is_seen(field):
    claim = next(c for c in load_claims("klssl") if c.id == "K4")
    others = {"margin": 0.5, "published": {"mean": 0.5}, "seeds": range(3), "controls": {},
              "metric": "other"}  # fmt: skip
    assert ledger.digest(replace(claim, **{field: others[field]})) != ledger.digest(claim)
    assert ledger.digest(replace(claim, note="in other words")) == ledger.digest(claim)
