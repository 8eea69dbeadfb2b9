"""The files that others run for us: workflows, the container, Binder. Checked, not run, here."""

import json
import os
import re
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

from qmlbook import __version__
from qmlbook.book.site import build as book

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def lint(*files):
    """Check files against the schema of workflows that travels with check-jsonschema."""
    schema = ["--builtin-schema", "vendor.github-workflows"]
    return subprocess.run(
        [sys.executable, "-m", "check_jsonschema", *schema, *files], capture_output=True, text=True
    )


def steps(name, *jobs):
    """Return what the steps of a workflow, or of some jobs, run, use and are given, as one text."""
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text("utf-8"))
    chosen = [workflow["jobs"][job]["steps"] for job in jobs or workflow["jobs"]]
    return yaml.safe_dump(chosen, width=1000)


def test_every_workflow_is_one():
    assert [path.stem for path in WORKFLOWS] == ["book", "nightly", "release", "tests"]
    done = lint(*WORKFLOWS)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_release_is_what_the_command_makes_and_its_tools_are_those_of_the_extra():
    assert "make release TO=dist/release" in steps("release")
    wanted = PROJECT["optional-dependencies"]["standards"]
    installed = re.findall(r'"([^" ]+>=[^" ]+)"', steps("release") + steps("nightly", "standards"))
    assert sorted(installed) == sorted(wanted)


def test_a_paper_can_be_asked_for():
    forms = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    assert [form.stem for form in forms] == ["paper"]
    schema = ["--builtin-schema", "vendor.github-issue-forms"]
    command = [sys.executable, "-m", "check_jsonschema", *schema, *forms]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_updates_come_as_one_pull_request_for_each_kind():
    file = ROOT / ".github" / "dependabot.yml"
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.dependabot"]
    done = subprocess.run([*command, file], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    updates = yaml.safe_load(file.read_text("utf-8"))["updates"]
    assert [update["package-ecosystem"] for update in updates] == ["pip", "github-actions"]
    assert all(len(update["groups"]) == 1 for update in updates)


def test_workflows_with_a_mistake_are_found(tmp_path):
    text = WORKFLOWS[-1].read_text("utf-8")
    for old, new in (("runs-on:", "runs_on:"), ("steps:", "step:")):
        (tmp_path / f"{new[:-1]}.yml").write_text(text.replace(old, new), "utf-8")
    done = lint(*sorted(tmp_path.iterdir()))
    assert done.returncode == 1
    assert {"runs_on.yml", "step.yml"} <= set(re.findall(r"\w+\.yml", done.stdout))


def test_actions_are_named_by_a_commit_and_the_version_that_it_is():
    used = "".join(path.read_text("utf-8") for path in WORKFLOWS).split("uses: ")[1:]
    named = {line.partition("\n")[0] for line in used}
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+(\.\d+){2}", each) for each in named), (
        named
    )
    assert len({each.partition("@")[0] for each in named}) == len(named)  # one version of each


def test_workflows_may_write_only_what_they_publish():
    for path in WORKFLOWS:
        workflow = yaml.safe_load(path.read_text("utf-8"))
        assert workflow["permissions"] == {"contents": "read"}, path.name
        wider = [job["permissions"] for job in workflow["jobs"].values() if "permissions" in job]
        assert (path.stem == "book") == bool(wider), path.name
        assert all(job["timeout-minutes"] <= 120 for job in workflow["jobs"].values())


def test_changes_are_tested_in_full_and_on_every_system():
    assert ".ci/run" in steps("tests")
    assert "requirements.lock" in steps("tests")
    workflow = yaml.safe_load(WORKFLOWS[-1].read_text("utf-8"))
    matrix = workflow["jobs"]["library"]["strategy"]["matrix"]
    assert {name.split("-")[0] for name in matrix["os"]} == {"ubuntu", "macos", "windows"}
    assert matrix["python"] == ["3.11", "3.12", "3.13"]


def test_the_night_takes_the_newest_versions_of_every_extra():
    extras = re.search(r'--upgrade-strategy eager -e "\.\[(.*?)\]"', steps("nightly"))[1]
    beside = {"mlflow", "standards"}  # their tools run in a job of their own
    assert set(extras.split(",")) == set(PROJECT["optional-dependencies"]) - beside
    assert "requirements.lock" not in steps("nightly", "newest")


def test_the_night_runs_all_tests_there_are():
    assert ".ci/run test-all" in steps("nightly")
    assert ".ci/run test-all" not in steps("tests")


def test_the_night_runs_the_chapters_at_the_scale_of_the_papers():
    workflow = yaml.safe_load((ROOT / ".github/workflows/nightly.yml").read_text("utf-8"))
    *_, fetch, run = workflow["jobs"]["scale"]["steps"]
    assert fetch["run"] == ".venv/bin/qmlbook data fetch"
    assert run["run"] == ".venv/bin/qmlbook chapters --profile full --keep-going"


