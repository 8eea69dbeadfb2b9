"""What every command does alike: letters, errors, signals, and the files it writes."""

import os
import pty
import signal
import stat
import subprocess
import sys
import threading

import pytest

from qmlbook.base import files
from qmlbook.base.command import exit_status
from qmlbook.base.errors import QmlbookError, UsageError, WriteError, counted, shown

# A command of which the tests decide what it does.
START = "import os, sys, time; from qmlbook.base.command import exit_status\n"
END = "\nsys.exit(exit_status(command, 'qmlbook', *sys.argv[1:]))"


def program(body, *words):
    """Return the command line of a command with this body."""
    lines = "\n    ".join(body.strip().splitlines())
    return [sys.executable, "-c", f"{START}def command():\n    {lines}{END}", *words]


# --- letters ------------------------------------------------------------------------------------

SENTENCE = "│ αΩς − 3 ± µ → “x₁” ≥ ┳ ━ é … € 猫"


@pytest.mark.parametrize(
    ("encoding", "wanted"),
    [
        ("ascii", '| alphaOmegasigma - 3 +/- mu -> "x1" >= + - e ... ? ?'),
        ("latin-1", '| alphaOmegasigma - 3 ± µ -> "x1" >= + - é ... ? ?'),
        ("cp1252", "| alphaOmegasigma - 3 ± µ -> “x1” >= + - é … € ?"),
        ("utf-8", SENTENCE),
    ],
)
def test_letters_that_an_encoding_lacks_are_replaced_by_readable_ones(encoding, wanted):
    command = program(f"print({SENTENCE!a}); print({SENTENCE!a}, file=sys.stderr)")
    env = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(command, env=env, capture_output=True)
    assert done.returncode == 0
    for written in (done.stdout, done.stderr):
        assert written.decode(encoding).rstrip("\r\n") == wanted


def test_a_name_that_is_no_text_is_shown_all_the_same():
    done = subprocess.run(program("print('a\\udcffb')"), capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "a\\udcffb\n", "")


def test_a_report_is_readable_everywhere():
    command = [sys.executable, "-m", "qmlbook.cli", "report", "contextuality"]
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, env=env, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode("ascii").splitlines()
    assert {"+", "|"} <= {line[0] for line in lines}  # a table
    assert not any("?" in line for line in lines)


