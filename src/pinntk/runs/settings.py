"""The settings of a run, validated: every error at once, each naming its key and the value it got.

The models of the components (problem, method, network, points) stand in the components' own files; here is what a run
has besides, the checks across components, and the hash that names the run's folder.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pytorch_lightning as pl
import torch
from pydantic import AfterValidator, BaseModel, Field, ValidationError
from pytorch_lightning.loggers import Logger

from pinntk.common.cells import MAIN
from pinntk.common.cores import available_cores
from pinntk.common.errors import BadInput
from pinntk.common.settings import Strict
from pinntk.discrete.discretization import DiscretizationSettings
from pinntk.methods import Method, MethodSettings
from pinntk.methods.sharing import check_shared
from pinntk.network import DTYPES, NetworkSettings, count_parameters
from pinntk.network.activations import own_activation
from pinntk.pdes import PDE, declaration
from pinntk.residual.exact import left
from pinntk.residual.points import PointSettings
from pinntk.residual.terms import Term
from pinntk.runs.components import component, validated
from pinntk.runs.folder import CHECKPOINT, check_writable
from pinntk.runs.validation import errors_of

HASH_LENGTH = 12
MOST_PROCESSES = 64
"""Of one run, on one machine."""
Name = Annotated[str, Field(pattern=r"^[\w.-]+$", max_length=100)]
AtHome = AfterValidator(os.path.expanduser)
"""``~`` is the home folder: whoever asks for the path gets it expanded."""


class Budget(Strict, strict=True):
    """A named set of step counts, to which the methods' settings refer."""

    name: Name
    steps: dict[str, Any]


class Checkpoints(Strict, strict=True):
    """How often the state of the training is saved."""

    every_seconds: Annotated[float, Field(gt=0)]


class Hardware(Strict, strict=True):
    """Where a run trains."""

    accelerator: Literal["auto", "cpu", "gpu"]
    devices: Annotated[int, Field(ge=1, le=MOST_PROCESSES)] = 1
    """Processes that train it together, on a GPU each or on the processor; younger than most run folders."""


