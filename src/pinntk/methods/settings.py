"""The settings that every method has."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictInt

from pinntk.common.settings import Settings
from pinntk.residual.attention import AttentionSettings
from pinntk.residual.residuals import Normalization
from pinntk.residual.weighting import Balance

Steps = Annotated[StrictInt, Field(ge=0, le=1_000_000_000)]


class MethodSettings(Settings):
    """What every method has."""

    normalization: Normalization = "mean"
    """``sum``: 1/2 sum r^2 per term, the paper's definition; ``mean``: mean r^2, as in most published numbers."""
    weights: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    """Fixed factor per residual term; 1 where a term is not named."""
    gradient: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the derivatives of the equation's residual along every coordinate, each a term of its own
    (`pinntk.residual.derived`), where ``weights`` does not name it; 0: there are no such terms."""
    weighting: Literal["fixed", "ntk", "residual"] = "fixed"
    """``ntk``: Algorithm 1's weights from the traces of the kernel, times the fixed ones; ``residual``: a factor on the
    equation's residual at every point, from the residuals there (`pinntk.residual.attention`)."""
    attention: AttentionSettings = AttentionSettings()
    balance: Balance = "blocks"
    """One such weight for the equation and one for all conditions (paper), or one per named term."""
    update_every: Annotated[StrictInt, Field(ge=1)] | None = None
    """Iterations between two looks at the traces, or residuals; null: with every draw of the points."""
    slabs: Annotated[StrictInt, Field(ge=1, le=1000)] = 1
    """Equal parts of the time, each trained with the whole plan, one after the other (`pinntk.methods.slabs`)."""
    log_every: Annotated[StrictInt, Field(ge=1)] = 100
    """Iterations per block: between two logged points, and between two chances to save."""

    def without_effect(self) -> dict[str, str]:
        found = super().without_effect()
        if self.weighting != "ntk":
            found["balance"] = "counts only with weighting=ntk"
        if self.weighting == "fixed":
            found["update_every"] = "counts only with weighting=ntk or residual"
        if self.weighting != "residual":
            keys = (f"attention.{name}" for name in AttentionSettings.model_fields)
            found |= dict.fromkeys(keys, "counts only with weighting=residual")
        return found
