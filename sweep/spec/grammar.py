"""The sweep file: a question as data. Read, checked against the registries, explained when wrong.

A list below `workload`, `network` or an arm is an axis; the trials are the product of axes, arms and seeds. A
scale is the same sweep at another size: `full` is the file as written (`paper` in a study that ships), the others
override parts of it. All scales are checked whenever a file is read: a slip in one should not wait for its day.

Nothing here imports torch: files are read, and refused, in well under a second.
"""

from __future__ import annotations

import math
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from sweep.errors import InputError, SpecError
from sweep.spec import axes
from sweep.spec.axes import MOST_SETTINGS, Section, section
from sweep.spec.document import Document, KeyPath, Problems, as_file, read_document, unknown_key
from sweep.spec.figures import FIGURES
from sweep.spec.identity import NAME, name_of
from workloads.diagnostics import DIAGNOSTICS
from workloads.extensions import load_code, owner, told
from workloads.methods.config import METHODS, OPTIMIZERS
from workloads.networks.config import NETWORKS
from workloads.registry import nearest
from workloads.streams import STREAMS
from workloads.streams.base import Stream

STUDIES = Path(__file__).parents[1] / "studies"
ONLINE = ("online_error", "online_accuracy", "online_loss")
TESTED = ("test_accuracy", "test_accuracy_max")  # need a stream that holds examples out
ASKED = ("plasticity_gap", "within_task")  # recorded where they are asked for
REPLACED = "units_replaced"  # recorded for every arm with a method that replaces units, and for no other
DEFAULT_METRICS = (
    "dormant_fraction",
    "effective_rank",
    "weight_magnitude",
)  # besides the stream's online one
FULL, PAPER, LAPTOP = "full", "paper", "laptop"
SINGLE = (1.17549435e-38, 3.40282347e38)
RANGES = {  # smallest and largest magnitude: what is smaller is flushed to zero where trials train
    "float32": SINGLE,
    "tf32": SINGLE,
    "float64": (sys.float_info.min, sys.float_info.max),
}
MOST_SEED = 2**32  # seeds key 32-bit counters: a larger one would repeat a smaller one's draws

Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]


@dataclass(frozen=True, slots=True)
class Arm:
    """One way of learning under comparison, with its axes."""

    label: str
    optimizer: Section
    methods: tuple[Section, ...]
    network: Section


@dataclass(frozen=True, slots=True)
class Spec:
    """A sweep at one scale, checked, with every default filled in."""

    name: str
    scale: str
    question: str
    file: str  # where it was read, for messages
    text: str  # the file as it was
    scales: tuple[str, ...]  # all that the file offers, the file as written first
    workload: Section
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    metrics: tuple[str, ...]  # sorted; the stream's online metric is always among them
    every: int  # tasks between two diagnostics
    probe: int  # examples they look at
    fresh_every: int  # tasks between two comparisons with a fresh network, where plasticity_gap is recorded
    dtype: str
    keep: str | dict[str, int]
    figures: tuple[str, ...]
    track: Track
    code: Mapping[str, str]  # the user's files, name -> source

    @property
    def size(self) -> int:
        """Trials, counting once per arm what two arms have in common."""
        return len(self.seeds) * len(self.workload.settings) * sum(arm_size(arm) for arm in self.arms)


def arm_size(arm: Arm) -> int:
    """How many settings an arm stands for."""
    return math.prod(len(part.settings) for part in (arm.network, arm.optimizer, *arm.methods))


@dataclass(frozen=True, slots=True)
class Study:
    """A sweep that ships with Pliant."""

    name: str
    question: str
    path: Path
    trials: Mapping[str, int]  # scale -> trials


class Strict(BaseModel):
    """Text enters here: unknown keys and wrong types are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Track(Strict):
    """How much of each trial goes to MLflow; the ledger has everything."""

    points: Annotated[int, Field(ge=1)] = 50  # per curve
    metrics: Annotated[int, Field(ge=1)] = 6  # per trial
    trials: bool = True  # false: runs for groups only


class Diagnostics(Strict):
    """When the network is looked at, and on what; null is the stream's own."""

    every: Annotated[int, Field(ge=1)] | None = None  # tasks
    probe: Annotated[int, Field(ge=1)] | None = None  # examples
    fresh_every: Annotated[int, Field(ge=1)] | None = None  # tasks between two comparisons with a fresh network


