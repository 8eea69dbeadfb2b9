"""How long commands take to start, by turns: `python benchmarks/startup.py --record FILE`.

Each line runs in a process of its own, and all of them once in every round, so that what disturbs
the machine disturbs all. Times are the tenth percentile of the processor time of a process, in
seconds, which a busy machine changes little.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

COMMAND = "import sys; sys.argv[0] = 'qmlbook'; from qmlbook.cli import main; main()"
IMPORTS = "import pennylane, torch"
# QSSL's ring, 32 circuits of eight qubits; the machine code is there, since each line ran before.
STEP = """
import pennylane as qml, torch
from qmlbook.statevector import compile_qnode

@qml.qnode(qml.device("qmlbook.statevector", wires=8))
def ring(x, w):
    for i in range(8):
        qml.RX(x[:, i], i)
    for rotations, controlled in w:
        for i in range(8):
            qml.RY(rotations[i], i)
        for i in range(8):
            qml.CRX(controlled[i], (i, (i + 1) % 8))
    return [qml.expval(qml.Z(i)) for i in range(8)]

x, w = torch.rand(32, 8, requires_grad=True), torch.rand(2, 2, 8, requires_grad=True)
torch.stack(compile_qnode(ring)(x, w)).square().sum().backward()
"""
LINES = {
    "python": ["-c", "pass"],
    "qmlbook --help": ["-c", COMMAND, "--help"],
    "completion of a word": ["-c", COMMAND],
    "qmlbook report klssl": ["-c", COMMAND, "report", "klssl"],
    "pennylane, torch": ["-c", IMPORTS],
    "pennylane, torch, the device": ["-c", f"{IMPORTS}; import qmlbook.statevector"],
    "the first training step of a compiled circuit": ["-c", STEP],
}
TYPED = {"_QMLBOOK_COMPLETE": "complete_bash", "COMP_WORDS": "qmlbook rep", "COMP_CWORD": "1"}


def processor_time(name: str) -> float:
    """Return the processor time of one line, in seconds."""
    more = TYPED if name.startswith("completion") else {}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, *LINES[name]],
        env={**os.environ, "OMP_NUM_THREADS": "1", **more},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--record", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=11)
    asked = parser.parse_args()
    for name in LINES:
        processor_time(name)  # what is kept for the next start is made now
    rounds = [{name: processor_time(name) for name in LINES} for _ in range(asked.rounds)]
    seconds = {
        name: round(float(np.percentile([each[name] for each in rounds], 10)), 3) for name in LINES
    }
    record = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "python": platform.python_version(),
        "rounds": asked.rounds,
        "seconds": seconds,
    }
    asked.record.write_text(json.dumps(record, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
