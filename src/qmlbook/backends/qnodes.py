"""What readers call: QNodes on other backends, their jobs and sizes, the table of agreement."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pennylane as qml

from ..base.errors import UsageError, require_choice
from ..base.rng import stream
from .device import QiskitDevice
from .translate import Size, open_circuit, shift_one_by_one, size_of

PENNYLANE = ("default.qubit", "lightning.qubit")
QISKIT = ("aer", "aer-noise", "ibm")
BACKENDS = PENNYLANE + QISKIT
SHOTS = 1_000  # on noisy backends, unless given


@dataclass(frozen=True)
class Description:
    """A circuit as written (its gates taken as they are) and as compiled for a backend."""

    qubits: int
    written: Size
    transpiled: Size


def on(
    qnode: qml.QNode,
    backend: str = "aer",
    *,
    shots: int | None = None,
    device: str | None = None,
    seed: int = 0,
    mitigate: bool = False,
    compact: bool | None = None,
    hardware: bool = False,
) -> qml.QNode:
    """Return the same QNode on another backend.

    Args:
        qnode: any QNode that returns expectation values of Pauli words and their sums, variances,
            counts or samples of Pauli words, or probabilities, counts or samples of wires; without
            wires, of all wires of its device. Its quantum function is used as it is.
        backend: one of `BACKENDS`.
        shots: samples per circuit; ``None`` keeps those of the QNode, and where it has none is
            exact on ideal simulators and 1,000 on noisy ones.
        device: for ``aer-noise`` and ``ibm`` a fake device of `qiskit_ibm_runtime.fake_provider`,
            by default FakeParisV2; with ``hardware``, the name of the real machine.
        seed: root of the streams "shots", "simulator", "order" and "transpiler". Every call draws
            new samples; the same seed repeats the same sequence of calls.
        mitigate: undo readout errors, qubit by qubit, with confusion matrices measured in the same
            job (all 0 and all 1 prepared). Probabilities may come out slightly negative.
        compact: compile onto as many connected qubits as the circuit has, so that the simulation
            stays small, instead of letting the compiler use the whole machine. By default so for
            simulated devices, not for hardware.
        hardware: send to a real machine with the saved account. The number of circuits, shots and
            an estimate of the time are printed before.

    Returns:
        A QNode. Called with a batch, it returns the batch; where the batch is differentiated by
        parameter shifts, its entries become circuits of their own, in the same job.

    Raises:
        UsageError: for an unknown backend or device, or options that do not go together.
        QmlbookError: if a package is missing or the account cannot be opened.

    Example:
        >>> @qml.qnode(qml.device("default.qubit", wires=2))
        ... def circuit(x):
        ...     qml.RX(x, wires=0)
        ...     qml.CNOT(wires=(0, 1))
        ...     return qml.expval(qml.Z(1))
        >>> on(circuit, "aer")(np.array([0.0, np.pi])).round(6).tolist()
        [1.0, -1.0]
    """
    require_choice("backend", backend, BACKENDS)
    if shots is not None and (not isinstance(shots, int | np.integer) or shots < 1):
        raise UsageError(f"shots must be a whole number of 1 or more, not {shots!r}.")
    if seed < 0:
        raise UsageError(f"seed must be 0 or more, not {seed}.")
    if backend not in ("aer-noise", "ibm") and (device or mitigate or compact is not None):
        raise UsageError(
            f"device, mitigate and compact belong to aer-noise and ibm, not to {backend!r}."
        )
    if hardware and (backend != "ibm" or not device):
        raise UsageError(
            "hardware=True needs backend 'ibm' and device, the name of a machine of your account."
        )
    wires = qnode.device.wires
    if backend in PENNYLANE:
        target = qml.device(backend, wires=wires, seed=stream(seed, "shots"))
    else:
        target = QiskitDevice(backend, device, seed, mitigate, compact, hardware, wires)
    moved = qnode.update(device=target, diff_method="best")
    if shots is None and not moved.shots.total_shots and backend in ("aer-noise", "ibm"):
        shots = SHOTS
    moved = moved if shots is None else qml.set_shots(moved, int(shots))
    shifted = backend in QISKIT or moved.shots.total_shots
    return shift_one_by_one(moved) if shifted else moved


def submit(qnode: qml.QNode, *args: Any, **kwargs: Any) -> str:
    """Send a QNode's circuits and return the id of the job without waiting for it.

    Args:
        qnode: a QNode made by ``on(..., "ibm")``.
        *args: what the QNode is called with; keywords likewise.

    Raises:
        UsageError: if the QNode is on another backend.
    """
    tapes, _ = _prepared(qnode, args, kwargs)
    return _ibm_device(qnode).send(tapes).name


def resume(job_id: str, qnode: qml.QNode, *args: Any, **kwargs: Any) -> Any:
    """Wait for a job sent earlier, in this session or another, and return the QNode's results.

    Nothing is kept on this machine: the job carries a fingerprint of its circuits, and the same
    QNode with the same arguments reads the answer. A job of local testing mode ends with its
    session.

    Args:
        job_id: what `submit` returned, or what a call printed.
        qnode: the QNode, made by ``on(..., "ibm")`` as it was when the job was sent.
        *args: what it was called with; keywords likewise.

    Raises:
        UsageError: if the job is unknown or was sent for other circuits, angles or shots.
        QmlbookError: if the job failed.
    """
    tapes, finish = _prepared(qnode, args, kwargs)
    device = _ibm_device(qnode)
    return finish(device.collect(device.find(job_id, tapes), tapes))


def with_and_without(qnode: qml.QNode, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
    """Run a QNode that undoes readout errors once; return its results, and those with the errors.

    Args:
        qnode: a QNode made by ``on(..., mitigate=True)``.
        *args: what it is called with; keywords likewise.

    Raises:
        UsageError: if the QNode undoes nothing.
    """
    device = qnode.device
    if not isinstance(device, QiskitDevice) or not device.mitigate:
        raise UsageError("qnode must be made by on(..., mitigate=True), whose errors are undone.")
    tapes, finish = _prepared(qnode, args, kwargs)
    job = device.send(tapes)
    mended, raw = (finish(device.collect(job, tapes, raw)) for raw in (False, True))
    return mended, raw


def describe(
    qnode: qml.QNode,
    *args: Any,
    backend: str = "aer-noise",
    options: dict[str, Any] | None = None,
    **kwargs: Any,
) -> Description:
    """Return the size of a circuit before and after it is compiled for a backend.

    Where the measurements need several circuits, the one with most two-qubit gates is described.

    Args:
        qnode: any QNode that `on` takes.
        *args: what it is called with; keywords likewise.
        backend: "aer", "aer-noise" or "ibm".
        options: further options of `on`, for instance ``{"device": "FakeSherbrooke"}``.
    """
    require_choice("backend", backend, QISKIT)
    moved = on(qnode, backend, **(options or {}))
    tapes, _ = _prepared(moved, args, kwargs)
    pairs = [(open_circuit(tape), moved.device.compiled(tape)) for tape in tapes]
    written, compiled = max(pairs, key=lambda pair: size_of(pair[1]).two_qubit)
    return Description(written.num_qubits, size_of(written), size_of(compiled))


def compare(
    qnode: qml.QNode, *args: Any, runs: dict[str, dict] | None = None, **kwargs: Any
) -> list[dict[str, Any]]:
    """Run one QNode on several backends and return the table of agreement.

    Args:
        qnode: any QNode that `on` takes.
        *args: what it is called with; keywords likewise.
        runs: name of a run -> options of `on`; by default one exact run on each ideal simulator,
            one with shots and one with noise.

    Returns:
        One entry a run: ``run``, ``shots`` (``None`` for exact), ``largest`` and ``rms`` difference
        from the exact values, ``seconds``.
    """
    runs = runs or {
        "default.qubit": {"backend": "default.qubit"},
        "lightning.qubit": {"backend": "lightning.qubit"},
        "aer, exact": {"backend": "aer"},
        "aer, shots": {"backend": "aer", "shots": SHOTS},
        "aer, noise of ibmq_paris": {"backend": "aer-noise"},
    }
    # Torch's interface would round what lightning.qubit returns to torch's default precision.
    qnode = qnode.update(interface="auto")
    exact = _flat(qml.set_shots(on(qnode, "default.qubit"), None)(*args, **kwargs))
    table = []
    for run, options in runs.items():
        moved = on(qnode, **options)
        start = time.perf_counter()
        error = _flat(moved(*args, **kwargs)) - exact
        table.append(
            {
                "run": run,
                "shots": moved.shots.total_shots,
                "largest": float(np.abs(error).max()),
                "rms": float(np.sqrt(np.mean(error**2))),
                "seconds": time.perf_counter() - start,
            }
        )
    return table


def _prepared(qnode: qml.QNode, args: tuple, kwargs: dict) -> tuple[Sequence, Callable]:
    """Return the circuits that the device would be given, and how to finish their results."""
    tapes, restore = qml.workflow.construct_batch(qnode, level="device")(*args, **kwargs)
    return tapes, lambda results: restore(results)[0]


def _ibm_device(qnode: qml.QNode) -> QiskitDevice:
    device = qnode.device
    if not isinstance(device, QiskitDevice) or device.backend != "ibm":
        raise UsageError("Jobs need a QNode on backend 'ibm': on(qnode, 'ibm', ...).")
    return device


def _flat(results: Any) -> np.ndarray:
    results = results if isinstance(results, tuple | list) else (results,)
    return np.concatenate([np.ravel(qml.math.to_numpy(result)) for result in results])
