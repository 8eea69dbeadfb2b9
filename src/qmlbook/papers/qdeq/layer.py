"""The map z -> f(z; u) as torch mathematics.

The circuit after the encoder does the same to all data, so <Z_q> = s^H A_q s with the encoded state
s and A_q = U^H Z_q U. The A_q are made once per step of an optimiser; a solver's iterations are
small matrix products: f(z) = R q(z + u) repeats n numbers, so that the fixed point is one of the
n-dimensional map m -> q(R m + u), and with the amplitude encoder that map is a ratio of quadratic
forms in m alone. As |R m| = sqrt(n) |m|, relative residuals are the same in both spaces.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, reduce
from itertools import product
from typing import Any, Protocol

import torch
from torch import Tensor

from ...base.errors import UsageError, require_choice
from ..shared.qnodes import compiled, qnode, signs
from . import circuits
from .solvers import jacobian

SIZES = (4, 10)


@dataclass(frozen=True)
class Layer:
    """The layer at fixed angles.

    Attributes:
        matrices: (n, K, K) the A_q on the K basis states that encoded data can reach; real for the
            amplitude encoder, complex for the angle encoder.
        encoder: ``amplitude`` or ``angle``.
    """

    matrices: Tensor
    encoder: str

    @classmethod
    def of(
        cls,
        theta: Tensor,
        phi: Tensor,
        n_wires: int,
        encoder: str = "amplitude",
        device: str = "default.qubit",
        seed: int = circuits.SEED,
        entanglers: str = "released",
    ) -> Layer:
        """Simulate the transformation once, differentiable in its angles.

        Args:
            theta, phi: angles of the random layer and of the tail, float64 or float32.
            n_wires: 4 or 10.
            encoder: ``amplitude`` or ``angle``.
            device: name of the PennyLane device that simulates; ``qmlbook.statevector`` is
                compiled, for training.
            seed: of the random layer's gates.
            entanglers: what is done to the gates on two wires, one of `circuits.ENTANGLERS`.

        Raises:
            UsageError: if size, encoder or entanglers are not known.
        """
        require_choice("n_wires", n_wires, SIZES)
        require_choice("encoder", encoder, circuits.ENCODERS)
        require_choice("entanglers", entanglers, circuits.ENTANGLERS)
        basis = _basis(n_wires, encoder, theta.dtype.to_complex())
        if device == "qmlbook.statevector":
            precision = str(theta.dtype).removeprefix("torch.")
            evolved = compiled(circuits.evolved, n_wires, precision)
        else:
            evolved = qnode(circuits.evolved, device, n_wires)
        columns = evolved(basis, theta, phi, n_wires, seed, entanglers)
        forms = _real_forms if encoder == "amplitude" else _complex_forms
        return cls(forms(columns, n_wires), encoder)

    @property
    def n_wires(self) -> int:
        """Number of qubits n; states have D = n^2 entries."""
        return len(self.matrices)

    def expectations(self, v: Tensor) -> Tensor:
        """Return m = <Z> (B, n) of encoded v = z + u (B, D)."""
        states = encoded(v, self.n_wires, self.encoder)
        return (states.conj()[:, None] * self.images(states)).sum(-1).real

    def images(self, states: Tensor) -> Tensor:
        """Return A_q s (B, n, K) of states s (B, K), by one product for all q."""
        return (states @ self.matrices.flatten(0, 1).T).unflatten(1, self.matrices.shape[:2])

    def __call__(self, z: Tensor, u: Tensor) -> Tensor:
        """Return f(z; u) (B, D): every expectation repeated n times."""
        return expand(self.expectations(z + u))

    def reduced(self, u: Tensor) -> Reduced:
        """Return the map m -> q(Rm + u) on (B, n), whose fixed points are those of f."""
        if self.encoder == "amplitude":
            return Quotient(self, u)
        return (Bloch if self.n_wires == 4 else Reduced)(self, u)

    def slopes(self, z: Tensor, u: Tensor, create_graph: bool = False) -> Tensor:
        """Return dm/dv (B, n, D) at v = z + u; the Jacobian of f is its rows, each n times."""
        return jacobian(lambda x: self.expectations(x + u), z, create_graph)


class Feedback(Protocol):
    """What a solver, its gradient and the penalty need of a layer with data u (B, D)."""

    u: Tensor

    def __call__(self, m: Tensor) -> Tensor:
        """Return what is measured after m (B, n) was fed back."""

    def jacobian(self, m: Tensor) -> Tensor:
        """Return its Jacobian (B, n, n)."""

    def pulled(self, m: Tensor, g: Tensor) -> Tensor:
        """Return g (B, n) pulled back to the D states, m held constant."""


class Reduced:
    """The map m -> q(Rm + u) on (B, n) for data u (B, D)."""

    def __init__(self, layer: Layer, u: Tensor) -> None:
        self.layer, self.u = layer, u

    def __call__(self, m: Tensor) -> Tensor:
        """Return the expectations after m (B, n) was fed back."""
        return self.layer.expectations(expand(m) + self.u)

    def jacobian(self, m: Tensor) -> Tensor:
        """Return dq/dm (B, n, n)."""
        return jacobian(self, m)

    def pulled(self, m: Tensor, g: Tensor) -> Tensor:
        """Return g^T dq/dv (B, D) for g (B, n), m held constant; differentiable in the angles."""
        v = (expand(m.detach()) + self.u).requires_grad_()
        with torch.enable_grad():
            return torch.autograd.grad(self.layer.expectations(v), v, g, create_graph=True)[0]


class Quotient(Reduced):
    """The same with the amplitude encoder, as a ratio of quadratic forms in m.

    (Rm + u)^T A_q (Rm + u) = m^T R^T A_q R m + 2 m^T R^T A_q u + u^T A_q u, over |Rm + u|^2.
    """

    def __init__(self, layer: Layer, u: Tensor) -> None:
        """Make the coefficients now: later, inside a solver, they would get no gradient."""
        super().__init__(layer, u)
        self.images = layer.images(u)  # A_q u, (B, n, D)
        self.mixed = _summed(layer.matrices, 2)  # A_q R, (n, D, n)
        self.square = _summed(self.mixed, 1).movedim(1, 0).flatten(1)  # R^T A_q R
        self.linear = _summed(self.images, 2)  # R^T A_q u, (B, n, n)
        self.constant = (self.images @ u[:, :, None])[:, :, 0]  # u^T A_q u, (B, n)
        self.sums = _summed(u, 1)  # R^T u, (B, n)
        self.length_sq = u.square().sum(1, keepdim=True)  # |u|^2, (B, 1)

    def _lengths_sq(self, m: Tensor) -> Tensor:
        """Return |Rm + u|^2 (B, 1)."""
        n = self.layer.n_wires
        return (m * (n * m + 2 * self.sums)).sum(1, keepdim=True) + self.length_sq

    def _half_slopes(self, m: Tensor) -> Tensor:
        """Return R^T A_q (Rm + u), (B, n, n)."""
        return (m @ self.square).view_as(self.linear) + self.linear

    def _values(self, m: Tensor, half: Tensor, lengths_sq: Tensor) -> Tensor:
        top = ((half + self.linear) @ m[:, :, None])[:, :, 0] + self.constant
        return top / lengths_sq

    def __call__(self, m: Tensor) -> Tensor:
        """Return the expectations after m (B, n) was fed back."""
        return self._values(m, self._half_slopes(m), self._lengths_sq(m))

    def jacobian(self, m: Tensor) -> Tensor:
        """Return dq/dm (B, n, n)."""
        half, lengths_sq = self._half_slopes(m), self._lengths_sq(m)
        value = self._values(m, half, lengths_sq)
        turned = value[:, :, None] * (self.layer.n_wires * m + self.sums)[:, None]
        return 2 * (half - turned) / lengths_sq[:, :, None]

    def pulled(self, m: Tensor, g: Tensor) -> Tensor:
        """Return g^T dq/dv (B, D) for g (B, n), m held constant; differentiable in the angles.

        dq_q/dv = 2 (A_q v - q_q v) / |v|^2.
        """
        m = m.detach()
        returned = m @ self.mixed.movedim(2, 0).flatten(1)  # A_q R m, (B, n D)
        images = (g[:, None] @ (self.images + returned.view_as(self.images)))[:, 0]
        height = (g * self(m)).sum(1, keepdim=True)
        return 2 * (images - height * (expand(m) + self.u)) / self._lengths_sq(m)


class Bloch(Reduced):
    """The same with the angle encoder on four wires, by the Bloch vectors of the encoded qubits.

    Every wire's state is (1 + x X + y Y + z Z) / 2, so that <Z_q> is linear in each of the four
    vectors (1, x, y, z), with coefficients tr(A_q P) / 16 for the 256 Pauli words P.
    """

    def __init__(self, layer: Layer, u: Tensor) -> None:
        """Make the coefficients now: later, inside a solver, they would get no gradient."""
        super().__init__(layer, u)
        matrices = layer.matrices
        words = (matrices.flatten(1) @ _words(matrices.dtype)).real / 16  # (q, 256)
        self.words = words.unflatten(1, (16, 16)).movedim(1, 0).flatten(1)

    def __call__(self, m: Tensor) -> Tensor:
        """Return the expectations after m (B, n) was fed back."""
        angles = m[:, :, None] + self.u.unflatten(1, (4, 4))  # (B, gate, wire)
        (s1, s2, s3, s4), (c1, c2, c3, c4) = angles.sin().unbind(1), angles.cos().unbind(1)
        x, y, z = s1 * c2, s1 * s2, c1  # RY, RZ
        y, z = y * c3 - z * s3, y * s3 + z * c3  # RX
        x, z = x * c4 + z * s4, z * c4 - x * s4  # RY
        a, b, c, d = torch.stack([torch.ones_like(x), x, y, z], 2).unbind(1)
        left = (a[:, :, None] * b[:, None]).flatten(1)
        right = (c[:, :, None] * d[:, None]).flatten(1)
        return ((left @ self.words).unflatten(1, (4, 16)) @ right[:, :, None])[:, :, 0]


def expand(m: Tensor) -> Tensor:
    """Return R m: every entry of (..., n) repeated n times, (..., n^2)."""
    return m.repeat_interleave(m.shape[-1], dim=-1)


def _summed(v: Tensor, axis: int) -> Tensor:
    """Return R^T v: an axis of n^2 entries becomes one of n sums."""
    return v.unflatten(axis, (math.isqrt(v.shape[axis]), -1)).sum(axis + 1)


def encoded(v: Tensor, n_wires: int, encoder: str) -> Tensor:
    """Return the encoder's state (B, K) of v (B, D), without basis states it never reaches.

    Raises:
        UsageError: if v has another length than n^2.
    """
    if v.shape[-1] != n_wires**2:
        raise UsageError(
            f"v must have {n_wires**2} features for {n_wires} wires, not {v.shape[-1]}."
        )
    if encoder == "amplitude":
        return v / v.norm(dim=-1, keepdim=True)
    state = v.new_ones(len(v), 1, dtype=v.dtype.to_complex())
    for qubit in _qubits(v, n_wires):
        state = (state[:, :, None] * qubit[:, None, :]).flatten(1)
    return state


def spectra(slopes: Tensor) -> dict[str, Tensor]:
    """Return ``radius``, ``norm`` and ``frobenius_sq`` (B,) of the D x D Jacobians df/dz.

    From dm/dv (B, n, D): J = R slopes has the non-zero eigenvalues of slopes R (n x n), and R
    stretches every vector by the square root of n.
    """
    n = slopes.shape[1]
    return {
        "radius": torch.linalg.eigvals(_summed(slopes, 2)).abs().amax(1),
        "norm": n**0.5 * torch.linalg.matrix_norm(slopes, 2),
        "frobenius_sq": n * slopes.square().sum((1, 2)),
    }


def _real_forms(columns: Tensor, n_wires: int) -> Tensor:
    """Return Re(U^H Z_q U) (n, K, K) from columns (K, 2^n) of U.

    The sign of Z_q depends on one half of the wires: the Gram matrices of the rows that agree on a
    half, (2^(n/2), K, K), serve all observables of that half.
    """
    half = n_wires // 2
    rows = torch.view_as_real(columns).unflatten(1, (2**half, 2**half))
    forms = []
    for order in ((1, 2, 3, 0), (2, 1, 3, 0)):
        groups = rows.permute(order).flatten(1, 2)  # (2^half, 2 2^half, K)
        forms.append(signs(half, rows.dtype).T @ _Gram.apply(groups).flatten(1))
    return torch.cat(forms).unflatten(1, (len(columns), len(columns)))


class _Gram(torch.autograd.Function):
    """X (..., M, K) to X^T X, with one product in the backward pass instead of two."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.mT @ x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return x @ (gradient + gradient.mT)


