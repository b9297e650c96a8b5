"""The words of the command line: rewritten before Hydra reads them, and explained where Hydra cannot use them.

Hydra's own message for a wrong word is a stack trace or a search path. Here every wrong word becomes one line that
names the key, what came and what is allowed.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from itertools import product

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString, ValueType
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError

from pinntk.common.errors import BadInput, allowed, show

Choices = Mapping[str, Sequence[str]]
"""Choices by config group, as ``pinntk.launch.cli.groups`` finds them."""
OPTIONAL_GROUPS = ("tuned", "width", "callbacks", "logger", "experiment")
LIST_GROUPS = ("callbacks", "logger")
"""Groups of which several choices may be made at once: logger=[csv,wandb]."""
PATH_KEYS = ("runs_dir", "init_from")
"""Whose values are text, whatever characters it has."""
OPEN_KEYS = ("method.weights",)
"""Mappings whose keys are free (here: names of residual terms), so that no file can list them."""


def rewrite(words: Sequence[str], choices: Choices) -> list[str]:
    """Make the words ones that Hydra takes: it knows neither numbers nor null as choices of a group.

    Hydra merges a mapping into what the files have, so that ``{}`` would do nothing. Here ``key={}`` takes away what
    there was, and ``method.weights={...}`` replaces it. Elsewhere ``key={a: 1}`` sets the keys it names, as in Hydra.
    """
    return [new for word in words for new in (_replacing(word, choices) or [_rewrite(word, choices)])]


def _replacing(word: str, choices: Choices) -> list[str]:
    """The words that replace a mapping; none where the word does not do that."""
    key, _, value = word.partition("=")
    empty = re.fullmatch(r"\{\s*\}", value) is not None
    if empty and key in OPTIONAL_GROUPS:
        return [f"~{key}"]
    plain = re.fullmatch(r"\w+(\.\w+)*", key) is not None and key not in choices and not key.startswith("hydra.")
    if (key in OPEN_KEYS and value) or (empty and plain):
        # Null is nothing to merge with. Two kinds of words, since Hydra's sweeper keeps the last of each kind and key.
        return [f"++{key}=null", f"+{word}"]
    return []


def _rewrite(word: str, choices: Choices) -> str:
    key, equals, value = word.partition("=")
    if equals and value == "null" and key in OPTIONAL_GROUPS:
        return f"~{key}"
    if equals and any(key.startswith(f"{open_}.") for open_ in OPEN_KEYS):
        return f"++{word}"
    if equals and key in PATH_KEYS and not re.search(r"^['\"]|[,()\[\]{}]", value) and not _parses(word):
        return f"{key}={quote(value)}"
    if key != "width" or not equals:
        return word
    # Not a plain list of whole numbers: a choice (w200), or something that Hydra or check() refuses.
    if not re.fullmatch(r"w?[+-]?\d+(,w?[+-]?\d+)*", value):
        return f"network.{word}" if re.fullmatch(r"(range|choice|shuffle)\([\d, ]*\)", value) else word
    numbers = [int(item.lstrip("w")) for item in value.split(",")]
    if all(f"w{n}" in choices["width"] for n in numbers):
        return "width=" + ",".join(f"w{n}" for n in numbers)
    return "network.width=" + ",".join(str(n) for n in numbers)


def quote(text: str) -> str:
    """Any text as Hydra takes it: without quotes it refuses ``=``, ``#``, ``~``, ``ü``, ``'`` and others."""
    return QuotedString(text, Quote.double).with_quotes()


def _parses(word: str) -> bool:
    try:
        OverridesParser.create().parse_override(word)
    except HydraException:
        return False
    return True


