"""Explicit Runge-Kutta solvers for h' = h + integral_0^T v(h_t, t, c) dt, as tables of constants.

A new solver is one entry of `SOLVERS`. The same field integrated more finely converges to the same flow; Euler with
the checkpoint's own number of steps (3 in the paper) is what the checkpoints were trained with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flas_engine.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch


@dataclass(frozen=True, kw_only=True)
class Solver:
    """A Butcher tableau: k_i is v at h + dt sum_j a[i][j] k_j and t + c[i] dt; a step is h + dt sum_i b[i] k_i."""

    name: str
    order: int
    """The error of a whole integration falls as num_steps ** -order."""
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    c: tuple[float, ...]

    @property
    def num_stages(self) -> int:
        """Evaluations of the field in one step."""
        return len(self.b)


EULER = Solver(name="euler", order=1, a=((),), b=(1.0,), c=(0.0,))
MIDPOINT = Solver(name="midpoint", order=2, a=((), (0.5,)), b=(0.0, 1.0), c=(0.0, 0.5))
HEUN = Solver(name="heun", order=2, a=((), (1.0,)), b=(0.5, 0.5), c=(0.0, 1.0))
RK4 = Solver(
    name="rk4",
    order=4,
    a=((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)),
    b=(1 / 6, 1 / 3, 1 / 3, 1 / 6),
    c=(0.0, 0.5, 0.5, 1.0),
)

SOLVERS = {solver.name: solver for solver in (EULER, MIDPOINT, HEUN, RK4)}


def find_solver(name: str) -> Solver:
    """Find a solver by name; raises `RequestError` naming the known ones."""
    try:
        return SOLVERS[name]
    except KeyError:
        raise RequestError(f"solver {name!r} is unknown; choose one of {', '.join(SOLVERS)}") from None


def evaluation_times(solver: Solver, num_steps: int) -> list[float]:
    """List the times of all evaluations as fractions of T; evaluation e is stage e % num_stages of its step."""
    return [(step + fraction) / num_steps for step in range(num_steps) for fraction in solver.c]


def integrate(
    velocity: Callable[[torch.Tensor, int], torch.Tensor],
    h: torch.Tensor,
    flow_time: torch.Tensor,
    solver: Solver,
    num_steps: int,
) -> torch.Tensor:
    """Carry `h` along the field from t = 0 to `flow_time`, in the dtype of `h`.

    `velocity(h, e)` is the field at the e-th of `evaluation_times`; `flow_time` broadcasts against `h`, one a lane.
    """
    dt = flow_time / num_steps
    for step in range(num_steps):
        slopes: list[torch.Tensor] = []
        for stage in range(solver.num_stages):
            point = _advance(h, dt, solver.a[stage], slopes)
            slopes.append(velocity(point, step * solver.num_stages + stage))
        h = _advance(h, dt, solver.b, slopes)
    return h


def _advance(
    h: torch.Tensor, dt: torch.Tensor, coefficients: tuple[float, ...], slopes: list[torch.Tensor]
) -> torch.Tensor:
    terms = [
        slope if factor == 1.0 else factor * slope for factor, slope in zip(coefficients, slopes, strict=True) if factor
    ]
    return h + dt * sum(terms[1:], terms[0]) if terms else h