def seed_list(value: Any) -> tuple[int, ...]:
    """`30` is seeds 0 to 29; a list is itself."""
    if isinstance(value, dict):
        raise ValueError("selecting and evaluating on different seeds is not offered; give a number or a list")
    if isinstance(value, int) and not isinstance(value, bool):
        if not 1 <= value <= MOST_SETTINGS:
            raise ValueError(f"must be a number of seeds from 1 to {MOST_SETTINGS:,}, or a list of seeds")
        return tuple(range(value))
    if not isinstance(value, list) or any(not isinstance(s, int) or isinstance(s, bool) for s in value):
        raise ValueError("must be a number of seeds (at least 1) or a list of whole numbers")
    if not value:
        raise ValueError("a sweep needs at least one seed")
    if wrong := [s for s in value if not 0 <= s < MOST_SEED]:
        raise ValueError(f"a seed is from 0 to {MOST_SEED - 1}, not {wrong[0]}")
    if twice := [s for s, count in Counter(value).items() if count > 1]:
        raise ValueError(f"seed {twice[0]} is given twice")
    return tuple(value)


def keep_rule(value: Any) -> str | dict[str, int]:
    """none, final, or {every: tasks}."""
    if value in ("none", "final"):
        return str(value)
    if isinstance(value, dict) and list(value) == ["every"]:
        every = value["every"]
        if isinstance(every, int) and not isinstance(every, bool) and every >= 1:
            return {"every": every}
    raise ValueError("must be none, final or {every: <tasks>}, at least 1")


def named(kind: str, allowed: tuple[str, ...]) -> Any:
    """A validator for a list of names; says the nearest one for a misspelling."""

    def check(value: Any) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
            raise ValueError(f"must be a list of {kind}s: {', '.join(allowed)}")
        for name in value:
            if name not in allowed:
                raise ValueError(unknown_key(name, allowed, f"{kind} {name!r}"))
        return tuple(value)

    return BeforeValidator(check)


class Settings(Strict):
    """The keys of a sweep file; what is below workload, network and arms is checked against registries."""

    workload: dict[str, Any]
    arms: Annotated[dict[Label, dict[str, Any]], Field(min_length=1)]
    network: dict[str, Any] = {}
    seeds: Annotated[Any, BeforeValidator(seed_list)] = (0,)
    metrics: Annotated[tuple[str, ...], named("metric", (*ONLINE, *TESTED, *ASKED, REPLACED, *DIAGNOSTICS))] | None = (
        None
    )
    diagnostics: Diagnostics = Diagnostics()
    dtype: Literal["float32", "float64", "tf32"] = "float32"
    keep: Annotated[Any, BeforeValidator(keep_rule)] = "none"
    figures: Annotated[tuple[str, ...], named("figure", FIGURES)] = ("arms",)
    track: Track = Track()
    scales: dict[Label, dict[str, Any] | None] = {}
    code: list[str] = []
    question: str | None = None
    name: Annotated[str, Field(pattern=NAME)] | None = None


EXAMPLES = {
    "workload": "workload: {name: slowly_changing_regression}, or another that `sweep describe` lists",
    "arms": "arms: {mine: {optimizer: sgd}}",
}
OWNERS: dict[str, type[Strict]] = {"track": Track, "diagnostics": Diagnostics}


def load(study: str | Path | Mapping[str, Any], scale: str | None = None) -> Spec:
    """The sweep called `study`, a path or a shipped one's name, at `scale` (`laptop` where there is one).

    A mapping is a sweep too: the keys of a sweep file, `name` among them.
    Raises SpecError: for every mistake file, line, key, value, what is allowed and the nearest name.
    """
    if isinstance(study, Mapping):
        text, name = as_file(study)
        return parse(text, Path(name), scale=scale, numbered=False)
    if not isinstance(study, str | Path):
        raise SpecError(f"a sweep is a path, a shipped study's name or a mapping of its keys, not {study!r:.60}")
    path = study_path(study)
    return parse(read_text(path), path, scale=scale)


def read_text(path: Path) -> str:
    """A sweep file's text. Raises SpecError."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        others = [file.name for file in path.parent.glob("*.y*ml")] if isinstance(error, FileNotFoundError) else []
        close = nearest(path.name, others)
        hint = f"; did you mean {path.with_name(close)}?" if close else ""
        raise SpecError(f"{path}: cannot be read: {why}{hint}") from None


def study_path(study: str | Path) -> Path:
    """Where a study's file is: a path as it is, a bare name among those that ship."""
    path = Path(study)
    if isinstance(study, Path) or path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        return path
    shipped = {file.stem: file for file in sorted(STUDIES.glob("*.yaml"))}
    if study not in shipped:
        if (own := path.with_suffix(".yaml")).is_file():
            raise SpecError(f"no study {study!r} ships; the file of that name is given by its path: {own}")
        text = unknown_key(study, shipped, f"study {study!r}")
        raise SpecError(f"{text}; a file of your own is given by its path, such as {study}.yaml")
    return shipped[study]


def is_study(word: str) -> bool:
    """Whether a word names a study that ships, or a sweep file by its ending."""
    return Path(word).suffix in (".yaml", ".yml") or (STUDIES / f"{word}.yaml").is_file()


