"""Continual backprop for any module of Linear and Conv2d layers: one call after every step of its optimizer.

Source: Dohare et al. (2024), Nature 632:768. What happens to a unit is `workloads.methods.continual_backprop`, the file
that sweeps train by, called with this module's tensors; here is what finds the units, sees their activations, and
carries what was decided back into the module and its optimizer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer
from torch.utils import _pytree as pytree

from workloads.errors import CheckpointError, InputError
from workloads.methods.base import Hyper, Read, Seen, State
from workloads.methods.config import GLOBAL, ContinualBackpropConfig, sorted_units
from workloads.methods.continual_backprop import ContinualBackprop as Method
from workloads.networks.activations import GAINS
from workloads.networks.config import group_of
from workloads.random import Draw
from workloads.registry import lookup, unknown
from workloads.torch_optim.attached import SCHEMES, Attached, DrawnAs, Names, Scheme
from workloads.torch_optim.chain import Chain, seen_by
from workloads.torch_optim.hooks import Hook
from workloads.torch_optim.restarts import Honoured
from workloads.torch_optim.slopes import Slopes
from workloads.torch_optim.slots import SLOTS, Slots


class ContinualBackprop:
    """Replaces the least useful mature units of a module by fresh ones, a few at a time.

        cbp = ContinualBackprop(model, optimizer, replacement_rate=1e-4)
        ...
        optimizer.step()
        cbp.step()

    `settings` are those of `continual_backprop` in a sweep, with the same defaults: `replacement_rate`,
    `maturity_threshold`, `utility_decay`, `utility`, `preset`, ... (`sweep describe continual_backprop`, or
    `workloads.methods.config.ContinualBackpropConfig`). The optimizer's state of a renewed unit begins anew under
    torch's Adam and AdamW and under AdamO; SGD's momentum, as in the released code, only if `reset_optimizer=True`.
    `utility="taylor_loss"` goes by the script's own backward pass, as of a mean loss over the last forward pass's
    examples, its scale included; `taylor_output` would need one more, and is refused.

    Which layer feeds which is read off the first step's forward pass; a graph in which that is ambiguous is refused by
    the first `step`. `layers=[("fc1", "fc2"), ("conv1", "bn1", "conv2")]` says it instead: a layer, the norms that
    follow it, the layer whose inputs its units are. Activations are what that next layer was given, in the last forward
    pass with gradients of a module in training mode. Fresh units are drawn as `initialisation` says: as torch draws
    them, or by another scheme ("kaiming" and its kin go by the gain of `activation`).

    Draws depend on one number taken from `generator` (torch's default one), and on the step. Nothing is averaged over
    processes: in data-parallel training every replica would choose units of its own.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        *,
        layers: Sequence[Names] | None = None,
        initialisation: Scheme = "default",
        activation: str = "relu",
        generator: torch.Generator | None = None,
        **settings: Any,
    ) -> None:
        """Raises InputError for a setting, an optimizer or a layer that is not allowed."""
        self.model, self.optimizer = model, optimizer
        self.config = checked(settings)
        if type(optimizer) not in SLOTS and self.config.reset_optimizer is not False:
            raise InputError(
                f"how {type(optimizer).__name__} keeps its state is not known; give reset_optimizer=False, or one of "
                + ", ".join(kind.__name__ for kind in SLOTS)
            )
        lookup(GAINS, activation, "activation")
        if (group := group_of(activation)) > 1:
            raise InputError(sorted_units("ContinualBackprop", group))
        if initialisation not in SCHEMES:
            raise InputError(unknown(initialisation, "initialisation", SCHEMES))
        self.drawn = DrawnAs(initialisation=initialisation, activation=activation)
        device = None if generator is None else generator.device
        self.seed = int(torch.randint(1 << 31, (), generator=generator, device=device))
        self.steps = 0  # taken
        self.replaced = 0  # units, in all of them
        self._shown: dict[str, Tensor] = {}  # layer -> what it was given in the last forward pass
        self._slopes = Slopes()
        self._hooks: list[Any] = []
        self._honoured: Honoured | None = None
        self._chain = None if layers is not None else Chain(model, self._watched)
        if layers is not None:
            self._attach(layers)

    def _attach(self, layers: Sequence[Names]) -> None:
        """From here on these layers are renewed; their state is zero."""
        self.network = Attached(self.model, layers, self.drawn)
        self.method = Method(self.config, self.network)
        parameters = {name: self.model.get_parameter(name) for name in self.network.parameters}
        self.slots = Slots(self.optimizer, parameters)
        self.state = self.method.init(self.network.widened(), per_element=True)
        for name in self._seen:
            layer = self.model.get_submodule(name)
            see = Hook(self._seer(name, layer))
            self._hooks.append(layer.register_forward_pre_hook(see, with_kwargs=True))
        if type(self.optimizer) in (Adam, AdamW):
            self._honoured = Honoured.used(self.optimizer)  # AdamO does so itself

    @property
    def _seen(self) -> list[str]:
        """The layers whose inputs are looked at: each one's activations, and what enters it where that is asked for."""
        firsts = [names[0] for names in self.network.layers] if "entering" in self.method.reads else []
        return list(dict.fromkeys([*firsts, *seen_by(self.network.layers)]))

    def _seer(self, name: str, watched: nn.Module) -> Any:
        def see(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
            # Not in a copy of the module, which has its hooks too.
            if module is watched and self.model.training and torch.is_grad_enabled():
                given = args[0] if args else kwargs["input"]
                self._shown[name] = given.detach()
                self._watched(name, given)

        return see

    def _watched(self, name: str, given: Tensor) -> None:
        """The gradient by what a layer is given is noted, where the utility goes by it."""
        if self.config.utility in GLOBAL:
            self._slopes.watch(name, given)

    @torch.no_grad()
    def step(self) -> int:
        """Ages and utilities advance, and what is due is replaced; call it after `optimizer.step()`.

        Returns how many units were replaced; it waits for a GPU once, to know. After a forward pass with activations
        that are not finite nothing happens, and 0 is returned. Raises InputError where the layers are not understood,
        and where a layer has seen no forward pass since the last step.
        """
        self._understand()
        tensors = self.network.widened()
        like = tensors[self.network.head]
        self._follow(like)
        draw = Draw(
            torch.tensor(self.seed, device=like.device), torch.tensor(self.steps, device=like.device), like.dtype
        )
        seen = self._pass(like.dtype)
        _, after = self.method.after_step(tensors, self.state, self._hyper(like), seen, draw)
        # An average never forgets an infinity, which mixed precision meets now and then and skips a step for.
        parts = (seen.activations, seen.read.loss_effects, seen.read.entering)
        finite = torch.stack([value.isfinite().all() for part in parts for value in part.values()]).all()
        self.state = pytree.tree_map(lambda new, old: torch.where(finite, new, old), after, self.state)
        due: list[int] = self.state["due"].tolist()
        for place, count in enumerate(due):
            for _ in range(count):
                self._renew(place, draw)
        self.steps += 1
        self.replaced += sum(due)
        return sum(due)

    def _understand(self) -> None:
        """The layers, where they were not named, from the forward pass that was watched."""
        if self._chain is None:
            if not self._hooks:
                raise InputError("this ContinualBackprop was removed from its module")
            return
        chain = self._chain
        if not chain.given:
            raise InputError("no forward pass of the module in training mode, with gradients, before this step")
        layers, given = chain.layers(), {name: tensor.detach() for name, tensor in chain.given.items()}
        chain.close()
        self._chain = None
        self._attach(layers)
        self._shown = {name: given[name] for name in self._seen}

    def _pass(self, dtype: torch.dtype) -> Seen:
        """What the last forward pass showed, in a type; it is then forgotten."""
        network, shown, slopes = self.network, self._shown, self._slopes.taken()
        for name in self._seen:
            if name not in shown:
                raise InputError(f"{name} saw no forward pass in training mode, with gradients, since the last step")
        self._shown = {}
        read = Read()
        activations = {}
        for place, (site, names) in enumerate(zip(network.sites, network.layers, strict=True)):
            hidden = shown[names[-1]].to(dtype)
            activations[site.name] = network.shown(place, hidden)
            if self.config.utility in GLOBAL:
                if names[-1] not in slopes:
                    raise InputError(
                        f"no backward pass reached {names[-1]} since its last forward pass, and utility "
                        f"{self.config.utility} goes by its gradient"
                    )
                effect = network.shown(place, hidden * slopes[names[-1]].to(dtype))
                read.loss_effects[site.name] = len(effect) * effect
            if "entering" in self.method.reads:
                read.entering[site.name] = network.entering(place, shown[names[0]].to(dtype))
        return Seen(grads={}, activations=activations, read=read)

    def _hyper(self, like: Tensor) -> Hyper:
        """The settings that methods are given as tensors."""
        rates = (self.config.replacement_rate, self.config.maturity_threshold)
        return dict(zip(("replacement_rate", "maturity_threshold"), map(like.new_tensor, rates), strict=True))

    def _follow(self, like: Tensor) -> None:
        """The state goes where the module went, and is of its type, float32 at the least; counts keep theirs."""
        if (
            self.state["counter"].device == like.device
            and self.state["utility"][self.network.sites[0].name].dtype == like.dtype
        ):
            return
        kept = {name: self.state[name].to(like.device) for name in ("counter", "due")}
        self.state = {**pytree.tree_map(lambda value: value.to(like), self.state), **kept}

    def _renew(self, place: int, draw: Draw) -> None:
        """One unit of a layer, in the module and in its optimizer."""
        held, tensors, slots = self.network.tensors(), self.network.widened(), self.slots.read()
        like = tensors[self.network.head]
        after, self.state, kept = self.method.repair(tensors, self.state, slots, self._hyper(like), place, draw)
        for name, value in after.items():
            if value is not tensors[name]:
                held[name].copy_(value)
        self.slots.write(slots, kept)

    def remove(self) -> None:
        """Let go of the module and the optimizer; both stay as they are.

        Young weights of Adam still move by their own count of steps, until it is no longer told from the others'.
        """
        for hook in self._hooks:
            hook.remove()
        if self._chain is not None:
            self._chain.close()
        if self._honoured is not None:
            self._honoured.released(self.optimizer)
        self._hooks, self._shown, self._chain, self._honoured = [], {}, None, None
        self._slopes = Slopes()

    def state_dict(self) -> dict[str, Any]:
        """All that a script which goes on needs, beside the states of the module and of the optimizer."""
        attached = self._chain is None
        return {
            "layers": list(self.network.layers) if attached else None,
            "state": self.state if attached else None,
            "seed": self.seed,
            "steps": self.steps,
            "replaced": self.replaced,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from `state_dict`. Raises CheckpointError where it is of other layers."""
        layers, state = state_dict["layers"], state_dict["state"]
        if layers is not None:
            layers = [tuple(names) for names in layers]
            if self._chain is not None:
                self._chain.close()
                self._chain = None
                self._attach(layers)
            self.state = fitting(state, self.state, layers, self.network.layers)
        elif self._hooks and self._chain is None:  # a state from before the first step
            self.state = self.method.init(self.network.widened(), per_element=True)
        self.seed, self.steps, self.replaced = (state_dict[name] for name in ("seed", "steps", "replaced"))


def fitting(state: State, like: State, layers: Sequence[Names], expected: Sequence[Names]) -> State:
    """A copy of `state`, where `like` is. Raises CheckpointError where it is of other layers or sizes."""
    if list(layers) != list(expected):
        raise CheckpointError(f"the state is of layers {list(layers)}, and these are {list(expected)}")
    leaves, tree = pytree.tree_flatten(state)
    own = pytree.tree_leaves(like)
    if [leaf.shape for leaf in leaves] != [leaf.shape for leaf in own]:
        raise CheckpointError("the state is of layers of other sizes")
    copied = [leaf.to(other, copy=True) for leaf, other in zip(leaves, own, strict=True)]
    kept: State = pytree.tree_unflatten(copied, tree)
    return kept


def checked(settings: Mapping[str, Any]) -> ContinualBackpropConfig:
    """The settings as their class. Raises InputError, one sentence, for a name or a value that is not allowed."""
    known = ContinualBackpropConfig.__dataclass_fields__
    for name in settings:
        if name not in known:
            raise InputError(unknown(name, "setting of ContinualBackprop", known))
    if settings.get("utility") == "taylor_output":
        raise InputError(
            "ContinualBackprop: utility='taylor_output' needs a backward pass of the module's outputs beside the "
            "script's own, which a call after that cannot make; taylor_loss goes by the script's"
        )
    try:
        return TypeAdapter(ContinualBackpropConfig).validate_python(settings)
    except ValidationError as error:
        wrong = error.errors()[0]
        name = ".".join(map(str, wrong["loc"][:1])) or "settings"
        found = f"{name}={settings[name]!r}: " if name in settings else ""
        raise InputError(f"ContinualBackprop: {found}{wrong['msg']}") from None
