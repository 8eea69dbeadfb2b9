"""What programs of one framework share: loss and gradients around their circuit.

The loss is the sum of the squares of all values. A step returns the values (batch, 8) and the
gradients of the loss in the inputs (batch, 8) and in the weights (2, 2, 8), computed to the end.
"""


def torch_step(circuit, x, w):
    """Return the step of a torch function (x, w) -> values (batch, 8)."""
    import torch

    torch.set_num_threads(1)
    x, w = (torch.from_numpy(each).requires_grad_() for each in (x, w))

    def step():
        values = circuit(x, w)
        return values.detach(), *torch.autograd.grad(values.square().sum(), (x, w))

    return step


def jax_step(circuit, x, w):
    """Return the compiled step of a JAX function (x, w) -> values (batch, 8)."""
    import jax

    def loss(x, w):
        values = circuit(x, w)
        return (values**2).sum(), values

    x, w = jax.numpy.asarray(x), jax.numpy.asarray(w)
    gradient = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))

    def step():
        (_, values), gradients = jax.block_until_ready(gradient(x, w))
        return values, *gradients

    return step


def chain(values, jacobian_x, jacobian_w):
    """Return the step's answer from Jacobians (batch, 8, 8) and (batch, 8, 32), in NumPy."""
    outer = 2 * values[:, None]
    return values, (outer @ jacobian_x)[:, 0], (outer @ jacobian_w).sum((0, 1)).reshape(2, 2, 8)