def studies() -> list[Study]:
    """The sweeps that ship, by name."""
    found = []
    for path in sorted(STUDIES.glob("*.yaml")):
        specs = _all_scales(path.read_text(encoding="utf-8"), path)
        spec = specs[PAPER]
        found.append(Study(spec.name, spec.question, path, {name: s.size for name, s in specs.items()}))
    return found


def sizes(study: str | Path) -> dict[str, int]:
    """Scale -> trials of a study. Raises SpecError."""
    path = study_path(study)
    return {scale: spec.size for scale, spec in _all_scales(read_text(path), path).items()}


def parse(text: str, path: Path, *, scale: str | None = None, numbered: bool = True) -> Spec:
    """The sweep in `text`; `path` names it in messages, with lines if `numbered`, and is where `code` is looked for."""
    specs = _all_scales(text, path, numbered=numbered)
    as_written = scale_as_written(path)
    chosen = scale or (LAPTOP if LAPTOP in specs else as_written)
    if chosen not in specs:
        meant = f"; a file of your own, as written, is at scale {FULL}" if chosen == PAPER else ""
        raise SpecError(f"{path}: {unknown_key(chosen, specs, f'scale {chosen!r}')}{meant}")
    return specs[chosen]


def scale_as_written(path: Path) -> str:
    """What the file itself is called among its scales: the studies that ship are those of papers."""
    return PAPER if path.resolve().parent == STUDIES.resolve() else FULL


def _all_scales(text: str, path: Path, *, numbered: bool = True) -> dict[str, Spec]:
    """Every scale of a file, the file as written first."""
    problems = Problems(str(path), numbered)
    document = read_document(text, problems)
    code = _load_user_code(document, path, problems)
    overrides = document.tree.get("scales") or {}
    as_written = scale_as_written(path)
    scales: dict[str, Any] = {as_written: {}, **(overrides if isinstance(overrides, dict) else {})}
    if isinstance(overrides, dict) and as_written in overrides:
        where: KeyPath = ("scales", as_written)
        problems.add(document.line(where), where, f"{as_written} is the file as written; choose another name")
    specs = {}
    for scale, changes in scales.items():
        sized = document
        if isinstance(changes, dict) and changes:
            at: KeyPath = ("scales", scale)
            problems.scale = scale
            problems.scale_lines = frozenset(line for path, line in document.lines.items() if path[:2] == at)
            sized = document.with_overrides(changes, at, problems)
        specs[scale] = _Checked(sized, problems).spec(path, text, scale=scale, scales=tuple(scales), code=code)
    problems.raise_any()
    return {scale: spec for scale, spec in specs.items() if spec is not None}


def _load_user_code(document: Document, path: Path, problems: Problems) -> dict[str, str]:
    """The sources that `code` names, loaded into the registries; raises at once: the rest depends on them."""
    files: dict[str, str] = {}
    listed = document.tree.get("code", [])
    for index, name in enumerate(listed if isinstance(listed, list) else []):
        where: KeyPath = ("code", index)
        source = path.parent / str(name)
        if source.name in files:
            problems.add(document.line(where), where, "another file of this name is given already", name)
        try:
            files[source.name] = source.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            problems.add(document.line(where), where, f"{source} cannot be read: {why}", name)
    if not problems.found:
        try:
            load_code(files)
        except InputError as error:
            problems.add(document.line(("code",)), ("code",), str(error))
    problems.raise_any()
    return files


def question_of(text: str) -> str:
    """The question a file opens with: its first comment, up to the question mark."""
    opening = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        opening.append(line.lstrip("# ").strip())
    asked, mark, _ = " ".join(opening).partition("?")
    return re.sub(r"\s+", " ", asked + mark if mark else opening[0] if opening else "").strip()


def numbers(value: Any, at: KeyPath = ()) -> Iterator[tuple[KeyPath, int | float]]:
    """Every number in a tree of values, and where it is."""
    if isinstance(value, dict | list):
        parts: Iterable[tuple[str | int, Any]] = value.items() if isinstance(value, dict) else enumerate(value)
        for key, part in parts:
            yield from numbers(part, (*at, key))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield at, value


