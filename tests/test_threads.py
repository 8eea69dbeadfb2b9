"""A notebook has one thread for its circuits, whoever runs it, unless the reader names a number."""

import os
import subprocess
import sys

import pytest

from qmlbook.base import paths, threads

KERNEL = "import sys, types; sys.modules['ipykernel'] = types.ModuleType('ipykernel')\n"
FIRST = "import numpy, torch\ntorch.set_num_threads(2)\nimport qmlbook\n"
LATER = "import qmlbook\nimport torch\n"
NOW = """
import numpy, os, threadpoolctl
numpy.ones((9, 9)) @ numpy.ones((9, 9))
pools = {pool["num_threads"] for pool in threadpoolctl.threadpool_info()}
print(torch.get_num_threads(), max(pools), os.environ.get("OMP_NUM_THREADS"))
"""


def said(code, **given):
    env = {name: value for name, value in os.environ.items() if name not in threads.VARIABLES}
    env |= {"PYTHONPATH": str(paths.PACKAGE.parent), **given}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("imports", [FIRST, LATER])
def test_a_notebook_has_one_thread_in_whatever_order_it_imports(imports):
    assert said(KERNEL + imports + NOW) == ["1", "1", "1"]


@pytest.mark.nightly
def test_a_number_that_the_reader_names_stays():
    assert said(KERNEL + FIRST + NOW, OMP_NUM_THREADS="2")[0::2] == ["2", "2"]
    assert said(KERNEL + LATER + NOW, OMP_NUM_THREADS="2")[0::2] == ["2", "2"]


def test_other_programs_keep_their_threads():
    assert said(FIRST + NOW)[0::2] == ["2", "None"]


def test_importing_the_library_in_a_notebook_loads_nothing_heavy():
    loaded = "print(sorted({'numpy', 'torch', 'threadpoolctl'} & sys.modules.keys()))"
    assert said(KERNEL + "import qmlbook\n" + loaded) == ["[]"]
