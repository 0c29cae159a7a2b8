"""One scale of a sweep file against the registries: the sweep that it means, or all that is wrong with it.

The file is long because all is told at once: every check is a function here, beside the order in which they are made.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from sweep.results import windows
from sweep.spec import axes
from sweep.spec.axes import MOST_SETTINGS, Section, section
from sweep.spec.document import Document, Field, KeyPath, Problems, unknown_key
from sweep.spec.figures import FIGURES
from sweep.spec.grammar import EXAMPLES, OWNERS, Settings
from sweep.spec.model import Arm, Spec
from sweep.spec.wording import explain
from workloads import metrics
from workloads.diagnostics import OF_A_LOSS, needs_of
from workloads.extensions import owner, told
from workloads.kinds import WORKLOADS, Workload
from workloads.methods.config import METHODS, OPTIMIZERS, MethodSpec, no_scales, sorted_units
from workloads.networks.config import NETWORKS, Killed
from workloads.registry import fields_of, nearest
from workloads.reinforcement import CONTROLS

SINGLE = (1.17549435e-38, 3.40282347e38)
RANGES = {  # smallest and largest magnitude: what is smaller is flushed to zero where trials train
    "float32": SINGLE,
    "tf32": SINGLE,
    "float64": (sys.float_info.min, sys.float_info.max),
}


def name_of(path: Path) -> str:
    """The name of a sweep that does not give itself one: its file's, in characters that folders and addresses take."""
    return re.sub(r"[^\w.-]+", "_", unicodedata.normalize("NFC", path.stem)).strip("_.-") or "sweep"


def question_of(text: str) -> str:
    """The question a file opens with: its first comment, up to the question mark."""
    opening = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        opening.append(line.lstrip("# ").strip())
    question, mark, _ = " ".join(opening).partition("?")
    return re.sub(r"\s+", " ", question + mark if mark else opening[0] if opening else "").strip()


def numbers(value: Any, at: KeyPath = ()) -> Iterator[tuple[KeyPath, int | float]]:
    """Every number in a tree of values, and where it is."""
    if isinstance(value, dict | list):
        parts: Iterable[tuple[str | int, Any]] = value.items() if isinstance(value, dict) else enumerate(value)
        for key, part in parts:
            yield from numbers(part, (*at, key))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield at, value


def parts_of(arm: Arm) -> Iterator[tuple[MethodSpec, Section]]:
    """An arm's methods and its optimizer, each with its registry entry."""
    for method in arm.methods:
        yield METHODS[method.name], method
    yield OPTIMIZERS[arm.optimizer.name], arm.optimizer


