"""Root solvers and the implicit gradient, against dense linear algebra and re-solved roots."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qmlbook.base.errors import QmlbookError, UsageError
from qmlbook.base.rng import stream
from qmlbook.papers.qdeq.solvers import Solution, anderson, broyden, find_root, implicit, jacobian

pytestmark = pytest.mark.usefixtures("one_thread")


def affine(seed, batch=3, size=5, radius=0.6):
    """Return (matrices, shifts, map) of z -> M z + c with its own M in every row."""
    draw = stream(seed, "affine")
    matrices = draw.normal(size=(batch, size, size))
    matrices *= radius / np.abs(np.linalg.eigvals(matrices)).max(1)[:, None, None]
    matrices, shifts = map(torch.from_numpy, (matrices, draw.normal(size=(batch, size))))
    return matrices, shifts, lambda z: (matrices @ z[..., None])[..., 0] + shifts


def dense_root(matrices, shifts):
    return torch.linalg.solve(torch.eye(shifts.shape[1]).double() - matrices, shifts)


def curved(weights, z):
    return torch.tanh(z @ weights) + 0.3 * weights.diagonal()


@pytest.mark.parametrize("solver", [broyden, anderson])
@pytest.mark.parametrize("stop", ["rel", "abs"])
def test_solvers_find_the_root_of_affine_maps(solver, stop):
    matrices, shifts, f = affine(1)
    found = solver(f, torch.zeros_like(shifts), 200, eps=1e-10, stop=stop)
    assert found.lowest < 1e-10
    assert torch.allclose(found.z, dense_root(matrices, shifts), rtol=0, atol=1e-8)


@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 6))
@settings(max_examples=25)
def test_broyden_ends_on_affine_maps_within_twice_their_dimension(seed, batch, size):
    # Gay (1979): good Broyden solves linear systems in at most 2 D steps, whatever the spectrum.
    matrices, shifts, f = affine(seed, batch, size, radius=3.0)
    if torch.linalg.cond(torch.eye(size).double() - matrices).max() > 50:
        return
    found = broyden(f, torch.zeros_like(shifts), 2 * size + 3, eps=1e-9, stop="abs")
    assert torch.allclose(found.z, dense_root(matrices, shifts), rtol=0, atol=1e-6)


def textbook_broyden(f, start, steps):
    """Good Broyden with the inverse kept as a full matrix, for one row."""
    z, inverse = start.copy(), -np.eye(len(start))
    g, path = f(z) - z, []
    for _ in range(steps):
        dz = -inverse @ g
        z, before = z + dz, g
        g = f(z) - z
        path.append((z, g))
        dg = g - before
        v = dz @ inverse
        inverse = inverse + np.outer(dz - inverse @ dg, v) / (v @ dg)
    return path


@pytest.mark.parametrize("stop", ["rel", "abs"])
def test_broyden_is_the_textbook_method(stop):
    weights = stream(2, "w").normal(size=(4, 4))
    f = partial(curved, torch.from_numpy(weights))
    starts = stream(2, "z").normal(size=(3, 4))
    paths = [
        textbook_broyden(lambda z: f(torch.from_numpy(z)[None])[0].numpy(), row, 7)
        for row in starts
    ]
    found = broyden(f, torch.from_numpy(starts), 7, eps=0.0, stop=stop)
    zs, gs = (np.array([[step[k] for step in path] for path in paths]) for k in (0, 1))
    absolute = np.linalg.norm(gs, axis=(0, 2))
    relative = absolute / (np.linalg.norm(gs + zs, axis=(0, 2)) + 1e-9)
    assert found.abs_trace == pytest.approx(absolute, abs=1e-10)
    assert found.rel_trace == pytest.approx(relative, abs=1e-10)
    criterion = relative if stop == "rel" else absolute
    assert found.step == 1 + criterion.argmin()
    assert found.lowest == pytest.approx(criterion.min(), abs=1e-10)
    assert found.z.numpy() == pytest.approx(zs[:, criterion.argmin()], abs=1e-9)
    assert found.evaluations == 8


def textbook_anderson(f, rows, threshold, window=6, ridge=1e-4):
    """Anderson acceleration with the weights from the normal equations, row by row."""
    xs, fs = [rows, f(rows)], [f(rows), f(f(rows))]
    kept = [(xs[0], fs[0]), (xs[1], fs[1])] + [None] * (window - 2)
    path = []
    for k in range(2, threshold):
        pairs = kept[: min(k, window)]
        new = np.empty_like(rows)
        for b in range(len(rows)):
            g = np.array([value[b] - point[b] for point, value in pairs])
            weights = np.linalg.solve(g @ g.T + ridge * np.eye(len(g)), np.ones(len(g)))
            weights /= weights.sum()  # the Lagrange condition: minimise with sum one
            new[b] = sum(w * value[b] for w, (_, value) in zip(weights, pairs, strict=True))
        kept[k % window] = (new, f(new))
        path.append(kept[k % window])
    return path


def test_anderson_is_the_textbook_method():
    weights = torch.from_numpy(stream(3, "w").normal(size=(4, 4)))
    starts = stream(3, "z").normal(size=(2, 4))
    path = textbook_anderson(
        lambda z: curved(weights, torch.from_numpy(z)).numpy(), starts, threshold=12
    )
    found = anderson(partial(curved, weights), torch.from_numpy(starts), 12, eps=0.0, stop="rel")
    absolute = np.array([np.linalg.norm(value - point) for point, value in path])
    relative = absolute / (1e-5 + np.array([np.linalg.norm(value) for _, value in path]))
    assert found.abs_trace == pytest.approx(absolute, abs=1e-9)
    assert found.rel_trace == pytest.approx(relative, abs=1e-9)
    assert found.step == 2 + relative.argmin()
    assert found.z.numpy() == pytest.approx(path[relative.argmin()][0], abs=1e-9)
    assert found.evaluations == 12


@pytest.mark.parametrize("solver", [broyden, anderson])
def test_evaluations_are_counted_and_traces_filled(solver):
    calls = []
    *_, f = affine(4)

    def counted(z):
        calls.append(1)
        return f(z)

    found = solver(counted, torch.zeros(3, 5).double(), 40, eps=1e-4)
    assert found.evaluations == len(calls) < 40
    steps = found.evaluations - (1 if solver is broyden else 2)
    assert len(found.rel_trace) == len(found.abs_trace) == steps
    absolute, relative = found.padded(50)
    assert len(absolute) == len(relative) == 50
    assert set(relative[steps:]) == {min(found.rel_trace)} == {found.lowest}
    assert set(absolute[steps:]) == {min(found.abs_trace)}


def test_broyden_survives_rows_that_have_arrived():
    matrices, shifts, f = affine(5, batch=2)
    matrices[0], shifts[0] = 0, 0  # this row starts at its root
    found = broyden(f, torch.zeros_like(shifts), 40, eps=1e-10, stop="abs")
    assert found.lowest < 1e-10
    assert torch.equal(found.z[0], torch.zeros(5).double())


def test_broyden_gives_up_when_it_diverges():
    found = broyden(lambda z: 1e9 * z**3 + 1, torch.ones(1, 2).double(), 50, stop="abs")
    assert found.evaluations < 10


def test_broyden_gives_up_when_it_stalls():
    def f(z):  # |f(z) - z| is 2.5 eps everywhere: nothing can be gained
        angle = 1000 * z[:, :1]
        return z + 2.5e-3 * torch.cat([angle.cos(), angle.sin()], 1)

    found = broyden(f, torch.zeros(1, 2).double(), 100, eps=1e-3, stop="abs")
    assert found.evaluations == 32
    assert broyden(f, torch.zeros(1, 2).double(), 40, eps=5e-4, stop="abs").evaluations == 41


@pytest.mark.parametrize(
    ("solver", "options", "message"),
    [
        (broyden, {"threshold": 0}, "threshold"),
        (anderson, {"threshold": 2}, "threshold"),
        (broyden, {"threshold": 5, "stop": "both"}, "rel, abs"),
        (anderson, {"threshold": 5, "window": 0}, "window"),
    ],
)
def test_bad_arguments_are_named(solver, options, message):
    with pytest.raises(UsageError, match=message):
        solver(lambda z: z, torch.zeros(1, 2).double(), **options)


@pytest.mark.parametrize("f", [lambda z: z + 1 + z**2, lambda z: z + 1], ids=["curved", "shift"])
def test_find_root_says_when_there_is_none(f):
    with pytest.raises(QmlbookError, match="1 of 1"):
        find_root(f, torch.zeros(1, 1).double(), iterations=20)


def test_find_root_does_not_take_rows_that_are_no_numbers_for_arrived():
    # Newton's step is singular where the first row stands; the second has its root.
    def f(z):
        return torch.cat([z[:1] + 1, z[1:] / 2])

    with pytest.raises(QmlbookError, match="1 of 2"):
        find_root(f, torch.ones(2, 2).double(), iterations=20)


def test_anderson_that_mixes_one_iterate_is_plain_iteration():
    found = anderson(torch.cos, torch.zeros(1, 1).double(), 12, eps=0.0, window=1)
    z, path = 0.0, []
    for _ in range(12):
        z = np.cos(z)
        path.append(z)
    assert found.z.item() == pytest.approx(path[-2], abs=1e-14)  # its f is the twelfth evaluation
    assert found.evaluations == 12


# --- failures ---


@pytest.mark.parametrize("solver", [broyden, anderson])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_maps_that_give_no_numbers_are_refused(solver, value):
    with pytest.raises(QmlbookError, match="not finite"):
        solver(lambda z: z + value, torch.ones(2, 3).double(), 10)


@pytest.mark.parametrize("solver", [broyden, anderson])
def test_one_row_that_is_no_number_is_refused(solver):
    # Norms run over the whole batch: one such row would spoil every decision.
    _, shifts, f = affine(9)
    shifts[1, 2] = torch.nan
    with pytest.raises(QmlbookError, match="not finite"):
        solver(f, torch.zeros_like(shifts), 10)


@pytest.mark.parametrize("solver", [broyden, anderson])
def test_solutions_say_whether_they_arrived(solver):
    _, shifts, f = affine(10)
    start = torch.zeros_like(shifts)
    few, many = solver(f, start, 4, eps=1e-9), solver(f, start, 200, eps=1e-9)
    assert not few.converged
    assert many.converged
    assert few.lowest >= 1e-9 > many.lowest


@pytest.mark.parametrize("solver", [broyden, anderson])
def test_numbers_lost_on_the_way_leave_the_best_iterate(solver):
    calls = []

    def f(z):
        calls.append(1)
        return torch.cos(z) if len(calls) < 5 else z * torch.nan

    found = solver(f, torch.zeros(1, 2).double(), 10, eps=1e-12)
    assert not found.converged
    assert found.z.isfinite().all()
    assert found.lowest == np.nanmin(found.rel_trace)


def test_a_singular_equation_for_the_gradient_is_refused():
    shift = torch.ones(1, 2).double().requires_grad_()
    value = implicit(lambda z: z + 0 * shift, torch.zeros(1, 2).double())  # every point is a root
    with pytest.raises(QmlbookError, match="cannot be inverted"):
        value.sum().backward()


def test_known_slopes_replace_backward_passes():
    weights = torch.from_numpy(stream(11, "w").normal(size=(4, 4)) / 4)
    found = []
    for known in (False, True):
        w = weights.clone().requires_grad_()
        f = partial(curved, w)
        root = find_root(f, torch.zeros(3, 4).double()).detach()

        def slopes(z, w=weights):  # of tanh(z w), by hand
            return (1 - torch.tanh(z @ w).square())[:, :, None] * w.T

        implicit(f, root, slopes=slopes if known else None).square().sum().backward()
        found.append(w.grad)
    assert torch.allclose(found[0], found[1], rtol=0, atol=1e-12)


# --- another implementation ---


@pytest.fixture
def torchdeq():
    """The library of the method's authors; it is not needed to use this project."""
    return pytest.importorskip("torchdeq", reason="torchdeq is not installed")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::SyntaxWarning")
