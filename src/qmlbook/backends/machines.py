"""The machines that Qiskit runs on: Aer, fake devices, and real ones through an account."""

import functools
import importlib
from collections.abc import Callable
from typing import Any

from ..base.errors import QmlbookError, UsageError


def require(*packages: str) -> None:
    """Say in one sentence what is missing, before anything is built.

    Raises:
        QmlbookError: if one of the packages is not installed.
    """
    try:
        for package in packages:
            importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise QmlbookError(
            f"Package {error.name} is missing for this backend: pip install 'qmlbook[hardware]'."
        ) from None


@functools.cache
def fake(name: str) -> Any:
    """Return a fake device of IBM's, made once."""
    from qiskit_ibm_runtime import fake_provider

    if not name.startswith("Fake") or "Provider" in name or not hasattr(fake_provider, name):
        raise UsageError(
            f"device {name!r} is not a fake device of qiskit_ibm_runtime.fake_provider; choose one "
            "such as FakeParisV2 or FakeSherbrooke."
        )
    return getattr(fake_provider, name)()


@functools.cache
def aer(machine: Any) -> Any:
    """Return Aer with the noise of a machine, or ideal for ``None``; made once for each."""
    from qiskit_aer import AerSimulator

    together = {"max_parallel_experiments": 0}  # circuits side by side, one thread each
    if machine is None:
        return AerSimulator(**together)
    return AerSimulator.from_backend(machine, **together)


def account() -> Any:
    """Open the saved account. What the service says may hold parts of a token: never repeat it."""
    from qiskit_ibm_runtime import QiskitRuntimeService
    from qiskit_ibm_runtime.accounts import AccountNotFoundError

    try:
        return QiskitRuntimeService()
    except Exception as error:
        kind = type(error)
    if issubclass(kind, AccountNotFoundError):
        raise UsageError(
            "No IBM Quantum account is saved on this machine: call QiskitRuntimeService."
            "save_account once in your own shell (never in a notebook), then try again."
        )
    raise QmlbookError(f"The saved IBM Quantum account could not be opened ({kind.__name__}).")


def discreet(what: str, call: Callable, *args: Any, **kwargs: Any) -> Any:
    """Call the service; on failure name what failed and the kind of error, not its text."""
    try:
        return call(*args, **kwargs)
    except Exception as error:
        kind = type(error).__name__
    raise QmlbookError(f"{what} failed ({kind}); your IBM Quantum pages show more.")


def compactly(circuit: Any, machine: Any, options: dict) -> Any:
    """Compile onto the best connected qubits of a machine, as many as the circuit has."""
    from qiskit import QuantumCircuit
    from qiskit.transpiler import PassManager, generate_preset_pass_manager
    from qiskit.transpiler.passes import DenseLayout

    search = PassManager([DenseLayout(target=machine.target)])
    search.run(circuit)
    layout = search.property_set["layout"]
    region = sorted(layout[qubit] for qubit in circuit.qubits)
    inside = generate_preset_pass_manager(
        basis_gates=[name for name in machine.operation_names if name != "reset"],
        coupling_map=machine.coupling_map.reduce(region),
        **options,
    ).run(circuit)
    whole = QuantumCircuit(machine.num_qubits)
    for register in inside.cregs:
        whole.add_register(register)
    return whole.compose(inside, qubits=region, clbits=range(inside.num_clbits))
