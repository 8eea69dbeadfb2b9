"""A home and a cache of its own for every session, and fixtures that several test files share."""

import functools
import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parents[1]
# What the reader of the book has set, for the one program that works for the reader: the builder.
READER = "QMLBOOK_TESTS_READER"
SESSION = pytest.StashKey[tuple]()
# The longest first, so that no process is left alone with one at the end.
LONGEST = ("test_browser.py", "test_course.py", "test_sixth.py")

# A busy machine is slow, which is no fault of what is tested, and fixtures serve all examples.
hypothesis.settings.register_profile(
    "book", deadline=None, suppress_health_check=list(hypothesis.HealthCheck)
)
hypothesis.settings.load_profile("book")

# In the background of a shell a process ignores interruptions, and so would the programs that the
# tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def contents(folder):
    """Return the files of a folder with their sizes and times, hidden ones aside.

    The builder, which works for the reader, and other programs keep notes of their own there.
    """
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("[!.]*"))
        if path.is_file() and not path.parent.name.startswith(".")
    }


def pytest_configure(config):
    """Give the session, and all that it starts, a home and a cache of its own, both empty."""
    if READER in os.environ:  # one of several processes: they share what the first one made
        return
    from qmlbook.base import paths

    cache = paths.cache_dir()
    scratch = Path(tempfile.mkdtemp(prefix="qmlbook tests "))
    ours = {name: str(scratch / "home") for name in ("HOME", "USERPROFILE")}
    ours |= {"QMLBOOK_CACHE": str(scratch / "cache"), "MPLCONFIGDIR": str(scratch / "matplotlib")}
    ours |= dict.fromkeys(("QMLBOOK_DATA", "QMLBOOK_ROOT", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"))
    before = {name: os.environ.get(name) for name in ours}
    if (browsers := Path.home() / ".cache" / "ms-playwright").is_dir():
        os.environ.setdefault("PLAYWRIGHT_BROWSERS_PATH", str(browsers))
    (scratch / "home").mkdir()
    put(ours)
    os.environ[READER] = json.dumps(before)
    config.stash[SESSION] = (scratch, before, cache, contents(cache))


def put(values):
    """Set or, where the value is ``None``, remove variables of the environment."""
    for name, value in values.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


def pytest_sessionfinish(session):
    """Fail if a test wrote where the reader keeps downloads."""
    if SESSION in session.config.stash:
        *_, cache, before = session.config.stash[SESSION]
        if contents(cache) != before:
            print(f"\nFAILED: the tests changed {cache}")
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_unconfigure(config):
    """Leave nothing behind."""
    if SESSION in config.stash:
        scratch, before, *_ = config.stash[SESSION]
        put(before)
        del os.environ[READER]
        shutil.rmtree(scratch, ignore_errors=True)


def pytest_collection_modifyitems(items):
    """Put the longest files first."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Return a small checkout of its own, without the reader's data."""
    from small_project import Project

    monkeypatch.delenv("QMLBOOK_DATA", raising=False)
    monkeypatch.setenv("QMLBOOK_CACHE", str(tmp_path / "cache"))
    return Project(tmp_path)


@pytest.fixture(scope="module")
def one_thread():
    """Keep small products on one core: on a busy machine, waiting for others takes most time."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def browser():
    """Return a browser; without one the tests are skipped, but not where changes are checked."""
    from qmlbook.base.errors import QmlbookError
    from qmlbook.book import pdf

    try:
        with pdf.browser() as browser:
            yield browser
    except QmlbookError as error:
        without_a_browser(error)


@pytest.fixture
def show_parts(browser, tmp_path):
    """Return a function that opens parts of pages as a file, without a network or complaints."""
    complaints, contexts = [], []
    style = (ROOT / "book" / "_static" / "book.css").read_text("utf-8")

    def show(*parts, theme="light", **options):
        contexts.append(browser.new_context(offline=True, color_scheme=theme, **options))
        tab = contexts[-1].new_page()
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("console", lambda said: said.type == "error" and complaints.append(said.text))
        tab.on(
            "request", lambda asked: asked.url.startswith("http") and complaints.append(asked.url)
        )
        paper = {"light": "#fff; color: #222832", "dark": "#14181e; color: #ced6dd"}[theme]
        body = "".join(part.html() for part in parts)
        file = tmp_path / "page.html"
        file.write_text(
            f'<!DOCTYPE html><html lang="en" data-theme="{theme}"><head><meta charset="utf-8">'
            f"<title>t</title><style>{style} body {{ background: {paper} }}</style>"
            f'</head><body><main class="bd-article"><h1>t</h1>{body}</main></body></html>'
        )
        tab.goto(file.as_uri())
        return tab

    yield show
    for context in contexts:
        context.close()
    assert not complaints


def without_a_browser(error):
    """Skip a test of the pages; where changes are checked, fail."""
    tell = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
    tell(f"the tests of the pages need a browser. {error}")


def reader():
    """Return the environment without what this session has of its own."""
    theirs = json.loads(os.environ[READER])
    env = {name: value for name, value in os.environ.items() if name not in theirs}
    return env | {name: value for name, value in theirs.items() if value is not None}


@pytest.fixture
def as_reader(html, monkeypatch):
    """Let a test see the book as its reader does, with the reader's own data if there are any."""
    assert html
    monkeypatch.setattr(os, "environ", reader())


@pytest.fixture(scope="session")
def html():
    """Return the folder of the built book: the reader's, made with the reader's settings."""
    program = [sys.executable, "-m", "qmlbook.cli", "build"]
    done = subprocess.run(program, cwd=ROOT, env=reader(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return ROOT / "_build" / "html"


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files without a line per request."""

    def log_message(self, *args):
        pass


@pytest.fixture(scope="session")
def site(html):
    """Serve the book on this machine and return its address."""
    handler = functools.partial(Quiet, directory=html)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """Work in an empty home folder without network; return where an account would be saved."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("QISKIT_IBM_TOKEN", "QISKIT_IBM_CHANNEL", "QISKIT_IBM_URL"):
        monkeypatch.delenv(name, raising=False)

    def refuse(*_, **__):
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    from qiskit_ibm_runtime.accounts import management

    saved = tmp_path / ".qiskit" / "qiskit-ibm.json"
    monkeypatch.setattr(management, "_DEFAULT_ACCOUNT_CONFIG_JSON_FILE", str(saved))
    return saved