@pytest.mark.parametrize("solver", ["broyden", "anderson"])
def test_roots_and_gradients_are_those_of_torchdeq(torchdeq, solver):
    weights = torch.from_numpy(stream(12, "w").normal(size=(6, 6)) / 4)
    start, target = (
        torch.zeros(5, 6).double(),
        torch.from_numpy(stream(12, "t").normal(size=(5, 6))),
    )
    theirs = weights.clone().requires_grad_()
    deq = torchdeq.get_deq(
        ift=True, f_solver=solver, b_solver=solver, f_max_iter=200, b_max_iter=200,
        f_tol=1e-12, b_tol=1e-12, f_stop_mode="abs", b_stop_mode="abs",
    )  # fmt: skip
    (z,), _ = deq(partial(curved, theirs), start)
    ((z - target) ** 2).sum().backward()
    ours = weights.clone().requires_grad_()
    f = partial(curved, ours)
    own = {"broyden": broyden, "anderson": anderson}[solver]
    found = own(f, start, 200, eps=1e-12, stop="abs")
    value = implicit(f, found.z, partial(own, threshold=200, eps=1e-12))
    ((value - target) ** 2).sum().backward()
    assert found.converged
    assert torch.allclose(value, z, rtol=0, atol=1e-9)
    assert torch.allclose(ours.grad, theirs.grad, rtol=0, atol=1e-9)


