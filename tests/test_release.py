"""A release: all of it with checksums, or nothing."""

import importlib.util
import subprocess
from pathlib import Path

import pytest

from qmlbook.base.errors import QmlbookError, UsageError

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def scripts():
    spec = importlib.util.spec_from_file_location("release", ROOT / "scripts" / "release.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_release_is_complete_or_not_there(scripts, tmp_path, capsys):
    def one(folder):
        (folder / "one.txt").write_text("1")

    def fails(folder):
        raise QmlbookError("no")

    with pytest.raises(QmlbookError, match="no"):
        scripts.release(tmp_path / "dist" / "new", (one, fails))
    assert not list((tmp_path / "dist").iterdir())
    scripts.release(tmp_path / "dist" / "new", (one,))
    made = tmp_path / "dist" / "new"
    assert sorted(path.name for path in made.iterdir()) == ["SHA256SUMS", "one.txt"]
    check = ["sha256sum", "--check", "--quiet", "SHA256SUMS"]
    assert subprocess.run(check, cwd=made).returncode == 0
    (made / "one.txt").write_text("2")
    assert subprocess.run(check, cwd=made, capture_output=True).returncode == 1
    with pytest.raises(UsageError, match="new exists; name a new folder"):
        scripts.release(made, (one,))
    names = [part.__name__ for part in scripts.PARTS]
    assert names == ["packages", "bill", "records", "book"]


def test_a_missing_tool_is_one_sentence(scripts, tmp_path, monkeypatch):
    monkeypatch.setenv("QMLBOOK_STANDARDS_BIN", str(tmp_path))
    with pytest.raises(QmlbookError, match=r"cyclonedx-py is missing: install the extra"):
        scripts.bill(tmp_path)
