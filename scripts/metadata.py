"""Write what catalogues read, each from one source.

The papers in `CITATION.cff` come from `book/references.bib`; `codemeta.json` and `.zenodo.json`
come from `CITATION.cff` and `pyproject.toml`. Run it after a change of one of these.
"""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import yaml
from pybtex.database import Entry, Person, parse_file
from pybtex.richtext import Text

ROOT = Path(__file__).resolve().parents[1]
PAPERS = ("tran2025", "jaderberg2022", "kim2023", "schleich2024", "anschuetz2026")
KINDS = {"article": "article", "inproceedings": "conference-paper"}
FIELDS = {"journal": "journal", "booktitle": "collection-title", "volume": "volume"}
FIELDS |= {"number": "issue", "doi": "doi"}


def plain(text: str) -> str:
    """Return LaTeX as text."""
    return str(Text.from_latex(text).render_as("text"))


def person(author: Person) -> dict[str, str]:
    """Return an author as the citation file has them."""
    family, given = author.prelast_names + author.last_names, author.first_names
    given = given + author.middle_names
    return {"family-names": plain(" ".join(family)), "given-names": plain(" ".join(given))}


def reference(entry: Entry) -> dict[str, Any]:
    """Return an entry of the bibliography as the citation file has it."""
    found = {"type": KINDS[entry.type], "title": plain(entry.fields["title"])}
    found["authors"] = list(map(person, entry.persons["author"]))
    found |= {name: plain(entry.fields[key]) for key, name in FIELDS.items() if key in entry.fields}
    first, _, last = entry.fields["pages"].partition("--")
    found |= {"start": first} | ({"end": last} if last else {})
    if "eprint" in entry.fields:
        number = {"type": "other", "value": f"arXiv:{entry.fields['eprint']}"}
        found["identifiers"] = [number]
    return found | {"year": int(entry.fields["year"])}


def citation() -> str:
    """Return the citation file with the papers."""
    text = (ROOT / "CITATION.cff").read_text("utf-8")
    entries = parse_file(str(ROOT / "book" / "references.bib")).entries
    papers = {"references": [reference(entries[key]) for key in PAPERS]}
    own = re.sub(r"^references:\n.*", "", text, flags=re.MULTILINE | re.DOTALL)
    return own + yaml.safe_dump(papers, sort_keys=False, allow_unicode=True, width=100)


def codemeta() -> dict[str, Any]:
    """Return the project in the words of CodeMeta 3."""
    cited = yaml.safe_load(citation())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    people = [{"type": "Organization", "name": author["name"]} for author in cited["authors"]]
    papers = [
        {
            "type": "ScholarlyArticle",
            "name": paper["title"],
            "author": [
                {"type": "Person", "familyName": a["family-names"], "givenName": a["given-names"]}
                for a in paper["authors"]
            ],
            "datePublished": str(paper["year"]),
            **({"id": f"https://doi.org/{paper['doi']}"} if "doi" in paper else {}),
        }
        for paper in cited["references"]
    ]
    return {
        "@context": "https://w3id.org/codemeta/3.0",
        "type": "SoftwareSourceCode",
        "name": project["name"],
        "description": project["description"],
        "version": project["version"],
        "license": f"https://spdx.org/licenses/{project['license']}",
        "author": people,
        "keywords": project["keywords"],
        "programmingLanguage": "Python",
        "runtimePlatform": f"Python {project['requires-python']}",
        "softwareRequirements": project["dependencies"],
        "developmentStatus": "active",
        "citation": papers,
    }


def zenodo() -> dict[str, Any]:
    """Return what Zenodo shows of a release."""
    cited = yaml.safe_load(citation())
    dois = [paper["doi"] for paper in cited["references"] if "doi" in paper]
    return {
        "title": cited["title"],
        "description": cited["abstract"],
        "upload_type": "software",
        "version": cited["version"],
        "license": cited["license"],
        "access_right": "open",
        "creators": [{"name": author["name"]} for author in cited["authors"]],
        "keywords": cited["keywords"],
        "related_identifiers": [
            {"identifier": doi, "relation": "references", "scheme": "doi"} for doi in dois
        ],
    }


def made() -> dict[str, str]:
    """Return name -> content of every file that is written here."""
    as_json = {"codemeta.json": codemeta(), ".zenodo.json": zenodo()}
    texts = {
        name: json.dumps(what, indent=2, ensure_ascii=False) + "\n"
        for name, what in as_json.items()
    }
    return {"CITATION.cff": citation()} | texts


if __name__ == "__main__":
    for name, content in made().items():
        (ROOT / name).write_text(content, "utf-8")
