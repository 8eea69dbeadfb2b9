"""What a paper claims, and the rule that decides each claim, as written in its ``claims.yml``.

The file is a mapping ``{paper, title, citation, claims: [...]}``; `Claim` documents an entry. It is
written before the runs that decide it, so a mistake in it is an error and never a guess.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import papers
from ..base.errors import QmlbookError
from .stats import MIN_PAIRS, MIN_RUNS, NOT_APPLICABLE, RUNS_PER_BEST

NOT_AVAILABLE = "not available"
CHOICES = {
    "kind": ("value", "order", "property"),
    "statistic": ("mean", "max", "difference"),
    "evidence": ("proved", "computed", "measured", "illustrated"),
}
PUBLISHED = (("mean", "sd", "n"), ("mean",), ("single",), ("best", "of"))
TEXTS = ("id", "statement", "source", "experiment", "metric", "note", "why")
FIELDS = (*TEXTS, *CHOICES, "published", "variants", "margin", "seeds", "controls")
REQUIRED = ("id", "statement", "kind", "source", "evidence")
HEADER = ("paper", "title", "citation", "claims")
MIN_SEEDS = {"value": MIN_RUNS, "order": MIN_PAIRS, "property": 1}


@dataclass(frozen=True)
class Claim:
    """One claim of a paper and the rule that decides it.

    Attributes:
        paper: short name of the paper, as in every command.
        id: identifier, unique in the paper.
        statement: the claim in one sentence.
        kind: ``value`` (a number), ``order`` (A over B) or ``property`` (holds or fails).
        source: section or figure of the paper, or repository, file and lines.
        evidence: ``proved``, ``computed``, ``measured`` or ``illustrated``.
        published: ``{mean, sd, n}`` (sample standard deviation), ``{mean}``, ``{single}``,
            ``{best, of}`` or ``"not available"``, in the units of ``metric``.
        experiment: where the runs are; ``None`` if this book does not attempt the claim.
        metric: the metric of the records that is compared.
        statistic: ``mean``, ``max`` (with ``{best, of}``) or ``difference`` (with ``over`` and
            ``under``).
        variants: variants whose runs are pooled; for a difference those written under ``over``.
            A name may be ``experiment/variant`` when it lives elsewhere.
        under: for a difference, the variants paired with ``variants`` by position and seed.
        margin: largest difference without consequence, in the units of ``metric``; the best of
            several needs none, and its controls then take 0.
        seeds: runs of every variant that the verdict waits for and uses (seeds 0 .. seeds-1).
        controls: name -> variants paired with ``variants`` by position and seed; a larger metric
            must be the better one. ``"not applicable"`` where no control makes sense.
        note: deviations from the paper, for people.
        why: why ``seeds`` and ``margin`` are what they are.
    """

    paper: str
    id: str
    statement: str
    kind: str
    source: str
    evidence: str
    published: Mapping[str, float] | str = NOT_AVAILABLE
    experiment: str | None = None
    metric: str | None = None
    statistic: str = "mean"
    variants: tuple[str, ...] = ()
    under: tuple[str, ...] = ()
    margin: float | None = None
    seeds: int = 1
    controls: Mapping[str, tuple[str, ...]] | str = field(default_factory=dict)
    note: str = ""
    why: str = ""

    def place(self, name: str) -> tuple[str, str]:
        """Return the experiment and the variant that ``name`` means."""
        experiment, slash, variant = name.partition("/")
        return (experiment, variant) if slash else (str(self.experiment), name)


@dataclass(frozen=True)
class Claims:
    """A paper's ``claims.yml``: its name, title, citation key (``references.bib``) and claims."""

    paper: str
    title: str
    citation: str
    claims: tuple[Claim, ...]


