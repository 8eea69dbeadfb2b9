"""The map z -> f(z; u) as torch mathematics.

The circuit after the encoder does the same to all data, so <Z_q> = s^H A_q s with the encoded state
s and A_q = U^H Z_q U. The A_q are made once per step of an optimiser; a solver's iterations are
small matrix products.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import pennylane as qml
import torch
from torch import Tensor

from ...errors import UsageError, choose
from ...fixed_point import Map, jacobian
from . import circuits

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
        device: str | qml.devices.Device = "default.qubit",
    ) -> Layer:
        """Simulate the transformation once, differentiable in its angles.

        Args:
            theta, phi: angles of the random layer and of the tail, float64.
            n_wires: 4 or 10.
            encoder: ``amplitude`` or ``angle``.
            device: PennyLane device that simulates, in double precision; a name or the device.

        Raises:
            UsageError: if size or encoder is not known.
        """
        if n_wires not in SIZES:
            raise choose("n_wires", n_wires, SIZES)
        if encoder not in circuits.ENCODERS:
            raise choose("encoder", encoder, circuits.ENCODERS)
        basis = _basis(n_wires, encoder)
        columns = circuits.qnode(circuits.evolved, n_wires, device)(basis, theta, phi, n_wires)
        signed = _signs(n_wires)[:, None] * columns.conj()
        matrices = signed @ columns.T
        return cls(matrices.real if encoder == "amplitude" else matrices, encoder)

    @property
    def n_wires(self) -> int:
        """Number of qubits n; states have D = n^2 entries."""
        return len(self.matrices)

    def expectations(self, v: Tensor) -> Tensor:
        """Return m = <Z> (B, n) of encoded v = z + u (B, D)."""
        states = encoded(v, self.n_wires, self.encoder)
        images = states @ self.matrices.flatten(0, 1).T  # (B, n K): one product, not n
        images = images.unflatten(1, self.matrices.shape[:2])
        return (states.conj()[:, None] * images).sum(-1).real

    def __call__(self, z: Tensor, u: Tensor) -> Tensor:
        """Return f(z; u) (B, D): every expectation repeated n times."""
        return expand(self.expectations(z + u))

    def reduced(self, u: Tensor) -> Map:
        """Return the map m -> q(Rm + u) on (B, n), whose fixed points are those of f."""
        return lambda m: self.expectations(expand(m) + u)

    def slopes(self, z: Tensor, u: Tensor, create_graph: bool = False) -> Tensor:
        """Return dm/dv (B, n, D) at v = z + u; the Jacobian of f is its rows, each n times."""
        return jacobian(lambda x: self.expectations(x + u), z, create_graph)


def expand(m: Tensor) -> Tensor:
    """Return R m: every entry of (..., n) repeated n times, (..., n^2)."""
    return m.repeat_interleave(m.shape[-1], dim=-1)


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
    state = v.new_ones(len(v), 1, dtype=torch.complex128)
    for qubit in _qubits(v, n_wires):
        state = (state[:, :, None] * qubit[:, None, :]).flatten(1)
    return state


def spectra(slopes: Tensor) -> dict[str, Tensor]:
    """Return ``radius``, ``norm`` and ``frobenius_sq`` (B,) of the D x D Jacobians df/dz.

    From dm/dv (B, n, D): J = R slopes has the non-zero eigenvalues of slopes R (n x n), and R
    stretches every vector by the square root of n.
    """
    n = slopes.shape[1]
    small = slopes.unflatten(2, (n, n)).sum(3)
    return {
        "radius": torch.linalg.eigvals(small).abs().amax(1),
        "norm": n**0.5 * torch.linalg.matrix_norm(slopes, 2),
        "frobenius_sq": n * slopes.square().sum((1, 2)),
    }


def _qubits(v: Tensor, n_wires: int) -> list[Tensor]:
    """Return the single-qubit states (B, 2) of the angle encoder that are not always |0>."""
    if n_wires == 4:
        y1, z, x, y2 = v.to(torch.complex128).unflatten(1, (4, 4)).unbind(1)  # (B, wire) each
        up, down = (y1 / 2).cos() * (-0.5j * z).exp(), (y1 / 2).sin() * (0.5j * z).exp()
        c, s = (x / 2).cos(), -1j * (x / 2).sin()
        up, down = c * up + s * down, s * up + c * down
        c, s = (y2 / 2).cos(), (y2 / 2).sin()
        up, down = c * up - s * down, s * up + c * down
        return list(torch.stack([up, down], -1).unbind(1))
    half = v.to(torch.complex128).unflatten(1, (n_wires, n_wires)).sum(2) / 2
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
def _basis(n_wires: int, encoder: str) -> Tensor:
    """Return the basis states (K, 2^n) that the encoder reaches."""
    every = torch.eye(2**n_wires, dtype=torch.complex128)
    if encoder == "amplitude":
        return every[: n_wires**2]
    if n_wires == 4:
        return every
    index = torch.arange(2**n_wires)
    still = set(range(n_wires)) - {wire for wire, _ in _turned(n_wires)}
    mask = sum(1 << (n_wires - 1 - wire) for wire in still)
    return every[(index & mask) == 0]


@cache
def _signs(n_wires: int) -> Tensor:
    """Return the eigenvalues (n, 2^n) of Z on every wire."""
    shifts = torch.arange(n_wires - 1, -1, -1)[:, None]
    return (1 - 2 * (torch.arange(2**n_wires) >> shifts & 1)).double()