# --- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ("raise SystemExit", 0, ""),
        ("sys.exit(3)", 3, ""),
        ("sys.exit('No.')", 1, "No.\n"),
        ("open('/nowhere/x')", 1, "Error: '/nowhere/x': No such file or directory.\n"),
        ("raise OSError(28, 'No space left')", 1, "Error: No space left.\n"),
        ("raise OSError('odd')", 1, "Error: odd.\n"),
        *(
            (f"raise {error}", 1, "Error: there is not enough memory for this.\n")
            for error in (
                "MemoryError",
                "ImportError('libtorch_cpu.so: failed to map segment from shared object')",
                "RuntimeError('can\\'t start new thread')",
                "RuntimeError('DefaultCPUAllocator: can\\'t allocate memory: you tried to')",
            )
        ),
    ],
)
def test_what_goes_wrong_is_one_sentence_and_a_status(body, status, said):
    done = subprocess.run(program(body), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (status, said)


@pytest.mark.parametrize("error", ["ImportError('no such name')", "RuntimeError('odd')"])
def test_a_mistake_of_the_program_keeps_its_traceback(error):
    done = subprocess.run(program(f"raise {error}"), capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")


def test_errors_of_ours_are_a_failure_or_a_wrong_request(capsys):
    def fail(error):
        raise error

    assert exit_status(lambda: fail(QmlbookError("It is damaged.")), "x") == 1
    assert exit_status(lambda: fail(UsageError("Not known.")), "x") == 2
    assert exit_status(lambda: None, "x") == 0
    assert capsys.readouterr().err == "Error: It is damaged.\nError: Not known.\n"


@pytest.mark.parametrize("body", ["print('x' * 10**6)", "print('x')"])
def test_a_reader_who_has_seen_enough_ends_a_command_quietly(body):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(program(body), stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no full device")
def test_an_output_that_is_full_is_one_sentence():
    with open("/dev/full", "w") as full:
        done = subprocess.run(program("print('x')"), stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, "Error: No space left on device.\n")


def test_values_are_shown_short_whatever_they_are():
    bomb = ["lol"]
    for _ in range(40):
        bomb = [bomb] * 9
    for value in (bomb, 10**10_000, {"a": bomb}, "x" * 10**6, b"x" * 10**6, float("1e300")):
        assert len(shown(value)) < 120
        assert "\n" not in shown(value)
    assert shown([1, 2]) == "[1, 2]"
    assert shown(-3) == "-3"


def test_one_of_a_thing_is_not_several():
    assert [counted(n, "run") for n in (0, 1, 2000)] == ["0 runs", "1 run", "2,000 runs"]
    assert counted(2, "class", "classes") == "2 classes"


# --- signals ------------------------------------------------------------------------------------

STOPS_SLOWLY = """
try:
    print('on', flush=True)
    time.sleep(600)
finally:
    print('stopping', flush=True)
    sys.stdin.readline()
    print('tidy', flush=True)
"""
FIRST = "Interrupted: qmlbook build --jobs 2. What is finished is kept; the same command goes on.\n"
SECOND = "Still stopping; a third time leaves at once.\n"


@pytest.fixture
def slow():
    """Return a command that has begun and that a signal makes wait for a line before it ends."""
    process = subprocess.Popen(
        program(STOPS_SLOWLY, "build", "--jobs", "2"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # whatever the tests themselves were started under
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    )
    assert process.stdout.readline() == "on\n"
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_one_line_and_a_second_one_disturbs_nothing(slow, number):
    slow.send_signal(number)
    assert slow.stdout.readline() == "stopping\n"
    assert slow.stderr.readline() == FIRST
    slow.send_signal(number)
    assert slow.stderr.readline() == SECOND
    out, error = slow.communicate("go on\n", timeout=60)
    assert (slow.returncode, out, error) == (128 + number, "tidy\n", "")


def test_a_third_signal_leaves_at_once(slow):
    slow.send_signal(signal.SIGINT)
    assert slow.stdout.readline() == "stopping\n"  # it waits now
    assert slow.stderr.readline() == FIRST
    slow.send_signal(signal.SIGINT)
    assert slow.stderr.readline() == SECOND
    slow.send_signal(signal.SIGINT)
    out, error = slow.communicate(timeout=60)
    assert (slow.returncode, out, error) == (130, "", "")


def test_a_command_that_keeps_nothing_does_not_say_that_it_does():
    body = "import signal; print('on', flush=True); signal.raise_signal(signal.SIGTERM)"
    for word, keeps in (("audit", False), ("verify", False), ("records", False), ("sweep", True)):
        code = f"import sys; from qmlbook import cli\ndef body(_): {body}\ncli.app = body\n"
        code += f"sys.argv = ['qmlbook', {word!r}]; cli.main()"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        said = "What is finished is kept; the same command goes on."
        said = said if keeps else "Nothing is kept of it; the same command starts anew."
        assert (done.returncode, done.stderr) == (143, f"Interrupted: qmlbook {word}. {said}\n")


def test_signals_that_the_shell_switched_off_stay_off():
    body = "import signal; signal.raise_signal(signal.SIGHUP); print('still here')"
    off = "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); "
    off += "os.execv(sys.argv[1], sys.argv[1:])"
    command = [sys.executable, "-c", off, *program(body)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "still here\n", "")


def test_handlers_are_as_before_when_nothing_was_interrupted():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert exit_status(lambda: None, "x") == 0
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


# --- files that are written ---------------------------------------------------------------------


def test_a_link_stays_and_the_file_it_names_is_written(tmp_path):
    (tmp_path / "far").mkdir()
    target, link, chain = tmp_path / "far" / "x", tmp_path / "link", tmp_path / "chain"
    target.write_bytes(b"old")
    link.symlink_to("far/x")
    chain.symlink_to(link)
    files.write(chain, b"new", checksum=True)
    assert link.is_symlink()
    assert chain.is_symlink()
    assert target.read_bytes() == b"new"
    assert files.checksum_file(target).read_text().endswith("  x\n")
    (hanging := tmp_path / "hanging").symlink_to("far/away/y")
    files.write(hanging, b"made")
    assert hanging.is_symlink()
    assert (tmp_path / "far/away/y").read_bytes() == b"made"
    assert sorted(path.name for path in tmp_path.rglob("*") if ".part" in path.name) == []


def test_a_link_to_itself_is_refused(tmp_path):
    (loop := tmp_path / "loop").symlink_to("loop")
    with pytest.raises(WriteError, match="Too many levels of symbolic links"):
        files.write(loop, b"x")
    assert os.readlink(loop) == "loop"


def test_a_pipe_is_written_to(tmp_path):
    os.mkfifo(pipe := tmp_path / "pipe")
    got = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    files.write(pipe, b"x" * 10**6)
    reader.join()
    assert got == [b"x" * 10**6]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert list(tmp_path.iterdir()) == [pipe]


def test_a_device_is_written_to(tmp_path):
    leader, follower = pty.openpty()
    (link := tmp_path / "device").symlink_to(os.ttyname(follower))
    files.write(link, b"said")
    assert os.read(leader, 10) == b"said"
    assert stat.S_ISCHR(link.stat().st_mode)
    assert link.is_symlink()
    os.close(leader)
    os.close(follower)


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(WriteError, match=r"cannot be written \(Is a directory\)"):
        files.write(tmp_path, b"x")


def test_the_permissions_of_a_file_are_kept(tmp_path):
    (file := tmp_path / "x").write_bytes(b"old")
    file.chmod(0o640)
    files.write(file, b"new")
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_a_file_with_the_longest_name_is_written(tmp_path):
    files.write(tmp_path / ("x" * 255), b"new")
    assert (tmp_path / ("x" * 255)).read_bytes() == b"new"