def parse(words: Sequence[str]) -> list[Override]:
    """Parse overrides, reporting every malformed one.

    Raises:
        BadInput: a word is not of the form key=value.
    """
    # Inside an initialised Hydra the parser can also expand glob(*) over the choices of a group.
    loader = GlobalHydra.instance().config_loader() if GlobalHydra.instance().is_initialized() else None
    parser = OverridesParser.create(config_loader=loader)
    parsed, messages = [], []
    for word in words:
        try:
            parsed.append(parser.parse_override(word))
        except HydraException:
            messages.append(_not_understood(word))
    if messages:
        raise BadInput(*messages)
    return parsed


def _not_understood(word: str) -> str:
    key, _, value = word.partition("=")
    text = f"{key}={quote(value)}"
    if re.match(r"[\[({'\"]", value) or not _parses(text):
        return f"{word}: not understood; allowed: key=value, such as pde=heat2d seed=3 method.steps=500"
    return f"{word}: not understood; allowed: key=value, where text with such characters is quoted: {shlex.quote(text)}"


def values(override: Override) -> list[str]:
    """All values of a swept override, or the one of another."""
    if override.is_discrete_sweep():
        return list(override.sweep_string_iterator())
    return [override.get_value_element_as_str()]


def texts(override: Override) -> list[str]:
    """The overrides, one value each, that a sweep makes of this one."""
    if override.is_delete():
        return [str(override.input_line)]
    return [f"{override.get_key_element()}={value}" for value in values(override)]


def check(words: Sequence[str], choices: Choices, *, sweep: bool) -> None:
    """Check what can be checked without composing: form, choices of groups, and lists outside of a sweep.

    Raises:
        BadInput: one line per wrong word.
    """
    messages = []
    for word, override in zip(words, parse(words), strict=True):
        key = override.key_or_group
        if not key:
            messages.append(f"{word}: has no key; allowed: key=value, such as pde=heat2d seed=3 method.steps=500")
        elif override.is_sweep_override() and not sweep:
            messages.append(f"{word}: several values need a sweep (-m); a list is written {key}=[...]")
        elif override.is_discrete_sweep() and not values(override):
            messages.append(f"{word}: has no values; allowed: one at least, as in seed=range(3) or seed=0,1")
        elif key in choices and override.value() == {}:
            messages.append(f"{word}: would change nothing; {allowed('', choices[key])}, or keys in the braces")
        elif key in choices and names_choices(override):
            named = [choice for value in values(override) for choice in chosen(key, value)]
            messages += [unknown_choice(key, choice, choices[key]) for choice in named if choice not in choices[key]]
    if messages:
        raise BadInput(*messages)


def check_no_launcher(words: Sequence[str]) -> None:
    """Refuse a launcher where there is no sweep: the run would be trained in this process, on a login node perhaps.

    Raises:
        BadInput: one line per word.
    """
    messages = []
    for override in parse(words):
        key = re.split("[.@]", override.key_or_group.replace("/", "."), maxsplit=2)[:2]
        if key == ["hydra", "launcher"] and texts(override) != ["hydra/launcher=basic"]:
            messages.append(f"{override.input_line}: a launcher needs a sweep (-m); a single run is trained here")
    if messages:
        raise BadInput(*messages)


def names_choices(override: Override) -> bool:
    """Whether it names choices of its group: not glob(*), not ~group, not group={...}, which sets keys."""
    is_glob = override.value_type == ValueType.GLOB_CHOICE_SWEEP
    return not (is_glob or override.is_delete() or isinstance(override.value(), dict))


def chosen(group: str, value: str) -> list[str]:
    """The choices in a value: those of a list, where the group takes one."""
    listed = re.fullmatch(r"\[(.*)\]", value) if group in LIST_GROUPS else None
    return [choice for choice in listed[1].split(",") if choice] if listed else [value]


def unknown_choice(group: str, value: str, known: Sequence[str]) -> str:
    """The message for a choice that a group does not have."""
    if group == "width":
        return f"width={value}: must be a whole number, at least 1"
    return f"{group}={value}: unknown choice; {allowed(value, known)}"


