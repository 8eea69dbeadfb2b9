"""What a paper claims, and the rule that decides each claim, as written in its ``claims.yml``.

The file is a mapping ``{paper, title, citation, claims: [...]}``; `Claim` documents an entry. It is
written before the runs that decide it, so a mistake in it is an error and never a guess.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field, fields
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import PlainValidator, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from .. import papers
from ..base import files, strict_yaml
from ..base.errors import QmlbookError, counted, shown
from .cells import Cell, is_plain
from .stats import MIN_PAIRS, MIN_RUNS, NOT_APPLICABLE, RUNS_PER_BEST

NOT_AVAILABLE = "not available"
Kind = Literal["value", "order", "property"]
Statistic = Literal["mean", "max", "difference"]
Evidence = Literal["proved", "computed", "sampled", "measured", "illustrated"]
Provenance = Literal["published", "own after a pilot", "own before any run"]
CHOICES = {
    "kind": get_args(Kind),
    "statistic": get_args(Statistic),
    "evidence": get_args(Evidence),
    "provenance": get_args(Provenance),
}
PUBLISHED = (("mean", "sd", "n"), ("mean",), ("single",), ("best", "of"))
REQUIRED = ("id", "statement", "kind", "source", "evidence")
HEADER = ("paper", "title", "citation", "claims")
MIN_SEEDS = {"value": MIN_RUNS, "order": MIN_PAIRS, "property": 1}
LEAD_PER_MARGIN = 3  # a published lead is at least so many margins of its controls
MOST_SEEDS = 10_000  # of a variant; lists of many more runs fill a machine's memory
LARGEST = 1e100  # its square is a number, too


def _must(value: Any, allowed: str, part: str = "") -> PydanticCustomError:
    """Return the error of a field, or of a part of it, that `_sentence` puts into words."""
    context = {"part": part, "given": shown(value), "allowed": allowed}
    return PydanticCustomError("must", "{allowed}", context)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _must(value, "a text that is not empty")
    return " ".join(value.split())  # folded YAML leaves line ends and trailing blanks


def _choice(value: Any, field: str) -> Any:
    if not isinstance(value, str) or value not in CHOICES[field]:
        raise _must(value, f"one of: {', '.join(CHOICES[field])}")
    return value


def _remark(value: Any) -> str:
    return "" if value == "" else _text(value)  # none, as in a claim that was made from another


def _names(value: Any, part: str = "") -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else value
    good = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
    if not good or not names:
        allowed = "a name or a list of names (quote what YAML takes for more)"
        raise _must(value, allowed, part)
    for name in names:
        if not all(map(is_plain, Cell.parse(name, experiment="own"))):
            allowed = "variant or experiment/variant, names of letters, digits and ._+-"
            raise _must(name, allowed, part)
    return tuple(names)


def _variants(value: Any, repeated: bool = False) -> tuple[str, ...]:
    names = () if value == () else _names(value)  # () stands for none; a file must name some
    if not repeated and len(set(names)) < len(names):
        raise _must(value, "a list without repetitions")
    return names


def _controls(value: Any) -> Mapping[str, tuple[str, ...]] | str:
    if isinstance(value, str) and value == NOT_APPLICABLE:
        return value
    if not isinstance(value, Mapping):
        raise _must(value, f"name: [variants], or {NOT_APPLICABLE!r}")
    return {_text(name): _names(names, f".{name}") for name, names in value.items()}


@dataclass(frozen=True)
class Settled:
    """What is said of a control that has no runs of its own in a claim.

    Attributes:
        because: the reason, in a sentence.
        exact: the property by which the control is the circuit, so that it has the same value in
            every run: it explains whatever the circuit does, once the property holds.
        row: the claim that asks about this control, with seeds of its own.

    Without either the control does not apply.
    """

    because: str
    exact: str = ""
    row: str = ""


def _settled(value: Any) -> Mapping[str, Settled]:
    if not isinstance(value, Mapping):
        raise _must(value, "name: {because}, {exact, because} or {row, because}")
    return {_text(name): _settled_one(said, f".{name}") for name, said in value.items()}


def _settled_one(value: Any, part: str) -> Settled:
    if isinstance(value, Settled):
        return value
    forms = ({"because"}, {"exact", "because"}, {"row", "because"})
    if not isinstance(value, Mapping) or set(value) not in forms:
        raise _must(value, "{because}, {exact, because} or {row, because}", part)
    return Settled(**{name: _text(text) for name, text in value.items()})


def _number(value: Any, least: float = -LARGEST, part: str = "") -> float:
    good = isinstance(value, int | float) and not isinstance(value, bool)
    if not good or not least <= value <= LARGEST:
        bound = "" if least == -LARGEST else f", {least:g} or more"
        raise _must(value, f"a number{bound} (YAML writes 0.001 or 1.0e-3)", part)
    return value  # as it is: a whole number stays one


def _whole(value: Any, least: int = 1, part: str = "") -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= 10**9:
        raise _must(value, f"a whole number, {least} or more", part)
    return value


def _seeds(value: Any) -> range:
    """Return the seeds that a number of them, or ``{from, to}``, both included, stands for."""
    if isinstance(value, range):
        return value
    if not isinstance(value, Mapping):
        seeds = range(_whole(value))
    elif set(value) != {"from", "to"}:
        raise _must(value, "a whole number, 1 or more, or {from, to}")
    else:
        first = _whole(value["from"], 0, ".from")
        seeds = range(first, _whole(value["to"], first, ".to") + 1)
    if len(seeds) > MOST_SEEDS:
        raise _must(value, f"{MOST_SEEDS:,} seeds at most")
    return seeds


_PARTS: dict[str, Callable[..., float]] = {
    **dict.fromkeys(("mean", "single", "best"), _number),
    **{"sd": partial(_number, least=0), "n": partial(_whole, least=2), "of": _whole},
}


def _published(value: Any) -> Mapping[str, float] | str:
    if isinstance(value, str) and value == NOT_AVAILABLE:
        return value
    if not isinstance(value, Mapping) or set(value) not in [set(form) for form in PUBLISHED]:
        forms = ", ".join("{" + ", ".join(form) + "}" for form in PUBLISHED)
        raise _must(value, f"one of: {forms}, {NOT_AVAILABLE!r}")
    return {name: _PARTS[name](number, part=f".{name}") for name, number in value.items()}


Text = Annotated[str, PlainValidator(_text)]
Remark = Annotated[str, PlainValidator(_remark)]
Variants = Annotated[tuple[str, ...], PlainValidator(_variants)]
Number = Annotated[float, PlainValidator(_number)]
NotNegative = Annotated[float, PlainValidator(partial(_number, least=0))]


@dataclass(frozen=True)
class Claim:
    """One claim of a paper and the rule that decides it.

    Attributes:
        paper: short name of the paper, as in every command.
        id: identifier, unique in the paper.
        statement: the claim in one sentence.
        kind: ``value`` (a number), ``order`` (A over B) or ``property`` (holds or fails).
        source: section or figure of the paper, or repository, file and lines.
        evidence: ``proved``, ``computed`` (every case, or exact numbers), ``sampled`` (random
            cases), ``measured`` or ``illustrated``.
        provenance: who asked: the paper (``published``), or this book, ``own after a pilot`` had
            been run on the same data, or ``own before any run``.
        published: ``{mean, sd, n}`` (sample standard deviation), ``{mean}``, ``{single}``,
            ``{best, of}`` or ``"not available"``, in the units of ``metric``.
        experiment: where the runs are; ``None`` if this book does not attempt the claim.
        metric: the metric of the records that is compared.
        statistic: ``mean``, ``max`` (with ``{best, of}``) or ``difference`` (with ``over`` and
            ``under``).
        variants: variants whose runs are pooled; for a difference those written under ``over``.
            A name may be ``experiment/variant`` when it lives elsewhere (`cells`).
        under: for a difference, the variants paired with ``variants`` by position and seed.
        margin: largest difference without consequence, in the units of ``metric``; the best of
            several needs none.
        control_margin: the same for the lead over a control, where it is not ``margin``: at most a
            third of a published lead.
        seeds: runs of every variant that the verdict waits for and uses. A file gives their number
            (from seed 0), or ``{from, to}``, both included, where earlier ones were looked at.
        controls: name -> variants paired with ``variants`` by position and seed; a larger metric
            must be the better one. ``"not applicable"`` where no control makes sense.
        settled: name -> what is said of a control without runs: it is the circuit by proof, has a
            row of its own, or does not apply (`Settled`).
        dead: a run whose metric is below this never learned; such runs are counted.
        cannot: why runs cannot decide the claim; whatever the rule says is shown beside it.
        uncounted: why the claim is in no tally although it has a verdict.
        note: deviations from the paper, for people.
        why: why ``seeds`` and ``margin`` are what they are.
    """

    paper: Text
    id: Text
    statement: Text
    kind: Annotated[Kind, PlainValidator(partial(_choice, field="kind"))]
    source: Text
    evidence: Annotated[Evidence, PlainValidator(partial(_choice, field="evidence"))]
    provenance: Annotated[Provenance, PlainValidator(partial(_choice, field="provenance"))] = (
        "published"
    )
    published: Annotated[Mapping[str, float] | str, PlainValidator(_published)] = NOT_AVAILABLE
    experiment: Text | None = None
    metric: Text | None = None
    statistic: Annotated[Statistic, PlainValidator(partial(_choice, field="statistic"))] = "mean"
    variants: Variants = ()
    under: Annotated[tuple[str, ...], PlainValidator(partial(_variants, repeated=True))] = ()
    margin: NotNegative | None = None
    control_margin: NotNegative | None = None
    seeds: Annotated[range, PlainValidator(_seeds)] = range(1)
    controls: Annotated[Mapping[str, tuple[str, ...]] | str, PlainValidator(_controls)] = field(
        default_factory=dict
    )
    settled: Annotated[Mapping[str, Settled], PlainValidator(_settled)] = field(
        default_factory=dict
    )
    dead: Number | None = None
    cannot: Remark = ""
    uncounted: Remark = ""
    note: Remark = ""
    why: Remark = ""

    def cells(self, names: Iterable[str]) -> list[Cell]:
        """Return what these names of variants mean."""
        return [Cell.parse(name, self.experiment or "") for name in names]

    @property
    def controls_margin(self) -> float | None:
        """The largest lead over a control that means nothing."""
        return self.margin if self.control_margin is None else self.control_margin

    @property
    def every_cell(self) -> list[Cell]:
        """The cells whose runs decide the claim and its controls, each once, sorted."""
        groups = self.controls.values() if isinstance(self.controls, Mapping) else ()
        named = {*self.variants, *self.under, *(name for group in groups for name in group)}
        return sorted(self.cells(named))


@dataclass(frozen=True)
class Claims:
    """A paper's ``claims.yml``: its name, title, citation key (``references.bib``) and claims."""

    paper: Text
    title: Text
    citation: Text
    claims: tuple[Claim, ...]