def load(paper: str, path: Path | None = None) -> Claims:
    """Read a paper's ``claims.yml``.

    Args:
        paper: name of its room.
        path: another file to read instead of the room's own.

    Raises:
        QmlbookError: names the file, the claim, the field and what is allowed there.
    """
    import yaml

    path = Path(path) if path else papers.claims_file(paper)
    where = f"{path.parent.name}/{path.name}"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise QmlbookError(f"{where}: the file cannot be read as YAML ({reason}).") from error
    _known(where, content, HEADER, HEADER)
    if content["paper"] != paper:
        raise QmlbookError(f"{where}: paper is {content['paper']!r} and must be {paper!r}.")
    for name in ("title", "citation"):
        _text(where, name, content[name])
    if not isinstance(content["claims"], list):
        raise QmlbookError(f"{where}: claims must be a list.")
    claims: dict[str, Claim] = {}
    for number, entry in enumerate(content["claims"], 1):
        claim = _claim(paper, entry, f"{where}, claim {number}")
        if claim.id in claims:
            raise QmlbookError(f"{where}: id {claim.id!r} is used by more than one claim.")
        claims[claim.id] = claim
    return Claims(paper, content["title"], content["citation"], tuple(claims.values()))


def load_claims(paper: str, path: Path | None = None) -> list[Claim]:
    """Return the claims of a paper in the order of its file; arguments and errors as `load`."""
    return list(load(paper, path).claims)


def _claim(paper: str, entry: Any, where: str) -> Claim:
    """Check one entry of the list and make a `Claim` of it."""
    if isinstance(entry, Mapping) and isinstance(entry.get("id"), str):
        where = f"{where.rpartition(' ')[0]} {entry['id']}"
    _known(where, entry, FIELDS, REQUIRED)
    given: dict[str, Any] = {name: _text(where, name, entry[name]) for name in TEXTS & entry.keys()}
    for name, allowed in CHOICES.items():
        if name in entry:
            if entry[name] not in allowed:
                raise _bad(where, name, entry[name], f"one of: {', '.join(allowed)}")
            given[name] = entry[name]
    given["published"] = _published(where, entry.get("published", NOT_AVAILABLE))
    variants = entry.get("variants", [])
    if isinstance(variants, Mapping):
        _known(f"{where}: variants", variants, ("over", "under"), ("over", "under"))
        given["under"] = _names(where, "variants", variants["under"])
        variants = variants["over"]
    if "variants" in entry:
        given["variants"] = _names(where, "variants", variants)
    if "margin" in entry:
        given["margin"] = _number(where, "margin", entry["margin"], 0)
    if "seeds" in entry:
        given["seeds"] = _integer(where, "seeds", entry["seeds"], 1)
    controls = entry.get("controls", NOT_APPLICABLE if entry["kind"] == "property" else {})
    if controls != NOT_APPLICABLE:
        if not isinstance(controls, Mapping):
            raise _bad(where, "controls", controls, f"name: [variants], or {NOT_APPLICABLE!r}")
        controls = {
            _text(where, "controls", name): _names(where, f"controls.{name}", names)
            for name, names in controls.items()
        }
    given.setdefault("statistic", "difference" if entry["kind"] == "order" else "mean")
    claim = Claim(paper=paper, controls=controls, **given)
    _check_rule(claim, where)
    return claim


