"""What the phases of `pinntk.optim`'s optimisers have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from pinntk.methods.plan import Phase


class SteppingPhase(Phase):
    """One step of an optimiser per iteration, until it says why it can do no more."""

    optimizer: Any
    logged: ClassVar[tuple[str, ...]] = ()
    """Attributes of the optimiser that the log has."""

    @abstractmethod
    def make(self) -> Any:
        """The optimiser: it has ``step``, ``reason``, ``state_dict`` and ``load_state_dict``."""

    def start(self, state: Mapping[str, Any] | None) -> None:
        self.optimizer = self.make()
        if state is not None:
            self.optimizer.load_state_dict(state)

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = self.optimizer.state_dict()
        return found

    def step(self, n: int) -> Tensor:
        losses: Tensor = self.optimizer.step()
        self.reason = self.optimizer.reason or None
        return losses

    def log(self) -> dict[str, float]:
        return {name: getattr(self.optimizer, name) for name in self.logged}