def _complex_forms(columns: Tensor, n_wires: int) -> Tensor:
    """Return U^H Z_q U (n, K, K) from columns (K, 2^n) of U."""
    signed = signs(n_wires, columns.dtype).T[:, None] * columns.conj()
    return signed @ columns.T


def _qubits(v: Tensor, n_wires: int) -> list[Tensor]:
    """Return the single-qubit states (B, 2) of the angle encoder that are not always |0>."""
    if n_wires == 4:
        y1, z, x, y2 = v.to(v.dtype.to_complex()).unflatten(1, (4, 4)).unbind(1)  # (B, wire) each
        up, down = (y1 / 2).cos() * (-0.5j * z).exp(), (y1 / 2).sin() * (0.5j * z).exp()
        c, s = (x / 2).cos(), -1j * (x / 2).sin()
        up, down = c * up + s * down, s * up + c * down
        c, s = (y2 / 2).cos(), (y2 / 2).sin()
        up, down = c * up - s * down, s * up + c * down
        return list(torch.stack([up, down], -1).unbind(1))
    half = v.to(v.dtype.to_complex()).unflatten(1, (n_wires, n_wires)).sum(2) / 2
    phases = {"RY": 1, "RX": -1j}
    return [
        torch.stack([half[:, wire].cos(), phases[axis] * half[:, wire].sin()], -1)
        for wire, axis in _turned(n_wires)
    ]


def _turned(n_wires: int) -> list[tuple[int, str]]:
    """Return (wire, axis) of the ten-wire angle encoder without RZ, which leaves |0> alone."""
    axes = circuits.ANGLE_AXES
    return [(wire, axes[wire % 3]) for wire in range(n_wires) if axes[wire % 3] != "RZ"]


@cache
def _basis(n_wires: int, encoder: str, dtype: torch.dtype) -> Tensor:
    """Return the basis states (K, 2^n) that the encoder reaches."""
    every = torch.eye(2**n_wires, dtype=dtype)
    if encoder == "amplitude":
        return every[: n_wires**2]
    if n_wires == 4:
        return every
    still = sorted(set(range(n_wires)) - {wire for wire, _ in _turned(n_wires)})
    return every[(signs(n_wires, torch.int64)[:, still] == 1).all(1)]


@cache
def _words(dtype: torch.dtype) -> Tensor:
    """Return the matrices of all words of four letters 1, X, Y, Z, transposed, as (256, 256)."""
    letters = [[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]]
    paulis = torch.tensor(letters, dtype=dtype)
    words = [reduce(torch.kron, word).T.flatten() for word in product(paulis, repeat=4)]
    return torch.stack(words, dim=1)