def given(words: Sequence[str]) -> dict[str, str]:
    """The keys that words set, those inside a mapping one by one -> how they were set, ``key=value``."""
    found: dict[str, str] = {}
    for override in parse(words):
        key, value = override.key_or_group, override.value()
        if isinstance(value, dict):
            found |= {f"{key}.{name}": f"{key}.{name}={show(inner)}" for name, inner in value.items()}
        elif not override.is_delete():
            found[key] = f"{key}={','.join(values(override))}"
    return found


def ineffective(words: Sequence[str], jobs: Sequence[Mapping[str, str]]) -> list[str]:
    """One line for each key that the words set and that changes nothing in any of the jobs that they make.

    Args:
        words: of the command line.
        jobs: of each job the keys that change nothing there -> when they would count (`RunSettings.without_effect`).
    """
    messages = []
    for key, word in given(words).items():
        parts = key.split(".")
        above = [".".join(parts[: i + 1]) for i in range(len(parts))]
        reasons = [next((unused[k] for k in above if k in unused), None) for unused in jobs]
        if reasons and all(reasons):
            messages.append(f"{word}: {reasons[0]}; without it the run is the same")
    return messages


def sample_jobs(words: Sequence[str], choices: Choices) -> Iterator[list[str]]:
    """Jobs of a sweep that show whether all its words are good: every combination of choices, every other value once.

    A value is good or bad by itself or with the problem and method it meets, so checking all seeds with all
    widths would only cost time.
    """
    swept = {override.get_key_element(): override for override in parse(words)}
    items = {key: texts(override) for key, override in swept.items()}
    first = {key: of_key[0] for key, of_key in items.items()}
    in_groups = [key for key, override in swept.items() if override.key_or_group in choices]
    for combination in product(*(items[key] for key in in_groups)):
        yield list({**first, **dict(zip(in_groups, combination, strict=True))}.values())
    for key in [key for key in swept if key not in in_groups]:
        for text in items[key][1:]:
            yield list({**first, key: text}.values())


def explain(words: Sequence[str], error: Exception, base: DictConfig | None, choices: Choices) -> BadInput:
    """Turn an exception of Hydra or OmegaConf into messages.

    Args:
        words: the overrides of one job.
        error: what composing them raised.
        base: what the choices of groups alone compose to; None where they do not.
        choices: what `groups` gives.
    """
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, choice = error.missing_cfg_file.rpartition("/")
        return BadInput(unknown_choice(group, choice, error.options))
    messages = []
    if base is not None:
        for override in parse(words):
            if override.key_or_group not in choices and not override.is_add() and not override.is_force_add():
                messages += unknown_key(base, override)
    if not messages:
        cause = error.__cause__ if isinstance(error.__cause__, InterpolationKeyError) else error
        named = re.match(r"Could not (?:override|delete) '?([\w.]+)'?", str(cause))
        about = [w for w in words if named and re.split("[=@]", w.lstrip("+~"))[0] == named[1]]
        text = str(cause).strip().split("\n")[0]
        messages = [f"{' '.join(about or words)}: {text}"]
    return BadInput(*messages)


def unknown_key(base: DictConfig, override: Override) -> list[str]:
    """The message for a key that the configuration does not have; nothing where it has it."""
    node: object = OmegaConf.to_container(base)  # interpolations unresolved: they may lead to choices not made here
    parts = re.sub(r"\[(\w+)\]", r".\1", override.key_or_group).split(".")
    word = str(override.input_line)
    for i, part in enumerate(parts):
        level = ".".join(parts[:i])
        if isinstance(node, list):
            return []
        if not isinstance(node, dict):
            return [f"{word}: unknown key; {level} is a single value, {show(node)}"]
        if part not in node:
            where = f"allowed in {level}" if level else "allowed"
            return [f"{word}: unknown key; {allowed(part, map(str, node), where)}"]
        node = node[part]
    return []
