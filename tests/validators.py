"""Hold a crate and its Croissant metadata against the validators of those who wrote the standards.

A program of its own, for the environment of the extra `standards`, which has other versions than
the book: `python tests/validators.py FOLDER`. It needs no network: the vocabulary of RO-Crate,
which the validator would fetch, travels with `rocrate`. The last line of its output is JSON.
"""

import contextlib
import json
import sys
from pathlib import Path
from unittest import mock

import mlcroissant
import rocrate
from rocrate_validator import models, services
from rocrate_validator.utils.http import HttpRequester

VOCABULARY = (Path(rocrate.__file__).parent / "data" / "ro-crate.jsonld").read_text("utf-8")


def answer(_, url, **options):
    """Answer a request for the vocabulary as its server would."""
    if not url.startswith("https://w3id.org/ro/crate/"):
        raise OSError(f"{url}: no network here")
    kind = {"Content-Type": "application/ld+json"}
    found = {"status_code": 200, "ok": True, "headers": kind, "text": VOCABULARY}
    return mock.Mock(json=lambda: json.loads(VOCABULARY), content=VOCABULARY.encode(), **found)


def crate(folder):
    """Return what the validator has to say of a Process Run Crate, by severity."""
    answered = mock.patch.multiple(HttpRequester, get=answer, head=answer, create=True)
    with answered, contextlib.chdir(folder):  # it does not find a folder whose path has a space
        found = services.validate(
            services.ValidationSettings(
                rocrate_uri=".",
                profile_identifier="process-run-crate",
                requirement_severity=models.Severity.RECOMMENDED,
            )
        )
    return sorted({(issue.severity.name, str(issue.message)) for issue in found.get_issues()})


def croissant(folder):
    """Return what the library of Croissant has to say, and the first row of each table."""
    dataset = mlcroissant.Dataset(jsonld=str(Path(folder, "croissant.json")))
    issues = dataset.metadata.issues
    first = {
        table.name: {
            name: str(value)[:40] for name, value in next(iter(dataset.records(table.id))).items()
        }
        for table in dataset.metadata.record_sets
    }
    return sorted(issues.errors), sorted(issues.warnings), first


if __name__ == "__main__":
    folder = sys.argv[1]
    errors, warnings, first = croissant(folder)
    found = {"crate": crate(folder), "errors": errors, "warnings": warnings, "first": first}
    print(json.dumps(found))
