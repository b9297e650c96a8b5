"""Errors of a pydantic model as lines that name the key as one types it, the value that came and what is allowed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pinntk.common.errors import allowed, show

TEXTS = {
    "greater_than": "must be greater than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "list_type": "must be a list, [...]",
    "tuple_type": "must be a list, [...]",
    "dict_type": "must be a mapping, {{key: value}}",
    "model_type": "must be a mapping, {{key: value}}",
    "model_attributes_type": "must be a mapping, {{key: value}}",
    "literal_error": "must be {expected}",
    "union_tag_invalid": "must have {discriminator} in {expected_tags}",
    "union_tag_not_found": "must have a {discriminator}",
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
    "string_too_short": "must not be empty",
    "missing": "is missing",
}


def errors_of(error: ValidationError, model: type[BaseModel], values: Any, prefix: str = "") -> list[str]:
    """One line per error.

    Args:
        error: what validation raised.
        model: the model that was validated.
        values: what it was given.
        prefix: key of the model in the configuration.
    """
    return [_line(detail, model, values, prefix) for detail in error.errors(include_url=False)]


def _line(detail: ErrorDetails, model: type[BaseModel], values: Any, prefix: str) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    path = _path(detail["loc"], values, missing=kind == "missing")
    key = ".".join(filter(None, [prefix, *map(str, path)]))
    if kind == "extra_forbidden":
        level = ".".join(filter(None, [prefix, *map(str, path[:-1])]))
        where = f"allowed in {level}" if level else "allowed"
        known = allowed(str(path[-1]), _keys(model, path[:-1], values), where)
        return f"{key}={show(detail['input'])}: unknown key; {known}"
    if kind == "value_error":  # raised by a validator of ours
        text = str(context["error"])
        return text if text.startswith(f"{prefix}.") else f"{key}: {text}"
    text = TEXTS[kind].format(**context) if kind in TEXTS else detail["msg"]
    text = text.replace("True", "true").replace("False", "false")
    return f"{key}: {text}" if kind == "missing" else f"{key}={show(detail['input'])}: {text}"


def _path(location: Sequence[int | str], values: Any, *, missing: bool) -> list[int | str]:
    """The location without the tags of unions that pydantic puts in: only steps that lead into the values.

    Args:
        location: of an error.
        values: what was validated.
        missing: whether its last step is a key that is not there.
    """
    path: list[int | str] = []
    for i, step in enumerate(location):
        inside = isinstance(values, Mapping) and step in values
        inside = inside or (isinstance(values, list) and isinstance(step, int) and step < len(values))
        if inside:
            values = values[step]
        if inside or (missing and i == len(location) - 1):
            path.append(step)
    return path


def _keys(model: type[BaseModel], path: Sequence[int | str], values: Any) -> set[str]:
    """The keys allowed at a path inside a model, in a union of kinds those of the kind that was given."""
    models = {model}
    for step in path:
        values = values[step]
        if isinstance(step, str):
            fields = [m.model_fields[step] for m in models if step in m.model_fields]
            models = {inner for field in fields for inner in _models(field.annotation)}
        if isinstance(values, Mapping):
            models = {m for m in models if _of_kind(m, values.get("kind"))} or models
    return {name for m in models for name, field in m.model_fields.items() if not field.exclude}


def _of_kind(model: type[BaseModel], kind: object) -> bool:
    field = model.model_fields.get("kind")
    return field is not None and kind in get_args(field.annotation)


def _models(annotation: Any) -> set[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return {inner for argument in get_args(annotation) for inner in _models(argument)}
