"""The report of a case: one page that needs no network, the same in Markdown and in JSON."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..base import files
from ..base.errors import counted
from ..evidence import stats
from ..evidence.verdicts import CANNOT
from .plan import Plan
from .players import RIVAL, SUBJECT

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Dark enough on white; told apart without colours by their marks, too.
MARKS = {stats.SURVIVES: ("#1b6e3c", "o"), stats.EXPLAINED_BY: ("#a3261f", "s")}
PLAIN = ("#444444", "D")
MEANING = {
    stats.SURVIVES: "It is ahead of every rival by more than the margin.",
    stats.EXPLAINED_BY: "What it is ahead of them is surely no more than the margin.",
    stats.UNDECIDED: "These runs cannot tell its leads from the margin.",
    CANNOT: "Where nothing can be learned it did better than chance: the case itself is at fault.",
}


@dataclass(frozen=True)
class Row:
    """One that the circuit was held against.

    Attributes:
        name, role, about, value: as of the plan; ``value`` is the chosen setting.
        score: mean over seeds.
        lead, low, high: circuit minus this one, with its 99 % interval.
        word: what the rule says of it.
    """

    name: str
    role: str
    about: str
    value: float
    score: float
    lead: float
    low: float
    high: float
    word: str


@dataclass(frozen=True)
class Report:
    """What a case came to.

    Attributes:
        plan: what was fixed.
        seal: SHA-256 of its file.
        word: ``survives``, ``explained by`` rivals, ``undecided`` or ``cannot be decided``.
        rows: the circuit first.
        curves: player -> mean score along training.
        shots: with which two inputs can be told apart after training, the median over seeds.
        spent: core-minutes of all runs, tuning and pilot included.
        command: that repeats it; empty where the case is in no file.
    """

    plan: Plan
    seal: str
    word: str
    rows: list[Row]
    curves: dict[str, list[float]]
    shots: int
    spent: float
    command: str

    @property
    def meaning(self) -> str:
        """What the word means."""
        return next(text for word, text in MEANING.items() if self.word.startswith(word))

    @property
    def sentence(self) -> str:
        """The claim and what became of it."""
        claim = self.plan.claim.rstrip(". ") or f"The circuit of {self.plan.case} adds something"
        return f"{claim}: {self.word}. {self.meaning}"

    def to_json(self) -> str:
        """Return all of it as JSON."""
        return json.dumps({"sentence": self.sentence, **asdict(self)}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Return the report that `to_json` wrote."""
        entries = json.loads(text)
        del entries["sentence"]
        entries |= {"plan": Plan(**entries["plan"]), "rows": [Row(**r) for r in entries["rows"]]}
        return cls(**entries)

    def facts(self) -> list[tuple[str, str]]:
        """Return what the circuit computes, line by line."""
        known = self.plan.facts
        found = ", ".join(map(str, known["frequencies"]))
        lines = [
            ("qubits", f"{known['qubits']}, of which {known['cone']} can be felt"),
            ("gates", f"{known['gates']}, of which {known['entangling']} on several wires"),
            ("weights", f"{known['parameters']}, moving the outputs in {known['effective']} "
                        "directions"),
            ("encoding", known["encoding"]),
            ("it computes", known["form"]),
        ]  # fmt: skip
        if known["unseen"]:
            lines.append(("inputs", f"{counted(known['unseen'], 'feature')} change nothing"))
        if known["frequencies"]:
            lines.append(("frequencies of each angle", found))
            lines.append(("Fourier coefficients", f"{known['coefficients']:,}"))
        return [
            *lines,
            ("spread of gradients at the start", f"{known['gradient']:.2g}"),
            ("shots to tell two inputs apart", f"{known['shots']:,} untrained, {self.shots:,} "
                                               "trained (medians, at most)"),
        ]  # fmt: skip

    def costs(self) -> list[tuple[str, str]]:
        """Return how it was planned and what it took."""
        plan = self.plan
        cut = "" if plan.seeds >= plan.planned else f" ({plan.planned} planned, cut to the budget)"
        software = ", ".join(f"{name} {version}" for name, version in plan.versions.items())
        return [
            ("data", plan.data),
            ("margin", f"{plan.margin:g} of {plan.metric}"),
            ("seeds", f"{plan.seeds}{cut}"),
            (
                "took",
                f"{self.spent:.1f} core-minutes, {plan.core_minutes:.1f} planned for the runs",
            ),
            ("versions", f"{software}, code {plan.code_version}"),
            ("seal (SHA-256 of plan.json)", self.seal),
            ("again", self.command or "the case is in no file"),
        ]


