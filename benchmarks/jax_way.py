"""Contestant of ``step.py``: JAX, the whole step under ``jit``, derivatives by nested modes or in Taylor mode.

Nested: ``jax.grad``, and ``jax.jvp`` of it for a second derivative, for every point by ``vmap``. Taylor: ``jax.jvp``
for a first derivative, ``jax.experimental.jet`` for a second one, for all points at once. Both are built and timed for
some steps; the faster one is the contestant. Residuals are written once more here, for those of the problems are
torch's; that they are the same is seen by the losses, which are compared before anything is timed.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from benchmarks.step import Case

TRIAL = 8
"""Steps after which the faster of the two ways is known."""


def residual_of(pde: Any, name: str, numpy: Any) -> Callable[..., Any]:
    """(values and derivatives by name, *fields) -> the residual of a term, by JAX's numpy."""
    equations: dict[str, Callable[..., Any]] = {
        "convection": lambda d: d["u_t"] + pde.beta * d["u_x"],
        "wave": lambda d: d["u_tt"] - pde.C * d["u_xx"],
        "reaction": lambda d: d["u_t"] - pde.rho * d["u"] * (1 - d["u"]),
        "burgers": lambda d: d["u_t"] + d["u"] * d["u_x"] - pde.nu * d["u_xx"],
        "heat2d": lambda d, f: (
            d["u_t"] - pde.diffusivity * (d["u_xx"] + d["u_yy"]) - numpy.sin(pde.k * d["u"] ** 2) * f
        ),
        "poisson1d": lambda d, f: d["u_xx"] - f,
    }
    others: dict[str, Callable[..., Any]] = {
        "initial": lambda d, f: d["u"] - f,
        "velocity": lambda d: d["u_t"],
        "boundary": lambda d: d["u"],
        "periodic": lambda d: d["u"][: len(d["u"]) // 2] - d["u"][len(d["u"]) // 2 :],
    }
    return equations[pde.name] if name == "residual" else others[name]


class Jax:
    """The faster of the two ways."""

    def __init__(self, case: Case) -> None:
        if torch.get_num_threads() == 1:  # before JAX starts; it takes all cores otherwise
            os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        self.jax: Any = importlib.import_module("jax")
        self.jet: Any = importlib.import_module("jax.experimental.jet").jet
        self.jax.config.update("jax_enable_x64", case.dtype == torch.float64)
        numpy = self.jax.numpy
        self.coordinates = case.pde.coordinates
        self.start = [
            (numpy.array(layer.weight.detach().numpy()), numpy.array(layer.bias.detach().numpy()))
            for layer in case.network.layers
            if isinstance(layer, nn.Linear)
        ]
        self.regions = []
        for region in case.pde.regions():
            points = case.tensor(region)
            terms = [term for term in case.pde.terms() if term.region == region]
            given = [
                (
                    term.name,
                    residual_of(case.pde, term.name, numpy),
                    [numpy.array(f.numpy()) for f in term.fields(points)],
                )
                for term in terms
            ]
            wanted = {name for term in terms for name in term.derivatives}
            self.regions.append((numpy.array(points.numpy()), wanted, given))
        self.rate = case.learning_rate
        self.ways = {name: self.jax.jit(self.step_of(way)) for name, way in self.derivatives().items()}
        self.way = ""

    def network(self, parameters: Any, x: Any) -> Any:
        """(N, d) -> (N,), or (d,) -> a scalar."""
        for weight, bias in parameters[:-1]:
            x = self.jax.numpy.tanh(x @ weight.T + bias)
        weight, bias = parameters[-1]
        return (x @ weight.T + bias)[..., 0]

    def derivatives(self) -> dict[str, Callable[..., dict[str, Any]]]:
        """(parameters, points, wanted names) -> values by name, in each of the ways."""
        jax, numpy = self.jax, self.jax.numpy

        def directions(x: Any, wanted: set[str]) -> list[tuple[str, Any, bool]]:
            unit = numpy.eye(len(self.coordinates), dtype=x.dtype)
            some = zip(self.coordinates, unit, strict=True)
            return [(c, e, f"u_{c}{c}" in wanted) for c, e in some if {f"u_{c}", f"u_{c}{c}"} & wanted]

        def nested(parameters: Any, x: Any, wanted: set[str]) -> dict[str, Any]:
            if wanted == {"u"}:
                return {"u": self.network(parameters, x)}

            def at(point: Any) -> dict[str, Any]:
                value, slope = jax.value_and_grad(lambda p: self.network(parameters, p))(point)
                found = {"u": value, **{f"u_{c}": slope[i] for i, c in enumerate(self.coordinates)}}
                gradient = jax.grad(lambda p: self.network(parameters, p))
                for c, e, second in directions(x, wanted):
                    if second:
                        found[f"u_{c}{c}"] = jax.jvp(gradient, (point,), (e,))[1] @ e
                return found

            return dict(jax.vmap(at)(x))

        def taylor(parameters: Any, x: Any, wanted: set[str]) -> dict[str, Any]:
            def u(x: Any) -> Any:
                return self.network(parameters, x)

            found = {"u": u(x)} if wanted == {"u"} else {}
            for c, e, second in directions(x, wanted):
                along = numpy.broadcast_to(e, x.shape)
                if second:
                    found["u"], (found[f"u_{c}"], found[f"u_{c}{c}"]) = self.jet(
                        u, (x,), ((along, numpy.zeros_like(x)),)
                    )
                else:
                    found["u"], found[f"u_{c}"] = jax.jvp(u, (x,), (along,))
            return found

        return {"nested": nested, "taylor": taylor}

    def step_of(self, derivatives: Callable[..., dict[str, Any]]) -> Callable[..., Any]:
        """(state, number) -> (state, losses): one step of Adam."""
        jax, numpy = self.jax, self.jax.numpy

        def losses(parameters: Any) -> tuple[Any, dict[str, Any]]:
            found = {}
            for points, wanted, terms in self.regions:
                values = derivatives(parameters, points, wanted)
                for name, residual, fields in terms:
                    found[name] = (residual(values, *fields) ** 2).mean()
            return numpy.stack(list(found.values())).sum(), found

        def step(state: Any, n: Any) -> tuple[Any, dict[str, Any]]:
            parameters, first, second = state
            (_, found), slope = jax.value_and_grad(losses, has_aux=True)(parameters)
            tree = jax.tree_util.tree_map
            first = tree(lambda m, g: 0.9 * m + 0.1 * g, first, slope)
            second = tree(lambda v, g: 0.999 * v + 0.001 * g * g, second, slope)
            at = self.rate / (1 - 0.9**n)
            parameters = tree(
                lambda p, m, v: p - at * m / (numpy.sqrt(v / (1 - 0.999**n)) + 1e-8), parameters, first, second
            )
            return (parameters, first, second), found

        return step

    def first(self) -> dict[str, float]:
        zero = self.jax.tree_util.tree_map(self.jax.numpy.zeros_like, self.start)
        seconds, losses = {}, {}
        for name, step in self.ways.items():
            self.way, self.state, self.n = name, (self.start, zero, zero), 1.0
            losses[name] = {term: float(loss) for term, loss in step(self.state, self.n)[1].items()}
            seconds[name] = self.run(TRIAL)
        self.way = min(seconds, key=lambda name: seconds[name])
        return losses[self.way]

    def run(self, steps: int) -> float:
        started = time.perf_counter()
        for _ in range(steps):
            self.state, _ = self.ways[self.way](self.state, self.n)
            self.n += 1
        self.jax.block_until_ready(self.state)
        return time.perf_counter() - started
