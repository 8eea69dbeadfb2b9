"""One program in a process of its own: a line of JSON in, a line of JSON out.

``{"do": "start", ...}`` imports a file of ``programs/``, builds the step and makes the first one;
``{"do": "steps", "seconds": s, "most": n}`` makes steps for about s seconds and tells the time of
each. The process ends with its standard input. Needs nothing but NumPy, so that it runs anywhere.
"""

import importlib.util
import json
import os
import sys
import time
from importlib import metadata
from pathlib import Path

DTYPES = {"single": "float32", "double": "float64"}


def megabytes():
    """Return the largest resident memory of this process so far, in MB (10^6 bytes)."""
    try:  # not getrusage: it counts the process that started this one
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(each.split()[1]) for each in lines if each.startswith("VmHWM")) * 1.024e-3
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # macOS counts bytes


def start(program, way, precision, inputs, answer, packages, core=None, **_):
    """Return what the first step took; store its values and gradients in the file ``answer``."""
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    began = time.perf_counter()
    spec = importlib.util.spec_from_file_location("program", program)
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(Path(program).parent))  # programs share `training.py`
    spec.loader.exec_module(module)
    imported, resident = time.perf_counter(), megabytes()
    import numpy as np

    with np.load(inputs) as stored:
        x, w = (stored[name].astype(DTYPES[precision]) for name in ("x", "w"))
    ready = time.perf_counter()
    step = getattr(module, way)(x, w)
    values = step()
    first = time.perf_counter()
    arrays = (np.asarray(each, np.float64) for each in values)
    np.savez(answer, **dict(zip(("values", "inputs", "weights"), arrays, strict=True)))
    return step, {
        "import_seconds": imported - began,
        "first_seconds": first - ready,
        "import_megabytes": resident,
        "versions": {name: metadata.version(name) for name in packages},
    }


def steps(step, seconds, most):
    """Return milliseconds of wall and of CPU time (all threads) of every step."""
    wall, cpu = [], []
    end = time.perf_counter() + seconds
    while len(wall) < most and (not wall or time.perf_counter() < end):
        busy, began = time.process_time_ns(), time.perf_counter_ns()
        step()
        wall.append((time.perf_counter_ns() - began) / 1e6)
        cpu.append((time.process_time_ns() - busy) / 1e6)
    return {"wall": wall, "cpu": cpu, "megabytes": megabytes()}


def main():
    """Answer requests until there are no more."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is no answer
    step = None
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            if asked.pop("do") == "start":
                step, said = start(**asked)
            else:
                said = steps(step, **asked)
        except Exception as error:
            text = " ".join(str(error).split())
            said = {"failed": f"{type(error).__name__}: {text}"[:300]}
        answers.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    main()
