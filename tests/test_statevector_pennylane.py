"""PennyLane's own tests of devices, run with ours."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pennylane.devices.tests import get_device_tests

pytestmark = pytest.mark.nightly

# Test -> why it is not run.
LEFT_OUT: dict[str, str] = {}
PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short", "-rf")
OFFLINE = ("--allow-hosts=127.0.0.1,::1,localhost", "--allow-unix-socket")


@pytest.mark.parametrize("shots", [None, 20_000], ids=["exact", "sampled"])
def test_pennylane_accepts_the_device(shots, tmp_path):
    options = ["--device=qmlbook.statevector", "--no-flaky-report"]
    options += [] if shots is None else [f"--shots={shots}"]
    options += [f"--deselect={name}" for name in LEFT_OUT]
    # Whatever pytest is told here does not hold there: the tests have a configuration of their own.
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [*PYTEST, *OFFLINE, get_device_tests(), *options],
        cwd=tmp_path, env=env, capture_output=True, text=True,
    )  # fmt: skip
    said = done.stdout[-20_000:] + done.stderr
    assert done.returncode == 0, said
    assert int(re.search(r"(\d+) passed", said)[1]) > 300


def test_what_is_left_out_is_there():
    folder = Path(get_device_tests())
    for name in LEFT_OUT:
        file, _, rest = name.partition("::")
        test = re.split(r"[\[]", rest)[0].rpartition("::")[2]
        assert f"def {test}(" in (folder / file).read_text()
