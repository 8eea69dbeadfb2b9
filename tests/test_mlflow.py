"""Run records as a store of MLflow."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from qmlbook.base.errors import QmlbookError
from qmlbook.evidence import export, mlflow_store
from qmlbook.evidence.store import Store

ROOT = Path(__file__).resolve().parents[1]
# A Python with the extra `mlflow`; its versions are not those of the book.
OTHER = os.environ.get("QMLBOOK_MLFLOW", sys.executable)
# Writes a store, and tells what MLflow finds in it.
PROGRAM = """
import json, sys
from pathlib import Path
from qmlbook.evidence import mlflow_store
from qmlbook.evidence.store import Store
folder = mlflow_store.write(["qdeq"], Path(sys.argv[2]), store=Store(sys.argv[1]))
from mlflow.tracking import MlflowClient
client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
told = {}
for experiment in client.search_experiments():
    for run in client.search_runs([experiment.experiment_id]):
        def history(name):
            found = client.get_metric_history(run.info.run_id, name)
            return [[one.step, one.value] for one in found]
        took = run.info.end_time - run.info.start_time
        kept = {name: history(name) for name in run.data.metrics}
        said = [experiment.name, run.info.status, took, run.data.params, run.data.tags, kept]
        told[run.info.run_name] = said
print(json.dumps(told))
"""


def test_without_mlflow_the_command_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(QmlbookError, match="MLflow is missing: install the extra mlflow"):
        mlflow_store.write(["qdeq"], tmp_path / "new")
    (tmp_path / "there").mkdir()
    with pytest.raises(QmlbookError, match="exists; name a new folder"):
        mlflow_store.write(["qdeq"], tmp_path / "there")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


@pytest.mark.nightly
def test_mlflow_finds_every_run_with_its_settings_numbers_and_origin(tmp_path):
    if subprocess.run([OTHER, "-c", "import mlflow, alembic"], capture_output=True).returncode:
        pytest.skip("QMLBOOK_MLFLOW names no Python with the extra `mlflow`")
    good = export.records(["qdeq"])[0]
    long = {f"a{number}": [0.5 * step for step in range(200)] for number in range(5)}
    bad = {"metrics": {}, "status": "failed", "error": "ValueError: no"}
    changed = {"one": {}, "long": {"metrics": long}, "failed": bad}
    store = Store(tmp_path / "some results")
    for name, changes in changed.items():
        store.add(replace(good, variant=name, **changes))
    store.fold("qdeq")
    command = [OTHER, "-c", PROGRAM, store.root, tmp_path / "a store"]
    env = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert set(found) == {f"{name}, seed {good.seed}" for name in changed}
    assert [path.name for path in (tmp_path / "a store").iterdir()] == ["mlflow.db"]
    for name, changes in changed.items():
        made = replace(good, variant=name, **changes)
        experiment, status, took, params, tags, numbers = found[f"{name}, seed {good.seed}"]
        assert (experiment, took) == (f"qdeq/{good.experiment}", round(good.seconds * 1000))
        assert status == ("FAILED" if name == "failed" else "FINISHED")
        assert {key: str(value) for key, value in made.config.items()}.keys() < params.keys()
        assert params["seed"] == str(good.seed)
        assert tags["code_version"] == good.code_version
        assert tags["versions.torch"] == good.versions["torch"]
        assert tags.get("error") == made.error
        lists = {key: v if isinstance(v, list) else [v] for key, v in made.metrics.items()}
        assert numbers == {key: [list(one) for one in enumerate(v)] for key, v in lists.items()}