def test_notebooks_are_published_where_the_pages_link_to():
    workflow = yaml.safe_load((ROOT / ".github/workflows/book.yml").read_text("utf-8"))
    address = workflow["env"]["QMLBOOK_REPOSITORY"]
    assert address == "${{ github.server_url }}/${{ github.repository }}"  # nobody's in particular
    assert (
        f"cp -r _build/{book.TWINS} {book.TWINS}\n" in workflow["jobs"]["build"]["steps"][-1]["run"]
    )
    assert f"refs/heads/{book.TWINS}\n" in workflow["jobs"]["build"]["steps"][-1]["run"]
    assert "_build/html" in steps("book")


def test_the_book_is_published_with_its_address_and_on_paper():
    workflow = yaml.safe_load((ROOT / ".github/workflows/book.yml").read_text("utf-8"))
    made = workflow["jobs"]["build"]["steps"]
    (place,) = [step for step in made if step.get("uses", "").startswith("actions/configure-pages")]
    address = f"${{{{ steps.{place['id']}.outputs.base_url }}}}/"
    build, paper = [step for step in made if book.ADDRESS in step.get("env", {})]
    assert build["env"][book.ADDRESS] == paper["env"][book.ADDRESS] == address
    assert build["run"] == "make book"
    (upload,) = [step for step in made if "upload-pages-artifact" in step.get("uses", "")]
    folder = upload["with"]["path"]
    assert paper["run"] == f".venv/bin/qmlbook pdf --to {folder}/book.pdf"
    assert made.index(place) < made.index(build) < made.index(paper) < made.index(upload)


def test_the_publishing_step_makes_a_branch_with_the_notebooks(tmp_path):
    def git(*words, cwd):
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        done = subprocess.run(
            ["git", *who, *words], cwd=cwd, check=True, capture_output=True, text=True
        )
        return done.stdout.split()

    def fresh(name):
        git("clone", "--quiet", tmp_path / "origin", name, cwd=tmp_path)
        return tmp_path / name

    git("init", "--quiet", "--bare", "--initial-branch=main", "origin", cwd=tmp_path)
    clone = fresh("first")
    for name in (".github/workflows/a.yml", ".binder/postBuild", ".gitignore", "x.txt"):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        (clone / name).write_text("_build/\n")
    git("add", ".", cwd=clone)
    git("commit", "--quiet", "--message", "all", cwd=clone)
    git("push", "--quiet", "origin", "HEAD:refs/heads/main", cwd=clone)
    workflow = yaml.safe_load((ROOT / ".github/workflows/book.yml").read_text("utf-8"))
    step = workflow["jobs"]["build"]["steps"][-1]["run"]
    for name in ("second", "third"):  # the later publication takes the place of the earlier
        twin = fresh(name) / "_build" / book.TWINS / "book" / f"{name}.ipynb"
        twin.parent.mkdir(parents=True)
        twin.write_text("{}")
        env = {**os.environ, "GITHUB_SHA": "abc"}
        subprocess.run(["bash", "-e", "-c", step], cwd=tmp_path / name, env=env, check=True)
        branch = f"refs/heads/{book.TWINS}"
        found = git("ls-tree", "-r", "--name-only", branch, cwd=tmp_path / "origin")
        assert found == [".binder/postBuild", ".gitignore", f"notebooks/book/{name}.ipynb", "x.txt"]
        assert len(git("rev-list", branch, cwd=tmp_path / "origin")) == 1


def test_container_and_binder_have_the_locked_environment():
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text("utf-8"))
    assert container["postCreateCommand"].endswith(" && make .venv/.ready")
    assert "chromium" in container["postCreateCommand"]
    assert not (ROOT / ".binder" / "requirements.txt").exists()  # its lines would need hashes
    python = re.fullmatch(r"python:(3\.\d+)-\w+", container["image"])[1]
    assert (ROOT / ".binder" / "runtime.txt").read_text("utf-8") == f"python-{python}\n"
    after = ROOT / ".binder" / "postBuild"
    assert after.stat().st_mode & stat.S_IXUSR
    steps = re.findall(
        "^python -m pip install --no-cache-dir (.*)$", after.read_text("utf-8"), re.M
    )
    assert steps == [
        "--no-deps --require-hashes -r requirements.lock",
        "-r requirements-torch.lock",
        "--no-deps --no-build-isolation -e .",
    ]


def test_the_changelog_has_this_version_and_is_kept_in_its_form():
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    versions = re.findall(r"^## \[(.*?)\](?: - (.*))?$", text, re.MULTILINE)
    assert __version__ in [name for name, _ in versions]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d|unreleased", when) for _, when in versions)
    kinds = set(re.findall(r"^### (.*)$", text, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