def test_jacobian_of_known_maps():
    matrices, shifts, f = affine(6)
    assert torch.allclose(jacobian(f, shifts), matrices, rtol=0, atol=1e-14)
    narrow = jacobian(lambda z: z[:, :2] ** 2, shifts)
    assert torch.equal(narrow, torch.diag_embed(2 * shifts)[:, :2])


SOLVERS = {
    "exact": None,
    "broyden": partial(broyden, threshold=60, eps=1e-12),
    "anderson": partial(anderson, threshold=200, eps=1e-12),
}


@pytest.mark.parametrize("adjoint", SOLVERS.values(), ids=SOLVERS)
def test_implicit_gradient_of_affine_maps_is_the_closed_form(adjoint):
    matrices, shifts, _ = affine(7)
    matrices.requires_grad_()
    shifts.requires_grad_()

    def f(z):
        return (matrices @ z[..., None])[..., 0] + shifts

    weights = torch.from_numpy(stream(7, "loss").normal(size=shifts.shape))
    closed = dense_root(matrices, shifts)
    expected = torch.autograd.grad((closed * weights).sum(), [matrices, shifts])
    value = implicit(f, closed, adjoint)
    assert torch.allclose(value, closed, rtol=0, atol=1e-12)
    found = torch.autograd.grad((value * weights).sum(), [matrices, shifts])
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-10)