def _check_rule(claim: Claim, where: str) -> None:
    """Refuse fields that contradict each other or leave the verdict open."""
    published = claim.published if isinstance(claim.published, Mapping) else {}
    if claim.kind == "property" and claim.controls != NOT_APPLICABLE:
        raise QmlbookError(f"{where}: a property takes no controls; make the comparison an order.")
    if claim.kind == "property" and claim.statistic != "mean":
        raise QmlbookError(f"{where}: a property takes no statistic.")
    if claim.kind == "order" and claim.statistic != "difference":
        raise QmlbookError(f"{where}: the statistic of an order is 'difference'.")
    if claim.experiment is None:  # the claim is quoted, and nothing below can be asked of it
        return
    if claim.kind == "value" and (claim.statistic == "max") != ("best" in published):
        raise QmlbookError(f"{where}: statistic 'max' and published {{best, of}} go together.")
    if not claim.metric or not claim.variants:
        raise QmlbookError(f"{where}: experiment {claim.experiment!r} needs a metric and variants.")
    if (claim.statistic == "difference") != bool(claim.under):
        raise QmlbookError(
            f"{where}: a difference, and nothing else, has variants {{over: [...], under: [...]}}."
        )
    paired = {"under": claim.under} if claim.under else {}
    paired |= claim.controls if isinstance(claim.controls, Mapping) else {}
    for name, variants in paired.items():
        if len(variants) != len(claim.variants):
            raise QmlbookError(
                f"{where}: {name} has {len(variants)} variants and must have "
                f"{len(claim.variants)}, one for each it is paired with."
            )
    if claim.kind == "value" and "single" in published and len(claim.variants) > 1:
        raise QmlbookError(f"{where}: published {{single}} is one run, so it takes one variant.")
    needs_margin = claim.kind == "order" or (published and "best" not in published)
    if claim.kind != "property" and needs_margin and claim.margin is None:
        raise QmlbookError(f"{where}: margin is missing, and the verdict depends on it.")
    if claim.seeds < MIN_SEEDS[claim.kind]:
        raise _bad(where, "seeds", claim.seeds, f"{MIN_SEEDS[claim.kind]} or more ({claim.kind})")
    runs, needed = claim.seeds * len(claim.variants), RUNS_PER_BEST * published.get("of", 0)
    if claim.kind == "value" and runs < needed:
        raise QmlbookError(
            f"{where}: seeds and variants give {runs} runs, and the best of {published['of']} "
            f"needs {needed} or more."
        )


def _bad(where: str, name: str, value: object, allowed: str) -> QmlbookError:
    return QmlbookError(f"{where}: {name} is {value!r} and must be {allowed}.")


def _known(where: str, entry: Any, allowed: tuple[str, ...], required: tuple[str, ...]) -> None:
    if not isinstance(entry, Mapping):
        raise QmlbookError(f"{where}: must be a mapping with {', '.join(required)}.")
    for name in entry:
        if name not in allowed:
            choices = ", ".join(allowed)
            raise QmlbookError(f"{where}: field {name!r} is not known; choose from: {choices}.")
    for name in required:
        if name not in entry:
            raise QmlbookError(f"{where}: field {name!r} is missing.")


def _text(where: str, name: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _bad(where, name, value, "a text that is not empty")
    return " ".join(value.split())  # folded YAML leaves line ends and trailing blanks


def _names(where: str, name: str, value: Any) -> tuple[str, ...]:
    names = value if isinstance(value, list) else [value]
    if not names or not all(isinstance(item, str) and item for item in names):
        raise _bad(where, name, value, "a name or a list of names (quote what YAML takes for more)")
    if len(set(names)) < len(names) and name == "variants":
        raise _bad(where, name, value, "a list without repetitions")
    return tuple(names)


def _number(where: str, name: str, value: Any, least: float = -math.inf) -> float:
    good = isinstance(value, int | float) and not isinstance(value, bool)
    if not good or not math.isfinite(value) or value < least:
        bound = "" if least == -math.inf else f", {least:g} or more"
        raise _bad(where, name, value, f"a number{bound} (YAML writes 0.001 or 1.0e-3)")
    return value


def _integer(where: str, name: str, value: Any, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise _bad(where, name, value, f"a whole number, {least} or more")
    return value


def _published(where: str, value: Any) -> Mapping[str, float] | str:
    if value == NOT_AVAILABLE:
        return NOT_AVAILABLE
    if not isinstance(value, Mapping) or set(value) not in [set(form) for form in PUBLISHED]:
        forms = ", ".join("{" + ", ".join(form) + "}" for form in PUBLISHED)
        raise _bad(where, "published", value, f"one of: {forms}, {NOT_AVAILABLE!r}")
    for name, least in (("n", 2), ("of", 1)):
        if name in value:
            _integer(where, f"published.{name}", value[name], least)
    for name, number in value.items():
        _number(where, f"published.{name}", number, 0 if name == "sd" else -math.inf)
    return dict(value)
