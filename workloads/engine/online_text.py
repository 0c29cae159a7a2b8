"""The C++ of a learner that the online path trains: emitted chains and segments around the products of online_traced.h.

One file per learner and batch size. `Emitted` holds the text and what the engine has to know to call it: which leaves
are kept as weights are, and how each layer's rows sleep.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, fx

from workloads.engine.lanes import Program, stored
from workloads.engine.lowering import Lowering
from workloads.engine.online_cut import Cut, Op, Segment
from workloads.engine.online_graph import stripped
from workloads.engine.online_layers import BACK, DOT, FORWARD, LEARN, PULL, SCALE, SQUARE, Layer, Sum
from workloads.engine.online_layout import padded
from workloads.engine.online_sleep import LENGTHS, Asleep, constants, descends, sleep_of
from workloads.engine.trace import NotLowered
from workloads.engine.values import KINDS, SCALARS
from workloads.periods import Acting, Schedule

REALS = {torch.float32: "f32", torch.float64: "f64"}


@dataclass
class Emitted:
    """The text and its plan."""

    program: Program
    cut: Cut
    sleeps: list[Asleep]
    due: list[int]  # leaves of counts of rare events
    lowered: bool = False  # whether those events are in the text
    acting: list[Acting] = field(default_factory=list)  # programs of steps in which a schedule acts
    text: str = ""
    size: int = 0  # bytes of scratch memory
    places: dict[str, int] = field(default_factory=dict)  # arrays in the scratch memory

    def take(self, name: str, size: int) -> None:
        """Room for `size` bytes, from the next whole cache line on."""
        self.places[name] = self.size
        self.size += -(-size // 64) * 64


def emitted(program: Program, schedule: Schedule, due: Sequence[int]) -> Emitted:
    """The C++ for a program; `due`: leaves of counts of rare events. Raises NotLowered."""
    scalars = [torch.zeros((), dtype=torch.int64)] * 2
    examples = [*program.leaves, *program.hypers, *scalars, program.x, program.y]
    cut = Cut(program.step(schedule.quiet), examples, len(program.leaves), len(program.hypers), descends)
    made = Emitted(program, cut, [sleep_of(cut, layer) for layer in cut.layers], list(due))
    made.acting = [acting for acting in schedule.met() if any(acting)]
    made.text = _Writer(made).text()
    return made


class _Writer:
    """Puts the file together."""

    def __init__(self, made: Emitted) -> None:
        self.made, self.cut, self.program = made, made.cut, made.program
        self.real = REALS[self.program.dtype]
        self.batch = len(self.program.x)
        self.names: dict[fx.Node, str] = {}
        leaves, hypers = len(self.program.leaves), len(self.program.hypers)
        for k, node in enumerate(self.cut.placeholders):
            given = ("seed", "step", "x", "y")
            self.names[node] = (
                f"p{k}" if k < leaves else f"h{k - leaves}" if k < leaves + hypers else given[k - leaves - hypers]
            )
        for segment in (self.cut.opening, *self.cut.segments):
            for node in segment.writes:
                self.names[node] = f"v{self.cut.order[node]}"
        for node, (kind, *_) in self.cut.products.items():
            if kind != PULL:  # which lies as the weights do
                self.names[node] = f"v{self.cut.order[node]}"

    def kind(self, node: fx.Node) -> str:
        """The kind of a node's numbers."""
        value: Tensor = self.cut.seen[node]
        if value.dtype not in KINDS:
            raise NotLowered(f"tensors of {value.dtype}")
        return KINDS[value.dtype]

    def pointer(self, node: fx.Node) -> str:
        """Where a node's numbers lie, as C++."""
        name, number = self.names[node], self.cut.placeholders.index(node) if node.op == "placeholder" else -1
        kind = SCALARS[self.kind(node)]
        if name in ("seed", "step", "x", "y"):
            return {"seed": "&m.seed", "step": "&now"}.get(name, f"({kind}*){name}")
        if name[0] == "p":
            return f"({kind}*)m.leaf[{number}]"
        if name[0] == "h":
            return f"({kind}*)m.hyper[{number - len(self.program.leaves)}]"
        return f"({kind}*)(scratch+{self.made.places[name]})"

    def text(self) -> str:
        """The whole file. Raises NotLowered."""
        for name in sorted({n for n in self.names.values() if n[0] == "v"}):
            node = next(n for n, own in self.names.items() if own == name)
            value: Tensor = self.cut.seen[node]
            self.made.take(name, padded(value.numel()) * stored(value.dtype).itemsize)
        size = self.program.dtype.itemsize
        for k, layer in enumerate(self.cut.layers):
            out, inputs = self.program.leaves[layer.weight].shape
            self.made.take(f"index{k}", (inputs + 16) * 4)
            self.made.take(f"value{k}", (inputs + 16) * self.batch * size)
            self.made.take(f"scaled{k}", (inputs + 16) * self.batch * size)
            self.made.take(f"times{k}", (inputs + 16) * size)
            self.made.take(f"rest{k}", (inputs + 16) * size)
            self.made.take(f"out{k}", padded(out) * self.batch * size)
            self.made.take(f"error{k}", padded(out) * self.batch * size)
            self.made.take(f"noted{k}", out * size)
            short = padded(min(out, inputs)) if layer.pulls else 0
            self.made.take(f"gram{k}", short * short * size)
            self.made.take(f"turned{k}", padded(out) * padded(inputs) * size if short else 0)
            self.made.take(f"pulled{k}", inputs * padded(out) * size * len(layer.pulls))
            self.made.take(f"units{k}", max(len(layer.vectors), len(layer.dots) > 0) * padded(out) * size)
        self.made.take("picture", self.program.x.numel() * size)
        for k, layer in enumerate(self.cut.layers):
            self.made.take(f"lengths{k}", LENGTHS * len(layer.evolving) ** 2)
        wide, small, body = [], [], []
        for k, layer in enumerate(self.cut.layers):
            wide += self._layer(k, layer)
        code, opening = self._segment("opening", self.cut.opening)
        small += code
        for k, segment in enumerate(self.cut.segments):
            code, call = self._segment(f"segment{k}", segment)
            small += code
            body += call
            if k < len(self.cut.ops):
                body += self._op(self.cut.ops[k])
        code, events = self._events()
        small += code
        whole, calls = [], []
        for k, acting in enumerate(self.made.acting):
            code, call = self._whole(f"whole{k}", acting)
            whole += code
            calls += call
        folder = Path(__file__).parent
        read = {name: (folder / name).read_text() for name in PARTS}
        lanes = 64 // self.program.dtype.itemsize
        layers = range(len(self.cut.layers))
        biased = [k for k in layers if self.cut.layers[k].bias is not None]
        rows = [f"Rows<wide::Layer{k}> rows{k}(m, scratch);" for k in layers]
        passed = ", ".join(f"rows{k}" for k in layers)
        due = " || ".join(f"some((const int32_t*)m.leaf[{k}], {self.program.leaves[k].numel()})" for k in self.made.due)
        values = {
            "rows": "\n    ".join(rows),
            "prepare": "\n    ".join(f"rows{k}.prepare();" for k in layers),
            "settle": "\n    ".join(f"rows{k}.settle(now);" for k in layers),
            "opening": "\n    ".join(opening),
            "body": "\n    ".join(body),
            "given": ", ".join(f"Rows<wide::Layer{k}>& rows{k}" for k in layers),
            "passed": passed,
            "due": due or "false",
            "happen": f"happen(m, scratch, {passed}, start + k);" if self.made.lowered else "return k + 1;",
            "events": "\n    ".join(events),
            "noted": "\n    ".join(f"rows{k}.note_bias();" for k in biased),
            "recount": "\n    ".join(f"if (anew) rows{k}.recount(now + 1);" for k in layers if self.cut.layers[k].sums),
            "forget": "\n    ".join(f"rows{k}.forget_rests();" for k in biased),
            "count": "\n    ".join(f"rows{k}.recount(now);" for k in layers if self.cut.layers[k].sums),
            "picture": str(self.made.places["picture"]),
            "inputs": str(self.program.x[0].numel()),
            "target": SCALARS[KINDS[self.program.y.dtype]],
        }
        driver = read["online_driver.h"]
        for name, text in values.items():
            driver = driver.replace(f"@{name}@", text)
        member = (
            f"struct Member {{ char* leaf[{len(self.program.leaves)}]; char* hyper[{len(self.program.hypers)}]; "
            f"int64_t* awake[{len(layers)}]; const double* pace[{len(layers)}]; "
            f"double* columns[{len(layers)}]; double* across[{len(layers)}]; char* rests[{len(layers)}]; "
            "int64_t seed; };"
        )
        return "\n".join(
            [
                f"typedef {SCALARS[self.real]} Real;\nconstexpr int BATCH = {self.batch};",
                read["philox.h"],
                read["online_rows.h"],
                read["online_descent.h"],
                read["online_products.h"],
                member,
                f"namespace small {{\n{read['online_small.h']}",
                *small,
                *whole,
                "}",
                f"namespace wide {{\n#define W {lanes}\n#define STRIDE W\n{read['lanes.h']}",
                f"typedef {self.real}v Number;",
                # Else a process has one table of that name, that of the first library.
                "namespace {",
                *wide,
                "}\n#undef W\n#undef STRIDE\n}",
                constants(),
                read["online_traced.h"],
                driver,
                *calls,
            ]
        )

    def _layer(self, number: int, layer: Layer) -> list[str]:
        """The structure that online_traced.h takes."""
        cut, asleep, places = self.cut, self.made.sleeps[number], self.made.places
        if any(self.program.leaves[k].dtype != self.program.dtype for k in layer.leaves):
            raise NotLowered("numbers of another type than the weights', one for every weight")
        pulls = layer.pulls
        slots = [torch.zeros((), dtype=self.program.dtype) for _ in [*layer.leaves, *pulls]]
        numbers = [cut.seen[n].flatten()[0].clone() for n in layer.scalars]
        chain = cut.chain(layer)
        count = len(slots)

        def step(*given: Tensor) -> list[Tensor]:
            return chain(given[count], *given[:count], *given[count + 1 :])

        names = [f"e{k}" for k in range(len(layer.evolving))]
        names += [f"c{k}_" for k in range(count - len(layer.evolving))]
        singles = [f"n{k}" for k in range(len(layer.scalars))]
        vectors = [f"v{k}_" for k in range(len(layer.vectors))]
        given = [slots[0] for _ in vectors]
        lowering = Lowering(step, [*slots, slots[0], *given, *numbers], [*names, "g", *vectors, *singles])
        out, inputs = self.program.leaves[layer.weight].shape
        constants = {
            "NUMBER": number,
            "IN": inputs,
            "OUT": out,
            "C": padded(out),
            "EVOLVING": len(layer.evolving),
            "CONSTANT": count - len(layer.evolving),
            "ALL": int(not silent(cut, layer)),
            "BACK": int(layer.back is not None and not layer.apart),
            "PULLS": len(pulls),
            "VECTORS": len(vectors),
            "SLEEP": int(asleep.sleep),
            "HOMOGENEOUS": int(asleep.homogeneous),
            "DESCENDS": int(asleep.descends),
            "ENTERING": int(any(own.incoming for own in layer.sums)),
            "LEAVING": int(any(not own.incoming for own in layer.sums)),
            "BIAS": layer.bias.weight if layer.bias is not None else -1,
            **{name.upper(): places[f"{name}{number}"] for name in PLACES},
        }
        kinds = [self.kind(n) for n in layer.scalars]
        if any(cut.seen[n].dtype != self.program.dtype or self.names[n] == "x" for n in layer.vectors):
            raise NotLowered("inputs, or numbers of another type than the weights', one for every unit or input")
        by_unit = ["true" if tuple(cut.seen[n].shape) == (out, 1) else "false" for n in layer.vectors]
        return [
            f"struct Layer{number} {{",
            *(f"static constexpr int {name} = {value};" for name, value in constants.items()),
            f"static constexpr double TARGETS[] = {{{', '.join([*(pull.target.hex() for pull in pulls), '0'])}}};",
            "struct Numbers {",
            *(f"{kind}v {name}[1];" for kind, name in zip(kinds, singles, strict=True)),
            "};",
            "static void arrays(const Member& m, [[maybe_unused]] char* scratch, Real** to) {",
            *(f"to[{k}] = (Real*)m.leaf[{leaf}];" for k, leaf in enumerate(layer.leaves)),
            *(
                f"to[{k + len(layer.leaves)}]=(Real*)(scratch+{places[f'pulled{number}']})+{k * inputs * padded(out)};"
                for k in range(len(pulls))
            ),
            "}",
            "static void read(const Member& m, char* scratch, Numbers& n) {",
            *(
                f"n.{name}[0] = {kind}_all(*{self.pointer(node)});"
                for kind, name, node in zip(kinds, singles, layer.scalars, strict=True)
            ),
            "}",
            "static void vectors([[maybe_unused]] const Member& m, [[maybe_unused]] char* scratch, "
            "[[maybe_unused]] const Real** from) {",
            *(f"from[{k}] = {self.pointer(node)};" for k, node in enumerate(layer.vectors)),
            "}",
            f"static constexpr bool BY_UNIT[] = {{{', '.join([*by_unit, 'false'])}}};",
            "static inline void step(Number* s, const Number* c, Number gradient, [[maybe_unused]] const Number* v, "
            "const Numbers& n) {",
            *(f"Number {name}[1] = {{s[{k}]}};" for k, name in enumerate(names[: len(layer.evolving)])),
            *(f"const Number {name}[1] = {{c[{k}]}};" for k, name in enumerate(names[len(layer.evolving) :])),
            "const Number g[1] = {gradient};",
            *(f"const Number {name}[1] = {{v[{k}]}};" for k, name in enumerate(vectors)),
            *(f"const {kind}v* {name} = n.{name};" for kind, name in zip(kinds, singles, strict=True)),
            *lowering.code(),
            *(f"s[{k}] = {name}[0];" for k, name in enumerate(names[: len(layer.evolving)])),
            "}",
            "};",
        ]

    def _segment(self, name: str, segment: Segment) -> tuple[list[str], list[str]]:
        """(definition, call) of a segment's function."""
        cut = self.cut
        results = [cut.placeholders[k] for k in segment.results]
        arguments = [*segment.writes, *results, *(n for n in segment.reads if n not in results)]
        if not segment.writes and not results:
            return [], []
        examples = [cut.seen[n].clone() for n in arguments]
        names = [self.names[n] for n in arguments]
        lowering = Lowering(cut.function(segment, arguments), examples, names)
        signature = ", ".join(f"{self.kind(n)}v* __restrict {name}" for n, name in zip(arguments, names, strict=True))
        call = ", ".join(
            f"(small::{self.kind(n)}v*){self.pointer(n)}" if self.names[n] not in ("seed", "step")
            else f"(small::i64v*){self.pointer(n)}"
            for n in arguments
        )  # fmt: skip
        code = [f"static void {name}({signature}) {{", *lowering.code(), "}"]
        return code, [f"small::{name}({call});"]

    def _whole(self, name: str, acting: Acting) -> tuple[list[str], list[str]]:
        """(definition, entry) of a step in which a schedule acts: all of it dense, weights (out, in), as it stands."""
        program, nodes = self.program, self.cut.placeholders
        lowering = Lowering(program.step(acting), self.cut.examples, [self.names[n] for n in nodes])
        kinds = [self.kind(n) for n in nodes]
        signature = ", ".join(f"{kind}v* {self.names[n]}" for kind, n in zip(kinds, nodes, strict=True))
        passed = ", ".join(f"(small::{kind}v*)given[{k}]" for k, kind in enumerate(kinds))
        code = [f"static void {name}({signature}) {{", *lowering.code(), "}"]
        return code, [f'extern "C" void {name}(char** given) {{ small::{name}({passed}); }}']

    def _op(self, op: Op) -> list[str]:
        """The call of a product."""
        kind, number, which = op
        places, layer = self.made.places, self.cut.layers[number]
        out = self.program.leaves[layer.weight].shape[0]
        index, value = f"(int*)(scratch+{places[f'index{number}']})", f"(Real*)(scratch+{places[f'value{number}']})"
        count = f"count{number}"
        if kind == FORWARD:
            wide = f"(Real*)(scratch+{places[f'out{number}']})" if self.batch > 1 else self.pointer(layer.forward)
            start = "nullptr" if layer.start is None else self.pointer(layer.start)
            given = ", ".join([self.pointer(layer.inputs), index, value, wide, start, "now"])
            lines = [f"const int {count} = rows{number}.forward({given});"]
            if self.batch > 1:
                lines.append(f"narrowed<{out}>({self.pointer(layer.forward)}, {wide});")
            return lines
        if kind == SQUARE:
            lines = []
            for own in layer.squares:
                error, widened = self._error(number, own.error)
                lines += [*widened, f"*{self.pointer(own.node)} = rows{number}.square({count}, {value}, {error});"]
            return lines
        sums = [self._sum(number, own) for own in layer.sums]
        if kind == DOT:
            dot = layer.dots[which]
            name = "by_units" if dot.along else "by_inputs"
            return [f"rows{number}.{name}({self.pointer(dot.vector)}, {self.pointer(dot.node)});"]
        if kind == SCALE:
            assert layer.scale is not None
            return [f"rows{number}.scale(*{self.pointer(layer.scale.number)});", *sums]
        back = self.pointer(layer.back) if layer.back is not None else "nullptr"
        if kind == BACK:
            error, lines = self._error(number, stripped(layer.back.args[0])[0])  # type: ignore[union-attr]
            return [*lines, f"rows{number}.back({count}, {index}, {error}, {back});"]
        assert kind == LEARN and layer.error is not None
        error, lines = self._error(number, layer.error)
        lines.append(f"rows{number}.learn({count}, {index}, {value}, {error}, {back}, now);")
        if layer.bias is not None:
            lines.append(f"rows{number}.learn_bias({error});")
        if layer.scale is not None:
            lines.append(f"*{self.pointer(layer.scale.size)} = rows{number}.settled_size(now + 1);")
        return lines + (sums if layer.last == LEARN else [])

    def _error(self, number: int, node: fx.Node) -> tuple[str, list[str]]:
        """Where an error of a layer lies as (B, padded out), and what brings it there."""
        error = self.pointer(node)
        if self.batch == 1 and node in self._padded():
            return error, []
        out = self.program.leaves[self.cut.layers[number].weight].shape[0]
        wide = f"(Real*)(scratch+{self.made.places[f'error{number}']})"
        return wide, [f"widened<{out}>({wide}, {error});"]

    def _sum(self, number: int, own: Sum) -> str:
        """The call that puts a sum where others read it."""
        out, inputs = self.program.leaves[self.cut.layers[number].weight].shape
        kind, terms = ("entering", inputs) if own.incoming else ("leaving", out)
        return f"rows{number}.{kind}({self.pointer(own.node)}, {terms if own.mean else 1});"

    def _events(self) -> tuple[list[str], list[str]]:
        """(definitions, calls) of the rare events, place by place; none where one is more than a change of elements.

        Awake are the layers that one touches; it answers whether sums of |w| are to be taken anew.
        """
        program, cut = self.program, self.cut
        learner, nodes = program.learner, cut.placeholders[:-2]  # without x and y
        shapes = {k: padded(program.leaves[k].shape[0]) for layer in cut.layers for k in layer.leaves}
        turned = {self.names[cut.placeholders[k]]: pitch for k, pitch in shapes.items()}
        names = [self.names[n] for n in nodes]
        kinds = [self.kind(n) for n in nodes]
        signature = ", ".join(f"{kind}v* {name}" for kind, name in zip(kinds, names, strict=True))
        passed = ", ".join(f"(small::{kind}v*){self.pointer(n)}" for kind, n in zip(kinds, nodes, strict=True))
        sums: dict[str, tuple[str, str]] = {}
        held: dict[str, str] = {}  # a name in the events -> what is passed for it
        for k, layer in enumerate(cut.layers):
            wanted = {own.incoming for own in layer.sums}
            columns, across = (f"columns{k}" if True in wanted else "", f"across{k}" if False in wanted else "")
            sums[self.names[cut.placeholders[layer.weight]]] = columns, across
            held |= {name: f"rows{k}.{array}" for name, array in ((columns, "columns"), (across, "across")) if name}
        signature = ", ".join([signature, *(f"double* {name}" for name in held)])
        passed = ", ".join([passed, *held.values()])
        code, calls = [], []
        try:
            for rank, (method, leaf) in enumerate(zip(learner.rare, self.made.due, strict=True)):
                for place in range(len(learner.network.sites)):
                    event = program.event(method, place)
                    lowering = Lowering(event, cut.examples[:-2], names, turned, sums)
                    body = lowering.code()
                    code += [f"static bool event{rank}_{place}({signature}) {{", *body, f"return {lowering.anew};", "}"]
                    due = f"((const int32_t*)m.leaf[{leaf}])[{place}]"
                    touched = set(re.findall(r"\bp\d+\b", "\n".join(body)))
                    awake = [
                        f"rows{k}.settle(now + 1);"
                        for k, layer in enumerate(cut.layers)
                        if touched & {self.names[cut.placeholders[own]] for own in layer.leaves}
                    ]
                    calls += [f"if ({due} > 0) {{", *awake]
                    calls += [f"while ({due} > 0) anew |= small::event{rank}_{place}({passed});", "}"]
        except NotLowered:
            return [], []
        self.made.lowered = bool(calls)
        return code, calls

    def _padded(self) -> set[fx.Node]:
        """Nodes that lie in scratch memory, with zeros after them."""
        return {n for segment in self.cut.segments for n in segment.writes}


PLACES = ("lengths", "scaled", "times", "rest", "noted", "gram", "turned", "pulled", "units")  # of a layer's arrays
PARTS = (
    *("philox.h", "online_rows.h", "online_descent.h", "online_products.h"),
    *("online_small.h", "lanes.h", "online_traced.h", "online_driver.h"),
)


def silent(cut: Cut, layer: Layer) -> bool:
    """Whether a unit whose output is zero has slope zero too, so that nobody needs its error: after relu."""
    aten = torch.ops.aten

    def rectified(node: fx.Node) -> bool:
        if node.target == aten.cat.default:
            return all(rectified(part) for part in node.args[0])  # type: ignore[union-attr, arg-type]
        return node.target in (aten.relu.default, aten.alias.default) and (
            node.target == aten.relu.default or rectified(node.args[0])  # type: ignore[arg-type]
        )

    return layer.back is None or rectified(layer.inputs)
