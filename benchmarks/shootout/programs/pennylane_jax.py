"""PennyLane's default.qubit compiled by JAX: jax.vmap over a circuit, or parameter broadcasting."""

import jax
import jax.numpy as jnp
import pennylane as qml
from training import jax_step


def ring(x, w):
    for i in range(8):
        qml.RX(x[..., i], wires=i)
    for layer in range(2):
        for i in range(8):
            qml.RY(w[layer, 0, i], wires=i)
        for i in range(8):
            qml.CRX(w[layer, 1, i], wires=(i, (i + 1) % 8))
    return [qml.expval(qml.Z(i)) for i in range(8)]


def node():
    return qml.QNode(ring, qml.device("default.qubit", wires=8), interface="jax")


def mapped(x, w):
    jax.config.update("jax_enable_x64", x.dtype == "float64")
    circuit = node()
    return jax_step(jax.vmap(lambda x, w: jnp.stack(circuit(x, w)), (0, None)), x, w)


def broadcast(x, w):
    jax.config.update("jax_enable_x64", x.dtype == "float64")
    circuit = node()
    return jax_step(lambda x, w: jnp.stack(circuit(x, w), -1), x, w)
