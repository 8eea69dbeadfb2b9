"""Fixtures that several test files share."""

import functools
import http.server
import os
import signal
import socket
import threading
from pathlib import Path

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parents[1]

# A busy machine is slow, which is no fault of what is tested, and fixtures serve all examples.
hypothesis.settings.register_profile(
    "book", deadline=None, suppress_health_check=list(hypothesis.HealthCheck)
)
hypothesis.settings.load_profile("book")

# In the background of a shell a process ignores interruptions, and so would the programs that the
# tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    """Put the longest files first, so that no process is left alone with one at the end."""
    items.sort(key=lambda item: item.path.name not in ("test_course.py", "test_sixth.py"))


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


def without_a_browser(error):
    """Skip a test of the pages; where changes are checked, fail."""
    tell = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
    tell(f"the tests of the pages need a browser. {error}")


@pytest.fixture(scope="session")
def html():
    """Return the folder of the built book."""
    from qmlbook.book.site import build

    return build.build(root=ROOT).parent


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
