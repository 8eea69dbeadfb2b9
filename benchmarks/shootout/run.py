"""Runs the shootout: every program of `programs.yml`, one core, paired with ours.

For each program, way, precision and batch there is one file of results; what is measured is not
measured again, so an interruption loses nothing. At the end all of them become one record, whose
fields `record.schema.json` explains.
"""

import argparse
import contextlib
import datetime
import hashlib
import json
import os
import platform
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pennylane as qml
import torch
import yaml

from qmlbook.base.rng import stream

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BATCHES = (1, 8, 32, 128, 256, 1024)
ROUNDS = 10  # turns of each side, one after the other
PATIENCE = 300.0  # seconds for one answer
THREADS = ("OMP", "MKL", "OPENBLAS", "NUMBA", "VECLIB", "NUMEXPR", "TF_NUM_INTRAOP")
ALONE = {f"{name}_NUM_THREADS": "1" for name in THREADS} | {
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    "JAX_PLATFORMS": "cpu",
    "CUDA_VISIBLE_DEVICES": "",
    "PYTHONNOUSERSITE": "1",
}


class Failure(Exception):
    """A program could not be installed, started or timed; the text says why."""


# --- what is computed ---------------------------------------------------------------------------


def task(batch):
    """Return inputs (batch, 8) and weights (2, 2, 8), which single precision holds exactly."""
    x = stream(0, "shootout", "inputs", batch).uniform(0, np.pi, (batch, 8))
    w = stream(0, "shootout", "weights").normal(0, 1, (2, 2, 8))
    return {"x": x.astype(np.float32), "w": w.astype(np.float32)}


def reference(x, w):
    """Return values and gradients by PennyLane's default.qubit in complex128."""

    @qml.qnode(qml.device("default.qubit", wires=8), interface="torch", diff_method="backprop")
    def ring(x, w):
        for i in range(8):
            qml.RX(x[:, i], wires=i)
        for rotations, controlled in w:
            for i in range(8):
                qml.RY(rotations[i], wires=i)
            for i in range(8):
                qml.CRX(controlled[i], wires=(i, (i + 1) % 8))
        return [qml.expval(qml.Z(i)) for i in range(8)]

    x, w = (torch.from_numpy(each.astype(np.float64)).requires_grad_() for each in (x, w))
    values = torch.stack(list(ring(x, w)), -1)
    inputs, weights = torch.autograd.grad(values.square().sum(), (x, w))
    arrays = {"values": values.detach(), "inputs": inputs, "weights": weights}
    return {name: each.numpy() for name, each in arrays.items()}


