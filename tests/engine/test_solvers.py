from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flas_engine.errors import RequestError
from flas_engine.solvers import EULER, SOLVERS, Solver, evaluation_times, find_solver, integrate

every_solver = pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS.keys())
flow_times = st.floats(-8, 8, allow_nan=False)


def follow(solver: Solver, h: torch.Tensor, flow_time: float, num_steps: int) -> torch.Tensor:
    """Integrate h' = cos(t) h - h^2, which is neither linear nor independent of time."""
    times = evaluation_times(solver, num_steps)

    def velocity(point: torch.Tensor, evaluation: int) -> torch.Tensor:
        return math.cos(times[evaluation] * flow_time) * point - point**2

    return integrate(velocity, h, torch.tensor(flow_time, dtype=h.dtype), solver, num_steps)


def fitted_order(solver: Solver, flow_time: float, counts: list[int]) -> float:
    """Minus the slope of log(error) over log(number of steps), by least squares."""
    h = torch.tensor([0.3, 0.7, 1.6], dtype=torch.float64)
    exact = follow(SOLVERS["rk4"], h, flow_time, 4000)
    errors = [(follow(solver, h, flow_time, count) - exact).norm().item() for count in counts]
    points = torch.tensor([[math.log(n), math.log(e)] for n, e in zip(counts, errors, strict=True)]).double()
    centred = points - points.mean(dim=0)
    return -float((centred[:, 0] * centred[:, 1]).sum() / (centred[:, 0] ** 2).sum())


@every_solver
@pytest.mark.parametrize("flow_time", [2.0, -0.5])
def test_error_falls_with_the_solvers_order(solver: Solver, flow_time: float) -> None:
    assert fitted_order(solver, flow_time, [16, 32, 64, 128]) == pytest.approx(solver.order, abs=0.15)


@every_solver
def test_a_field_without_h_is_integrated_as_by_quadrature_of_that_order(solver: Solver) -> None:
    """Polynomials in t below the order come out exactly, which holds b and c to each other."""
    times = evaluation_times(solver, 3)
    for degree in range(solver.order):

        def velocity(point: torch.Tensor, evaluation: int, degree: int = degree) -> torch.Tensor:
            return torch.full_like(point, (2.0 * times[evaluation]) ** degree)

        h = integrate(velocity, torch.zeros(1).double(), torch.tensor(2.0).double(), solver, 3)
        assert h.item() == pytest.approx(2.0 ** (degree + 1) / (degree + 1), rel=1e-12)


@every_solver
def test_tableaus_are_explicit_and_consistent(solver: Solver) -> None:
    assert len(solver.a) == len(solver.b) == len(solver.c) == solver.num_stages
    assert sum(solver.b) == pytest.approx(1.0)
    for stage, (row, c) in enumerate(zip(solver.a, solver.c, strict=True)):
        assert len(row) == stage
        assert sum(row) == pytest.approx(c)


def test_euler_is_h_plus_dt_v() -> None:
    """The formula of the paper, step by step: dt = T/N, t_k = k dt."""
    h, flow_time, num_steps = torch.tensor([0.2, -1.0]), 1.5, 3
    expected, dt = h.clone(), flow_time / num_steps
    for k in range(num_steps):
        expected = expected + dt * (math.cos(k * dt) * expected - expected**2)
    assert torch.allclose(follow(EULER, h, flow_time, num_steps), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("euler", [0.0, 0.5]),
        ("midpoint", [0.0, 0.25, 0.5, 0.75]),
        ("heun", [0.0, 0.5, 0.5, 1.0]),
        ("rk4", [0.0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75, 1.0]),
    ],
)
def test_evaluation_times_of_two_steps(name: str, expected: list[float]) -> None:
    assert evaluation_times(find_solver(name), 2) == expected


@every_solver
@given(num_steps=st.integers(1, 20))
def test_every_evaluation_is_asked_for_once_and_in_order(solver: Solver, num_steps: int) -> None:
    asked: list[int] = []

    def velocity(point: torch.Tensor, evaluation: int) -> torch.Tensor:
        asked.append(evaluation)
        return torch.ones_like(point)

    integrate(velocity, torch.zeros(2), torch.tensor(1.0), solver, num_steps)
    assert asked == list(range(len(evaluation_times(solver, num_steps))))


@every_solver
@given(num_steps=st.integers(1, 8), start=st.floats(-3, 3))
def test_no_flow_time_is_the_identity(solver: Solver, num_steps: int, start: float) -> None:
    h = torch.tensor([start, 1.0])
    assert torch.equal(follow(solver, h, 0.0, num_steps), h)


@every_solver
@given(flow_time=flow_times, num_steps=st.integers(1, 8))
def test_a_constant_field_is_integrated_exactly(solver: Solver, flow_time: float, num_steps: int) -> None:
    v = torch.tensor([1.0, -2.0], dtype=torch.float64)
    time = torch.tensor(flow_time, dtype=torch.float64)
    h = integrate(lambda _point, _evaluation: v, torch.zeros(2).double(), time, solver, num_steps)
    assert torch.allclose(h, time * v, rtol=1e-12, atol=1e-12)


@every_solver
def test_negative_flow_time_goes_the_way_back(solver: Solver) -> None:
    """An autonomous field run for T and then for -T returns to where it began, up to the solver's error."""

    def velocity(point: torch.Tensor, _evaluation: int) -> torch.Tensor:
        return point.sin()

    h, time = torch.tensor([0.5, 1.0], dtype=torch.float64), torch.tensor(1.0, dtype=torch.float64)
    there = integrate(velocity, h, time, solver, 400)
    back = integrate(velocity, there, -time, solver, 400)
    assert (there - h).abs().min() > 0.4
    assert torch.allclose(back, h, atol=1 / 400)


@every_solver
@given(times=st.lists(flow_times, min_size=1, max_size=4))
def test_lanes_of_different_flow_times_are_as_each_alone(solver: Solver, times: list[float]) -> None:
    def velocity(point: torch.Tensor, evaluation: int) -> torch.Tensor:
        return point.cos() * (1 + evaluation)

    h = torch.linspace(-1, 1, 5, dtype=torch.float64).expand(len(times), 5)
    together = integrate(velocity, h, torch.tensor(times, dtype=torch.float64)[:, None], solver, 3)
    for lane, flow_time in enumerate(times):
        alone = integrate(velocity, h[lane], torch.tensor(flow_time, dtype=torch.float64), solver, 3)
        assert torch.allclose(together[lane], alone, rtol=1e-12, atol=1e-12)


def test_solver_names_are_the_tables_keys() -> None:
    assert [find_solver(name).name for name in SOLVERS] == ["euler", "midpoint", "heun", "rk4"]


def test_an_unknown_solver_is_named_with_the_known_ones() -> None:
    with pytest.raises(RequestError) as caught:
        find_solver("rk45")
    assert str(caught.value) == "solver 'rk45' is unknown; choose one of euler, midpoint, heun, rk4"
