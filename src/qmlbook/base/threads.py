"""How many threads the numerical libraries of a process use."""

import os
import sys

#: How those libraries are told their number of threads.
VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def one_unless_asked() -> None:
    """Give the libraries of this process one thread each, unless the environment names a number.

    Circuits of a few qubits gain nothing from more and lose a lot: threads that wait for each other
    keep all cores busy. Libraries that are imported later read it in the environment.
    """
    if any(os.environ.get(name) for name in VARIABLES):
        return
    os.environ |= dict.fromkeys(VARIABLES, "1")
    if {"numpy", "torch"} & sys.modules.keys():
        from threadpoolctl import threadpool_limits

        threadpool_limits(1)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