def stored(folder, batch):
    """Return the files of inputs and of the reference; make them where they are missing."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{kind}-{batch}.npz" for kind in ("inputs", "reference")]
    if not all(each.exists() for each in files):
        numbers = task(batch)
        for file, arrays in zip(files, (numbers, reference(**numbers)), strict=True):
            np.savez(file, **arrays)
    return files


def errors(answer, truth):
    """Return the largest errors of values and gradients, and relative to the largest entry."""
    with np.load(answer) as given, np.load(truth) as right:
        largest = {name: float(np.abs(given[name] - right[name]).max()) for name in right.files}
        scale = {name: float(np.abs(right[name]).max()) for name in right.files}
    return largest, {name: largest[name] / scale[name] for name in largest}


# --- environments and processes -----------------------------------------------------------------


def install(name, program, home):
    """Return the Python of a program's environment, made if need be.

    Raises:
        Failure: no such Python here, or pip says no.
    """
    wanted = program["install"]
    if wanted == "project":
        return sys.executable
    if wanted == "left out":
        raise Failure(program["reason"])
    folder = home / "envs" / name
    python, marker = folder / "bin" / "python", folder / "installed.json"
    if marker.exists() and json.loads(marker.read_text()) == wanted:
        return str(python)
    here = [sys.executable, *(shutil.which(f"python3.{minor}") for minor in range(11, 14))]
    ask = "import sys; print('%d.%d' % sys.version_info[:2])"
    for candidate in filter(None, here):
        said = subprocess.run([candidate, "-c", ask], capture_output=True, text=True).stdout.strip()
        if said in program["python"]:
            break
    else:
        raise Failure(f"needs Python {' or '.join(program['python'])}, which is not on the path")
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted]
    for command in ([candidate, "-m", "venv", "--clear", str(folder)], pip):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            raise Failure(f"cannot be installed: {' '.join(said[-2:])[:300]}")
    marker.write_text(json.dumps(wanted))
    return str(python)


class Worker:
    """A process of `worker.py`, spoken to in lines of JSON."""

    def __init__(self, python, log, environment):
        self.log = log
        self.began = time.perf_counter()
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                [python, str(HERE / "worker.py")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=os.environ | ALONE | environment,
                cwd=log.parent,
            )

    def ask(self, **request):
        """Return the answer to one request.

        Raises:
            Failure: the program raised, ended or took too long.
        """
        with contextlib.suppress(BrokenPipeError):  # it has ended: said below
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
        if not select.select([self.process.stdout], [], [], PATIENCE)[0]:
            raise Failure(f"took more than {PATIENCE:.0f} s")
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait()
            said = self.log.read_text(errors="replace").split("\n")
            raise Failure(f"ended with status {code}: {' '.join(said[-4:])[:300]}")
        answer = json.loads(line)
        if "failed" in answer:
            raise Failure(answer["failed"])
        return answer

    def close(self):
        """End the process."""
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


# --- one cell of the table ----------------------------------------------------------------------


class Shootout:
    """Measures cells (program, way, precision, batch) and keeps their results under ``home``."""

    def __init__(self, manifest, home, seconds, core):
        self.folder = manifest.parent / "programs"
        content = yaml.safe_load(manifest.read_text("utf-8"))
        self.programs, self.ours = content["programs"], tuple(content["ours"])
        self.home, self.seconds, self.core = home, seconds, core
        self.partners = {}
        for name in ("results", "logs"):
            (home / name).mkdir(parents=True, exist_ok=True)

    def cells(self, names, batches):
        """Return the cells in the order of measuring: a partner serves one batch after another."""
        everything = [
            (name, way, precision, batch)
            for name in names or self.programs
            for way, asked in self.programs[name]["ways"].items()
            for precision, offered in asked["batches"].items()
            for batch in batches
            if offered == "all" or batch in offered
        ]
        return sorted(everything, key=lambda cell: (cell[2] != "single", cell[3]))

    def file(self, *cell):
        """Return the file of a cell's result."""
        return self.home / "results" / f"{'.'.join(map(str, cell))}.json"

    def measured(self, *cell):
        """Return a cell's result if it is there and still stands, else None."""
        with contextlib.suppress(OSError, ValueError):
            result = json.loads(self.file(*cell).read_text())
            if result["status"] == "measured" and result["stamp"] == self.stamp(cell[0]):
                return result
        return None

    def stamp(self, name):
        """Return a digest of all that a result depends on: program, ours, machine, seconds."""
        files = [self.folder / self.programs[each]["file"] for each in (name, self.ours[0])]
        files += [HERE / "worker.py", self.folder / "training.py"]
        files += sorted((ROOT / "src/qmlbook/statevector").rglob("*.py"))
        settings = [self.programs[name], self.seconds, processor()]
        content = [json.dumps(settings).encode(), *(f.read_bytes() for f in files if f.exists())]
        return hashlib.sha256(b"\0".join(content)).hexdigest()[:16]

    def measure(self, *cell):
        """Return a cell's result, stored; a failure is a result as well."""
        name, way, precision, batch = cell
        result = dict(zip(("program", "way", "precision", "batch"), cell, strict=True))
        result |= {"stamp": self.stamp(name), "date": datetime.date.today().isoformat()}
        try:
            result |= {"status": "measured"} | self._measure(name, way, precision, batch)
        except Failure as reason:
            result |= {"status": "failed", "reason": str(reason)}
        part = self.file(*cell).with_suffix(".part")
        part.write_text(json.dumps(result, indent=1) + "\n")
        os.replace(part, self.file(*cell))
        return result

    def _measure(self, name, way, precision, batch):
        cache = self.home / "caches" / f"{name}.{way}.{precision}"
        if not any(self.home.glob(f"results/{name}.{way}.{precision}.*.json")):
            shutil.rmtree(cache, ignore_errors=True)  # so that the very first step is one
        cached = self.programs[name].get("cache")
        theirs, told = self.start(name, way, precision, batch, cache)
        try:
            if cached:
                theirs.close()
                theirs, again = self.start(name, way, precision, batch, cache)
                told["again_seconds"] = again["first_seconds"]
            told |= self.pair(theirs, self.partner(precision, batch))
        finally:
            theirs.close()
        return told

    def start(self, name, way, precision, batch, cache):
        """Return a worker that has made its first step, and what that took and how exact it was."""
        program = self.programs[name]
        python = install(name, program, self.home)
        environment = {"PYTHONPATH": str(ROOT / "src")} if python == sys.executable else {}
        if program.get("cache"):
            cache.mkdir(parents=True, exist_ok=True)
            environment[program["cache"]] = str(cache)
        inputs, truth = stored(self.home / "inputs", batch)
        worker = Worker(python, self.home / "logs" / f"{name}.{way}.txt", environment)
        with tempfile.TemporaryDirectory() as folder:
            answer = Path(folder) / "answer.npz"
            try:
                told = worker.ask(
                    do="start",
                    program=str(self.folder / program["file"]),
                    way=way,
                    precision=precision,
                    inputs=str(inputs),
                    answer=str(answer),
                    packages=program.get("packages", []),
                    core=self.core,
                )
                told["process_seconds"] = time.perf_counter() - worker.began
                told["error"], told["relative_error"] = errors(answer, truth)
            except BaseException:
                worker.close()
                raise
        return worker, told

    def partner(self, precision, batch):
        """Return our own worker for a batch; there is one at a time."""
        key = (precision, batch)
        if key not in self.partners:
            self.close()
            cache = self.home / "caches" / "partner"
            self.partners[key], _ = self.start(*self.ours, precision, batch, cache)
        return self.partners[key]

    def pair(self, theirs, ours):
        """Time both sides by turns: one waits while the other one works on the same core."""
        sides = {"theirs": theirs, "ours": ours}
        times = {name: {"wall": [], "cpu": []} for name in sides}
        turn = self.seconds / ROUNDS
        for worker in sides.values():
            worker.ask(do="steps", seconds=turn, most=100)  # warm, not counted
        began, peak = time.perf_counter(), 0.0
        for number in range(ROUNDS):
            for name, worker in sides.items():
                answer = worker.ask(do="steps", seconds=turn, most=10_000)
                for kind in times[name]:
                    times[name][kind] += answer[kind]
                if name == "theirs":
                    peak = answer["megabytes"]
            if number >= 2 and time.perf_counter() - began > 4 * self.seconds:
                break
        told = {name: {"steps": len(each["wall"])} for name, each in times.items()}
        for name, each in times.items():
            for kind, found in each.items():
                told[name][kind] = {
                    "p10": float(np.percentile(found, 10)),
                    "median": float(np.median(found)),
                }
        return told | {
            "megabytes": peak,
            "ratio": told["theirs"]["cpu"]["p10"] / told["ours"]["cpu"]["p10"],
        }

    def close(self):
        """End our own workers."""
        while self.partners:
            self.partners.popitem()[1].close()


