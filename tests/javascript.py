"""JavaScript of the pages, run by Node without a browser."""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

NEEDS_NODE = "Node is not installed; the browser tests the same scripts, more slowly and less."
MAIN = """
import { readFileSync } from "node:fs";
const { call, given } = JSON.parse(readFileSync(0, "utf-8"));
const functions = { %s };
process.stdout.write(JSON.stringify(functions[call](given)));
"""


def ask(script: str, call: str, given: object) -> object:
    """Return what a function of a script makes of an argument, both as JSON.

    Without Node the test is skipped, but not where changes are checked.
    """
    if not shutil.which("node"):
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(NEEDS_NODE)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "script.mjs")
        file.write_text(script + MAIN % call, "utf-8")
        asked = json.dumps({"call": call, "given": given})
        done = subprocess.run(["node", file], input=asked, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
