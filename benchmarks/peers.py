"""Contestants of ``step.py`` beside ours and plain PyTorch: the libraries DeepXDE and PINA.

Same problem, points, network and loss; each has its own way of making a step. The residuals are the problem's own
functions, fed with the derivatives that each has.

They are imported late and only where they are asked for: they are an optional extra of the package. Both
change settings of the whole process (torch's default type or device, filters of warnings), which is undone here. In
both, data such as a forcing are evaluated in every step, as in their examples.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from pinntk.common.arrays import Array
from pinntk.residual.terms import Term

if TYPE_CHECKING:
    from benchmarks.step import Case

MODULES = {"deepxde": "deepxde", "pina": "pina", "jax": "jax"}
"""Contestant -> the module that must be there."""
PACKAGES = {"deepxde": "deepxde", "pina": "pina-mathlab", "jax": "jax"}
"""Contestant -> what pip calls it."""


@contextlib.contextmanager
def contained() -> Iterator[None]:
    """Keep to itself what a library says and changes while it is imported or makes a model."""
    dtype = torch.get_default_dtype()
    silent = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent):
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)
            torch.set_default_device(None)


class DeepXDE:
    """DeepXDE, PyTorch backend: ``dde.Model`` compiled with ``adam``, its training loop without its periodic tests.

    All points go through the network in one batch, conditions first, and derivatives are taken at all of them; the
    residual's loss takes the interior points alone. A region with two terms (wave's start) stands in the batch twice,
    once per condition. That is DeepXDE's way. Points are given: as anchors in the interior, as point sets elsewhere,
    as the condition's own points for a periodic pair.
    """

    def __init__(self, case: Case) -> None:
        os.environ["DDE_BACKEND"] = "pytorch"  # otherwise it asks, or takes the user's file
        with contained():
            dde: Any = importlib.import_module("deepxde")
            dde.config.set_default_float("float64" if case.dtype == torch.float64 else "float32")
            torch.set_default_device(None)  # the import makes a GPU the default where there is one
            self.gradients: Any = dde.grad
            self.coordinates = case.pde.coordinates
            interior = [term for term in case.pde.terms() if term.equation]
            others = [term for term in case.pde.terms() if not term.equation]
            self.names = [term.name for term in [*interior, *others]]

            def equation(x: Tensor, u: Tensor) -> list[Tensor]:
                return [
                    term.of_derivatives(self.derivatives(x, u, term), *[f[:, None] for f in term.fields(x)])
                    for term in interior
                ]

            geometry = self.geometry(dde, case)
            conditions = [self.condition(dde, case, geometry, term) for term in others]
            kind = dde.data.TimePDE if "t" in self.coordinates else dde.data.PDE
            self.data: Any = kind(geometry, equation, conditions, anchors=case.points["interior"])
            network = dde.nn.FNN(case.sizes, "tanh", "Glorot normal")
            case.load(list(network.linears))
            self.model: Any = dde.Model(self.data, network)
            self.model.compile("adam", lr=case.learning_rate, verbose=0)

    def derivatives(self, x: Tensor, u: Tensor, term: Term) -> dict[str, Tensor]:
        """u and its derivatives by name, (N, 1) each, by DeepXDE's helpers, which keep what they have computed."""
        values = {"u": u}
        for c, name in enumerate(self.coordinates):
            if f"u_{name}" in term.derivatives:
                values[f"u_{name}"] = self.gradients.jacobian(u, x, i=0, j=c)
            if f"u_{name}{name}" in term.derivatives:
                values[f"u_{name}{name}"] = self.gradients.hessian(u, x, i=c, j=c)
        return values

    @staticmethod
    def geometry(dde: Any, case: Case) -> Any:
        """The box, as DeepXDE wants it; no points are drawn from it."""
        pde = case.pde
        timed = "t" in pde.coordinates
        low, high = (list(side[:-1] if timed else side) for side in (pde.lower, pde.upper))
        space = dde.geometry.Interval(low[0], high[0]) if len(low) == 1 else dde.geometry.Rectangle(low, high)
        if not timed:
            return space
        return dde.geometry.GeometryXTime(space, dde.geometry.TimeDomain(pde.lower[-1], pde.upper[-1]))

    def condition(self, dde: Any, case: Case, geometry: Any, term: Term) -> Any:
        """A term that is not the interior's as one of DeepXDE's conditions."""
        points = case.points[term.where].astype(np.float64 if case.dtype == torch.float64 else np.float32)
        if term.region == "periodic":
            # The peers have no types, and are not installed where types are checked.
            class Pairs(dde.icbc.PeriodicBC):  # type: ignore[misc]
                """PeriodicBC finds its points among the interior ones; these are ours."""

                def collocation_points(self, X: Array) -> Any:
                    return points

            return Pairs(geometry, 0, lambda x, on: on)
        if term.derivatives == ("u",):
            zero = {"u": torch.zeros(len(points), dtype=case.dtype)}
            # Each of these residuals is u minus something: what it is at u = 0, with the other sign.
            target = -term.residual(zero, *term.fields(case.tensor(term.where)))
            return dde.icbc.PointSetBC(points, target[:, None].numpy())

        def operator(x: Tensor, u: Tensor, _: Array) -> Tensor:
            return term.of_derivatives(self.derivatives(x, u, term), *[f[:, None] for f in term.fields(x)])

        return dde.icbc.PointSetOperatorBC(points, 0.0, operator)

    def first(self) -> dict[str, float]:
        self.model.train_state.set_data_train(*self.data.train_next_batch())
        state = self.model.train_state
        losses = self.model._outputs_losses(True, state.X_train, state.y_train, state.train_aux_vars)[1]
        self.run(1)
        return dict(zip(self.names, losses.tolist(), strict=True))

    def run(self, steps: int) -> float:
        model, state = self.model, self.model.train_state
        started = time.perf_counter()
        for _ in range(steps):  # the body of Model._train_sgd, callbacks and tests apart
            state.set_data_train(*self.data.train_next_batch())
            model._train_step(state.X_train, state.y_train, state.train_aux_vars)
        return time.perf_counter() - started