@given(st.integers(0, 10_000))
@settings(max_examples=15)
def test_implicit_gradient_is_the_slope_of_resolved_roots(seed):
    draw = stream(seed, "curved")
    weights, direction = (torch.from_numpy(draw.normal(size=(4, 4)) / 4) for _ in range(2))
    start = torch.zeros(3, 4).double()

    def loss(w):
        return find_root(partial(curved, w), start).square().sum()

    h = 1e-5
    slope = (loss(weights + h * direction) - loss(weights - h * direction)) / (2 * h)
    weights.requires_grad_()
    f = partial(curved, weights)
    implicit(f, find_root(f, start)).square().sum().backward()
    assert (weights.grad * direction).sum().item() == pytest.approx(slope.item(), abs=1e-8)


def test_second_derivatives_of_a_quadratic_root_are_the_closed_form():
    # z = c + z^2 / 4 has the root 2 - 2 sqrt(1 - c).
    c = torch.tensor([[0.3], [-0.8]], dtype=torch.float64, requires_grad=True)
    root = 2 - 2 * (1 - c.detach()).sqrt()
    value = implicit(lambda z: c + z**2 / 4, root)
    (slope,) = torch.autograd.grad(value.sum(), c, create_graph=True)
    (bend,) = torch.autograd.grad(slope.sum(), c)
    assert torch.allclose(slope, (1 - c) ** -0.5, rtol=0, atol=1e-14)
    assert torch.allclose(bend, (1 - c) ** -1.5 / 2, rtol=0, atol=1e-14)


@pytest.mark.parametrize("known", [False, True], ids=["backward passes", "formula"])
def test_second_derivatives_are_the_differences_of_first_ones(known):
    draw = stream(13, "tanh")
    inputs = [torch.from_numpy(draw.normal(size=size)) / 2 for size in ((2, 2), (3, 2))]
    inputs = [x.requires_grad_() for x in inputs]
    nonlinear = torch.from_numpy(draw.normal(size=(3, 2)))

    def loss(weights, shifts):
        def f(z):
            return torch.tanh(z @ weights.T + shifts)

        def slopes(z):
            return (1 - f(z).square())[:, :, None] * weights

        root = find_root(f, torch.zeros(3, 2).double()).detach()
        return (implicit(f, root, slopes=slopes if known else None).exp() * nonlinear).sum()

    assert torch.autograd.gradgradcheck(loss, inputs)


def test_third_derivatives_are_right_if_asked_for():
    c = torch.tensor([[0.3]], dtype=torch.float64, requires_grad=True)
    slope = implicit(lambda z: c + z**2 / 4, 2 - 2 * (1 - c.detach()).sqrt(), order=3)
    for _ in range(3):
        (slope,) = torch.autograd.grad(slope, c, create_graph=True)
    assert slope.item() == pytest.approx(0.75 * 0.7**-2.5, abs=1e-12)


@pytest.mark.parametrize("options", [{"adjoint": SOLVERS["broyden"]}, {"order": 1}])
def test_second_derivatives_are_refused_where_they_would_be_wrong(options):
    c = torch.tensor([[0.3]], dtype=torch.float64, requires_grad=True)
    value = implicit(lambda z: c + z**2 / 4, 2 - 2 * (1 - c.detach()).sqrt(), **options)
    with pytest.raises(QmlbookError, match="no second derivative"):
        torch.autograd.grad(value, c, create_graph=True)


@pytest.mark.parametrize("options", [{"order": 0}, {"adjoint": SOLVERS["broyden"], "order": 2}])
def test_orders_that_cannot_be_are_refused(options):
    with pytest.raises(UsageError, match="order must be 1"):
        implicit(lambda z: z / 2, torch.zeros(1, 1).double(), **options)


def test_without_gradients_the_root_is_only_evaluated():
    calls = []
    with torch.no_grad():
        value = implicit(lambda z: calls.append(1) or z / 2, torch.zeros(1, 2).double())
    assert not value.requires_grad
    assert len(calls) == 1


def test_padded_traces_ignore_what_is_not_a_number():
    nan = float("nan")
    found = Solution(torch.zeros(1, 1), 1, 0.5, [0.5, nan], [0.25, nan], 3)
    assert [trace[2:] for trace in found.padded(4)] == [[0.5, 0.5], [0.25, 0.25]]
