"""The ``qmlbook`` command: names first, no names means all, exit 0 good, 1 failure, 2 usage."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from . import __version__
from . import papers as rooms
from .base import files
from .base.errors import (
    ListFormat,
    Profile,
    QmlbookError,
    RecordFormat,
    ReportFormat,
    UsageError,
    exit_status,
)

app = typer.Typer(
    help="Run, check and build *Quantum Learning, Rerun*, and its evidence.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="The image sets: where they are, fetch them, verify them.")
app.add_typer(data_app, name="data", no_args_is_help=True)


def _chapter_names() -> list[str]:
    from .book import execute as library

    return library.names()


Chapters = Annotated[
    list[str] | None,
    typer.Argument(help="Chapters; all when none is named.", autocompletion=_chapter_names),
]
Papers = Annotated[
    list[str] | None,
    typer.Argument(help="Papers; all when none is named.", autocompletion=rooms.names),
]
Sets = Annotated[list[str] | None, typer.Argument(help="Image sets; all when none is named.")]
To = Annotated[Path | None, typer.Option(metavar="FILE", help="Write to a file, not here.")]
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
        typer.echo(f"qmlbook {__version__}")
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
    """Execute chapters with papermill, to `_build/executed/<profile>/`."""
    from .book import execute as library
    from .book.parameters import render

    if parameters:
        typer.echo(render(library.parameters(names), format))
        return
    results = library.run(
        names,
        profile=profile,
        parameters=dict(_split(pair) for pair in parameter or ()),
        keep_going=keep_going,
        jobs=jobs,
        force=force,
        echo=typer.echo,
    )
    raise typer.Exit(not all(result.ok for result in results))


@app.command()
def check(
    names: Chapters = None,
    update: Annotated[
        bool, typer.Option("--update", help="Rewrite the references from a quick run.")
    ] = False,
    jobs: Jobs = 2,
) -> None:
    """Re-run the stored references with nbval and compare every output."""
    from .book import references

    raise typer.Exit(not references.check(names, update=update, jobs=jobs))


@app.command()
def measure(
    names: Chapters = None,
    profile: Annotated[Profile, typer.Option(help="How much is run.")] = "quick",
) -> None:
    """Execute chapters one by one and store how long they took and how much memory."""
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
    """Build the HTML book from the executed chapters; warnings are errors."""
    from .book.site import build as book

    page = book.build(open_browser=open_browser, jobs=jobs, repository=repository)
    typer.echo(f"The book is at {page}")


@app.command()
def pdf(
    to: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where it goes; _build/book.pdf.")
    ] = None,
    jobs: Jobs = 2,
    repository: Repository = None,
) -> None:
    """Print the whole book to one PDF; needs Chromium, Chrome or Edge."""
    from .book import pdf as printing

    typer.echo(f"The PDF is at {printing.pdf(to, jobs=jobs, repository=repository)}")


@app.command()
def course(
    names: Chapters = None,
    to: Annotated[Path, typer.Option(metavar="FOLDER", help="Where to.")] = Path("course"),
    force: Annotated[
        bool, typer.Option("--force", help="Replace files of an earlier course.")
    ] = False,
) -> None:
    """Write notebooks for students and teachers, and slides, of chapters with exercises."""
    from .book import course as library

    typer.echo(f"The course is in {library.write(names, to=to, force=force, echo=typer.echo)}")


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
    """Run what is missing in the store of run records; safe to interrupt and start again."""
    from .evidence import sweep as library
    from .evidence.cluster import Cluster

    cluster = Cluster(scheduler, workers, memory, dashboard, tls_ca, tls_cert, tls_key)
    if device == "cuda" and scheduler is None:
        _require_cuda()
    if verify:
        from .evidence.verify import verify as again

        runner = library.in_turn if scheduler is None else cluster
        result = again(paper, sample=sample, profile=profile, cheapest=cheapest, runner=runner)
        typer.echo(str(result))
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
    typer.echo(str(summary))
    raise typer.Exit(130 if summary.interrupted else summary.failed)


@app.command()
def tune(
    paper: Annotated[
        str, typer.Argument(help="The paper that is tuned.", autocompletion=rooms.names)
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be run, and how long it takes.")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes of the local cluster.")] = 2,
) -> None:
    """Make the missing trials of a paper's settings; write the best to its `tuned.yml`."""
    from .evidence import tuning as library
    from .evidence.cluster import Cluster

    summary, chosen = library.tune(paper, dry_run=dry_run, runner=Cluster(workers=workers))
    typer.echo(str(summary))
    for name, settings in chosen.items():
        typer.echo(f"{name}: {settings}")
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
        typer.echo(note, err=True)


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
    found = export.records(papers, store=store)
    _put(export.render(found, format), to)
    for name in papers or rooms.names():
        for problem in store.problems(name):
            typer.echo(problem, err=True)


def _put(text: str, to: Path | None) -> None:
    """Write text to a file, or show it."""
    if to is None:
        typer.echo(text, nl=False)
        return
    try:
        files.write(to, text.encode())
    except OSError as error:
        raise QmlbookError(f"--to {to}: the file cannot be written ({error.strerror}).") from error


@app.command()
def vectors(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files of vectors.")],
    format: Annotated[ListFormat, typer.Option(help="How it is written.")] = "table",
) -> None:
    """Hold the library against reference vectors made with the papers' released code."""
    from .papers import vectors as library

    results = library.check_files(files)
    typer.echo(library.render(results, format))
    raise typer.Exit(not all(result.checked and result.passed for result in results))


@data_app.command("list")
def data_list(names: Sets = None) -> None:
    """Show which image sets are here, and from where."""
    from . import data

    for found in data.status(names):
        where = f"{found.source}, {'whole' if found.whole else 'sample'}" if found.source else "-"
        counts = f"{found.train:6} + {found.test:5}" if found.source else " " * 14
        place = found.problem or found.path or f"not here: qmlbook data fetch {found.name}"
        typer.echo(f"{found.name:14} {where:18} {counts}  {found.licence.split(',')[0]:15} {place}")


@data_app.command()
def fetch(names: Sets = None) -> None:
    """Download whole image sets to the user's cache, with checksums."""
    from . import data

    for name in names or data.names():
        typer.echo(f"{name}: {data.fetch(name)}")


@data_app.command()
def verify(names: Sets = None) -> None:
    """Check every image file that can be found against its checksums."""
    from . import data

    checks = data.verify(names)
    for check in checks:
        typer.echo(f"{'ok     ' if check.ok else 'CORRUPT'} {check.path}  {check.message}")
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


def _leave(number: int, _: object) -> None:
    sys.exit(128 + number)


def main() -> None:
    """Run the command; errors become one sentence and an exit status."""
    for name in ("SIGTERM", "SIGHUP"):  # leave in order, programs in hand included
        number = getattr(signal, name, None)
        if number and signal.getsignal(number) is signal.SIG_DFL:  # nohup stays in force
            signal.signal(number, _leave)
    try:
        sys.exit(exit_status(lambda: app(_join_pairs(sys.argv[1:]))))
    except OSError as error:  # a full disk, no permission: nobody needs a traceback for it
        what = f"{error.filename}: {error.strerror}" if error.filename else error
        typer.echo(f"Error: {what}.", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        typer.echo("Interrupted.", err=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
