"""From ONE network's step, written in torch, to C++ in which every scalar is a vector over members.

The step is traced to a graph of core operations on the tensors of one network. A tensor of shape s becomes an array
of prod(s) vectors, one lane per member; an operation becomes loops over s whose body is the operation on vectors.
What keeps memory traffic low:

- pointwise operations with one user are written into their user; those with several, or that a larger result would
  compute again and again, are kept in a small array on the stack;
- pointwise loops over the same shape become one loop, whose intermediate values stay in registers;
- sums (and matrix products, which are sums) run with up to TILE results at a time, so that additions overlap;
- a result that replaces a tensor of the state is written in its place, where nobody reads the old one afterwards;
- what depends on no argument is computed while lowering.

Supported: pointwise operations, views, sums, means, extrema, matrix products, concatenation, softmax, and random
draws. Anything else raises NotLowered, which names it.

`trace` makes the graph, `operations` turns each node into a value, `schedule` puts the loops in order; here they meet.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, fx

from workloads.engine.operations import value_of
from workloads.engine.schedule import Statement, nest, scheduled
from workloads.engine.trace import NotLowered, trace
from workloads.engine.values import Value, Values, kind_of


class Lowering:
    """One function's C++. `arguments` name the arrays of its flat arguments, `results` which of them it replaces."""

    def __init__(
        self,
        function: Callable[..., Sequence[Tensor]],
        examples: Sequence[Tensor],
        names: Sequence[str],
        turned: Mapping[str, int] | None = None,
        sums: Mapping[str, tuple[str, str]] | None = None,
    ) -> None:
        """`function` takes and returns flat lists; its i-th result replaces its i-th argument.

        `turned` are matrices (n, m) that lie transposed, with the steps from row to row. What they become must be made
        element by element, of the element itself and of whatever else is small. `sums` are the arrays of doubles, by
        such a matrix, that hold its sums of |w| over m and over n, empty where nobody wants them: they go along where
        few elements change, and `anew` says, once there is code, when they do not.
        """
        self.trace = trace(function, examples)
        self.turned = turned or {}
        self.sums = sums or {}
        self.anew = "lost"  # C++: whether sums are to be taken anew
        lie = {node for name, node in zip(names, self.trace.results, strict=False) if name in self.turned}
        self.results = set(self.trace.results) - lie
        self.into = Values(self.trace.seen)
        self.arguments: dict[str, Value] = {}
        for name, node in zip(names, self.trace.arguments, strict=False):
            example = self.trace.seen[node]
            if name in self.turned:
                self.arguments[name] = self._lying(name, tuple(example.shape), kind_of(example))
            else:
                self.arguments[name] = self.into.stored(name, tuple(example.shape), kind_of(example))
            self.into.values[node] = self.arguments[name]
        for node in self.trace.graph.nodes:
            if node.op == "call_function" and node not in self.trace.constant:
                self.into.values[node] = self._settled(node, value_of(self.into, node))

    def _lying(self, name: str, shape: tuple[int, ...], kind: str) -> Value:
        def load(index: Sequence[str]) -> str:
            place = f"({index[1]})*{self.turned[name]}+({index[0]})"
            self.into.reads.add((name, place))
            return f"@{name}@[{place}]"

        return Value(shape, kind, load, trivial=True)

    def _replaced(self, name: str, value: Value) -> None:
        """A matrix that lies transposed becomes `value`, last of all. Raises NotLowered."""
        own = self.arguments[name]
        statement = Statement(name, value.kind, value.shape, [])
        before, self.into.reads = self.into.reads, statement.reads
        here, text = own.load(["i1", "i0"]), value.load(["i1", "i0"])
        self.into.reads = before
        if any(other in self.turned and (other, f"@{other}@[{at}]") != (name, here) for other, at in statement.reads):
            raise NotLowered("a matrix made of other elements than its own")
        statement.lines = self._where_chosen(name, value, here, text) or nest(value.shape[::-1], [f"{here}={text};"])
        self.into.statements.append(statement)

    def _where_chosen(self, name: str, value: Value, here: str, text: str) -> list[str]:
        """The loops for a change of whole rows or columns, which touch no others; empty where it is no such change."""
        columns, across = self.sums.get(name, ("", ""))
        some = re.fullmatch(rf"chosen\((@\w+@\[\((i[01])\)\]),(.*),{re.escape(here)}\)", text)
        if some is None:
            if columns or across:
                self.anew = "true"
            return []
        mask, at, new = some.groups()
        along = "i0" if at == "i1" else "i1"
        lengths = {"i1": value.shape[0], "i0": value.shape[1]}
        whole, changed = (columns, across) if at == "i1" else (across, columns)
        body = [f"const {value.kind}v old={here}, now={new};", f"{here}=now;"]
        before, after = [], []
        if whole:  # the sums of what is chosen, from its elements
            before, after = ["double size=0;"], [f"{whole}[{at}]=size;"]
            body.append("size+=std::fabs(double(now));")
        if changed:  # the others, by the change
            body += [
                "const double more=std::fabs(double(now))-std::fabs(double(old));",
                "lost|=!std::isfinite(more);",
                f"{changed}[{along}]+=more;",
            ]
        inner = [f"for(int {along}=0;{along}<{lengths[along]};++{along}){{", *body, "}"]
        return [f"for(int {at}=0;{at}<{lengths[at]};++{at}) if({mask}){{", *before, *inner, *after, "}"]

    def _settled(self, node: fx.Node, value: Value) -> Value:
        """The value in an array of its own where that is due: it is a result, or is used more than once."""
        if value.trivial and node not in self.results:
            return value
        return self.into.kept(value) if node in self.results or len(node.users) > 1 else value

    def code(self) -> list[str]:
        """The function's body. Arguments are arrays by their names; results end in the arguments they replace."""
        results: dict[str, list[str]] = {}  # array -> the arguments it becomes
        replaced: dict[str, Value] = {}
        for (name, own), node in zip(self.arguments.items(), self.trace.results, strict=False):
            value = self.into.of(node)
            if (value.shape, value.kind) != (own.shape, own.kind):
                raise NotLowered(f"a result {value.kind}{value.shape} in the place of {own.kind}{own.shape}")
            if name in self.turned:
                if value is not own:
                    replaced[name] = value
                continue
            store = self.into.kept(value).store
            assert store is not None
            if store != name:
                results.setdefault(store, []).append(name)
        for name, value in replaced.items():
            self._replaced(name, value)
        sizes = {name: (own.kind, math.prod(own.shape)) for name, own in self.arguments.items()}
        declared = ["bool lost=false;"] if self.sums else []
        return [*declared, *self.into.constants, *scheduled(self.into.statements, sizes, results)]
