"""The base of all settings, and settings without effect: keys that change nothing in a run, given the values of others.

The models say which of their keys these are. Files may hold them, for a file does not know what it is combined with; on
the command line they are refused (`pinntk.launch.overrides.ineffective`).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0)]


class Strict(BaseModel):
    """What is read from a configuration: unknown keys, nan and infinity are errors, and what was read stays.

    ``class A(Strict, strict=True)`` takes no text for a number and no list for a tuple either.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Settings(Strict):
    """Settings of which some count only with certain values of others.

    Example::

        >>> class Points(Settings):
        ...     sampling: str = "grid"
        ...     seed: int = 0
        ...     def without_effect(self):
        ...         return {"seed": "counts only with sampling=random"} if self.sampling == "grid" else {}
        >>> Points().without_effect()
        {'seed': 'counts only with sampling=random'}
    """

    def without_effect(self) -> dict[str, str]:
        """Key, relative to these settings, -> when it would count, in words. A key stands for all below it."""
        return {}


def without_effect(settings: BaseModel, prefix: str) -> dict[str, str]:
    """The same for these settings and all settings in them, with the full keys.

    Args:
        settings: of any model.
        prefix: key of the model in the configuration.

    Example::

        >>> class Step(Settings):
        ...     def without_effect(self):
        ...         return {"cap": "counts only with a line search"}
        >>> class Method(Settings):
        ...     step: Step = Step()
        >>> without_effect(Method(), "method")
        {'method.step.cap': 'counts only with a line search'}
    """
    found = {}
    if isinstance(settings, Settings):
        found = {f"{prefix}.{key}": when for key, when in settings.without_effect().items()}
    for name, value in settings:
        if isinstance(value, BaseModel):
            found |= without_effect(value, f"{prefix}.{name}")
    return found
