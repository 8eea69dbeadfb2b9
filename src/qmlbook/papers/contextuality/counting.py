"""How much memory the task takes, and how many ways there are: what figures and checks count."""

from math import ceil, comb, log2

from . import sharing


def bits(n: int, k: int = 2) -> dict[str, float]:
    """Return sizes of memory at n vertices, hyperedges of k: qubits for ``quantum``, else bits.

    Returns:
        ``quantum``: of the k-HRNN with its ancilla; ``bound``: stated of classical models;
        ``exact``: needed for right probabilities; ``one flip``: enough when one hyperedge changes
        between blocks, signs and a hash of every link. For k = 2 also ``tableau``, of Aaronson and
        Gottesman, and up to n = 4 ``states``, to number all states that can be reached.
    """
    sizes: dict[str, float] = {
        "quantum": n + 1,
        "bound": comb(n, k) - 1,
        "exact": comb(n, k) + n,
        "one flip": n + n * ceil(log2(comb(n - 1, k - 1) + 1)),
    }
    if k == 2:
        sizes["tableau"] = 2 * n**2 + n
        if n <= 4:
            sizes["states"] = log2(sharing.game(n).reachable())
    return sizes


def lie_dimension(n: int, k: int) -> int:
    """Return the dimension of the algebra of products of at most k positions and n momenta."""
    return sum(comb(n, j) for j in range(k + 1)) + n
