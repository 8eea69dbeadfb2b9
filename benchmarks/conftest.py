"""Collects what `bench_*.py` measures into one table, printed and saved as JSON."""

import ctypes
import json
import os
import platform
import time
from pathlib import Path

import pennylane as qml
import pytest
import torch

SAVED = Path(__file__).parents[1] / "data" / "benchmarks" / "statevector.json"
BASE = "default.qubit"
SECONDS = 2.0  # of measuring, for each entry of the table
_rows: dict[str, dict[str, dict[str, float]]] = {}


def pytest_collect_file(parent, file_path):
    if file_path.name.startswith("bench_") and file_path.suffix == ".py":
        return pytest.Module.from_parent(parent, path=file_path)
    return None


@pytest.fixture
def measure(benchmark):
    """Time a step (best of several rounds) and its extra memory."""

    def run(case, how, step):
        step()  # plans, compiles
        start = time.perf_counter()
        memory = _peak(step)
        once = time.perf_counter() - start
        rounds = int(min(200, max(1, SECONDS / once)))
        benchmark.group = case
        benchmark.pedantic(step, rounds=rounds)
        found = {"milliseconds": 1e3 * benchmark.stats.stats.min, "rounds": rounds}
        if memory is not None:
            found["megabytes"] = memory
        _rows.setdefault(case, {})[how] = found

    return run


def _peak(step):
    """Return the megabytes a step takes beyond what is resident, where Linux tells."""
    try:
        ctypes.CDLL(None).malloc_trim(0)  # memory that is free but still ours would hide the step's
        Path("/proc/self/clear_refs").write_text("5")
        before = _status("VmRSS")
        step()
        return max(0.0, (_status("VmHWM") - before) / 1024)
    except (OSError, AttributeError):
        step()
        return None


def _status(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field + ":"))


def pytest_terminal_summary(terminalreporter):
    if not _rows:
        return
    write = terminalreporter.write_line
    ways = list(dict.fromkeys(how for row in _rows.values() for how in row))
    write("")
    write("Milliseconds (times faster than default.qubit; extra MB), one thread, best of several")
    for case, row in _rows.items():
        write(case)
        base = row.get(BASE, {}).get("milliseconds")
        for how in ways:
            if how not in row:
                continue
            found = row[how]
            ratio = f"{base / found['milliseconds']:8.1f}x" if base else " " * 9
            memory = f"{found['megabytes']:8.1f} MB" if "megabytes" in found else ""
            write(f"    {how:22s}{found['milliseconds']:10.2f} ms {ratio} {memory}")
            if base:
                found["ratio"] = base / found["milliseconds"]
    _save()
    write(f"Saved: {SAVED.name}")


def _save():
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    versions["pennylane"] = qml.version()
    before = json.loads(SAVED.read_text())["cases"] if SAVED.exists() else {}
    content = {
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "versions": versions,
        "cases": before | _rows,  # a part of the table may be measured again alone
    }
    part = SAVED.with_suffix(".part")
    part.write_text(json.dumps(content, indent=1) + "\n")
    os.replace(part, SAVED)
