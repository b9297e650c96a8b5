"""What is known of a method before there is a run of it."""

from __future__ import annotations

from typing import ClassVar

from pinntk.common.memory import Need
from pinntk.common.settings import without_effect
from pinntk.discrete.discretization import DiscretizationSettings
from pinntk.methods.settings import MethodSettings
from pinntk.network import NetworkSettings
from pinntk.pdes.base import PDE
from pinntk.residual.attention import attended
from pinntk.residual.derived import with_gradient
from pinntk.residual.exact import left
from pinntk.residual.extent import Extent
from pinntk.residual.points import PointSettings
from pinntk.residual.terms import Term


class Requirements:
    """Which settings, problems, networks and points a method goes with, what it trains of them, and what that needs.

    All of it follows from settings alone, so that what cannot work is refused before anything is made or written. A
    method overrides what is otherwise with it.
    """

    Settings: ClassVar[type[MethodSettings]] = MethodSettings
    name: ClassVar[str]

    @classmethod
    def check(cls, pde: PDE, settings: MethodSettings, discretization: DiscretizationSettings | None) -> None:
        """Raise ValueError, naming the key, where problem and settings do not go together."""
        try:
            terms = with_gradient(pde, pde.terms()) if settings.gradient else pde.terms()
        except ValueError as error:
            raise ValueError(f"method.gradient={settings.gradient:g}: {error}; allowed is 0") from error
        allowed = [term.name for term in terms]
        for term in settings.weights:
            if term not in allowed:
                raise ValueError(
                    f"method.weights.{term}: {pde.name} has no such term; allowed are {', '.join(allowed)}"
                )
        if settings.weighting == "ntk" and settings.balance == "blocks" and all(t.equation for t in pde.terms()):
            raise ValueError(
                f"method={cls.name}: pde={pde.name} has no conditions with which to balance its equation"
                " (method.balance=blocks); allowed are problems with an initial, boundary or periodic term"
            )

    @classmethod
    def check_slabs(cls, pde: PDE, settings: MethodSettings) -> None:
        """Raise ValueError, naming the key, where the time cannot be cut into slabs."""
        if settings.slabs > 1:
            raise ValueError(f"method.slabs={settings.slabs}: {cls.name} does not train in slabs of time; allowed is 1")

    @classmethod
    def check_network(cls, pde: PDE, network: NetworkSettings) -> None:
        """Raise ValueError, naming the key, where the method has no use for such a network."""
        return

    @classmethod
    def check_terms(cls, pde: PDE, settings: MethodSettings, network: NetworkSettings) -> None:
        """Raise ValueError, naming the key, where the terms that such a run trains do not suit its settings."""
        return

    @classmethod
    def check_size(cls, settings: MethodSettings, parameters: int) -> None:
        """Raise ValueError, naming a key, where the network has too many parameters for the method."""
        return

    @classmethod
    def extent(
        cls,
        pde: PDE,
        settings: MethodSettings,
        network: NetworkSettings,
        points: PointSettings,
        discretization: DiscretizationSettings | None,
        item: int,
    ) -> Extent:
        """Of the residuals that such a run trains on; ``item`` bytes for a number."""
        return Extent.trained(pde, network, points, terms=cls.trained_terms(pde, settings, network), item=item)

    @classmethod
    def trained_terms(cls, pde: PDE, settings: MethodSettings, network: NetworkSettings) -> tuple[Term, ...]:
        """The terms that such a run trains: those that do not hold exactly, and derivatives of the equation's."""
        terms = left(pde, network) if network.hard else pde.terms()
        terms = with_gradient(pde, terms) if settings.gradient else terms
        return attended(terms) if settings.weighting == "residual" else terms

    @classmethod
    def needs(cls, settings: MethodSettings, extent: Extent) -> dict[str, Need]:
        """What of such a run needs much memory, by the phase or "network".

        ``8 P`` numbers for the network: its parameters, two gradients, Adam's two moments, and a checkpoint's copy of
        parameters and moments.
        """
        what = f"parameters, gradient, moments and a checkpoint of {extent.parameters:,} parameters are 8 numbers each"
        return {"network": Need(what, 8 * extent.matrix(1, extent.parameters))}

    @classmethod
    def check_points(cls, points: PointSettings) -> None:
        """Raise ValueError, naming the key, where the method has no use for such points."""
        return

    @classmethod
    def without_effect(cls, pde: PDE, settings: MethodSettings, points: PointSettings) -> dict[str, str]:
        """Keys of ``method`` and ``points`` that change nothing in such a run -> when they would count, in words."""
        counts = {f"points.{key}": when for key, when in pde.counts_without_effect().items()}
        return {**without_effect(settings, "method"), **counts}

    @classmethod
    def draws_again(cls, settings: MethodSettings, points: PointSettings) -> bool:
        """Whether such a run comes to a second draw of its points, or takes no step at all."""
        every, steps = points.resample_every, getattr(settings, "steps", None)
        return steps == 0 or (every is not None and (steps is None or every < steps))
