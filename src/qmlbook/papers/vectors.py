"""Hold the library against reference vectors made with the papers' released code.

A file names its paper and lists cases; ``KINDS`` of the room's ``vectors.py`` says how each kind is
recomputed. Every field of a case's ``expected`` is compared; a kind or field the room does not know
leaves the case unchecked, which counts as a failure.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from .. import papers
from ..base.errors import QmlbookError, UsageError, shown
from .shared.cases import Inputs, Kind

TOLERANCE = 1e-8


@dataclass(frozen=True)
class CaseResult:
    """The verdict on one case; ``max_error`` is ``None`` where nothing could be compared."""

    file: str
    paper: str
    case: str
    kind: str
    checked: bool = True
    max_error: float | None = None
    tolerance: float = TOLERANCE
    passed: bool = False
    note: str = ""


def check_files(files: list[Path]) -> list[CaseResult]:
    """Check every case of every file, in order.

    Raises:
        UsageError: if a file is missing, is not JSON of this form, or names an unknown paper.
    """
    return [result for file in files for result in _check_file(Path(file))]


def _check_file(file: Path) -> Iterator[CaseResult]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        paper, cases = content["paper"], content["cases"]
        cases = [(c["id"], c["kind"], c["inputs"], c["expected"]) for c in cases]
    except OSError as error:
        raise UsageError(f"FILE {shown(str(file))} cannot be read: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"FILE {shown(str(file))} is not a file of reference vectors: {error!r}."
        ) from None
    room = papers.module(paper, "vectors")
    kinds = room.KINDS if room else {}
    for case, name, inputs, expected in cases:
        common: dict[str, Any] = {"file": file.name, "paper": paper, "case": case, "kind": name}
        if name not in kinds:
            yield CaseResult(**common, checked=False, note=f"kind {name!r} is not known")
        elif kinds[name].refused:
            yield _check_refusal(common, kinds[name], inputs)
        else:
            yield _check_case(common, kinds[name], inputs, expected)


def _check_refusal(common: dict[str, Any], kind: Kind, inputs: Inputs) -> CaseResult:
    """Pass a case whose inputs must be refused, not answered with a number."""
    try:
        kind.compute(inputs)
    except (IndexError, ValueError):
        return CaseResult(**common, max_error=0.0, tolerance=0.0, passed=True)
    note = "an answer was given where the inputs should have been refused"
    return CaseResult(**common, note=note)


def _check_case(
    common: dict[str, Any], kind: Kind, inputs: Inputs, expected: Mapping[str, Any]
) -> CaseResult:
    if kind.steps and isinstance(steps := expected.get(kind.steps), list):
        inputs = {"steps": len(steps), **inputs}
    try:
        ours = kind.compute(inputs)
    except QmlbookError as error:  # data that are not here, for instance
        return CaseResult(**common, checked=False, note=str(error))
    except Exception as error:
        return CaseResult(**common, note=f"{type(error).__name__}: {error}")
    loosest, worst, notes = 0.0, 0.0, []
    unknown = False
    for path, want, got in _leaves(expected, ours, (), kind.exact):
        limit = _limit(path, kind)
        loosest = max(loosest, limit)
        if got is _MISSING:
            unknown = True
            notes.append(f"field {'.'.join(path)} is not known")
            continue
        distance = _difference(want, got)
        worst = max(worst, distance)
        if not distance <= limit:
            notes.append(f"{'.'.join(path)} is off by {distance:.3g}")
    return CaseResult(
        **common,
        checked=not unknown,
        max_error=worst if np.isfinite(worst) else None,
        tolerance=loosest or TOLERANCE,
        passed=not notes,
        note="; ".join(notes[:3]),
    )


def _limit(path: tuple[str, ...], kind: Kind) -> float:
    """Return the largest error allowed of a field, or of what is below it."""
    said = product(reversed(path), kind.tolerances.items())
    return next((limit for part, (name, limit) in said if fnmatchcase(part, name)), TOLERANCE)


_MISSING = object()


def _leaves(
    expected: Any, ours: Any, path: tuple[str, ...], exact: bool
) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Yield (path, expected, ours) for everything below objects and equally long lists of objects.

    An object within ``expected`` may name fewer keys than ours has, unless ``exact``: then an
    object that lists what is possible is wrong if anything more is.
    """
    if _are_objects(expected) and _are_objects(ours) and len(expected) == len(ours):
        expected, ours = ({str(i): v for i, v in enumerate(x)} for x in (expected, ours))
    if not isinstance(expected, Mapping):
        yield path, expected, ours
        return
    for key, value in expected.items():
        own = ours.get(key, _MISSING) if isinstance(ours, Mapping) else _MISSING
        if own is _MISSING:
            yield (*path, key), value, _MISSING
        else:
            yield from _leaves(value, own, (*path, key), exact)
    if exact and path and (more := set(ours) - set(expected)):
        yield (*path, f"keys {sorted(more)[:3]}"), False, True


def _are_objects(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, Mapping) for value in values)


def _difference(want: Any, got: Any) -> float:
    """Return the largest absolute difference; infinite for other shapes, types or unequal words."""
    if hasattr(got, "detach"):
        got = got.detach().cpu().numpy()
    want, got = _array(want), _array(got)
    if want.shape != got.shape:
        return float("inf")
    if not {want.dtype.kind, got.dtype.kind} <= set("iuf"):  # words, booleans, None
        return 0.0 if np.array_equal(want, got) else float("inf")
    return float(np.nan_to_num(np.abs(want - got), nan=np.inf).max(initial=0.0))


def _array(values: Any) -> np.ndarray:
    try:
        return np.asarray(values)
    except ValueError:  # ragged lists compare as objects
        return np.asarray(values, dtype=object)


def render(results: list[CaseResult], format: str) -> str:
    """Write results as a ``table`` for people or as ``json``."""
    if format == "json":
        return json.dumps([asdict(result) for result in results], indent=1)
    width = max((len(result.case) for result in results), default=4)
    lines = [
        f"{_word(r):11} {r.case:{width}}  {r.kind:24} "
        + (f"max error {r.max_error:.1e} (allowed {r.tolerance:.0e})" if r.passed else r.note)
        for r in results
    ]
    passed = sum(result.passed for result in results)
    return "\n".join([*lines, f"{passed} of {len(results)} cases passed."])


def _word(result: CaseResult) -> str:
    if not result.checked:
        return "not checked"
    return "passed" if result.passed else "FAILED"
