"""Recompute every kind of reference vector that belongs to this paper.

Each function takes the inputs of a case and returns what the file calls ``expected``.
"""

from math import comb
from typing import Any

from ..shared.cases import Inputs, Kind, plain
from . import sharing, task


def _tokens(inputs: Inputs) -> list[task.Token]:
    return [
        task.Token(token["i"], tuple(tuple(vertices) for vertices in token["link"]))
        for token in inputs["tokens"]
    ]


def allowed_outputs(inputs: Inputs) -> dict[str, Any]:
    """List every possible string of outcomes."""
    tokens = _tokens(inputs)
    allowed = task.outputs(inputs["n"], tokens)
    return {"allowed": allowed, "n_allowed": len(allowed), "n_strings": 2 ** len(tokens)}


def paths(inputs: Inputs) -> dict[str, Any]:
    """Follow given strings of outcomes."""
    tokens = _tokens(inputs)
    told = []
    for outcomes in inputs["outcomes"]:
        path = task.follow(inputs["n"], tokens, outcomes)
        end = {"p1": path.p1} if path.valid else {"first_impossible": path.first_impossible}
        told.append({"valid": path.valid, "joint": path.joint, **end})
    return {"paths": told}


def block_transition(inputs: Inputs) -> dict[str, Any]:
    """List the possible new signs when one block follows another."""
    allowed = task.transition(inputs["n"], inputs["A"], inputs["s"], inputs["B"])
    return {"allowed": allowed, "n_allowed": len(allowed)}


def sharing_k2(inputs: Inputs) -> dict[str, Any]:
    """Play the game of the shared memory state for every set of graph states."""
    sets = (
        (entry["n"], [(graph["edges"], graph["s"]) for graph in entry["graphs"]])
        for entry in inputs["sets"]
    )
    return {"shareable": [sharing.shareable(n, graphs) for n, graphs in sets]}


def counts_k2(inputs: Inputs) -> dict[str, Any]:
    """Count states, triples and the shareable ones among them."""
    triples = {}
    for n in (3, 4):
        outcomes = [sharing.shareable(n, triple) for triple in sharing.signed_triples(n)]
        triples[str(n)] = {
            "classes": len(outcomes) // 4**n,
            "signed_triples": len(outcomes),
            "shareable": sum(outcomes),
        }
    return {
        "reachable_states": {str(n): sharing.game(n).reachable() for n in range(1, 5)},
        "triples": triples,
        "lower_bound_states": {str(n): 2 ** (comb(n, 2) - 1) for n in range(2, 9)},
    }


KINDS = {
    **plain(paths, sharing_k2, counts_k2),
    "allowed_outputs": Kind(allowed_outputs, exact=True),
    "block_transition": Kind(block_transition, exact=True),
}
