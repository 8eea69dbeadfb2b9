"""Run records in a folder that others read: a Process Run Crate, and Croissant metadata in it.

An *RO-Crate* is a folder with one file of metadata that says what is in it, who made it, and how;
its profile *Process Run Crate* says which program made which file from which. *Croissant* says the
same of tables to those who train on them. Both are JSON-LD, and both name every file by its digest.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from .. import papers as rooms
from ..base import files, paths, strict_yaml
from ..base.errors import counted
from ..data.sets import SETS, ImageSet
from . import export
from .predictions import COLUMNS
from .store import Record, Store

METADATA, CROISSANT, TABLE = "ro-crate-metadata.json", "croissant.json", "records.parquet"
PROFILES = (
    "https://w3id.org/ro/wfrun/process/0.5",
    "https://w3id.org/ro/crate/1.1",
)
MEDIA = {
    ".jsonl": "application/jsonl",
    ".json": "application/json",
    ".parquet": "application/x-parquet",
    ".safetensors": "application/octet-stream",
    ".npz": "application/zip",
    ".yml": "application/yaml",
    ".cff": "application/yaml",
    ".csv": "text/csv",
    ".txt": "text/plain",
}
STATUS = tuple(f"http://schema.org/{word}ActionStatus" for word in ("Completed", "Failed"))
KINDS = {"text": "sc:Text", "whole number": "sc:Integer", "number": "sc:Float"}
Entity = dict[str, Any]


def write(papers: Sequence[str] | None, folder: Path, *, store: Store | None = None) -> Path:
    """Write records, what they were made from and what they came to into a new folder.

    Args:
        papers: names of rooms; all when empty.
        folder: is made, and must not exist.
        store: where records are; the book's own when omitted.

    Returns:
        The folder.

    Raises:
        UsageError: a paper is not known, or the folder exists.
        QmlbookError: the folder cannot be written, pyarrow is missing, or a file of
            records is not what was stored.
    """
    names, store = rooms.validate(list(papers or [])), store or Store()
    records = export.for_new_folder(names, folder, store=store)
    contents = _contents(names, records, store)
    citation = strict_yaml.load_of("CITATION.cff", contents["CITATION.cff"])
    digests = {name: files.sha256(content) for name, content in contents.items()}
    sizes = {name: len(content) for name, content in contents.items()}
    contents[CROISSANT] = _json(_croissant(records, citation, digests, sizes))
    digests[CROISSANT] = files.sha256(contents[CROISSANT])
    sizes[CROISSANT] = len(contents[CROISSANT])
    contents[METADATA] = _json(_crate(records, citation, digests, sizes))
    with files.new_folder(folder):
        for name, content in contents.items():
            files.write(folder / name, content)
    return folder


def _json(content: object) -> bytes:
    return (json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _contents(names: Sequence[str], records: Sequence[Record], store: Store) -> dict[str, bytes]:
    """Return name -> content of every file that the metadata describe."""
    from . import report, verdicts

    found = {"CITATION.cff": paths.citation_file()}
    for name in names:
        found[f"claims/{name}.yml"] = rooms.claims_file(name)
        found |= {f"results/{name}/{path.name}": path for path in store.stored(name)}
    for path in sorted(paths.images_dir().glob("*.*")):
        if path.suffix in (".npz", ".txt"):
            found[f"images/{path.name}"] = path
    judged = report.render(verdicts.verdicts(list(names)), "csv").encode()
    made = {TABLE: export.parquet(records), "verdicts.csv": judged}
    return {name: path.read_bytes() for name, path in found.items()} | made


# --- RO-Crate -----------------------------------------------------------------------------------


def _crate(
    records: Sequence[Record],
    citation: Mapping[str, Any],
    digests: Mapping[str, str],
    sizes: Mapping[str, int],
) -> Entity:
    """Return the metadata file of the crate."""
    people, papers = _people(citation["authors"]), _papers(citation)
    actions, programs = _actions(records, [person["@id"] for person in people], digests)
    sets = [_image_set(name, known, digests) for name, known in SETS.items()]
    described = [_file(name, digests[name], sizes[name]) for name in sorted(digests)]
    profiles = [
        {"@id": url, "@type": "CreativeWork", "name": name, "version": url.rpartition("/")[2]}
        for url, name in zip(PROFILES, ("Process Run Crate", "RO-Crate"), strict=True)
    ]
    licence = f"https://spdx.org/licenses/{citation['license']}"
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"Run records of {citation['title']}",
        "description": " ".join(citation["abstract"].split()),
        "datePublished": max(record.started_at for record in records)[:10],
        "license": {"@id": licence},
        "author": _ids(people),
        "publisher": {"@id": people[0]["@id"]},
        "citation": _ids(papers),
        "conformsTo": _ids(profiles),
        "hasPart": _ids(described),
        "mentions": _ids([*actions, *sets]),
    }
    start = {
        "@id": METADATA,
        "@type": "CreativeWork",
        "about": {"@id": "./"},
        "conformsTo": {"@id": PROFILES[1]},
    }
    known = {"@id": licence, "@type": "CreativeWork", "name": citation["license"]}
    known["description"] = "Of everything but images/, whose files say their own."
    rest = [*described, *people, *papers, *sets, *programs, *actions, *profiles, known]
    context = ["https://w3id.org/ro/crate/1.1/context", {"sha256": "https://w3id.org/ro/terms/"
               "workflow-run#sha256"}]  # fmt: skip
    return {"@context": context, "@graph": [start, root, *rest]}


def _ids(named: Iterable[Entity | str]) -> Entity | list[Entity]:
    """Return references to entities or identifiers; a single one is no list, as the rule is."""
    found = [{"@id": each if isinstance(each, str) else each["@id"]} for each in named]
    return found[0] if len(found) == 1 else found


def _file(name: str, digest: str, size: int) -> Entity:
    media = MEDIA[Path(name).suffix]
    found = {"@id": name, "@type": "File", "name": name, "encodingFormat": media}
    found |= {"contentSize": str(size), "sha256": digest}
    set_ = SETS.get(Path(name).name.partition(".")[0]) if name.startswith("images/") else None
    return found | ({"license": set_.licence} if set_ else {})


def _people(authors: Iterable[Mapping[str, str]]) -> list[Entity]:
    """Return those whom the citation file names."""
    people = []
    for number, author in enumerate(authors, 1):
        name = author.get("name") or f"{author['given-names']} {author['family-names']}"
        kind = "Organization" if "name" in author else "Person"
        people.append(
            {"@id": author.get("orcid", f"#author-{number}"), "@type": kind, "name": name}
        )
    return people


def _papers(citation: Mapping[str, Any]) -> list[Entity]:
    return [
        {
            "@id": f"https://doi.org/{paper['doi']}" if "doi" in paper else f"#paper-{number}",
            "@type": "ScholarlyArticle",
            "name": paper["title"],
            "datePublished": str(paper["year"]),
        }
        for number, paper in enumerate(citation["references"], 1)
    ]


def _image_set(name: str, known: ImageSet, digests: Mapping[str, str]) -> Entity:
    """Return a set of images: digests of its whole arrays, and its sample if that is here."""
    sample = [file for file in digests if file.startswith(f"images/{name}.")]
    whole = {"train": known.whole.train, "test": known.whole.test}
    told = "; ".join(
        f"{split}: images {images}, labels {labels}" for split, (images, labels) in whole.items()
    )
    found = {"@id": f"#images-{name}", "@type": "Dataset", "name": known.title}
    found |= {"license": known.licence, "description": f"SHA-256 of the arrays' bytes: {told}"}
    return found | ({"hasPart": _ids(sample)} if sample else {})


def _actions(
    records: Sequence[Record], agents: Sequence[str], digests: Mapping[str, str]
) -> tuple[list[Entity], list[Entity]]:
    """Return what was run, one action for each experiment and version of the code, and programs."""
    runs: dict[tuple[str, str, str], list[Record]] = defaultdict(list)
    for record in records:
        runs[record.paper, record.experiment, record.code_version].append(record)
    programs: dict[str, Entity] = {}
    actions = []
    for (paper, experiment, code), made in sorted(runs.items()):
        program = f"#qmlbook-{code}"
        programs |= _programs(program, code, made[0].versions)
        ends = [datetime.fromisoformat(r.started_at) + timedelta(seconds=r.seconds) for r in made]
        always = getattr(rooms.module(paper, "config"), "IMAGES", ())
        asked = {*always, *(record.config.get("dataset") for record in made)}
        inputs = [f"#images-{name}" for name in SETS if name in asked]
        results = [name for name in digests if name.startswith(f"results/{paper}/{experiment}.")]
        failed = sum(record.status == "failed" for record in made)
        actions.append(
            {
                "@id": f"#run-{paper}-{experiment}-{code}",
                "@type": "CreateAction",
                "name": f"{counted(len(made), 'run')} of {paper}/{experiment}",
                "description": _told(made, failed),
                "agent": _ids(agents),
                "instrument": {"@id": program},
                "object": _ids([f"claims/{paper}.yml", *inputs]),
                "result": _ids(results),
                "startTime": min(record.started_at for record in made),
                "endTime": max(ends).isoformat(timespec="seconds"),
                "actionStatus": STATUS[failed == len(made)],
            }
        )
    return actions, list(programs.values())


def _told(made: Sequence[Record], failed: int) -> str:
    seeds, spent = {record.seed for record in made}, sum(record.seconds for record in made)
    devices = ", ".join(sorted({record.device for record in made}))
    return (
        f"{counted(len({record.variant for record in made}), 'variant')}, seeds {min(seeds)} to "
        f"{max(seeds)}, {failed} failed, {spent:.0f} s of computing on {devices}; a row of the "
        "result for each run says its settings, seed, threads and versions."
    )


def _programs(program: str, code: str, versions: Mapping[str, str]) -> dict[str, Entity]:
    """Return the library at one state of its code, and what it needs, by identifier."""
    needed = {f"#{name}-{v}": (name, v) for name, v in versions.items() if name != "qmlbook"}
    found = {
        key: {"@id": key, "@type": "SoftwareApplication", "name": name, "softwareVersion": version}
        for key, (name, version) in needed.items()
    }
    own: Entity = {"@id": program, "@type": "SoftwareApplication", "name": "qmlbook"}
    own |= {"softwareVersion": versions["qmlbook"], "identifier": code}
    own["description"] = "The identifier is that of the sources, SHA-256, 12 digits."
    own["softwareRequirements"] = _ids(needed)
    return found | {program: own}


# --- Croissant ----------------------------------------------------------------------------------


def _croissant(
    records: Sequence[Record],
    citation: Mapping[str, Any],
    digests: Mapping[str, str],
    sizes: Mapping[str, int],
) -> Entity:
    """Return Croissant metadata: every file, and the columns of the tables in Parquet."""
    names = [name for name in sorted(digests) if name.startswith(("results/", "images/", TABLE))]
    tables = [_columns(TABLE, "records", export.columns())]
    kept = {name: kind for name, (kind, _) in COLUMNS.items()}
    for name in names:
        if name.startswith("results/") and name.endswith(".parquet"):
            what = name.removeprefix("results/").removesuffix(".parquet").replace("/", "-")
            tables.append(_columns(name, f"predictions-{what}", kept))
    return {
        "@context": json.loads(
            Path(__file__).with_name("croissant_context.json").read_text("utf-8")
        ),
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": "qmlbook-run-records",
        "description": " ".join(citation["abstract"].split()),
        "license": f"https://spdx.org/licenses/{citation['license']}",
        "version": citation["version"],
        "datePublished": max(record.started_at for record in records)[:10],
        "creator": [
            {"@type": f"sc:{person['@type']}", "name": person["name"]}
            for person in _people(citation["authors"])
        ],
        "citeAs": citation["title"],
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": name,
                "name": name,
                "contentUrl": name,
                "contentSize": f"{sizes[name]} B",
                "encodingFormat": MEDIA[Path(name).suffix],
                "sha256": digests[name],
            }
            for name in names
        ],
        "recordSet": tables,
    }


def _columns(file: str, name: str, columns: Mapping[str, str]) -> Entity:
    """Return a table: its columns by name, each with its kind in the words of the dictionary."""
    fields = []
    for column, kind in columns.items():
        one = kind.removeprefix("list of ")
        field: Entity = {"@type": "cr:Field", "@id": f"{name}/{column}", "name": column}
        field["dataType"] = KINDS[one if one == kind else one.removesuffix("s")]
        field["source"] = {"fileObject": {"@id": file}, "extract": {"column": column}}
        fields.append(field | ({} if one == kind else {"repeated": True}))
    return {"@type": "cr:RecordSet", "@id": name, "name": name, "field": fields}
