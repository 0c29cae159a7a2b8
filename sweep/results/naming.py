"""What arms, settings and metrics are called for people: `adam 0.01`, `continual backprop, replacement rate 1e-4`.

A setting is named by its arm and by what varies inside that arm, and by nothing else. The columns of a setting are
those of `sweep.results.frames.trials`, such as `optimizer.step_size` and `l2.strength`. Needs neither torch nor pandas.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from workloads import metrics

if TYPE_CHECKING:
    from sweep.trials import Trial

STEP_SIZE = "optimizer.step_size"
FIELDS = {  # what a column is called where its own name says too little, or too much
    "continual_backprop.replacement_rate": "replacement rate",
    "continual_backprop.maturity_threshold": "maturity threshold",
    "reset.what": "reset",
    "shrink_and_perturb.perturb_scale": "noise",
    "shrink_and_perturb.strength": "shrink",
}


def words(name: str) -> str:
    """A name as text: `my_arm` is `my arm`."""
    return name.replace("_", " ")


def number(value: float) -> str:
    """0.001 as it is, 1e-4 and 1e6 with an exponent, whole numbers whole."""
    if value != 0 and math.isfinite(value) and not 1e-3 <= abs(value) < 1e5:
        mantissa, exponent = f"{value:.3e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:g}"


def rounded(value: float, digits: int = 3, sign: str = "") -> str:
    """A measured number with so many significant digits, whole up to a million: `0.0123`, `1110`, `4.5e+07`."""
    text = f"{value:{sign}.{digits}g}"
    return f"{float(text):{sign}.0f}" if "e+" in text and abs(value) < 1e6 else text


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`; nothing for none."""
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


def numbers(whole: Sequence[int]) -> str:
    """Whole numbers in short: `0 to 4`, `3, 7 and 12`."""
    if len(whole) > 2 and list(whole) == list(range(whole[0], whole[0] + len(whole))):
        return f"{whole[0]} to {whole[-1]}"
    return listed([str(number) for number in whole])


def metric(name: str) -> str:
    """A metric's name for people."""
    every = metrics.known()
    return every[name].label if name in every else words(name)


def setting(values: Mapping[str, Any], arm: str = "") -> str:
    """Columns and their values as text, missing ones left out: `step size 0.01, width 5`.

    A method's field is said with the method's name, unless the arm's label says that already.
    """
    return ", ".join(_field(column, value, arm) for column, value in values.items() if not _missing(value))


def name(arm: str, values: Mapping[str, Any]) -> str:
    """An arm at a setting: its label, the step size bare, then the rest: `adamo 0.003, isometry strength 0.1`."""
    step_size = values.get(STEP_SIZE)
    rest = setting({column: value for column, value in values.items() if column != STEP_SIZE}, arm)
    head = words(arm) if step_size is None else f"{words(arm)} {number(step_size)}"
    return f"{head}, {rest}" if rest else head


def settings(trials: Iterable[Trial]) -> dict[tuple[str, str], dict[str, Any]]:
    """(arm, group) -> the columns that vary inside the arm, with their values; None where a setting has no such.

    In the order of the trials. The step size comes first, then methods, optimizer, network and workload.
    """
    groups: dict[str, dict[str, dict[str, Any]]] = {}  # arm -> group -> columns
    for trial in trials:
        for arm in trial.arms:
            inside = groups.setdefault(arm, {})
            if trial.group not in inside:
                inside[trial.group] = dict(fields(trial.config))
    by_setting: dict[tuple[str, str], dict[str, Any]] = {}
    for arm, inside in groups.items():
        columns = _varying(inside.values())
        for group, values in inside.items():
            by_setting[arm, group] = {column: values.get(column) for column in columns}
    return by_setting


def names(trials: Iterable[Trial]) -> dict[tuple[str, str], str]:
    """(arm, group) -> the setting's name; see `settings` and `name`."""
    return {(arm, group): name(arm, values) for (arm, group), values in settings(trials).items()}


def fields(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """A trial's settings under their columns' names, such as `workload.flip`; what is no scalar as JSON."""
    parts = {part: config[part] for part in ("workload", "network", "optimizer")} | config["methods"]
    for part, values in parts.items():
        for field, value in values.items():
            yield f"{part}.{field}", json.dumps(value) if isinstance(value, list | tuple | dict) else value
    for field in ("every", "probe", "dtype"):
        if field in config:
            yield field, config[field]


def _varying(settings: Iterable[Mapping[str, Any]]) -> list[str]:
    """The columns in which settings differ, absent being a value too, in the order in which they are told."""
    settings = list(settings)
    columns = dict.fromkeys(column for values in settings for column in values)
    varying = [column for column in columns if len({values.get(column) for values in settings}) > 1]
    last = ("optimizer", "network", "workload")
    ranks = {column: -1 if column == STEP_SIZE else 0 for column in varying}
    for column in varying:
        part = column.partition(".")[0]
        if ranks[column] == 0 and part in last:
            ranks[column] = 1 + last.index(part)
    return sorted(varying, key=ranks.__getitem__)


def axis(column: str, arm: str = "") -> str:
    """A column's name: `step size`, and `l2 strength` unless the arm's label says the method."""
    part, _, field = column.rpartition(".")
    plain = part in ("optimizer", "network", "workload", "") or words(part) in words(arm)
    return FIELDS.get(column, words(field if plain else f"{part} {field}"))


def _field(column: str, value: Any, arm: str) -> str:
    """One column with its value: `replacement rate 1e-4`, `tanh`, `linear`."""
    if column == "network.activation":
        return words(str(value))
    if column == "network.depth" and value == 0:
        return "linear"
    text = axis(column, arm)
    if isinstance(value, bool):
        return f"{text} {'yes' if value else 'no'}"
    return f"{text} {value if isinstance(value, str) else number(float(value))}"


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
