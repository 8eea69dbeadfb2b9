"""No quantum library: gates as JAX array operations on a state with eight axes."""

import jax
import jax.numpy as jnp
from training import jax_step


def rotate(state, t, wire, *, real):
    """Turn one axis by RY (real) or RX: cos(t/2) s - factor sin(t/2) (the other half of s)."""
    c, s = jnp.cos(t / 2), jnp.sin(t / 2)
    zero, one = jnp.take(state, 0, wire), jnp.take(state, 1, wire)
    if real:
        return jnp.stack([c * zero - s * one, s * zero + c * one], wire)
    return jnp.stack([c * zero - 1j * s * one, c * one - 1j * s * zero], wire)


def controlled(state, t, control, target):
    off, on = jnp.take(state, 0, control), jnp.take(state, 1, control)
    turned = rotate(on, t, target - (target > control), real=False)
    return jnp.stack([off, turned], control)


def ring(x, w):
    state = jnp.zeros((2,) * 8, jnp.result_type(x, jnp.complex64)).at[(0,) * 8].set(1)
    for i in range(8):
        state = rotate(state, x[i], i, real=False)
    for layer in range(2):
        for i in range(8):
            state = rotate(state, w[layer, 0, i], i, real=True)
        for i in range(8):
            state = controlled(state, w[layer, 1, i], i, (i + 1) % 8)
    p = state.real**2 + state.imag**2
    marginals = (p.sum([axis for axis in range(8) if axis != i]) for i in range(8))
    return jnp.stack([each[0] - each[1] for each in marginals])


def compiled(x, w):
    jax.config.update("jax_enable_x64", x.dtype == "float64")
    return jax_step(jax.vmap(ring, (0, None)), x, w)
