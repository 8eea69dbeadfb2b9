"""PennyLane Catalyst: the whole step compiled by qjit, lightning.qubit with adjoint gradients."""

import catalyst
import jax.numpy as jnp
import pennylane as qml


def compiled(x, w):
    @qml.qnode(qml.device("lightning.qubit", wires=8), diff_method="adjoint")
    def ring(x, w):
        for i in range(8):
            qml.RX(x[i], wires=i)
        for layer in range(2):
            for i in range(8):
                qml.RY(w[layer, 0, i], wires=i)
            for i in range(8):
                qml.CRX(w[layer, 1, i], wires=(i, (i + 1) % 8))
        return [qml.expval(qml.Z(i)) for i in range(8)]

    def loss(x, w):
        return (jnp.stack(ring(x, w)) ** 2).sum()

    def one(x, w):
        return jnp.stack(ring(x, w)), catalyst.grad(loss, argnums=(0, 1))(x, w)

    @qml.qjit
    def whole(x, w):
        values, (in_x, in_w) = catalyst.vmap(one, in_axes=(0, None))(x, w)
        return values, in_x, in_w.sum(0)

    x, w = jnp.asarray(x), jnp.asarray(w)
    return lambda: whole(x, w)
