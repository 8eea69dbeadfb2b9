"""The ``qmlbook`` command: names first, no names means all, exit 0 good, 1 failure, 2 usage."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Literal

import typer

from . import __version__
from . import papers as rooms
from .base import files
from .base.command import exit_status
from .base.errors import (
    ListFormat,
    Profile,
    QmlbookError,
    RecordFormat,
    ReportFormat,
    UsageError,
    WriteError,
    shown,
)

# Help as plain text: what colours and frames it takes longer to load than all the rest.
app = typer.Typer(
    help="Run, check and build 'Quantum Learning, Rerun', and its evidence.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="The image sets: where they are, fetch them, verify them.")
app.add_typer(data_app, name="data", no_args_is_help=True)


def _chapter_names() -> list[str]:
    from .book.chapters import names

    return names()


def _file(name: str) -> Path:
    """Return the path of a file to write; ``-`` is standard output."""
    if not name or name.endswith(("/", os.sep)) or Path(name).is_dir():
        what = "is a folder" if name else "is no name"
        raise UsageError(f"--to {shown(name)} {what}; give the name of a file.")
    return Path(name)


def _folder(name: str) -> Path:
    """Return the path of a folder to write."""
    if name in ("", "-"):
        raise UsageError(f"--to {shown(name)} is no folder; give the name of one.")
    return Path(name)


Chapters = Annotated[
    list[str] | None,
    typer.Argument(help="Chapters; all when none is named.", autocompletion=_chapter_names),
]
Papers = Annotated[
    list[str] | None,
    typer.Argument(help="Papers; all when none is named.", autocompletion=rooms.names),
]
Sets = Annotated[list[str] | None, typer.Argument(help="Image sets; all when none is named.")]
To = Annotated[
    Path | None,
    typer.Option(metavar="FILE", parser=_file, help="Write to a file; - is standard output."),
]
Jobs = Annotated[int, typer.Option(min=1, help="Chapters executed at a time.")]
Repository = Annotated[
    str | None,
    typer.Option(
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
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    pass


@app.command()
def chapters(
    names: Chapters = None,
    profile: Annotated[Profile, typer.Option(help="How much is run.")] = "quick",
    parameter: Annotated[
        list[str] | None,
        typer.Option("-p", "--parameter", metavar="NAME VALUE", help="Set a chapter's parameter."),
    ] = None,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Run the others when one fails.")
    ] = False,
    jobs: Jobs = 2,
    force: Annotated[bool, typer.Option("--force", help="Run even what is up to date.")] = False,
    parameters: Annotated[
        bool, typer.Option("--parameters", help="Only list the parameters, with their types.")
    ] = False,
    format: Annotated[ListFormat, typer.Option(help="How --parameters lists them.")] = "table",
) -> None:
    """Execute chapters.

    Papermill writes the notebooks to _build/executed/PROFILE/; what is up to date is not run.
    """
    from .book import chapters as library
    from .book import execute
    from .book.parameters import render

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
        bool, typer.Option("--update", help="Rewrite the references from a quick run.")
    ] = False,
    nbval: Annotated[
        bool, typer.Option("--nbval", help="Let nbval run the references, whatever was run before.")
    ] = False,
    jobs: Jobs = 2,
) -> None:
    """Compare every output of a quick run with the stored references, as nbval does."""
    from .book import references

    raise typer.Exit(not references.check(names, update=update, nbval=nbval, jobs=jobs))


@app.command()
def measure(
    names: Chapters = None,
    profile: Annotated[Profile, typer.Option(help="How much is run.")] = "quick",
) -> None:
    """Store how much time and memory chapters take.

    They are executed one by one.
    """
    from .book import status

    status.measure(names, profile=profile)


@app.command()
def build(
    open_browser: Annotated[
        bool, typer.Option("--open", help="Show the book in a browser.")
    ] = False,
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
def pdf(
    to: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            parser=_file,
            help="Where it goes; _build/book.pdf. - is standard output.",
        ),
    ] = None,
    jobs: Jobs = 2,
    repository: Repository = None,
) -> None:
    """Print the whole book to one PDF.

    This needs Chromium, Chrome or Edge.
    """
    from .book import pdf as printing

    if to is None or not _is_stdout(to):
        print(f"The PDF is at {printing.pdf(to, jobs=jobs, repository=repository)}")
        return

    def echo(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder, "book.pdf")
        printing.pdf(page, jobs=jobs, repository=repository, echo=echo)
        sys.stdout.buffer.write(page.read_bytes())


@app.command()
def course(
    names: Chapters = None,
    to: Annotated[Path, typer.Option(metavar="FOLDER", parser=_folder, help="Where to.")] = Path(
        "course"
    ),
    force: Annotated[
        bool, typer.Option("--force", help="Replace files of an earlier course.")
    ] = False,
) -> None:
    """Write notebooks for a class, and slides.

    For students and for teachers, of chapters with exercises.
    """
    from .book import course as library

    print(f"The course is in {library.write(names, to=to, force=force)}")


@app.command()
def sweep(
    paper: Annotated[
        str,
        typer.Argument(help="The paper whose runs are wanted.", autocompletion=rooms.names),
    ],
    experiment: Annotated[
        list[str] | None, typer.Option(help="Only these experiments; all when none is named.")
    ] = None,
    profile: Annotated[
        Profile | None, typer.Option(help="How much is run: full; --verify takes both.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Seeds per variant; the experiment's own number.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be run, and how long it takes.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run failed runs again.")
    ] = False,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where the runs compute.")] = "cpu",
    workers: Annotated[int, typer.Option(min=1, help="Processes of the local cluster.")] = 2,
    memory: Annotated[str, typer.Option(help="Memory limit of a local worker.")] = "4 GiB",
    dashboard: Annotated[bool, typer.Option("--dashboard", help="Serve Dask's dashboard.")] = False,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="A running Dask scheduler to use instead.")
    ] = None,
    tls_ca: Annotated[str | None, typer.Option(help="TLS: file of the authority.")] = None,
    tls_cert: Annotated[str | None, typer.Option(help="TLS: file of the certificate.")] = None,
    tls_key: Annotated[str | None, typer.Option(help="TLS: file of the key.")] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Make a sample of stored runs again and compare.")
    ] = False,
    sample: Annotated[int, typer.Option(min=1, help="How many runs --verify compares.")] = 5,
    cheapest: Annotated[
        bool, typer.Option("--cheapest", help="--verify takes the quickest runs, not random ones.")
    ] = False,
) -> None:
    """Make the runs that are missing.

    Their records are stored one by one: interrupt it as you like, the same command goes on.
    """
    from .evidence import sweep as library
    from .evidence.cluster import Cluster

    cluster = Cluster(scheduler, workers, memory, dashboard, tls_ca, tls_cert, tls_key)
    if device == "cuda" and scheduler is None:
        _require_cuda()
    if verify:
        from .evidence.verify import verify as again

        runner = library.in_turn if scheduler is None else cluster
        result = again(paper, sample=sample, profile=profile, cheapest=cheapest, runner=runner)
        print(str(result))
        raise typer.Exit(not result.good)
    summary = library.sweep(
        paper,
        experiment=experiment,
        profile=profile or "full",
        seeds=seeds,
        device=device,
        dry_run=dry_run,
        retry_failed=retry_failed,
        runner=cluster,
    )
    print(str(summary))
    raise typer.Exit(130 if summary.interrupted else summary.failed)


def _require_cuda() -> None:
    import torch

    if not torch.cuda.is_available():
        raise QmlbookError(
            "--device cuda: PyTorch finds no CUDA device on this machine; leave the option out to "
            "run on the CPU, or name a --scheduler whose workers have one."
        )


@app.command()
def report(
    papers: Papers = None,
    format: Annotated[ReportFormat, typer.Option(help="How it is written.")] = "table",
    to: To = None,
    claims: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Claims of your own about one paper's runs."),
    ] = None,
) -> None:
    """Show what every claim of the papers came to."""
    from .evidence import report as library
    from .evidence.verdicts import notes, verdicts

    watched = format == "table" and to is None and sys.stdout.isatty()
    _put(library.render(verdicts(papers, claims=claims), format, color=watched), to)
    for note in notes(papers):
        print(note, file=sys.stderr)


@app.command()
def records(
    papers: Papers = None,
    format: Annotated[
        RecordFormat, typer.Option(help="csv: a line per number of a run; json: an object per run.")
    ] = "csv",
    to: To = None,
) -> None:
    """Export the stored runs behind the verdicts."""
    from .evidence import export
    from .evidence.store import Store

    store = Store()
    _put(export.render(export.records(papers, store=store), format), to)
    for name in papers or rooms.names():
        for problem in store.problems(name):
            print(problem, file=sys.stderr)


def _put(text: str, to: Path | None) -> None:
    """Write text to a file, or show it."""
    if to is None or _is_stdout(to):
        print(text, end="")
        return
    try:
        files.write(to, text.encode())
    except WriteError as error:
        raise QmlbookError(f"--to {to}: the file cannot be written ({error.strerror}).") from error


def _is_stdout(file: Path) -> bool:
    """Tell whether a file is where standard output goes, by whatever name."""
    try:
        same = os.path.samestat(file.stat(), os.fstat(sys.stdout.fileno()))
    except OSError:  # no such file, or no output to compare with
        same = False
    return same or str(file) == "-"


@app.command()
def vectors(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files of vectors.")],
    format: Annotated[ListFormat, typer.Option(help="How it is written.")] = "table",
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

    for name in names or data.names():
        print(f"{name}: {data.fetch(name)}")


@data_app.command()
def verify(names: Sets = None) -> None:
    """Check every image file that is here.

    Its images and labels are held against the published checksums.
    """
    from . import data

    checks = data.verify(names)
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
        raise UsageError(f"-p takes a name and a value, not {pair!r} alone.")
    return name, value


def main() -> None:
    """Run the command; errors become one sentence and an exit status."""
    words = sys.argv[1:]
    sys.exit(exit_status(lambda: app(_join_pairs(words)), "qmlbook", *words))


if __name__ == "__main__":
    main()