class Pina:
    """PINA: its ``PINN`` solver with its default Adam, through its Trainer, one batch of all points.

    Every term is a condition with its own points, equation and pass through the network. Off are the progress bar, the
    logger and the checkpoints, which by default would come with every step; what is left of the loop is timed, from
    the end of a first epoch to the end of the last. Every chunk of steps is a fit of its own and so starts Adam anew.
    """

    def __init__(self, case: Case) -> None:
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        self.coordinates = list(case.pde.coordinates)
        with contained():
            pina, problem, domain, equation, model, operator, solver, lightning = (
                importlib.import_module(name)
                for name in [
                    *("pina", "pina.problem", "pina.domain", "pina.equation", "pina.model", "pina.operator"),
                    *("pina.solver", "lightning.pytorch"),
                ]
            )
            self.make_trainer: Any = pina.Trainer
            self.grad: Any = operator.grad
            given = {
                term.name: pina.Condition(
                    input=pina.LabelTensor(case.tensor(term.where), self.coordinates),
                    equation=equation.Equation(self.equation(term)),
                )
                for term in case.pde.terms()
            }
            box = {c: [a, b] for c, a, b in zip(self.coordinates, case.pde.lower, case.pde.upper, strict=True)}
            timed = "t" in box
            body = {
                "output_variables": ["u"],
                "spatial_domain": domain.CartesianDomain({c: side for c, side in box.items() if c != "t"}),
                "conditions": given,
            }
            if timed:
                body["temporal_domain"] = domain.CartesianDomain({"t": box["t"]})
            bases = (problem.TimeDependentProblem,) if timed else ()
            self.problem: Any = type("Problem", (*bases, problem.SpatialProblem), body)()
            network = model.FeedForward(
                input_dimensions=case.sizes[0],
                output_dimensions=1,
                layers=case.sizes[1:-1],
                func=nn.Tanh,
            ).to(case.dtype)
            case.load([part for part in network.model if isinstance(part, nn.Linear)])
            self.solver: Any = solver.PhysicsInformedSingleModelSolver(self.problem, network)

            # `lightning` comes with the peer and is not installed where types are checked.
            class Stopwatch(lightning.Callback):  # type: ignore[name-defined,misc]
                """When each epoch, which is one step, ended."""

                def __init__(self) -> None:
                    self.ends: list[float] = []

                def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
                    self.ends.append(time.perf_counter())

            self.stopwatch: Callable[[], Any] = Stopwatch

    def equation(self, term: Term) -> Callable[[Any, Any], Tensor]:
        """The term as a function of PINA's labelled tensors: one gradient in all coordinates, then second ones."""

        def residual(points: Any, u: Any) -> Tensor:
            values = {"u": u.tensor}
            if term.derivatives != ("u",):
                gradient = self.grad(u, points, components=["u"], d=self.coordinates)
                for c in self.coordinates:
                    values[f"u_{c}"] = gradient.extract([f"dud{c}"]).tensor
                    if f"u_{c}{c}" in term.derivatives:
                        values[f"u_{c}{c}"] = self.grad(gradient, points, components=[f"dud{c}"], d=[c]).tensor
            return term.of_derivatives(values, *[f[:, None] for f in term.fields(points.tensor)])

        return residual

    def first(self) -> dict[str, float]:
        losses = {
            name: float(self.solver._compute_condition_loss(condition, {"input": condition.input}, 0))
            for name, condition in self.problem.conditions.items()
        }
        self.run(1)
        return losses

    def run(self, steps: int) -> float:
        stopwatch = self.stopwatch()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer = self.make_trainer(
                self.solver,
                shuffle=False,  # the images of a periodic pair stand behind their points
                max_epochs=steps + 1,
                accelerator="cpu",
                devices=1,
                callbacks=[stopwatch],
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
            trainer.train()
        return float(stopwatch.ends[-1] - stopwatch.ends[0])
