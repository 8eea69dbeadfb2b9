"""Machine code of the kernels, kept on disk: a process that finds it there does without Numba.

Numba takes far longer to import than its code takes to load. What is kept is an object file as
LLVM makes it, one for each kernel, precision and type of processor.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import Any

from ..base import paths
from ..base.errors import WriteError
from ..base.files import write

Kernel = Callable[[int], Any]  # of the address of a table, see `lowering.table`
SYMBOL = "kernel"
_SOURCES = ("kernels.py", "lanes.py", "lowering.py")
_SIGNATURE = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
_DIGEST = 32  # bytes
_UNREAD = ctypes.byref(ctypes.c_void_p())  # where results go that nobody reads
_known: dict[tuple, Kernel] = {}
_making = Lock()


def kernel(name: str, kind: Any, many: bool) -> Kernel:
    """Return a kernel: loaded if it is kept, else compiled, and kept where that is possible.

    Args:
        name: "forward" or "backward".
        kind: precision, a type of numpy.
        many: whether it walks along many circuits at once.
    """
    key = name, kind, many
    if key not in _known:
        with _making:
            _known[key] = _known.get(key) or _kernel(*key)
    return _known[key]


def _kernel(name: str, kind: Any, many: bool) -> Kernel:
    machine = _machine()
    file = f"{name}-{kind.__name__}-{'many' if many else 'one'}-{_digest(*machine).hex()[:12]}.o"
    stamp = _digest(version("numba"), *machine, *(_source(source) for source in _SOURCES))
    for folder in _folders():
        if code := _read(folder / file, stamp):
            return _load(code)
    from . import kernels

    code = _code(*kernels.assembly(kernels.entry(name, kind, many, called=False)))
    if code is None:
        return kernels.entry(name, kind, many, called=True)
    for folder in _folders():
        with suppress(WriteError):
            write(folder / file, _digest(stamp, code) + code)
            break
    return _load(code)


def _machine() -> tuple[str, str, str, str]:
    """Return what machine code depends on, besides its sources and Numba."""
    import llvmlite.binding as llvm

    features = llvm.get_host_cpu_features().flatten()
    return llvm.get_process_triple(), llvm.get_host_cpu_name(), features, version("llvmlite")


# -- files --------------------------------------------------------------------------------------


def _folders() -> list[Path]:
    """Return folders for machine code, the best first."""
    if chosen := os.environ.get("NUMBA_CACHE_DIR"):
        return [Path(chosen)]
    return [Path(__file__).with_name("__pycache__"), paths.cache_dir() / "__pycache__"]


def _source(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _digest(*parts: str | bytes) -> bytes:
    return hashlib.sha256(repr(parts).encode()).digest()


def _read(file: Path, stamp: bytes) -> bytes | None:
    """Return the code in a file, if it was made of the same and is whole."""
    try:
        found = file.read_bytes()
    except OSError:
        return None
    code = found[_DIGEST:]
    return code if code and found[:_DIGEST] == _digest(stamp, code) else None


# -- LLVM ---------------------------------------------------------------------------------------


def _target() -> Any:
    """Return a description of this processor; an engine takes the one it is given into its own."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    host = {"cpu": llvm.get_host_cpu_name(), "features": llvm.get_host_cpu_features().flatten()}
    return llvm.Target.from_default_triple().create_target_machine(**host, opt=3, jit=True)


# Arrays whose memory is ours have no owner that Numba would have to tell.
_NO_OWNER = "define linkonce_odr void @NRT_MemInfo_call_dtor(ptr %owner) { ret void }"


def _code(assembly: str, name: str) -> bytes | None:
    """Return machine code, ``None`` if it would need functions of Numba."""
    import llvmlite.binding as llvm

    module = llvm.parse_assembly(assembly)
    module.link_in(llvm.parse_assembly(_NO_OWNER))
    for function in module.functions:
        if function.is_declaration and not function.name.startswith("llvm."):
            return None
    module.get_function(name).name = SYMBOL
    return _target().emit_object(module)


def _load(code: bytes) -> Kernel:
    """Return the function in an object file.

    Numba's functions return a status and have room for a result and an exception in front of their
    arguments. While one runs, other threads of Python do, too.
    """
    import llvmlite.binding as llvm

    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target())
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    function = _SIGNATURE(engine.get_function_address(SYMBOL))

    def run(address: int, engine: Any = engine) -> None:  # the code lives as long as the engine
        if function(_UNREAD, _UNREAD, address):
            raise RuntimeError("A kernel stopped on the way.")

    return run
