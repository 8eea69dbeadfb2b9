"""The command line: help, exit statuses, one sentence per error, nothing slow at start-up."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer

from qmlbook import cli

HERE = Path(__file__).parent


def call(monkeypatch, capsys, *arguments):
    """Run the command in this process; return (exit status, stdout, stderr)."""
    monkeypatch.setattr(sys, "argv", ["qmlbook", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    captured = capsys.readouterr()
    return stop.value.code or 0, captured.out, captured.err


COMMANDS = [
    *("chapters", "check", "measure", "build", "pdf", "course"),
    *("sweep", "verify", "audit", "referee", "report", "records", "vectors", "data"),
]


def test_help_names_every_command(monkeypatch, capsys):
    status, out, _ = call(monkeypatch, capsys, "--help")
    assert status == 0
    assert all(command in out for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(monkeypatch, capsys, command):
    status, out, _ = call(monkeypatch, capsys, command, "--help")
    assert status == 0
    assert "Usage" in out


def test_pages_name_only_commands_and_options_that_exist():
    program = typer.main.get_command(cli.app)
    commands = {**program.commands}
    commands |= {f"data {name}": part for name, part in commands.pop("data").commands.items()}
    pages = [*(HERE.parent / "book").glob("*.md"), *HERE.parent.glob("*.md")]
    text = "\n".join(page.read_text("utf-8") for page in pages)
    named = re.findall(r"(?:^|`|bin/)qmlbook ((?:data )?[a-z]+)([^`\n#]*)", text, re.MULTILINE)
    assert len(named) > 50
    for command, rest in named:
        known = {option for each in commands[command].params for option in each.opts}
        assert set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", rest)) <= known, command + rest


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("chapters", "nosuch"), ["chapter", "nosuch", "klssl"]),
        (("chapters", "klssl", "-p", "nosuch", "1"), ["nosuch", "klssl"]),
        (("chapters", "klssl", "-p", "profile", "full"), ["profile"]),
        (("chapters", "--profile", "huge"), ["huge", "quick"]),
        (("chapters", "nosuch", "--parameters"), ["chapter", "nosuch", "klssl"]),
        (("build", "--repository", "example.org/a/b"), ["example.org/a/b", "github.com/OWNER"]),
        (("check", "nosuch"), ["nosuch", "klssl"]),
        (("course", "nosuch"), ["chapter", "nosuch", "klssl"]),
        (("records", "nosuch"), ["paper", "nosuch", "klssl"]),
        (("records", "--format", "banana"), ["parquet", "csv", "json"]),
        (("measure", "nosuch"), ["nosuch", "klssl"]),
        (("report", "nosuch"), ["paper", "nosuch", "klssl"]),
        (("sweep", "nosuch"), ["nosuch", "klssl"]),
        (("sweep", "klssl", "--experiment", "nosuch"), ["nosuch", "grid"]),
        (("sweep", "klssl", "--profile", "huge"), ["huge"]),
        (("verify", "nosuch"), ["nosuch", "klssl"]),
        (("verify", "klssl", "--sample", "0"), ["--sample", "1"]),
        (("audit", "--paper", "nosuch"), ["nosuch", "klssl"]),
        (("audit", "--k", "19"), ["k is 19", "20 or more"]),
        (("audit", "--k", "0"), ["--k", "1"]),
        (("audit", "--seed", "-1"), ["--seed", "0"]),
        (("audit", "--paper", "qssl", "--budget", "1e-9"), ["qssl", "1e-09 min"]),
        (("audit", "--paper", "qssl", "--budget", "0"), ["--budget", "0", "above 0"]),
        (("audit", "--format", "csv"), ["csv", "table", "json"]),
        (("data", "verify", "nosuch"), ["nosuch", "mnist"]),
        (("data", "fetch", "nosuch"), ["nosuch", "mnist"]),
        (("data", "list", "nosuch"), ["nosuch", "mnist"]),
        (("vectors", "nosuch.json"), ["nosuch.json"]),
        (("nosuch",), ["nosuch"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_usage_is_one_sentence_and_status_2(monkeypatch, capsys, arguments, names):
    status, out, err = call(monkeypatch, capsys, *arguments)
    assert status == 2
    assert out == ""
    assert "Traceback" not in err
    assert all(name in err for name in names), err


def ends(good):
    """Return the result of a sweep."""
    return SimpleNamespace(interrupted=False, failed=not good)


@pytest.mark.parametrize(
    ("words", "work", "result"),
    [
        (
            "chapters",
            "book.execute.run",
            lambda good: [SimpleNamespace(ok=o) for o in (True, good)],
        ),
        ("sweep klssl", "evidence.sweep.sweep", ends),
        ("tune qssl", "evidence.tuning.tune", lambda good: (ends(good), {})),
        ("verify klssl", "evidence.verify.verify", lambda good: SimpleNamespace(good=good)),
    ],
)
def test_work_that_fails_is_status_1(monkeypatch, capsys, words, work, result):
    for good in (True, False):
        monkeypatch.setattr(f"qmlbook.{work}", lambda *_, good=good, **__: result(good))
        assert call(monkeypatch, capsys, *words.split())[0] == (not good)


def test_vectors_pass_and_fail(monkeypatch, capsys, tmp_path):
    file = HERE / "vectors" / "klssl.json"
    status, out, _ = call(monkeypatch, capsys, "vectors", file, "--format", "json")
    assert status == 0
    assert {case["passed"] for case in json.loads(out)} == {True}
    content = json.loads(file.read_text())
    content["cases"] = content["cases"][:1]
    content["cases"][0]["expected"]["predicted_class"][0] ^= 1
    (broken := tmp_path / "broken.json").write_text(json.dumps(content))
    status, out, _ = call(monkeypatch, capsys, "vectors", broken)
    assert status == 1
    assert "FAILED" in out


def test_the_report_is_json_with_every_field_of_the_contract(monkeypatch, capsys):
    status, out, _ = call(monkeypatch, capsys, "report", "klssl", "--format", "json")
    assert status == 0
    claims = json.loads(out)
    assert {c["claim"] for c in claims} >= {f"K{i}" for i in range(1, 13)}
    fields = "paper claim kind statement published source ours margin evidence outcome controls"
    for claim in claims:
        assert set(fields.split()) | {"cost_s", "command"} <= set(claim)


def test_parameters_are_listed_for_people_and_for_programs(monkeypatch, capsys):
    status, out, _ = call(monkeypatch, capsys, "chapters", "klssl", "evidence", "--parameters")
    assert status == 0
    assert "'mnist'  mnist, fashion_mnist or kmnist; the last where it is\n" in out
    assert out.index("klssl\n") < out.index("evidence\n")
    status, out, _ = call(
        monkeypatch, capsys, "chapters", "klssl", "--parameters", "--format", "json"
    )
    seeds = json.loads(out)["klssl"][2]
    assert seeds == {
        "name": "seeds",
        "type": "int",
        "default": 5,
        "help": "1 to 1,000 runs of each kind",
    }


def test_reports_and_records_are_written_to_files(monkeypatch, capsys, tmp_path):
    for arguments in (("report", "qssl", "--format", "csv"), ("records", "qssl")):
        _, shown, _ = call(monkeypatch, capsys, *arguments)
        status, out, _ = call(monkeypatch, capsys, *arguments, "--to", tmp_path / "new" / "x.csv")
        assert (status, out) == (0, "")
        assert (tmp_path / "new" / "x.csv").read_bytes() == shown.encode()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["x.csv"]


def complete(words):
    """Return what bash offers for the last of these words."""
    env = {**os.environ, "_QMLBOOK_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(words)}
    program = "import sys; sys.argv = ['qmlbook']; from qmlbook.cli import main; main()"
    env["COMP_CWORD"] = str(len(words) - 1)
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True)
    return done.stdout.split()


def test_tab_completes_commands_chapters_and_papers():
    assert complete(["qmlbook", "ch"]) == ["chapters", "check"]
    assert complete(["qmlbook", "chapters", "cir"]) == ["circuits"]
    assert complete(["qmlbook", "records", "k"]) == ["klssl"]


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not installed")
def test_the_completion_for_bash_is_shown_and_bash_reads_it(tmp_path):
    program = tmp_path / "qmlbook"  # for sh: the folder of the interpreter may have any name
    run = "import sys; sys.argv[0] = 'qmlbook'; from qmlbook.cli import main; sys.exit(main())"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c "{run}" "$@"\n')
    program.chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    # The shell is recognised by the process that asks; `:` keeps bash from giving way to it.
    shown = subprocess.run(
        ["bash", "-c", "qmlbook --show-completion; :"], env=env, capture_output=True, text=True
    ).stdout
    assert "_QMLBOOK_COMPLETE=complete_bash" in shown
    offer = f"{shown}\nCOMP_WORDS=(qmlbook bu); COMP_CWORD=1; _qmlbook_completion qmlbook\n"
    offer += 'echo "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", offer], env=env, capture_output=True, text=True)
    assert done.stdout.split() == ["build"], done.stderr


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No folder of images, an empty cache, and a download address where nobody listens."""
    monkeypatch.delenv("QMLBOOK_DATA", raising=False)
    monkeypatch.setenv("QMLBOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("QMLBOOK_DATA_URL", "http://127.0.0.1:9")


@pytest.mark.usefixtures("offline")
def test_data_list_says_what_is_here_and_how_to_get_the_rest(monkeypatch, capsys):
    status, out, _ = call(monkeypatch, capsys, "data", "list")
    assert status == 0
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert "embedded, sample" in lines["mnist"]
    assert "qmlbook data fetch kmnist" in lines["kmnist"]


@pytest.mark.usefixtures("offline")
def test_missing_kmnist_is_one_sentence_with_the_ways_out(monkeypatch, capsys):
    status, _, err = call(monkeypatch, capsys, "data", "fetch", "kmnist")
    assert status == 1
    assert "KMNIST" in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.usefixtures("offline")
def test_embedded_images_verify_and_a_corrupt_file_does_not(monkeypatch, capsys, tmp_path):
    status, out, _ = call(monkeypatch, capsys, "data", "verify", "mnist")
    assert status == 0
    assert "ok" in out
    content = bytearray((HERE.parent / "data/images/mnist.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "mnist.npz").write_bytes(content)
    monkeypatch.setenv("QMLBOOK_DATA", str(tmp_path))
    status, out, _ = call(monkeypatch, capsys, "data", "verify", "mnist")
    assert status == 1
    assert "CORRUPT" in out


def test_records_verify_and_an_altered_one_does_not(monkeypatch, capsys, tmp_path):
    stored = tmp_path / "data" / "results" / "qssl"
    shutil.copytree(HERE.parent / "data" / "results" / "qssl", stored)
    monkeypatch.setenv("QMLBOOK_ROOT", str(tmp_path))
    status, out, _ = call(monkeypatch, capsys, "data", "verify", "qssl")
    files = sorted(stored.glob("*.jsonl"))
    assert status == 0
    assert len(out.splitlines()) == len(files)
    assert re.search(r"^ok .*properties\.jsonl  1 record$", out, re.MULTILINE)
    file = stored / "separation.jsonl"
    file.write_text(re.sub(r'"seconds":\d', '"seconds":9', file.read_text("utf-8")), "utf-8")
    status, out, _ = call(monkeypatch, capsys, "data", "verify", "qssl")
    assert status == 1
    (line,) = [line for line in out.splitlines() if line.startswith("CORRUPT")]
    assert "separation.jsonl  qssl/separation.jsonl: the records are not those that were" in line
    status, _, err = call(monkeypatch, capsys, "report", "qssl")
    assert status == 0
    assert "qssl/separation.jsonl: the records are not those that were stored" in err


def test_stored_runs_are_made_again(monkeypatch, capsys):
    words = ("verify", "klssl", "--profile", "quick", "--cheapest", "--sample", "1")
    status, out, err = call(monkeypatch, capsys, *words)
    assert (status, err) == (0, "")
    assert out == "klssl: 1 of 1 run made again agrees with the record\n"


def test_parameters_are_written_as_two_words_or_with_an_equals_sign():
    words = ["chapters", "-p", "a", "1", "-p", "b=2", "--parameter", "c", "-3", "x"]
    assert cli._join_pairs(words) == [
        "chapters",
        "-p",
        "a=1",
        "-p",
        "b=2",
        "--parameter",
        "c=-3",
        "x",
    ]
    assert cli._join_pairs(["-p"]) == ["-p"]


def test_start_up_imports_nothing_heavy():
    heavy = ("torch", "pennylane", "matplotlib", "scipy", "sklearn", "papermill", "sphinx")
    heavy += ("numpy", "pandas", "yaml", "rich", "pydantic", "asyncio", "requests")
    code = f"""
import atexit, sys
atexit.register(lambda: print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr))
from qmlbook.cli import main
main()
"""
    for words in ("--help", "--version"):
        command = [sys.executable, "-c", code, words]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stderr == "[]\n", words
    env = {**os.environ, "_QMLBOOK_COMPLETE": "complete_bash"}
    env |= {"COMP_WORDS": "qmlbook records k", "COMP_CWORD": "2"}
    code = code.replace("from qmlbook.cli", "sys.argv = ['qmlbook']; from qmlbook.cli")
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("klssl\n", "[]\n")


@pytest.mark.parametrize("command", ["report", "records", "pdf"])
@pytest.mark.parametrize(
    ("name", "why"), [("", "is no name"), (".", "is a folder"), ("new/", "is a folder")]
)
def test_what_is_no_file_is_refused_in_one_sentence(monkeypatch, capsys, command, name, why):
    status, out, error = call(monkeypatch, capsys, command, "--to", name)
    assert (status, out) == (2, "")
    assert error == f"Error: --to {name!r} {why}; give the name of a file.\n"


@pytest.mark.parametrize("words", [("report", "qdeq", "--claims"), ("vectors",)])
def test_an_empty_name_of_a_file_to_read_is_refused(monkeypatch, capsys, words):
    status, out, error = call(monkeypatch, capsys, *words, "")
    assert (status, out) == (2, "")
    assert error == "Error: '' is no name; give the name of a file.\n"


def test_a_format_where_a_file_belongs_names_the_right_command(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    for words in (["records", "qdeq", "--to", "mlflow", "store"], ["report", "--to", "json"]):
        name = words[words.index("--to") + 1]
        status, out, error = call(monkeypatch, capsys, *words)
        assert (status, out) == (2, "")
        assert error == (
            f"Error: --to {name!r} is the name of a format; "
            f"say --format {name} --to PATH, or --to ./{name} for a file of that name.\n"
        )
    assert not list(tmp_path.iterdir())
    call(monkeypatch, capsys, "records", "qdeq", "--format", "json", "--to", "./json")
    assert json.loads((tmp_path / "json").read_text("utf-8"))


@pytest.mark.parametrize("name", ["", "-"])
def test_a_course_goes_to_a_folder(monkeypatch, capsys, name):
    status, out, error = call(monkeypatch, capsys, "course", "--to", name)
    assert (status, out) == (2, "")
    assert error == f"Error: --to {name!r} is no folder; give the name of one.\n"


FOLDERS = {
    "--to": [("course",), ("referee", "--example"), ("records", "--format", "ro-crate"),
             ("records", "--format", "mlflow")],
    "--copy": [("chapters", "intro")],
}  # fmt: skip


@pytest.mark.parametrize(
    ("words", "option"),
    [(words, option) for option in FOLDERS for words in FOLDERS[option]],
    ids=lambda given: " ".join(given) if isinstance(given, tuple) else given,
)
def test_what_can_be_no_folder_is_refused_before_any_work(
    monkeypatch, capsys, tmp_path, words, option
):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("mine")
    Path("link").symlink_to("file")
    os.mkfifo("pipe")
    for name in ("file", "link", "pipe", "file/new"):
        status, out, error = call(monkeypatch, capsys, *words, option, name)
        why = "cannot be a folder, because file is none" if "/" in name else "is no folder"
        assert (status, out) == (2, "")
        assert error.startswith(f"Error: {option} {name!r} {why}"), error
    assert Path("file").read_text("utf-8") == "mine"
    assert sorted(os.listdir()) == ["file", "link", "pipe"]


def test_records_that_are_a_folder_take_the_name_of_a_folder(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    words = ("records", "contextuality", "--format", "ro-crate", "--to")
    assert call(monkeypatch, capsys, *words, "new/") == (0, "The crate is in new\n", "")
    status, out, error = call(monkeypatch, capsys, *words, "new")
    assert (status, out, error) == (2, "", "Error: --to 'new' exists; name a new folder.\n")


@pytest.mark.parametrize("words", [("report",), ("records",), ("pdf",), ("records", "ro-crate")])
def test_a_name_that_is_too_long_is_one_sentence_with_the_option(
    monkeypatch, capsys, tmp_path, words
):
    from qmlbook.book import pdf

    monkeypatch.setattr(pdf, "pdf", lambda *_, **__: pytest.fail("a book was built for it"))
    monkeypatch.chdir(tmp_path)
    command, *format = words
    chosen = ["contextuality"] if command != "pdf" else []
    chosen += ["--format", *format] if format else []
    name = f"{'a' * 300}/b"
    status, out, error = call(monkeypatch, capsys, command, *chosen, "--to", name)
    what = "folder" if format else "file"
    assert (status, out) == (1, "")
    assert error == f"Error: --to {name}: the {what} cannot be written (File name too long).\n"


def test_a_report_that_cannot_be_written_is_one_sentence(monkeypatch, capsys, tmp_path):
    (tmp_path / "file").write_text("in the way")
    to = tmp_path / "file" / "report.txt"
    status, out, error = call(monkeypatch, capsys, "report", "qssl", "--to", to)
    assert (status, out) == (1, "")
    assert error == f"Error: --to {to}: the file cannot be written (File exists).\n"


def test_a_dash_is_standard_output_and_a_link_stays(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    _, shown, _ = call(monkeypatch, capsys, "records", "qssl", "--format", "json")
    status, out, _ = call(monkeypatch, capsys, "records", "qssl", "--format", "json", "--to", "-")
    assert (status, out) == (0, shown)
    assert not list(tmp_path.iterdir())
    (tmp_path / "link").symlink_to("target")
    call(monkeypatch, capsys, "records", "qssl", "--format", "json", "--to", "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == shown.encode()


def test_the_name_of_standard_output_is_not_replaced(tmp_path):
    code = "import sys; sys.argv[0] = 'qmlbook'; print('before', flush=True)\n"
    code += "from qmlbook.cli import main; main()"
    words = ["records", "contextuality", "--to", "/dev/stdout"]
    with open(tmp_path / "out", "w") as out:
        subprocess.run([sys.executable, "-c", code, *words], stdout=out, check=True)
    lines = (tmp_path / "out").read_text("utf-8").splitlines()
    assert lines[0] == "before"
    assert lines[1].startswith("paper,")


def test_a_pdf_goes_to_standard_output_and_progress_elsewhere(monkeypatch, capsysbinary):
    from qmlbook.book import pdf

    def printed(to, *, echo, **_):
        echo("printing")
        to.write_bytes(b"%PDF \xff")

    monkeypatch.setattr(pdf, "pdf", printed)
    monkeypatch.setattr(sys, "argv", ["qmlbook", "pdf", "--to", "-"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert (stop.value.code, *capsysbinary.readouterr()) == (0, b"%PDF \xff", b"printing\n")


@pytest.mark.parametrize(
    "words", [("report", "qssl"), ("sweep", "qssl", "--dry-run")], ids=" ".join
)
def test_a_file_in_the_place_of_the_stored_runs_is_refused(monkeypatch, capsys, tmp_path, words):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "results").write_text("")
    monkeypatch.setenv("QMLBOOK_ROOT", str(tmp_path))
    status, out, error = call(monkeypatch, capsys, *words)
    assert (status, out) == (2, "")
    assert (
        error
        == f"Error: {tmp_path / 'data' / 'results'} is no folder; it would hold the stored runs.\n"
    )


@pytest.mark.parametrize(
    "words",
    [("report",), ("records", "klssl"), ("sweep", "klssl", "--dry-run"), ("chapters",), ("build",)],
    ids=" ".join,
)
@pytest.mark.parametrize("name", ["nowhere", "."])
def test_a_root_that_names_no_checkout_is_refused(monkeypatch, capsys, tmp_path, words, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QMLBOOK_ROOT", name)
    status, out, error = call(monkeypatch, capsys, *words)
    assert (status, out) == (2, "")
    assert error.startswith(f"Error: No checkout of the book QMLBOOK_ROOT={name!r} ")
    assert len(error.splitlines()) == 1