class _Checked:
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
            workload = self.named_section("workload", STREAMS, self.fields(("workload",)), at=("workload",))
        arms = [self.arm(label) for label in labels]
        if settings is None or workload is None or not all(arms):
            return None
        stream = STREAMS[workload.name]
        spec = Spec(
            name=settings.name or name_of(path),
            scale=scale,
            question=settings.question or question_of(text),
            file=str(path),
            text=text,
            scales=scales,
            workload=workload,
            arms=tuple(arm for arm in arms if arm is not None),
            seeds=settings.seeds,
            metrics=self.metrics(settings.metrics, stream),
            every=settings.diagnostics.every or stream.default_every,
            probe=settings.diagnostics.probe or stream.default_probe,
            fresh_every=settings.diagnostics.fresh_every or settings.diagnostics.every or stream.default_every,
            dtype=settings.dtype,
            keep=settings.keep,
            figures=settings.figures,
            track=settings.track,
            code=code,
        )
        self.check_needs(spec)
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
        elif kind == "dict_type":
            hint = " such as {optimizer: sgd}" if path[0] == "arms" else " such as {name: ...}"
            self.wrong(path, f"must be a mapping{hint if path[0] != 'scales' else ''}", details["input"])
        else:
            self.wrong(path, axes.explain(details), details["input"])

    def fields(self, path: KeyPath) -> dict[str, axes.Field]:
        """The values of the mapping at `path` with their places; empty where there is none."""
        found: Any = self.document.tree
        for part in path:
            found = found.get(part) if isinstance(found, dict) else None
        if found is None:
            return {}
        if not isinstance(found, dict):
            if len(path) > 1:  # what is wrong with whole sections, `settings` says
                self.wrong(path, "must be a mapping of its fields, or null for the defaults", found)
            return {}
        return {key: axes.Field(value, (*path, key)) for key, value in found.items()}

    def named_section(
        self, kind: str, registry: Mapping[str, Any], fields: Mapping[str, axes.Field], *, at: KeyPath
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
        rest = {key: field for key, field in fields.items() if key != "name"}
        return self.section(given.value, registry[given.value], rest, at=at)

    def section(self, name: str, entry: Any, fields: Mapping[str, axes.Field], *, at: KeyPath) -> Section | None:
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
            self.wrong(at, f"optimizer is missing; allowed: {', '.join(OPTIMIZERS)}")
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
        known = axes.adapters(OPTIMIZERS[optimizer].config)
        if key in known or axes.OTHER_NAMES.get(key) in known:
            return False
        under = [name for name, spec in METHODS.items() if key in axes.adapters(spec.config)]
        others = [name for name, spec in OPTIMIZERS.items() if key in axes.adapters(spec.config)]
        if under:
            places = " or ".join(f"{name}: {{{key}: ...}}" for name in under)
            self.wrong(path, f"belongs inside a method: write {places}")
        elif others:
            self.wrong(path, f"belongs to optimizer {' or '.join(others)}; this arm's is {optimizer}")
        else:
            allowed = [*known, *METHODS, "network"]
            self.wrong(path, unknown_key(key, allowed, f"field of {optimizer} or method"))
        return True

    def arm_network(self, label: str) -> Section | None:
        """The sweep's network with the arm's own fields over it."""
        shared = {"name": axes.Field("mlp", ("network",)), **self.fields(("network",))}
        own = self.fields(("arms", label, "network"))
        if "name" in own and own["name"].value != shared["name"].value:
            shared = {}  # another network's fields would mean nothing to it
        at: KeyPath = ("arms", label, "network") if own else ("network",)
        return self.named_section("network", NETWORKS, {**shared, **own}, at=at)

    def metrics(self, listed: tuple[str, ...] | None, stream: type[Stream]) -> tuple[str, ...]:
        """What is recorded: the list or the defaults, and always the online metric and what figures show."""
        wanted = DEFAULT_METRICS if listed is None else listed
        online, tested = stream.online_metric, getattr(stream, "tested", False)
        for index, name in enumerate(wanted):
            path: KeyPath = ("metrics", index)
            if name in ONLINE and name not in (online, "online_loss"):
                self.wrong(path, f"this workload's online metric is {online}", name)
            if name in TESTED and not tested:
                self.wrong(path, f"{stream.name} holds no examples out to test on; its online metric is {online}", name)
        return tuple(sorted({*wanted, online, getattr(stream, "headline", None) or online}))

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
        kind = STREAMS[spec.workload.name]
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

    def check_needs(self, spec: Spec) -> None:
        """Methods that must be told when a task changes need a stream that shows it."""
        hidden = [c for c in spec.workload.settings if c.get("task_boundaries") == "hidden"]
        for arm in spec.arms:
            registries = [(METHODS, method) for method in arm.methods] + [(OPTIMIZERS, arm.optimizer)]
            for registry, part in registries:
                needing = any("task_boundaries" in registry[part.name].needs(c) for c in part.configs)
                if needing and hidden:
                    inside: KeyPath = ("arms", arm.label, part.name)
                    self.wrong(
                        inside if inside in self.document.lines else inside[:2],
                        f"{part.name}, as set here, must see task boundaries, and {spec.workload.name} hides "
                        "them: set workload.task_boundaries to shown",
                    )