class RunSettings(Strict, strict=True):
    """Everything that a run is told."""

    pde: PDE
    method: MethodSettings
    method_class: Annotated[type[Method], Field(exclude=True)]  # from method._target_; no key of the configuration
    network: NetworkSettings
    points: PointSettings
    discretization: DiscretizationSettings | None
    budget: Budget
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)]
    runs_dir: Annotated[str, Field(min_length=1), AtHome]
    overwrite: bool
    retry_failed: bool
    accept_edits: bool
    init_from: Annotated[str, AtHome] | None
    precision: Literal["64-true", "32-true"]
    threads: Annotated[int, Field(ge=1, le=1024)] | None
    compile: Literal["auto", True, False]
    checkpoint: Checkpoints
    trainer: Hardware
    evaluate_every: Annotated[int, Field(ge=1)]
    callbacks: dict[str, Any]
    logger: dict[str, Any]

    @classmethod
    def read(cls, config: Mapping[str, Any], *, training: bool = True) -> RunSettings:
        """Validate a composed configuration.

        Args:
            config: plain values, as Hydra composed them; ``pde`` and ``method`` name their classes in ``_target_``.
            training: whether this machine is to train it, so that its devices and folders are looked at as well.

        Raises:
            BadInput: one line per error.
        """
        messages: list[str] = []
        parts: dict[str, Any] = {}

        def part(key: str, model: type[BaseModel] | None) -> None:
            values = config.get(key)
            if model is not None and isinstance(values, Mapping):
                found = validated(values, key, model, messages)
                if found is not None:
                    parts[key] = found

        # mypy wants a class that can be instantiated for type[T]; `component` only compares with these abstract ones.
        pde_class = component(config.get("pde"), "pde", PDE, messages)  # type: ignore[type-abstract]
        method_class = component(config.get("method"), "method", Method, messages)  # type: ignore[type-abstract]
        part("pde", pde_class)
        part("method", method_class.Settings if method_class else None)
        part("network", NetworkSettings)
        part("points", PointSettings)
        part("discretization", pde_class.Discretization if pde_class else None)
        if pde_class and pde_class.Discretization is None and isinstance(config.get("discretization"), Mapping):
            messages.append(f"discretization: {pde_class.__name__} has no discrete form; allowed is null")
        if method_class is not None:
            parts["method_class"] = method_class
        for group, base in (("callbacks", pl.Callback), ("logger", Logger)):
            entries = config.get(group)
            for name, entry in entries.items() if isinstance(entries, Mapping) else ():
                component(entry, f"{group}.{name}", base, messages)

        components = {"pde", "method", "network", "points", "discretization"}
        rest = {key: value for key, value in config.items() if key not in components or value is None}
        try:
            settings = cls.model_validate({**rest, **parts})
        except ValidationError as error:
            missing = {"method_class", *components} - parts.keys()
            messages += [m for m in errors_of(error, cls, {**rest, **parts}) if m.split(":")[0] not in missing]
        if messages:
            raise BadInput(*messages)
        messages = [*settings._check_together(), *(settings._check_machine() if training else ())]
        if messages:
            raise BadInput(*messages)
        return settings

    def _check_together(self) -> list[str]:
        """What is wrong across components."""
        declaration.check(self.pde, DTYPES[self.precision])  # first: the others ask it for its terms and its box
        messages = []
        checks: list[Callable[[], object]] = [
            lambda: self.method_class.check(self.pde, self.method, self.discretization),
            lambda: self.method_class.check_terms(self.pde, self.method, self.network),
            lambda: self.method_class.check_slabs(self.pde, self.method),
            lambda: self.method_class.check_size(self.method, count_parameters(self.network, self.pde)),
            lambda: self.method_class.check_network(self.pde, self.network),
            lambda: self.method_class.check_points(self.points),
            self._check_draws,
            self._check_hard,
            self._check_devices,
            # With hard conditions the network is a factor of u, whose periods are its problem's affair.
            lambda: None if self.network.hard else self.pde.check_periods(self.network.periods()),
        ]
        for check in checks:
            try:
                check()
            except ValueError as error:
                messages.append(str(error))
        return messages

    def _check_machine(self) -> list[str]:
        """What is wrong with devices and folders."""
        messages = []
        if self.trainer.accelerator == "gpu" and not torch.cuda.is_available():
            messages.append("trainer.accelerator=gpu: no CUDA device is available here; allowed here: auto, cpu")
        here = torch.cuda.device_count() if self.accelerator == "gpu" else MOST_PROCESSES
        if 1 < self.trainer.devices > here:
            messages.append(
                f"trainer.devices={self.trainer.devices}: GPUs here: {here}; allowed here: up to {here}, or"
                " trainer.accelerator=cpu"
            )
        if self.init_from is not None and not os.path.isfile(self.initial_checkpoint):
            messages.append(f"init_from={self.init_from}: there is no {self.initial_checkpoint}; allowed: a run folder")
        if problem := check_writable(Path(self.runs_dir)):
            messages.append(problem)
        return messages

    def _check_draws(self) -> None:
        """ValueError where points are to be drawn by residual, from the second draw on, and there is none."""
        if self.points.by_residual and not self.method_class.draws_again(self.method, self.points):
            raise ValueError(
                f"points.by_residual={self.points.by_residual:g}: counts from the second draw of points on, and"
                " this run has one; allowed is 0, or a resample_every (of points or of a phase) below the steps"
            )

    def _check_hard(self) -> None:
        """ValueError where the network cannot have hard conditions, or they leave nothing to weigh."""
        if not self.network.hard:
            return
        if self.pde.ansatz() is None:
            raise ValueError(
                f"network.hard=true: {self.pde.name} has no lift or factor; allowed is false, or a problem that has one"
            )
        balanced = self.method.weighting == "ntk" and self.method.balance == "blocks"
        if balanced and all(term.equation for term in self._trained_terms):
            raise ValueError(
                f"method.balance=blocks: with network.hard=true {self.pde.name} has no conditions with which to balance"
                " its equation; allowed is network.hard=false"
            )

    def _check_devices(self) -> None:
        """ValueError where several processes are to train what only one can."""
        devices = self.trainer.devices
        if devices == 1:
            return
        defined = [one.__name__ for one in self.code if one.__module__ == MAIN]
        try:
            check_shared(self.method_class, self.method)
            if defined:
                raise ValueError(
                    f"other processes do not know {', '.join(defined)} of this one; allowed is 1, or a class in a file"
                )
        except ValueError as error:
            raise ValueError(f"trainer.devices={devices}: {error}") from error

    @property
    def _trained_terms(self) -> tuple[Term, ...]:
        """Those that a network does not satisfy exactly."""
        return left(self.pde, self.network)

    def without_effect(self) -> dict[str, str]:
        """Keys that change nothing in this run -> when they would count, in words."""
        found = self.method_class.without_effect(self.pde, self.method, self.points)
        if self.network.hard:
            terms, when = self._trained_terms, "counts only with network.hard=false"
            exact = {term.name for term in self.pde.terms()} - {term.name for term in terms}
            found |= {f"method.weights.{name}": f"{when}: {name} holds exactly" for name in sorted(exact)}
            unused = self.pde.counts_without_effect(terms).keys() - self.pde.counts_without_effect().keys()
            found |= {f"points.{key}": f"{when}: the terms there hold exactly" for key in sorted(unused)}
        if not self.method_class.discrete and "conditioning" not in self.callbacks:
            found["discretization"] = "counts only for the pcpinn methods, or with callbacks=conditioning"
        return found

    @property
    def accelerator(self) -> Literal["cpu", "gpu"]:
        """Where the run trains on this machine: ``auto`` is a GPU where there is one."""
        if self.trainer.accelerator == "auto":
            return "gpu" if torch.cuda.is_available() else "cpu"
        return self.trainer.accelerator

    @property
    def cores(self) -> int:
        """Threads of each of the run's processes: as set, else the cores that they may use, dealt out."""
        return self.threads or max(1, available_cores() // self.trainer.devices)

    @property
    def initial_checkpoint(self) -> Path:
        """The checkpoint that ``init_from`` names."""
        return Path(self.init_from or "") / CHECKPOINT

    def settings_hash(self, *, threads: int | None = None, accelerator: str | None = None) -> str:
        """A short hash of everything that affects the result except the seed.

        Not in it: budget's name, log and evaluation intervals, checkpoints, callbacks, loggers, folders. ``init_from``
        enters by the content of its checkpoint, so that another state of the same run is another setting; measurements
        by their values, wherever their file is.

        Args:
            threads: in the place of ``cores``, as on another machine.
            accelerator: in the place of the one that this machine has.
        """
        identity: dict[str, Any] = {
            "pde": {"name": self.pde.name, **self.pde.model_dump(mode="json")},
            "method": {"name": self.method_class.name, **self._of_method()},
            "network": self._of_network(),
            "points": self.points.model_dump(mode="json"),
            "discretization": self.discretization and self.discretization.model_dump(mode="json"),
            "precision": self.precision,
            "threads": threads or self.cores,
            "compile": self.compile,
            "accelerator": accelerator or self.accelerator,
        }
        if self.trainer.devices > 1:  # the key is younger than most run folders
            identity["devices"] = self.trainer.devices
        if self.init_from is not None:
            with self.initial_checkpoint.open("rb") as file:
                identity["init_from"] = hashlib.file_digest(file, "sha256").hexdigest()
        if digests := self.pde.digests():
            identity["data"] = digests
        text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:HASH_LENGTH]

    def _of_method(self) -> dict[str, Any]:
        """The method's settings that affect the result."""
        # The keys of weighting are younger than most run folders: they count where they say something.
        weighting = self.method.weighting
        silent = {"log_every"} | ({"balance", "update_every"} if weighting == "fixed" else set())
        silent |= {"balance"} if weighting == "residual" else {"attention"}
        if self.method.weighting == type(self.method).model_fields["weighting"].default:
            silent.add("weighting")
        if not self.method.gradient:
            silent.add("gradient")
        if self.method.slabs == 1:
            silent.add("slabs")
        found = self.method.model_dump(mode="json", exclude=silent)
        composed = [phase for one in found.get("phases", ()) for phase in one.values()]
        for phase in (*found.values(), *composed):
            if not isinstance(phase, dict):
                continue
            if phase.get("resample_growth") == 1.0:
                del phase["resample_growth"]
            if phase.get("restart") == "identity":
                del phase["restart"], phase["restart_damping"]
            if phase.get("balance", "") is None:
                del phase["balance"]
        return found

    def _of_network(self) -> dict[str, Any]:
        """The network's settings; keys that are younger than most run folders count where they say something."""
        found = self.network.model_dump(mode="json")
        for name in ("activation", "slopes", "hard"):
            if found[name] == NetworkSettings.model_fields[name].default:
                del found[name]
        for feature in found["features"]:
            if feature.get("parity") == "both":
                del feature["parity"]
            if feature.get("centred") is False:
                del feature["centred"]
        return found

    @property
    def code(self) -> tuple[Any, ...]:
        """Classes and functions whose source is part of the run's identity."""
        return type(self.pde), self.method_class, *own_activation(self.network.activation)

    def build(self) -> Method:
        """The method of these settings with its network untrained. ``compiled`` is left to whoever trains it."""
        return self.method_class(
            self.pde,
            self.network,
            self.points,
            self.method,
            discretization=self.discretization,
            seed=self.seed,
            precision=self.precision,
            compile=False,
        )

    def folder(self) -> Path:
        """``<runs_dir>/<pde>/<method>/<width>/<budget>/<settings hash>/seed<k>``."""
        width = f"w{self.network.width}"
        settings = Path(self.runs_dir, self.pde.name, self.method_class.name, width, self.budget.name)
        return settings / self.settings_hash() / f"seed{self.seed}"
