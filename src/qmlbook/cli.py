"""The ``qmlbook`` command: names first, no names means all, exit 0 good, 1 failure, 2 usage."""

from __future__ import annotations

import os
import sys
import tempfile
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Literal

import typer
from typer import Argument, Option, core

from . import __version__
from . import papers as rooms
from .base import errors, files, output
from .base.command import exit_status

# Help as plain text: what colours and frames it takes longer to load than all the rest.
app = typer.Typer(
    help="Run, check and build 'Quantum Learning, Rerun', and its evidence.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
# All that these do is done at their end.
KEEP_NOTHING = ("audit", "course", "new", "records", "report", "vectors", "verify")
data_app = typer.Typer(help="The image sets: where they are, fetch them, verify them.")
app.add_typer(data_app, name="data", no_args_is_help=True)


def _chapter_names() -> list[str]:
    from .book.chapters import names

    return names()


def _source(name: str) -> Path:
    """Return the path of a file to read."""
    if not name:
        raise errors.UsageError("'' is no name; give the name of a file.")
    return Path(name)


Chapters = Annotated[
    list[str] | None,
    Argument(help="Chapters; all when none is named.", autocompletion=_chapter_names),
]
Papers = Annotated[
    list[str] | None, Argument(help="Papers; all when none is named.", autocompletion=rooms.names)
]
Paper = Annotated[str, Argument(help="The paper.", autocompletion=rooms.names)]
Sets = Annotated[list[str] | None, Argument(help="Image sets; all when none is named.")]
To = Annotated[
    Path | None,
    Option(metavar="FILE", parser=output.file, help="Write to a file; - is standard output."),
]
Exported = Annotated[
    Path | None,
    Option(
        metavar="FILE", parser=output.file_of_format, help="Write to a file; - is standard output."
    ),
]
Jobs = Annotated[int, Option(min=1, help="Chapters executed at a time.")]
DryRun = Annotated[bool, Option("--dry-run", help="Say what would be run, and how long it takes.")]
Scheduler = Annotated[
    str | None, Option(metavar="ADDRESS", help="A running Dask scheduler to use instead.")
]
Repository = Annotated[
    str | None,
    Option(
        metavar="URL",
        envvar="QMLBOOK_REPOSITORY",
        help="The book's address on GitHub, from which pages then offer Colab and Binder.",
    ),
]


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"qmlbook {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, Option("--version", callback=_show_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    pass


@app.command()
def chapters(
    names: Chapters = None,
    profile: Annotated[errors.Profile, Option(help="How much is run.")] = "quick",
    parameter: Annotated[
        list[str] | None,
        Option("-p", "--parameter", metavar="NAME VALUE", help="Set a chapter's parameter."),
    ] = None,
    keep_going: Annotated[
        bool, Option("--keep-going", help="Run the others when one fails.")
    ] = False,
    jobs: Jobs = 2,
    force: Annotated[bool, Option("--force", help="Run even what is up to date.")] = False,
    parameters: Annotated[
        bool, Option("--parameters", help="Only list the parameters, with their types.")
    ] = False,
    format: Annotated[errors.ListFormat, Option(help="How --parameters lists them.")] = "table",
    copy: Annotated[
        str | None,
        Option(metavar="FOLDER", help="Only write them as notebooks that run without a checkout."),
    ] = None,
) -> None:
    """Execute chapters.

    Papermill writes the notebooks to _build/executed/PROFILE/; what is up to date is not run.
    """
    from .book import chapters as library
    from .book import execute
    from .book.parameters import render

    if copy is not None:
        with output.written("--copy", copy, "folder"):
            print(f"The notebooks are in {library.copy(names, output.folder(copy, '--copy'))}")
        return
    if parameters:
        print(render(library.parameters(names), format))
        return
    results = execute.run(
        names,
        profile=profile,
        parameters=dict(_split(pair) for pair in parameter or ()),
        keep_going=keep_going,
        jobs=jobs,
        force=force,
    )
    raise typer.Exit(not all(result.ok for result in results))


@app.command()
def check(
    names: Chapters = None,
    update: Annotated[
        bool, Option("--update", help="Rewrite the references from a quick run.")
    ] = False,
    nbval: Annotated[
        bool, Option("--nbval", help="Let nbval run the references, whatever was run before.")
    ] = False,
    jobs: Jobs = 2,
) -> None:
    """Compare every output of a quick run with the stored references, as nbval does."""
    from .book import references

    raise typer.Exit(not references.check(names, update=update, nbval=nbval, jobs=jobs))


@app.command()
def measure(
    names: Chapters = None,
    profile: Annotated[errors.Profile, Option(help="How much is run.")] = "quick",
) -> None:
    """Store how much time and memory chapters take.

    They are executed one by one.
    """
    from .book import status

    status.measure(names, profile=profile)


@app.command()
def build(
    open_browser: Annotated[bool, Option("--open", help="Show the book in a browser.")] = False,
    jobs: Jobs = 2,
    repository: Repository = None,
) -> None:
    """Build the pages of the book.

    Chapters that are not up to date are executed before; warnings are errors.
    """
    from .book.site import build as book

    page = book.build(open_browser=open_browser, jobs=jobs, repository=repository)
    print(f"The book is at {page}")


@app.command()
def pdf(to: To = None, jobs: Jobs = 2, repository: Repository = None) -> None:
    """Print the whole book to one PDF, unless told otherwise _build/book.pdf.

    This needs Chromium, Chrome or Edge.
    """
    from .book import pdf as printing

    if to is None or not output.is_stdout(to):
        if to is not None and not os.path.exists(to):
            with output.written("--to", to, "file"):  # said before a book is built for it
                files.require_writable(to.parent)
        print(f"The PDF is at {printing.pdf(to, jobs=jobs, repository=repository)}")
        return
    echo = partial(print, file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder, "book.pdf")
        printing.pdf(page, jobs=jobs, repository=repository, echo=echo)
        sys.stdout.buffer.write(page.read_bytes())


@app.command()
def course(
    names: Chapters = None,
    to: Annotated[Path, Option(metavar="FOLDER", parser=output.folder, help="Where to.")] = Path(
        "course"
    ),
    force: Annotated[bool, Option("--force", help="Replace files of an earlier course.")] = False,
) -> None:
    """Write notebooks for a class, and slides.

    For students and for teachers, of chapters with exercises.
    """
    from .book import course as library

    print(f"The course is in {library.write(names, to=to, force=force)}")


@app.command()
def sweep(
    paper: Paper,
    experiment: Annotated[
        list[str] | None, Option(help="Only these experiments; all when none is named.")
    ] = None,
    profile: Annotated[errors.Profile, Option(help="How much is run.")] = "full",
    seeds: Annotated[
        str | None,
        Option(metavar="N|A-B", help="Seeds of every variant; those that its claims ask for."),
    ] = None,
    dry_run: DryRun = False,
    retry_failed: Annotated[bool, Option("--retry-failed", help="Run failed runs again.")] = False,
    device: Annotated[Literal["cpu", "cuda"], Option(help="Where the runs compute.")] = "cpu",
    workers: Annotated[int, Option(min=1, help="Processes of the local cluster.")] = 2,
    memory: Annotated[str, Option(help="Memory limit of a local worker.")] = "4 GiB",
    dashboard: Annotated[bool, Option("--dashboard", help="Serve Dask's dashboard.")] = False,
    scheduler: Scheduler = None,
) -> None:
    """Make the runs that are missing.

    Their records are stored one by one: interrupt it as you like, the same command goes on.
    """
    from .evidence import sweep as library
    from .evidence.cluster import Cluster
    from .evidence.planned import seeds_of

    if device == "cuda" and scheduler is None:
        _require_cuda()
    summary = library.sweep(
        paper,
        experiment=experiment,
        profile=profile,
        seeds=None if seeds is None else seeds_of(seeds),
        device=device,
        dry_run=dry_run,
        retry_failed=retry_failed,
        runner=Cluster(scheduler, workers, memory, dashboard),
    )
    print(str(summary))
    raise typer.Exit(130 if summary.interrupted else summary.failed)


@app.command()
def verify(
    papers: Papers = None,
    sample: Annotated[int, Option(min=1, help="Runs of a paper that are compared.")] = 5,
    profile: Annotated[
        errors.Profile | None, Option(help="Only runs of this profile; both when none is named.")
    ] = None,
    cheapest: Annotated[
        bool, Option("--cheapest", help="The quickest runs of as many kinds as possible.")
    ] = False,
    scheduler: Scheduler = None,
) -> None:
    """Make some stored runs again and compare.

    Those whose images are not on this machine are named and replaced by others.
    """
    from .evidence import sweep as library
    from .evidence.cluster import Cluster
    from .evidence.store import Store
    from .evidence.verify import verify as again

    runner = Cluster(scheduler) if scheduler else library.in_turn
    stored = rooms.validate(papers) if papers else list(filter(Store().records, rooms.names()))
    results = []
    for paper in stored:
        made = again(paper, sample=sample, profile=profile, cheapest=cheapest, runner=runner)
        print(made, flush=True)
        results.append(made)
    _tell_problems(stored)
    raise typer.Exit(not all(result.good for result in results))


@app.command()
def audit(
    k: Annotated[int, Option("--k", min=1, help="Runs made again, four or more a paper.")] = 20,
    paper: Annotated[
        list[str] | None,
        Option(help="Only these papers; all when none is named.", autocompletion=rooms.names),
    ] = None,
    seed: Annotated[
        int | None, Option(min=0, help="Of the draw; today's date, YYYYMMDD, when none is given.")
    ] = None,
    budget: Annotated[
        float | None, Option(metavar="MINUTES", help="Leave out runs that took longer.")
    ] = None,
    save: Annotated[
        bool, Option("--save", help="Keep the outcome for the page of what it took.")
    ] = False,
    format: Annotated[errors.ListFormat, Option(help="How it is written.")] = "table",
    scheduler: Scheduler = None,
) -> None:
    """Make stored runs again, drawn at random, and say what follows for all.

    The draw has as many runs of each paper, half of them cheap and half dear. A run agrees within a
    quarter of the smallest margin that it decides.
    """
    from .book import status
    from .evidence import audit as library
    from .evidence.cluster import Cluster
    from .evidence.report import outline
    from .evidence.sweep import in_turn

    if budget is not None and not 0 < budget < float("inf"):
        raise errors.UsageError(f"--budget is {budget:g} and must be minutes, a number above 0.")
    made = library.audit(
        paper or (),
        k=k,
        seed=seed,
        budget=budget,
        machine="workers of a Dask scheduler" if scheduler else status.machine(),
        runner=Cluster(scheduler) if scheduler else in_turn,
        echo=partial(print, file=sys.stderr, flush=True),
    )
    if save:
        files.write(status.audit_file(), made.to_json().encode())
    told = (f"{'  ' * depth}{sentence}\n" for depth, sentence in outline(made))
    print(made.to_json() if format == "json" else "".join(told), end="")
    _tell_problems(rooms.validate(paper))
    raise typer.Exit(not made.good)


@app.command()
def tune(
    paper: Paper,
    dry_run: DryRun = False,
    workers: Annotated[int, Option(min=1, help="Processes of the local cluster.")] = 2,
) -> None:
    """Write the settings of a paper that did best.

    Trials that are missing are made first; the settings go to its tuned.yml.
    """
    from .evidence import tuning as library
    from .evidence.cluster import Cluster

    summary, chosen = library.tune(paper, dry_run=dry_run, runner=Cluster(workers=workers))
    print(summary)
    for name, settings in chosen.items():
        print(f"{name}: {settings}")
    raise typer.Exit(130 if summary.interrupted else summary.failed)


@app.command()
def referee(
    case: Annotated[
        Path | None, Argument(metavar="CASE.py", help="A file that names its case.")
    ] = None,
    example: Annotated[bool, Option("--example", help="Judge the case that is shipped.")] = False,
    budget: Annotated[
        str | None, Option(metavar="10m", help="Time of one core: s, m or h; the case's own.")
    ] = None,
    seeds: Annotated[
        int | None, Option(metavar="N", help="Seeds that decide; what the pilot asks for.")
    ] = None,
    to: Annotated[
        Path | None,
        Option(metavar="FOLDER", parser=output.folder, help="Where to; referee/NAME if not told."),
    ] = None,
    workers: Annotated[int, Option(min=1, help="Processes that make the runs.")] = 1,
    scheduler: Scheduler = None,
) -> None:
    """Hold a circuit of your own against its controls.

    Plan, seal, runs and report go to a folder; interrupt it as you like, the same command goes on.
    """
    from .evidence.cluster import Cluster
    from .evidence.sweep import in_turn
    from .referee import judge

    if example == bool(case):
        raise errors.UsageError("Name a file with a case, or --example, one of the two.")
    file = case or judge.EXAMPLE
    folder = to or Path("referee", file.stem)
    several = scheduler or workers > 1
    report = judge.referee(
        file,
        folder,
        seeds=seeds,
        budget=None if budget is None else _minutes(budget),
        runner=Cluster(scheduler, workers) if several else in_turn,
        echo=partial(print, file=sys.stderr, flush=True),
    )
    print(f"{report.sentence}\nThe report is {folder / 'report.html'}")


def _minutes(text: str) -> float:
    """Return the minutes of ``90s``, ``10m`` or ``2h``; a number alone is minutes."""
    units = {"s": 1 / 60, "m": 1.0, "h": 60.0}
    unit = units.get(text[-1:])
    try:
        minutes = float(text[:-1] if unit else text) * (unit or 1.0)
    except ValueError:
        minutes = 0.0
    if not 0 < minutes < float("inf"):
        raise errors.UsageError(f"budget is {errors.shown(text)} and must be like 90s, 10m or 2h.")
    return minutes


def _require_cuda() -> None:
    import torch

    if not torch.cuda.is_available():
        raise errors.QmlbookError(
            "--device cuda: PyTorch finds no CUDA device on this machine; leave the option out to "
            "run on the CPU, or name a --scheduler whose workers have one."
        )


@app.command()
def new(
    name: Annotated[str, Argument(help="Short name: of its room, its chapter, in every command.")],
    title: Annotated[str | None, Option(help="Title of the paper.")] = None,
    authors: Annotated[str | None, Option(help="Their names, joined by the word and.")] = None,
    where: Annotated[str | None, Option(help="Journal, volume and page, or a preprint.")] = None,
    year: Annotated[int | None, Option(help="When it appeared.")] = None,
) -> None:
    """Add a paper of your own, from an example that runs.

    What no option says is asked for. All of it is made, or nothing: a room, claims, vectors, a
    chapter with its reference, a line in the contents, an entry in the bibliography.
    """
    from .book import new_paper

    new_paper.require_free(name)
    paper = new_paper.Paper(
        name,
        title=_ask("--title", "Title of the paper") if title is None else title,
        authors=_ask("--authors", "Authors, joined by 'and'") if authors is None else authors,
        where=_ask("--where", "Where it appeared") if where is None else where,
        year=_ask("--year", "Year", type=int) if year is None else year,
    )
    made = new_paper.make(paper)
    print(f"{len(made)} files are new or changed; begin with {rooms.claims_file(name)}")


def _ask(option: str, question: str, **how: Any) -> Any:
    """Return what the reader answers."""
    try:
        return typer.prompt(question, **how)
    except typer.Abort:  # the end of a file where answers should be
        raise errors.QmlbookError(f"{option} is missing, and nobody answers here.") from None


@app.command()
def report(
    papers: Papers = None,
    format: Annotated[errors.ReportFormat, Option(help="How it is written.")] = "table",
    to: Exported = None,
    claims: Annotated[
        Path | None,
        Option(metavar="FILE", parser=_source, help="Claims of your own about one paper's runs."),
    ] = None,
) -> None:
    """Show what every claim of the papers came to."""
    from .evidence import report as library
    from .evidence.verdicts import notes, verdicts

    watched = format == "table" and to is None and sys.stdout.isatty()
    output.put(library.render(verdicts(papers, claims=claims), format, color=watched), to)
    for note in notes(papers):
        print(note, file=sys.stderr)


@app.command()
def records(
    papers: Papers = None,
    format: Annotated[
        errors.RecordFormat,
        Option(
            help="csv, parquet: a row per number of a run; json: an object per run; "
            "ro-crate: a new folder, its metadata as RO-Crate and Croissant; "
            "mlflow: a new folder, which `mlflow ui` opens."
        ),
    ] = "csv",
    predictions: Annotated[
        bool, Option("--predictions", help="What runs that keep it said of every test image.")
    ] = False,
    to: Annotated[
        str | None,
        Option(
            metavar="FILE",
            parser=output.no_format,
            help="Write to a file, or a new folder; - is standard output.",
        ),
    ] = None,
) -> None:
    """Export the stored runs behind the verdicts."""
    from .evidence import export
    from .evidence.store import Store

    store = Store()
    if format in ("ro-crate", "mlflow") and not predictions:
        from .evidence import crate, mlflow_store

        if to is None or output.is_stdout(Path(to)):
            raise errors.UsageError(f"--format {format} writes a folder; name it with --to.")
        what, into = {"ro-crate": ("crate", crate), "mlflow": ("store", mlflow_store)}[format]
        with output.written("--to", to, "folder"):
            print(f"The {what} is in {into.write(papers, output.folder(to), store=store)}")
        return
    file = None if to is None else output.file(to)
    if predictions:
        output.put(export.predictions(papers, format, store=store), file)
        return
    chosen = export.records(papers, store=store)
    output.put(
        export.parquet(chosen) if format == "parquet" else export.render(chosen, format), file
    )
    _tell_problems(rooms.validate(papers))


def _tell_problems(papers: list[str]) -> None:
    """Say which records of papers are not what was stored."""
    from .evidence.store import Store

    for name in papers:
        for problem in Store().problems(name):
            print(problem, file=sys.stderr)


@app.command()
def vectors(
    files: Annotated[
        list[Path], Argument(metavar="FILE...", parser=_source, help="Files of vectors.")
    ],
    format: Annotated[errors.ListFormat, Option(help="How it is written.")] = "table",
) -> None:
    """Hold the library against reference vectors.

    They were made with the papers' released code.
    """
    from .papers import vectors as library

    results = library.check_files(files)
    print(library.render(results, format))
    raise typer.Exit(not all(result.checked and result.passed for result in results))


@data_app.command("list")
def data_list(names: Sets = None) -> None:
    """Show which image sets are here, and from where."""
    from . import data

    for held in data.status(names):
        where = f"{held.source}, {'whole' if held.whole else 'sample'}" if held.source else "-"
        counts = f"{held.train:6} + {held.test:5}" if held.source else " " * 14
        path = held.problem or held.path or f"not here: qmlbook data fetch {held.name}"
        print(f"{held.name:14} {where:18} {counts}  {held.licence.split(',')[0]:15} {path}")


@data_app.command()
def fetch(names: Sets = None) -> None:
    """Download whole image sets to your cache.

    Their checksums are those of the published sets.
    """
    from . import data

    for name in dict.fromkeys(names or data.names()):
        print(f"{name}: {data.fetch(name)}")


@data_app.command("verify")
def data_verify(
    names: Annotated[
        list[str] | None,
        Argument(help="Image sets, or papers whose records are meant; all when none."),
    ] = None,
) -> None:
    """Check every file of images and records.

    Each is held against the checksum that was published or stored with it.
    """
    from . import data
    from .evidence.store import Check, Store

    papers = [name for name in dict.fromkeys(names or rooms.names()) if name in rooms.names()]
    sets = [name for name in names or data.names() if name not in papers]
    checks: list[data.Check | Check] = [*data.verify(sets)] if sets else []
    for paper in papers:
        checks += Store().check(paper)
    for check in checks:
        print(f"{'ok     ' if check.ok else 'CORRUPT'} {check.path}  {check.message}")
    raise typer.Exit(not all(check.ok for check in checks))


def _join_pairs(arguments: list[str]) -> list[str]:
    """Turn ``-p NAME VALUE`` into ``-p NAME=VALUE``: an option repeated with one value each."""
    joined, rest = [], iter(arguments)
    for word in rest:
        joined.append(word)
        if word in ("-p", "--parameter"):
            name = next(rest, None)
            value = next(rest, None) if name is not None and "=" not in name else None
            joined += [text for text in (name if value is None else f"{name}={value}",) if text]
    return joined


def _split(pair: str) -> tuple[str, str]:
    name, equals, value = pair.partition("=")
    if not (name and equals):
        raise errors.UsageError(f"-p takes a name and a value, not {pair!r} alone.")
    return name, value


def main() -> None:
    """Run the command; errors become one sentence and an exit status."""
    words = sys.argv[1:]
    if "_QMLBOOK_COMPLETE" in os.environ:
        # Words that are being typed need no check, and pydantic, with which typer checks values,
        # takes longer to load than all the rest.
        as_typed: Any = SimpleNamespace(coerce=lambda value, param, ctx: value)
        core.build_runtime_param = lambda descriptor: as_typed
    keeps = not words or words[0] not in KEEP_NOTHING
    sys.exit(exit_status(lambda: app(_join_pairs(words)), "qmlbook", *words, keeps=keeps))


if __name__ == "__main__":
    main()