FIELDS = tuple(item.name for item in fields(Claim) if item.name not in ("paper", "under"))
_CLAIM, _TEXT = TypeAdapter(Claim), TypeAdapter(Text)


def load(paper: str, path: Path | None = None) -> Claims:
    """Read a paper's ``claims.yml``.

    Args:
        paper: name of its room.
        path: another file to read instead of the room's own.

    Raises:
        QmlbookError: names the file, the claim, the field and what is allowed there.
    """
    path = Path(path) if path else papers.claims_file(paper)
    where = Path(*path.parts[-2:]).as_posix()  # a file that is named alone has no folder here
    content = _read(path, where)
    _known(where, content, HEADER, HEADER)
    if content["paper"] != paper:
        given = shown(content["paper"])
        raise QmlbookError(f"{where}: paper is {given} and must be {paper!r}.")
    title, citation = (_checked(_TEXT, content[name], where, name) for name in HEADER[1:3])
    if not isinstance(content["claims"], list):
        raise QmlbookError(f"{where}: claims must be a list.")
    claims: dict[str, Claim] = {}
    for number, entry in enumerate(content["claims"], 1):
        claim = _claim(paper, entry, where, number)
        if claim.id in claims:
            raise QmlbookError(f"{where}: id {shown(claim.id)} is used by more than one claim.")
        claims[claim.id] = claim
    for claim in claims.values():
        for problem in _wrong_rows(claim, claims):
            raise QmlbookError(f"{where}, claim {claim.id}: {problem}.")
    return Claims(paper, title, citation, tuple(claims.values()))