# --- the record ---------------------------------------------------------------------------------


def processor():
    """Return the processor's name as the system tells it."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(each.split(":")[1].strip() for each in lines if each.startswith("model name"))
    return platform.processor() or platform.machine()


def record(shootout, cells):
    """Return all that is known about the given cells, as `record.schema.json` has it."""
    found = [json.loads(shootout.file(*c).read_text()) for c in cells if shootout.file(*c).exists()]
    for each in found:
        del each["stamp"]
    about = ("title", "install", "ways", "best", "reason")
    return {
        "schema": 1,
        "date": max((each["date"] for each in found), default=None),
        "machine": {
            "processor": processor(),
            "cores": os.cpu_count(),
            "system": platform.system(),
            "python": platform.python_version(),
        },
        "threads": 1,
        "pinned": hasattr(os, "sched_setaffinity"),
        "seconds": shootout.seconds,
        "ours": list(shootout.ours),
        "programs": {
            name: {key: program[key] for key in about if key in program}
            for name, program in shootout.programs.items()
        },
        "results": found,
    }


def line(result):
    """Return a result as one line of the screen."""
    head = "{program:18} {way:14} {precision:7}{batch:5}".format(**result)
    if result["status"] == "failed":
        return f"{head}  {result['reason'][:100]}"
    worst = max(result["relative_error"].values())
    return (
        f"{head}  {result['theirs']['cpu']['p10']:9.3f} ms  ({result['ratio']:7.2f} x ours)"
        f"  first {result['first_seconds']:6.2f} s  error {worst:.0e}"
        f"  {result['megabytes']:5.0f} MB"
    )


def main(arguments=None):
    """Measure what is missing, write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("programs", nargs="*", help="some of them; all, if none is named")
    parser.add_argument("--batches", default=",".join(map(str, BATCHES)))
    parser.add_argument("--seconds", type=float, default=0.5, help="of timing, for each side")
    parser.add_argument("--home", type=Path, default=ROOT / "_build" / "shootout")
    parser.add_argument("--record", type=Path, help="default: shootout.json under --home")
    parser.add_argument("--manifest", type=Path, default=HERE / "programs.yml")
    parser.add_argument("--core", type=int, help="the core that programs run on; default: the last")
    parser.add_argument("--install-only", action="store_true", help="make environments, no more")
    parser.add_argument("--again", action="store_true", help="measure all cells again")
    options = parser.parse_args(arguments)
    core = options.core
    if core is None and hasattr(os, "sched_getaffinity"):
        core = max(os.sched_getaffinity(0))
    shootout = Shootout(options.manifest, options.home.resolve(), options.seconds, core)
    if unknown := set(options.programs) - shootout.programs.keys():
        parser.error(f"{', '.join(unknown)}: not known; choose from: {', '.join(shootout.programs)}")
    if options.install_only:
        for name in options.programs or shootout.programs:
            try:
                print(f"{name:18} {install(name, shootout.programs[name], shootout.home)}", flush=True)
            except Failure as reason:
                print(f"{name:18} {reason}", flush=True)
        return
    cells = shootout.cells(options.programs, [int(each) for each in options.batches.split(",")])
    try:
        for cell in cells:
            kept = None if options.again else shootout.measured(*cell)
            print(line(kept or shootout.measure(*cell)), flush=True)
    finally:
        shootout.close()
    target = options.record or shootout.home / "shootout.json"
    target.write_text(json.dumps(record(shootout, cells), indent=1) + "\n")
    print(f"Saved: {target}")


if __name__ == "__main__":
    main()