def markdown(report: Report) -> str:
    """Return a report as Markdown."""
    lines = [
        *(f"# {report.plan.case}", "", f"**{report.sentence}**", ""),
        "| against | role | score | lead | 99 % interval | |",
        "|---|---|---:|---:|---|---|",
    ]
    lines += [
        f"| {row.name} ({row.about}) | {row.role} | {row.score:.3f} | {row.lead:+.3f} | "
        f"{row.low:+.3f} to {row.high:+.3f} | {row.word} |"
        for row in report.rows if row.role != SUBJECT
    ]  # fmt: skip
    for title, pairs in (("What the circuit computes", report.facts()), ("Plan", report.costs())):
        lines += ["", f"## {title}", "", *(f"- {name}: {value}" for name, value in pairs)]
    return "\n".join(lines) + "\n"


def forest(report: Report) -> Figure:
    """Return the figure of all leads with their intervals."""
    from matplotlib.figure import Figure

    rows = [row for row in report.rows if row.role != SUBJECT][::-1]
    figure = Figure(figsize=(6.4, 0.32 * len(rows) + 1.0), layout="constrained")
    axes = figure.subplots()
    axes.axvspan(-report.plan.margin, report.plan.margin, color="#e6e6e6", lw=0)
    axes.axvline(0, color="#777777", lw=0.8)
    for at, row in enumerate(rows):
        color, mark = MARKS.get(row.word, PLAIN)
        filled = color if row.role == RIVAL else "white"
        axes.plot([row.low, row.high], [at, at], color=color)
        axes.plot(row.lead, at, mark, color=color, mfc=filled)
    axes.set(yticks=range(len(rows)), yticklabels=[row.name for row in rows])
    axes.set_xlabel(f"circuit minus the other, {report.plan.metric} (grey: the margin)")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def curves(report: Report) -> Figure:
    """Return the figure of learning curves, of the circuit and of rivals that have one."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    axes = figure.subplots()
    rivals = {row.name for row in report.rows if row.role == RIVAL}
    styles = ("--", "-.", ":", (0, (6, 2)), (0, (3, 1, 1, 1, 1, 1)))
    shown = {name: curve for name, curve in report.curves.items() if name in rivals}
    for at, (name, curve) in enumerate(shown.items()):
        axes.plot(curve, color="#555555", ls=styles[at % len(styles)], label=name)
    axes.plot(report.curves["circuit"], color="#1f4e8c", lw=2.5, label="circuit")
    axes.set(xlabel="tenths of the training", ylabel=f"{report.plan.metric} on the test")
    axes.legend(fontsize="small", ncols=4, frameon=False, loc="lower left", bbox_to_anchor=(0, 1))
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _svg(figure: Figure, title: str) -> str:
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "path", "svg.hashsalt": title}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    # Ids of two pictures in one page must differ, and a reader is told what is seen.
    text = text[text.index("<svg") :].replace('id="', f'id="{title[:3]}-')
    text = text.replace('xlink:href="#', f'xlink:href="#{title[:3]}-')
    text = text.replace("url(#", f"url(#{title[:3]}-")
    return text.replace("<svg", f'<svg role="img" aria-label="{title}"', 1)


def html(report: Report) -> str:
    """Return a report as one page."""
    return files.fill(
        Path(__file__).with_name("report.html"),
        report=report,
        rows=[row for row in report.rows if row.role != SUBJECT],
        forest=_svg(
            forest(report), "Leads of the circuit with intervals; the table has the numbers"
        ),
        curves=_svg(curves(report), "Mean score of every trained model along its training"),
    )


def write(report: Report, folder: Path) -> None:
    """Write a report as ``report.html``, ``report.md`` and ``report.json``.

    Raises:
        QmlbookError: if the folder cannot be written.
    """
    files.write(folder / "report.json", report.to_json().encode())
    files.write(folder / "report.md", markdown(report).encode())
    files.write(folder / "report.html", html(report).encode())