def load_claims(paper: str, path: Path | None = None) -> list[Claim]:
    """Return the claims of a paper in the order of its file; arguments and errors as `load`."""
    return list(load(paper, path).claims)


def _read(path: Path, where: str) -> Any:
    """Return the content of a file of claims; whatever is wrong with it is one sentence."""
    with files.reading(f"{where}: the file"):
        content = path.read_bytes()
    try:
        return strict_yaml.load(content)
    except strict_yaml.NotYaml as error:
        line = "" if error.line is None else f"line {error.line + 1}: "
        raise QmlbookError(
            f"{where}: the file cannot be read as YAML ({line}{error.reason})."
        ) from None


def _claim(paper: str, entry: Any, file: str, number: int) -> Claim:
    """Check one entry of the list and make a `Claim` of it."""
    name = entry.get("id") if isinstance(entry, Mapping) else None
    where = f"{file}, claim {number}"
    if isinstance(name, str) and name.isprintable():
        where = f"{file}, claim {name[:40]}"
    _known(where, entry, FIELDS, REQUIRED)
    given = dict(entry)
    kind = given["kind"]
    for name in ("experiment", "metric", "margin", "control_margin", "dead"):
        if name in given and given[name] is None:
            raise QmlbookError(f"{where}: {name} is None and must be given or left out.")
    if isinstance(sides := given.get("variants"), Mapping):
        _known(f"{where}: variants", sides, ("over", "under"), ("over", "under"))
        given |= {"variants": sides["over"], "under": sides["under"]}
    given.setdefault("controls", NOT_APPLICABLE if kind == "property" else {})
    given.setdefault("statistic", "difference" if kind == "order" else "mean")
    claim = _checked(_CLAIM, {"paper": paper, **given}, where)
    for problem in _contradictions(claim):
        raise QmlbookError(f"{where}: {problem}.")
    return claim