class Checked:
    """One scale of a document against the registries."""

    def __init__(self, document: Document, problems: Problems) -> None:
        self.document = document
        self.problems = problems

    def wrong(self, path: KeyPath, text: str, *value: Any) -> None:
        """Note a mistake at `path`."""
        self.problems.add(self.document.line(path), path, text, *value)

    def spec(
        self, path: Path, text: str, *, scale: str, scales: tuple[str, ...], code: Mapping[str, str]
    ) -> Spec | None:
        """The sweep, or None with what is wrong noted."""
        settings = self.settings()
        if settings is not None:
            self.check_numbers(settings.dtype)
        bodies = self.document.tree.get("arms")
        labels = [label for label, body in bodies.items() if isinstance(body, dict)] if isinstance(bodies, dict) else []
        workload = None
        if isinstance(self.document.tree.get("workload"), dict):
            workload = self.named_section("workload", WORKLOADS, self.fields(("workload",)), at=("workload",))
        arms = [self.arm(label) for label in labels]
        if settings is None or workload is None or not all(arms):
            return None
        stream = WORKLOADS[workload.name]
        judged = settings.search or settings.seeds.judged
        judged_at: KeyPath = ("search", "objective") if settings.search else ("seeds", "objective")
        recorded = self.metrics(settings.metrics, stream, judged.objective, judged_at)
        spec = Spec(
            name=settings.name or name_of(path),
            scale=scale,
            question=settings.question or question_of(text),
            file=str(path),
            text=text,
            scales=scales,
            workload=workload,
            arms=tuple(arm for arm in arms if arm is not None),
            seeds=settings.seeds.select,
            evaluate=settings.seeds.evaluate,
            objective=judged.objective or next(name for name in metrics.HEADLINES if name in recorded),
            window=settings.select or windows.parse(judged.window),
            search=settings.search,
            metrics=recorded,
            every=settings.diagnostics.every or stream.default_every,
            probe=settings.diagnostics.probe or stream.default_probe,
            fresh_every=settings.diagnostics.fresh_every or settings.diagnostics.every or stream.default_every,
            dtype=settings.dtype,
            keep=settings.keep,
            figures=settings.figures,
            track=settings.track,
            code=code,
        )
        self.check_search(spec, settings)
        self.check_needs(spec)
        self.check_ages(spec)
        self.check_units(spec)
        self.check_scales(spec)
        self.check_layers(spec)
        self.check_killed(spec)
        self.check_pictures(spec)
        self.check_figures(spec)
        if spec.size > MOST_SETTINGS:
            self.wrong((), f"at scale {scale} this means {spec.size:,} trials; at most {MOST_SETTINGS:,}")
        return spec

    def settings(self) -> Settings | None:
        """The keys that do not depend on a registry."""
        try:
            return Settings.model_validate(self.document.tree)
        except ValidationError as error:
            for details in error.errors():
                self.explain(details)
            return None

    def explain(self, details: Any) -> None:
        """One of pydantic's verdicts, at its place in the file."""
        path = tuple(part for part in details["loc"] if part not in ("[key]",))
        kind = details["type"]
        if kind == "extra_forbidden":
            owner = OWNERS.get(str(path[0]), Settings)
            self.wrong(path, unknown_key(str(path[-1]), owner.model_fields))
        elif kind == "missing":
            self.wrong(path, f"is missing: {EXAMPLES[path[0]]}" if path[0] in EXAMPLES else "is missing")
        elif kind == "string_pattern_mismatch":
            self.wrong(path, "a name is made of letters, digits, _ and -, and starts with a letter or digit")
        elif kind == "too_short":
            self.wrong(path, "a sweep needs at least one arm")
        elif kind in ("dict_type", "model_type"):
            hints = {"arms": " such as {optimizer: sgd}", "workload": " such as {name: ...}"}
            hints |= {"network": hints["workload"], "search": " such as {sampler: tpe, trials: 60}"}
            self.wrong(path, f"must be a mapping{hints.get(str(path[0]), '')}", details["input"])
        else:
            self.wrong(path, explain(details), details["input"])

    def fields(self, path: KeyPath) -> dict[str, Field]:
        """The values of the mapping at `path` with their places; empty where there is none."""
        tree: Any = self.document.tree
        for part in path:
            tree = tree.get(part) if isinstance(tree, dict) else None
        if tree is None:
            return {}
        if not isinstance(tree, dict):
            if len(path) > 1:  # what is wrong with whole sections, `settings` says
                self.wrong(path, "must be a mapping of its fields, or null for the defaults", tree)
            return {}
        return {key: Field(value, (*path, key)) for key, value in tree.items()}

    def named_section(
        self, kind: str, registry: Mapping[str, Any], fields: Mapping[str, Field], *, at: KeyPath
    ) -> Section | None:
        """A part whose `name` picks the registry's entry."""
        given = fields.get("name")
        if given is None:
            self.wrong(at, f"name is missing; allowed: {', '.join(registry)}")
            return None
        if not isinstance(given.value, str):
            self.wrong(given.path, f"must be one name; allowed: {', '.join(registry)}", given.value)
            return None
        if given.value not in registry:
            self.wrong(given.path, unknown_key(given.value, registry, kind), given.value)
            return None
        return self.section(given.value, registry[given.value], fields_of(fields)[1], at=at)

    def section(self, name: str, entry: Any, fields: Mapping[str, Field], *, at: KeyPath) -> Section | None:
        """A part against its registry entry."""
        return section(
            name,
            getattr(entry, "Config", None) or entry.config,
            fields,
            semantics=entry.semantics,
            at=at,
            document=self.document,
            problems=self.problems,
        )

    def arm(self, label: str) -> Arm | None:
        """One arm: its optimizer's fields, its methods by name, its changes to the network."""
        at: KeyPath = ("arms", label)
        fields = self.fields(at)
        own = {key: field for key, field in fields.items() if key not in ("optimizer", "network", *METHODS)}
        network = self.arm_network(label)
        methods = [
            self.section(key, METHODS[key], self.fields((*at, key)), at=(*at, key)) for key in fields if key in METHODS
        ]
        chosen = fields.get("optimizer")
        if chosen is None:
            close = nearest("optimizer", own)
            hint = f" (or is {close!r} meant?)" if close else ""
            self.wrong(at, f"optimizer is missing{hint}; allowed: {', '.join(OPTIMIZERS)}")
            return None
        if not isinstance(chosen.value, str) or chosen.value not in OPTIMIZERS:
            text = (
                unknown_key(chosen.value, OPTIMIZERS, "optimizer")
                if isinstance(chosen.value, str)
                else f"must be one name, another optimizer is another arm; allowed: {', '.join(OPTIMIZERS)}"
            )
            self.wrong(chosen.path, text, chosen.value)
            return None
        foreign = [key for key in own if self.is_foreign(key, chosen.value, own[key].path)]
        optimizer = self.section(
            chosen.value,
            OPTIMIZERS[chosen.value],
            {key: field for key, field in own.items() if key not in foreign},
            at=at,
        )
        sound = [method for method in methods if method is not None]
        if optimizer is None or network is None or foreign or len(sound) < len(methods):
            return None
        return Arm(label, optimizer, tuple(sound), network)

    def is_foreign(self, key: str, optimizer: str, path: KeyPath) -> bool:
        """Whether an arm's key is no field of its optimizer; says where it belongs."""
        fields = axes.adapters(OPTIMIZERS[optimizer].config)
        if key in fields or axes.OTHER_NAMES.get(key) in fields:
            return False
        under = [name for name, spec in METHODS.items() if key in axes.adapters(spec.config)]
        others = [name for name, spec in OPTIMIZERS.items() if key in axes.adapters(spec.config)]
        if under:
            places = " or ".join(f"{name}: {{{key}: ...}}" for name in under)
            self.wrong(path, f"belongs inside a method: write {places}")
        elif others:
            self.wrong(path, f"belongs to optimizer {' or '.join(others)}; this arm's is {optimizer}")
        else:
            allowed = [*fields, *METHODS, "network"]
            self.wrong(path, unknown_key(key, allowed, f"field of {optimizer} or method"))
        return True

    def arm_network(self, label: str) -> Section | None:
        """The sweep's network with the arm's own fields over it."""
        shared = {"name": Field("mlp", ("network",)), **self.fields(("network",))}
        own = self.fields(("arms", label, "network"))
        if "name" in own and own["name"].value != shared["name"].value:
            shared = {}  # another network's fields would mean nothing to it
        at: KeyPath = ("arms", label, "network") if own else ("network",)
        return self.named_section("network", NETWORKS, {**shared, **own}, at=at)

    def metrics(
        self, listed: tuple[str, ...] | None, stream: type[Workload], objective: str | None, objective_at: KeyPath
    ) -> tuple[str, ...]:
        """What is recorded: the list or the defaults, always the online metric, what figures show and the objective."""
        names = metrics.DEFAULTS if listed is None else listed
        online, tested = stream.online_metric, getattr(stream, "tested", False)
        not_by_examples = stream.name in CONTROLS  # of a loss on which gradients could be looked at
        places: list[tuple[KeyPath, str]] = [(("metrics", index), name) for index, name in enumerate(names)]
        judged = [(objective_at, objective)] if objective else []
        for path, name in [*places, *judged]:
            if name in metrics.OF_WORKLOADS and name != online:
                self.wrong(path, f"this workload's online metric is {online}", name)
            if name in metrics.from_origin("tested") and not tested:
                self.wrong(path, f"{stream.name} holds no examples out to test on; its online metric is {online}", name)
            if name in metrics.from_origin("acting") and stream.name not in CONTROLS:
                self.wrong(path, f"nobody acts in {stream.name}; its online metric is {online}", name)
            by_examples = not OF_A_LOSS.isdisjoint(needs_of(name))
            if name in getattr(stream, "unmeasured", ()) or (not_by_examples and by_examples):
                self.wrong(path, f"{stream.name} does not measure it; its online metric is {online}", name)
        if objective and objective not in (allowed := metrics.objectives()):
            self.wrong(objective_at, unknown_key(objective, allowed, "objective"), objective)
        return tuple(
            sorted({*(name for _, name in places + judged), online, getattr(stream, "headline", None) or online})
        )

    def check_search(self, spec: Spec, settings: Settings) -> None:
        """A search and its ranges go together, and only what an arm learns by is searched."""
        for arm in spec.arms:
            for place, part in (("workload", spec.workload), ("network", arm.network)):
                for field in part.ranges:
                    own: KeyPath = ("arms", arm.label, place, field)
                    path = own if own in self.document.lines else (place, field)
                    self.wrong(path, "a search draws settings of optimizer and methods alone: give a value or a list")
            if arm.ranges:
                self.check_arm(arm, searched=spec.search is not None)
        if spec.search and not any(arm.ranges for arm in spec.arms):
            text = "no arm has a range to search: give one in the place of a list, step_size: {log: [1e-4, 1e-1]}"
            self.wrong(("search",), text)
        if settings.select and "window" in (settings.search or settings.seeds.judged).model_fields_set:
            text = "`select` has settings chosen by the beginning of the stream: leave out one of the two"
            self.wrong(("search" if spec.search else "seeds", "window"), text)
        if spec.search and settings.seeds.judged.model_fields_set:
            [name, *_] = settings.seeds.judged.model_fields_set
            self.wrong(("seeds", name), "a sweep that searches says in `search` by what settings are chosen")

    def check_arm(self, arm: Arm, *, searched: bool) -> None:
        """An arm with ranges: somebody must draw from them, and a list beside them could be meant in two ways."""
        for part in (arm.optimizer, *arm.methods):
            inside = () if part is arm.optimizer else (part.name,)
            for field in part.axes:
                path: KeyPath = ("arms", arm.label, *inside, field)
                if field in part.ranges and not searched:
                    self.wrong(path, "a range is for a search to draw from: add search: {sampler: tpe, trials: 60}")
                elif field not in part.ranges and searched:
                    self.wrong(path, "this arm is searched: write {choice: [...]} for what the search may pick")

    def check_numbers(self, dtype: str) -> None:
        """Settings must be numbers that the trials' dtype can hold: others would be another number, or none."""
        low, high = RANGES[dtype]
        for path, value in numbers({part: self.document.tree.get(part) for part in ("workload", "network", "arms")}):
            if abs(value) > high:
                self.wrong(path, f"is beyond what {dtype} holds, {high:.2g}", value)
            elif 0 < abs(value) < low:
                self.wrong(path, f"is 0 in {dtype}, whose smallest number is {low:.2g}", value)

    def check_pictures(self, spec: Spec) -> None:
        """Networks of pictures need a stream of pictures that are large enough."""
        kind: Any = WORKLOADS[spec.workload.name]
        try:
            shapes = {tuple(getattr(kind(c, 0), "shape", ())) for c in spec.workload.configs}
        except (Exception, SystemExit) as error:
            if owner("STREAMS", spec.workload.name) is None:
                raise
            self.wrong(("workload",), told(error))
            return
        for arm in spec.arms:
            at: KeyPath = ("arms", arm.label, "network")
            path = at if at in self.document.lines else ("network",)
            for shape in sorted(shapes) if NETWORKS[arm.network.name].pictures else ():
                if len(shape) != 3:
                    flat = [name for name, entry in NETWORKS.items() if not entry.pictures]
                    text = f"{arm.network.name} needs pictures, which {spec.workload.name} does not show"
                    self.wrong(path, f"{text}; networks for it: {', '.join(flat)}")
                    continue
                for config in arm.network.configs:
                    try:
                        config.parameters(shape, 2)
                    except ValueError as error:
                        self.wrong(path, str(error))

    def check_figures(self, spec: Spec) -> None:
        """A figure needs something to show."""
        for place, name in enumerate(spec.figures):
            missing = FIGURES[name](spec)
            if missing:
                self.wrong(("figures", place), missing, name)

    def check_layers(self, spec: Spec) -> None:
        """Diagnostics of layer Jacobians need networks that offer their layers one by one."""
        layered = [name for name in spec.metrics if "layer_jacobian_spectra" in needs_of(name)]
        unable = [arm.network.name for arm in spec.arms if not NETWORKS[arm.network.name].layered]
        for name in layered if unable else []:
            offering = [network for network, entry in NETWORKS.items() if entry.layered]
            listed = self.document.tree.get("metrics") or []
            judged: KeyPath = ("search" if spec.search else "seeds", "objective")  # recorded without being listed
            where: KeyPath = ("metrics", listed.index(name)) if name in listed else judged
            text = f"{name} needs a network's layers one by one, which {unable[0]} does not offer"
            self.wrong(where, f"{text}; networks for it: {', '.join(offering)}", name)

    def check_killed(self, spec: Spec) -> None:
        """What is revived was silenced before."""
        configs = [config for arm in spec.arms for config in arm.network.configs]
        if "revived_fraction" in spec.metrics and all(getattr(c, "killed", "none") == "none" for c in configs):
            listed = self.document.tree.get("metrics") or []
            judged: KeyPath = ("search" if spec.search else "seeds", "objective")
            where: KeyPath = ("metrics", listed.index("revived_fraction")) if "revived_fraction" in listed else judged
            text = "revived_fraction is of units that a network begins with silenced: give `network` killed: flipped"
            ways = [way for way in get_args(Killed) if way not in ("none", "flipped")]
            self.wrong(where, f"{text}, or {', '.join(ways)}", "revived_fraction")

    def check_ages(self, spec: Spec) -> None:
        """Ages are recorded of arms whose method keeps them: of one at least, or nothing was asked."""
        asked = [name for name in spec.metrics if "ages" in needs_of(name)]
        keeping = [name for name, entry in METHODS.items() if entry.ages]
        if asked and not any(METHODS[method.name].ages for arm in spec.arms for method in arm.methods):
            listed = self.document.tree.get("metrics") or []
            where: KeyPath = ("metrics", listed.index(asked[0])) if asked[0] in listed else ("metrics",)
            text = (
                f"{asked[0]} is recorded of arms whose method keeps the units' ages, and none has {', '.join(keeping)}"
            )
            self.wrong(where, text, asked[0])

    def check_units(self, spec: Spec) -> None:
        """Methods that renew units need units with activations of their own."""
        for arm in spec.arms:
            network = NETWORKS[arm.network.name]
            group = max(map(network.group, arm.network.configs), default=1)
            for method in arm.methods if group > 1 else ():
                if any("units" in METHODS[method.name].needs(c) for c in method.configs):
                    text = f"{sorted_units(method.name, group)}: give this arm a network with another activation"
                    self.wrong(("arms", arm.label, method.name), text)

    def check_scales(self, spec: Spec) -> None:
        """A penalty of learned layer scales needs such scales in all of an arm's networks."""
        for arm in spec.arms:
            scaled = all(map(NETWORKS[arm.network.name].scaled, arm.network.configs))
            for entry, part in parts_of(arm) if not scaled else ():
                if any("layer_scales" in entry.needs(c) for c in part.configs):
                    inside: KeyPath = ("arms", arm.label, *(() if part is arm.optimizer else (part.name,)))
                    mend = "give every network of this arm, an mlp with hidden layers, layer_scale: true"
                    self.wrong((*inside, "scale_penalty"), f"{no_scales(part.name)}: {mend}")

    def check_needs(self, spec: Spec) -> None:
        """Methods that must be told when a task changes need a stream that shows it."""
        hidden = [c for c in spec.workload.settings if c.get("task_boundaries") == "hidden"]
        for arm in spec.arms:
            for entry, part in parts_of(arm):
                needing = any("task_boundaries" in entry.needs(c) for c in part.configs)
                if needing and hidden:
                    inside: KeyPath = ("arms", arm.label, part.name)
                    self.wrong(
                        inside if inside in self.document.lines else inside[:2],
                        f"{part.name}, as set here, must see task boundaries, and {spec.workload.name} hides "
                        "them: set workload.task_boundaries to shown",
                    )
