"""The base of all methods: a LightningModule whose training step is a block of iterations.

A PINN's step is short: Lightning's own bookkeeping costs about half of a step of 1 ms, and every ``self.log`` as
much again. So one ``training_step`` runs the iterations between two logged points on the raw optimiser, and logs
once. ``iteration`` counts the steps everywhere; Lightning's ``global_step`` stays 0 and means nothing here.

A method writes ``start`` (make the optimisers), ``advance`` (run iterations) and ``state``/``start(state)`` (what a
resumed run needs besides the network's parameters), and what it goes with (`Requirements`). A resumed run equals an
uninterrupted one bit for bit because whatever is random is a function of the seed and the iteration.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import repeat
from typing import Any, ClassVar

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import Optimizer

from pinntk.common.arrays import Array
from pinntk.common.doing import doing, say
from pinntk.common.errors import BadInput
from pinntk.common.fingerprint import fingerprint
from pinntk.discrete.discretization import DiscretizationSettings
from pinntk.methods import late
from pinntk.methods.requirements import Requirements
from pinntk.methods.settings import MethodSettings
from pinntk.methods.slabs import FINISHED, Slabs
from pinntk.network import DTYPES, Network, NetworkSettings
from pinntk.network.activations import own_activation
from pinntk.pdes.base import PDE
from pinntk.pdes.references import Reference
from pinntk.residual.attention import Attention
from pinntk.residual.collocation import Collocation
from pinntk.residual.form import ResidualForm
from pinntk.residual.loss import Way
from pinntk.residual.objective import LeastSquares, NonFiniteLoss
from pinntk.residual.points import PointSettings
from pinntk.residual.residuals import Batch, Residuals
from pinntk.residual.weighting import TraceWeighting


class Method(Requirements, pl.LightningModule):
    """Base of the methods.

    Args:
        pde: the problem.
        network: shape and inputs of the network.
        points: collocation points.
        settings: the method's own, an instance of its ``Settings``.
        discretization: of the problem's discrete form, for the methods that use one.
        seed: of parameters, points and batches.
        precision: "64-true" or "32-true".
        compile: compute by compiled code (`pinntk.residual.loss`) where the method can.
    """

    network: Network
    discrete: ClassVar[bool] = False
    """Whether it trains on the problem's discrete form."""
    network_class: ClassVar[type[Network]] = Network

    def __init__(
        self,
        pde: PDE,
        network: NetworkSettings,
        points: PointSettings,
        settings: MethodSettings,
        *,
        discretization: DiscretizationSettings | None = None,
        seed: int = 0,
        precision: str = "64-true",
        compile: bool = False,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.pde = pde
        self.points = points
        self.settings: Any = settings  # of the subclass's own Settings type
        self.discretization = discretization
        self.seed = seed
        self.way: Way = "fused_compiled" if compile else "plain"
        self.slabs = Slabs(pde, network, settings.slabs) if settings.slabs > 1 else None
        made: Callable[..., Network] = partial(self.network_class.of, pde, network)
        self._untrained = partial(
            made if self.slabs is None else self.slabs.network, seed=seed, dtype=DTYPES[precision]
        )
        self.network = self._untrained()
        self.initial_state: Callable[[], Mapping[str, Tensor]] | None = None
        """Gives the ``state_dict`` with which the run began, where that is not the seed's."""
        self._pose()
        self.iteration = 0
        self.began = 0
        """The iteration with which the training of `problem` began."""
        self.seconds_per_phase: dict[str, float] = {}
        self.stop_requested = False
        self.latest: dict[str, float] = {}
        """The last logged losses."""
        self._first_block = True
        self._restored: dict[str, Any] | None = None
        self._saved_objective: dict[str, Any] | None = None
        self._late: dict[str, Tensor] = {}

    def _pose(self) -> None:
        """Residuals, points and objective of the problem that is trained."""
        terms = self.trained_terms(self.problem, self.settings, self.network.settings)
        self.residuals = Residuals(self.problem, self.network, terms)
        self.collocation = Collocation(self.residuals, self.points, self.seed)
        self.objective = self.make_objective()

    # --- what a method writes -----------------------------------------------------------------------------------------

    def make_objective(self) -> LeastSquares:
        """What is minimised: the strong form, unless a method has another."""
        s = self.settings
        weighting = TraceWeighting(s.balance, s.update_every) if s.weighting == "ntk" else None
        attention = Attention(s.attention, s.update_every) if s.weighting == "residual" else None
        common = {"normalization": s.normalization, "weights": self.fixed_weights}
        return ResidualForm(self.residuals, points=self.collocation, weighting=weighting, attention=attention, **common)

    @property
    @abstractmethod
    def total_iterations(self) -> int:
        """Iterations of the whole run, all phases together."""

    @abstractmethod
    def start(self, state: Mapping[str, Any] | None) -> None:
        """Make the optimisers, on the device; ``state`` is what ``state`` returned, where a run is resumed.

        Parameters and buffers that the method gives itself here get their saved values afterwards.
        """

    @abstractmethod
    def advance(self, end: int) -> None:
        """Run iterations until ``iteration`` is ``end`` or ``stop_requested``; `log_losses` of them."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """What ``start`` needs to go on exactly where this run stands, the network's parameters apart."""

    def figures(self, reference: Reference) -> dict[str, Any]:
        """Figures of this method for result.json, once training is over; the reference may be measured against here.

        Where none is known it is NaN throughout, and so is what is measured against it.
        """
        return {}

    # --- what a method uses -------------------------------------------------------------------------------------------

    @property
    def problem(self) -> PDE:
        """What is trained at the moment: the problem, or the slab of it that has its turn."""
        return self.pde if self.slabs is None else self.slabs.problem

    def trained(self, points: Array) -> NDArray[np.bool_]:
        """Which points, (n, d), lie where the training has been so far, (n,)."""
        if self.slabs is None or self.finished:
            return np.ones(len(points), dtype=bool)
        return self.slabs.trained(points, begun=self.iteration > self.began)

    @property
    def finished(self) -> bool:
        return self.iteration >= self.total_iterations

    def due(self, every: int, measured: int) -> bool:
        """Whether what is measured every so many iterations is due again, ``measured`` being the last time.

        At the ends of whole blocks, and by the number of `every`s passed, not by counting calls: where a run was
        interrupted must not shift the later measurements. And at the end of the training.
        """
        whole = self.iteration % self.settings.log_every == 0
        passed = self.iteration // every > measured // every
        return bool((whole and passed) or (self.finished and self.iteration != measured))

    @property
    def seconds(self) -> float:
        """Time spent training, over all resumes."""
        return sum(self.seconds_per_phase.values())

    @property
    def parameters_count(self) -> int:
        return sum(p.numel() for p in self.network.parameters())

    @property
    def comparable_losses(self) -> bool:
        """Whether the logged losses are values of one function of the parameters over the whole run: the same points,
        weights and targets all the time."""
        every, looks = self.points.resample_every, self.settings.update_every
        weighed = self.settings.weighting != "fixed" and looks is not None and looks < self.total_iterations
        return not weighed and (every is None or every >= self.total_iterations)

    def initial_network(self) -> Network:
        """The network as it was when the training of `problem` began, made anew."""
        network = self._untrained()
        if self.slabs is not None and self.slabs.finished is not None:
            network.assign(self.slabs.finished[-1])
        elif self.initial_state is not None:
            saved = self.initial_state()
            own = {name: value for name, value in saved.items() if name.startswith("network.")}
            network.load_state_dict({name.removeprefix("network."): value for name, value in own.items()})
        return network.to(self.device)

    @property
    def dtype_(self) -> torch.dtype:
        return next(self.network.parameters()).dtype

    @property
    def draw(self) -> int:
        """Which draw of the collocation points the current iteration uses."""
        every = self.points.resample_every
        return self.iteration // every if every else 0

    def batches(self) -> dict[str, Batch]:
        """The collocation points of the current iteration, prepared for the network."""
        return self.collocation.batches(self.draw)

    def refresh(self) -> None:
        """Renew what of the objective takes long to make, where that is due before this iteration."""
        if self.objective.refresh_due(self.iteration):
            with self.timed("refresh"):
                self.objective.refresh(self.iteration)

    def renew(self) -> None:
        """Give the objective the points, and the weights, of this iteration."""
        self.objective.renew(self.iteration, self.draw)

    @property
    def fixed_weights(self) -> dict[str, float]:
        """The fixed weights by term; 1 where a term is not named."""
        s = self.settings
        return {**{term.name: s.gradient for term in self.residuals.terms if term.along is not None}, **s.weights}

    def term_weights(self) -> Tensor:
        """The fixed weights of the terms, (T,), in their order."""
        weights = [self.fixed_weights.get(name, 1.0) for name in self.residuals.names]
        return torch.tensor(weights, dtype=self.dtype_, device=self.device)

    @property
    def function_evaluations(self) -> int:
        """Of the loss, with or without its gradient."""
        return self.objective.evaluations

    def losses(self) -> dict[str, float]:
        """Total with the fixed weights ("loss") and unweighted loss per term at the current parameters."""
        return self.objective.report()

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Count the time spent inside towards ``seconds_per_phase[name]``."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds_per_phase[name] = self.seconds_per_phase.get(name, 0.0) + time.perf_counter() - started

    def log_losses(self, names: tuple[str, ...], history: list[Tensor], **more: float) -> None:
        """Check and log a block's losses.

        Args:
            names: of the entries of each vector.
            history: one vector of losses per iteration of the block, in order, the last being the newest.
            more: further figures for the log.

        Raises:
            NonFiniteLoss: one of them is not finite.
        """
        if not history:
            return
        block = torch.stack(history)
        bad = ~torch.isfinite(block)
        if bad.any():
            row = int(bad.any(dim=1).nonzero()[0])
            terms = [name for name, is_bad in zip(names, bad[row].tolist(), strict=True) if is_bad]
            # The total is not finite whenever one of its terms is not: name the term.
            term = next((name for name in terms if name != "loss"), "loss")
            raise NonFiniteLoss(self.iteration - len(history) + row, term)
        self.latest = dict(zip(names, block[-1].tolist(), strict=True))
        estimates = {f"estimate_{name}": value for name, value in self.network.coefficients.estimates().items()}
        self.log_figures({**self.latest, **more, **estimates})

    def log_figures(self, figures: Mapping[str, float]) -> None:
        """Give the run's loggers what has been found at this iteration."""
        for logger in self.loggers:
            logger.log_metrics(dict(figures), step=self.iteration)

    # --- Lightning ----------------------------------------------------------------------------------------------------

    def loader(self) -> Iterable[int]:
        """The loader for ``Trainer.fit``, which wants one: an endless supply of nothing, for the points live here."""
        return repeat(0)

    def configure_optimizers(self) -> list[Optimizer]:
        return []  # raw optimisers, kept and saved by the method

    def on_train_start(self) -> None:
        with doing("gets the training ready"):
            self._get_ready()
        self._first_block = True

    def _get_ready(self) -> None:
        self.collocation.place()
        # A resumed run goes on in the way in which it began; before there were ways, it was compiled or not.
        before = {} if self._saved_objective is None else self._saved_objective
        older: Way = "plain" if self.way in ("plain", "fused") else "compiled"
        way: Way = before.get("way", older) if before else self.way
        self.objective.place(way)
        if before and self.objective.way != way:
            reason = self.objective.reason
            say(f"it began {way} and goes on {self.objective.way}, which rounds otherwise: {reason}")
        if self._saved_objective is not None:
            self.objective.load(self._saved_objective)
        self.start(self._restored)
        late.restore(self, self._late)
        self._restored, self._saved_objective, self._late = None, None, {}

    def training_step(self, batch: Any, batch_idx: int) -> None:
        every, first = self.settings.log_every, self._first_block
        end = min(self.total_iterations, (self.iteration // every + 1) * every)
        what = f"{self.name}: iterations {self.iteration + 1} to {end} of {self.total_iterations}"
        if first and self.objective.way in ("fused_compiled", "compiled"):
            what = f"compiles the training step, then {what}"
        # Of the others the progress bar tells, or its lines.
        with doing(what, lambda: f"{self.iteration} done", patiently=not first):
            self.advance(end)
        self._first_block = False
        if self.finished or self.stop_requested:
            self.trainer.should_stop = True

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["pinntk"] = {
            "fingerprint": fingerprint(type(self.pde), type(self), *own_activation(self.network.settings.activation)),
            "iteration": self.iteration,
            "began": self.began,
            "function_evaluations": self.function_evaluations,
            "seconds_per_phase": dict(self.seconds_per_phase),
            "latest": dict(self.latest),
            "method": self.state(),
            "objective": self.objective.state(),
            "collocation": self.collocation.state(),
        }

    def reserve(self, saved: Mapping[str, Tensor]) -> None:
        """Get ready to load this state: of slabs, pose the problem of the one in which it was saved."""
        if self.slabs is not None and FINISHED in saved:
            self.slabs.restore(saved[FINISHED], self.network)
            self._pose()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.reserve(checkpoint["state_dict"])
        self._late = late.take(self, checkpoint["state_dict"])  # Lightning loads the rest, before the training starts
        saved = checkpoint["pinntk"]
        self.iteration, self.began = saved["iteration"], saved.get("began", 0)
        self.objective.evaluations = saved["function_evaluations"]
        if "objective" not in saved:
            raise BadInput("checkpoint: of an older version of pinntk; allowed: overwrite=true, which trains anew")
        self._saved_objective = saved["objective"]
        self.seconds_per_phase = dict(saved["seconds_per_phase"])
        self.latest = dict(saved["latest"])
        self._restored = saved["method"]
        self.collocation.load(saved["collocation"])
