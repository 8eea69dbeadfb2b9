"""Fixtures that several test files share."""

import os
import shutil
import socket

import pytest


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
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    if not program:
        tell = pytest.fail if os.environ.get("CI") else pytest.skip
        tell("the tests of the pages need chromium or google-chrome on the path")
    from playwright.sync_api import sync_playwright

    options = "no-sandbox disable-gpu disable-quic no-first-run disable-sync"
    options += " disable-background-networking disable-component-update"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=[f"--{option}" for option in options.split()]
        )
        yield browser
        browser.close()


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