def _contradictions(claim: Claim) -> Iterator[str]:
    """Yield what is wrong with a claim whose fields are right, each by itself."""
    own = claim.source.startswith("this book")
    if own == (claim.provenance == "published"):
        source = "this book's" if own else "the paper's"
        yield f"provenance is {claim.provenance!r}, and the source says that the claim is {source}"
    if claim.kind == "property" and claim.controls != NOT_APPLICABLE:
        yield "a property takes no controls; make the comparison an order"
    if isinstance(claim.controls, Mapping) and (both := set(claim.controls) & set(claim.settled)):
        yield f"{', '.join(sorted(both))}: a control has runs or is settled without"
    if claim.kind == "property" and claim.statistic != "mean":
        yield "a property takes no statistic"
    if claim.kind == "order" and claim.statistic != "difference":
        yield "the statistic of an order is 'difference'"
    if claim.experiment is not None:  # otherwise it is quoted, and no more can be asked of it
        yield from _wrong_variants(claim)
        yield from _wrong_numbers(claim)


def _wrong_rows(claim: Claim, claims: Mapping[str, Claim]) -> Iterator[str]:
    """Yield which claims, named by a control without runs, are not what they must be."""
    for name, said in claim.settled.items():
        if said.row and said.row not in claims:
            yield f"settled.{name}.row is {shown(said.row)} and must be the id of a claim"
        if said.exact and (said.exact not in claims or claims[said.exact].kind != "property"):
            yield f"settled.{name}.exact is {shown(said.exact)} and must be the id of a property"


