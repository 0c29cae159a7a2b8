"""What every way of learning is made of: pure functions of ONE network's tensors, which the engine batches.

A method subclasses `Method` and overrides the hooks of the places where it acts:

    inputs      changes what the network is shown, in training and wherever it is looked at or tested
    loss        adds a term to the loss that is differentiated
    gradient    changes the gradient before the optimizer sees it
    optimizer   is the optimizer: gradient to new parameters
    after_step  changes parameters once the optimizer has stepped
    at_task     changes parameters when a task begins (needs a stream that shows it)

Every hook is given the method's own state, a nested dict of tensors that `init` begins, and all but `inputs` and `loss`
give it back; what `inputs` goes by is brought up to date by `observed`, in training alone. All hooks are traceable
torch: no Python branch may depend on a tensor's value. Scalars named in `varies` arrive in `hyper` as 0-d tensors;
every other field of the config is structure and may be branched on.

What is done in every k-th step alone says so by `period`: the hooks may branch on `seen.acts`, and `loss` is called
where the method acts. What happens rarely but at no fixed time (a unit replaced once in a thousand steps) is a second
function, `repair`, for one unit of one network, so that every other step does not pay for it: the hook sets
`state["due"]`, one count per place where an event can happen, and the engine calls `repair` until no count is left.
Many units at once, at a fixed time, are a third, `renew`, which only programs of steps in which the method acts hold.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from torch import Tensor

from workloads.errors import InputError
from workloads.random import Draw
from workloads.settings import Settings

if TYPE_CHECKING:
    from workloads.networks.base import Network

C = TypeVar("C", bound=Settings, covariant=True)  # the dataclass of a method's settings
Params = dict[str, Tensor]
State = dict[str, Any]  # nested dicts of tensors
Hyper = dict[str, Tensor]  # the varying scalars, 0-d


PLACES = ("inputs", "loss", "gradient", "optimizer", "after_step", "at_task")  # hooks, as a step calls them
BESIDE = {
    "observed": "inputs",
    "repair": "after_step",
    "renew": "after_step",
    "restarted": "at_task",
}  # useless without another hook


@dataclass(frozen=True, slots=True)
class Read:
    """What methods may ask to be shown of a step's forward pass, by hidden layer; empty where none does."""

    loss_effects: dict[str, Tensor] = field(default_factory=dict)  # h ∂ℓ/∂h (B, units, ...), ℓ an example's loss alone
    # h vᵀ ∂f/∂h (B, units, ...), f the outputs, v random: its size is in the mean that of h ∂f/∂h, a root mean square
    output_effects: dict[str, Tensor] = field(default_factory=dict)
    entering: dict[str, Tensor] = field(default_factory=dict)  # what weights were multiplied by (B, columns, ...)


NOTHING = Read()


@dataclass(frozen=True, slots=True)
class Seen:
    """What one step saw."""

    grads: Params  # as the methods before have left it
    activations: dict[str, Tensor]  # hidden layer -> (B, units, ...), from the forward pass before the update
    acts: bool = True  # whether this is a step that the method's `period` divides; known when tracing
    read: Read = NOTHING  # what its `reads` name


class Method(Generic[C]):
    """Base of optimizers and methods, of its settings; every hook does nothing unless overridden.

    `acts`, the places where it acts, follows from what is overridden. A class may name them too, and must then name
    all of them; an instance may set fewer where its config switches some off.
    """

    acts: frozenset[str] = frozenset()
    period: int = 1  # it acts in every `period`-th step, the trial's first among them
    reads: frozenset[str] = frozenset()  # the fields of `Read` that it asks to be shown

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        overridden = {name for name in (*PLACES, *BESIDE) if getattr(cls, name) is not getattr(Method, name)}
        hooks = frozenset(overridden.intersection(PLACES))
        declared = vars(cls).get("acts", hooks)
        if not isinstance(declared, set | frozenset | tuple | list) or set(declared) != hooks:
            said = (
                ", ".join(map(str, declared))
                if isinstance(declared, set | frozenset | tuple | list)
                else repr(declared)
            )
            has = ", ".join(sorted(hooks)) or "no hook"
            raise InputError(
                f"{cls.__name__}: acts names {said or 'nothing'}, and the class overrides {has}: leave it out"
            )
        for name, other in BESIDE.items():
            if name in overridden and other not in hooks:
                raise InputError(f"{cls.__name__}: {name} is called beside {other}, which the class does not override")
        cls.acts = hooks

    def __init__(self, config: C, network: Network[Settings]) -> None:
        self.config = config
        self.network = network

    def init(self, params: Params, *, per_element: bool) -> State:
        """The state before the first step. `per_element`: single units may be reset, so step counts are per weight."""
        return {}

    def observed(self, x: Tensor, state: State, hyper: Hyper) -> State:
        """The state after seeing a training batch x (B, inputs), before it is shown to the network."""
        return state

    def inputs(self, x: Tensor, state: State, hyper: Hyper) -> Tensor:
        """What the network is shown of x (B, inputs), same shape; of probes and tests too."""
        raise NotImplementedError

    def loss(self, params: Params, state: State, hyper: Hyper) -> Tensor:
        """A term to add to the loss, 0-d, in the steps in which the method acts."""
        raise NotImplementedError

    def gradient(self, params: Params, state: State, hyper: Hyper, seen: Seen, draw: Draw) -> tuple[Params, State]:
        """The gradient that the optimizer shall see, from `seen.grads`, and the state."""
        raise NotImplementedError

    def optimizer(self, params: Params, state: State, hyper: Hyper, seen: Seen, draw: Draw) -> tuple[Params, State]:
        """New parameters and state from `seen.grads`."""
        raise NotImplementedError

    def after_step(self, params: Params, state: State, hyper: Hyper, seen: Seen, draw: Draw) -> tuple[Params, State]:
        """Parameters and state after the optimizer has stepped."""
        raise NotImplementedError

    def at_task(self, params: Params, state: State, hyper: Hyper, draw: Draw) -> tuple[Params, State]:
        """Parameters and state when a new task begins, before its first step."""
        raise NotImplementedError

    def restarted(self, optimizer: State) -> State:
        """The optimizer's state when a new task begins; called after `at_task`."""
        return optimizer

    def ages(self, state: State) -> dict[str, Tensor]:
        """Hidden layer -> the steps since each of its units was made, (..., units); empty where none are kept."""
        return {}

    def repair(
        self, params: Params, state: State, optimizer: State, hyper: Hyper, place: int, draw: Draw
    ) -> tuple[Params, State, State]:
        """One rare event at `place` for one unit; lowers `state["due"][place]`, which is positive, by one.

        `params` holds the network's buffers too, where it has any: a fresh unit has fresh running statistics.
        Returns parameters, the method's state and the optimizer's state.
        """
        raise NotImplementedError

    def renew(
        self, params: Params, state: State, optimizer: State, hyper: Hyper, draw: Draw
    ) -> tuple[Params, State, State, Tensor]:
        """Any number of units at once, after `after_step`, in the steps in which the method acts.

        `params` holds the network's buffers too. Returns parameters, the method's state and the optimizer's, and how
        many units were replaced, 0-d.
        """
        raise NotImplementedError
