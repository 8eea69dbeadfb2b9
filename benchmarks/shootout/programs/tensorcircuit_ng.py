"""TensorCircuit-NG on its JAX backend: expectation values, or the state and its probabilities."""

import jax
import jax.numpy as jnp
import numpy as np
import tensorcircuit as tc
from training import jax_step

SIGNS = np.array([[1 - 2 * (k >> (7 - i) & 1) for i in range(8)] for k in range(256)])


def circuit(x, w):
    c = tc.Circuit(8)
    for i in range(8):
        c.rx(i, theta=x[i])
    for layer in range(2):
        for i in range(8):
            c.ry(i, theta=w[layer, 0, i])
        for i in range(8):
            c.crx(i, (i + 1) % 8, theta=w[layer, 1, i])
    return c


def training(ring, x, w):
    tc.set_backend("jax")
    tc.set_dtype("complex64" if x.dtype == "float32" else "complex128")
    return jax_step(jax.vmap(ring, (0, None)), x, w)


def expectations(x, w):
    def ring(x, w):
        c = circuit(x, w)
        return jnp.stack([jnp.real(c.expectation_ps(z=[i])) for i in range(8)])

    return training(ring, x, w)


def probabilities(x, w):
    def ring(x, w):
        return jnp.abs(circuit(x, w).state()) ** 2 @ SIGNS.astype(x.dtype)

    return training(ring, x, w)