def _wrong_variants(claim: Claim) -> Iterator[str]:
    """Yield which variants are missing or cannot be paired."""
    if not claim.metric or not claim.variants:
        yield f"experiment {claim.experiment!r} needs a metric and variants"
    if (claim.statistic == "difference") != bool(claim.under):
        yield "a difference, and nothing else, has variants {over: [...], under: [...]}"
    paired = {"under": claim.under} if claim.under else {}
    paired |= claim.controls if isinstance(claim.controls, Mapping) else {}
    for name, variants in paired.items():
        if len(variants) != len(claim.variants):
            given, wanted = counted(len(variants), "variant"), len(claim.variants)
            yield f"{name} has {given} and must have {wanted}, one for each it is paired with"


def _wrong_numbers(claim: Claim) -> Iterator[str]:
    """Yield which published value, margin or number of seeds leaves the verdict open."""
    published = claim.published if isinstance(claim.published, Mapping) else {}
    if claim.kind == "value" and (claim.statistic == "max") != ("best" in published):
        yield "statistic 'max' and published {best, of} go together"
    if claim.kind == "value" and "single" in published and len(claim.variants) > 1:
        yield "published {single} is one run, so it takes one variant"
    needs_margin = claim.kind == "order" or (published and "best" not in published)
    if claim.kind != "property" and needs_margin and claim.margin is None:
        yield "margin is missing, and the verdict depends on it"
    most = published.get("mean", LARGEST) / LEAD_PER_MARGIN
    compared = claim.kind == "order" and isinstance(claim.controls, Mapping) and claim.controls
    if compared and (margin := claim.controls_margin or 0.0) > most:
        yield (
            f"control_margin is {margin:g} and must be at most {most:.3g}, a third of the "
            "published lead (without it, margin counts)"
        )
    if (number := len(claim.seeds)) < (least := MIN_SEEDS[claim.kind]):
        yield f"seeds is {number} and must be {least} or more ({claim.kind})"
    of, runs = published.get("of", 0), number * len(claim.variants)
    if claim.kind == "value" and runs < (needed := RUNS_PER_BEST * of):
        yield f"seeds and variants give {runs} runs, and the best of {of} needs {needed} or more"


def _known(where: str, entry: Any, allowed: Iterable[str], required: Iterable[str]) -> None:
    if not isinstance(entry, Mapping):
        raise QmlbookError(f"{where}: must be a mapping with {', '.join(required)}.")
    choices = ", ".join(allowed)
    for name in (name for name in entry if name not in allowed):
        raise QmlbookError(f"{where}: field {shown(name)} is not known; choose from: {choices}.")
    for name in (name for name in required if name not in entry):
        raise QmlbookError(f"{where}: field {name!r} is missing.")


def _checked(kind: TypeAdapter[Any], value: Any, where: str, name: str = "") -> Any:
    """Return a value as its type has it; what pydantic finds first becomes one sentence."""
    try:
        return kind.validate_python(value)
    except ValidationError as error:
        problem = next(problem for problem in error.errors() if problem["type"] == "must")
        name, said = str(*problem["loc"][:1]) or name, problem["ctx"]
        what = f"{name}{said['part']} is {said['given']} and must be {said['allowed']}"
        raise QmlbookError(f"{where}: {what}.") from None
