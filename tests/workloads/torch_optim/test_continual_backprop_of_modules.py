"""Continual backprop of a module against our own trials: the same weights, data, settings and draws, step by step."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from beside import Beside, convnet, mlp, resnet
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from workloads.errors import CheckpointError, InputError
from workloads.methods.config import (
    AdamConfig,
    AdamOConfig,
    AdamWConfig,
    ContinualBackpropConfig,
    SGDConfig,
)
from workloads.torch_optim import AdamO, ContinualBackprop

SGD = (("sgd", SGDConfig(step_size=0.05)), lambda p: torch.optim.SGD(p, lr=0.05))
MOMENTUM = (
    ("sgd", SGDConfig(step_size=0.01, momentum=0.9, weight_decay=1e-3)),
    lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, weight_decay=1e-3),
)
ADAM = (("adam", AdamConfig(step_size=3e-3)), lambda p: torch.optim.Adam(p, lr=3e-3))
ADAMW = (
    ("adamw", AdamWConfig(step_size=3e-3, weight_decay=0.05)),
    lambda p: torch.optim.AdamW(p, lr=3e-3, weight_decay=0.05),
)
ADAMO = (
    ("adamo", AdamOConfig(step_size=3e-3, isometry_strength=0.1)),
    lambda p: AdamO(p, lr=3e-3, isometry_strength=0.1),
)
SEQUENTIAL = (
    ("adamo", AdamOConfig(step_size=3e-3, isometry_strength=0.1, order="sequential", penalty="half", every=2)),
    lambda p: AdamO(p, lr=3e-3, isometry_strength=0.1, order="sequential", penalty="half", every=2),
)
OFTEN = {"replacement_rate": 0.05, "maturity_threshold": 8}
RELU = {"initialisation": "kaiming"}
CASES: dict[str, tuple[Any, Any, dict[str, Any], dict[str, Any]]] = {
    "sgd": (mlp(), SGD, OFTEN, RELU),
    "paper": (mlp(), SGD, {**OFTEN, "preset": "paper"}, RELU),
    "random": (mlp(), SGD, {**OFTEN, "utility": "random"}, RELU),
    "tanh": (mlp(activation="tanh"), SGD, {**OFTEN, "utility": "contribution"}, {**RELU, "activation": "tanh"}),
    "default": (mlp(initialisation="default"), SGD, OFTEN, {}),
    "momentum": (mlp(), MOMENTUM, OFTEN, RELU),
    "momentum reset": (mlp(), MOMENTUM, {**OFTEN, "reset_optimizer": True}, RELU),
    "adam": (mlp(), ADAM, OFTEN, RELU),
    "adam not reset": (mlp(), ADAM, {**OFTEN, "reset_optimizer": False}, RELU),
    "adamw": (mlp(), ADAMW, OFTEN, RELU),
    "adamo": (mlp(), ADAMO, OFTEN, RELU),
    "adamo sequential": (mlp(), SEQUENTIAL, OFTEN, RELU),
    "crelu and layer norm": (mlp(activation="crelu", normalisation="layer"), ADAM, {**OFTEN, "preset": "paper"}, RELU),
    "convnet": (convnet, MOMENTUM, {**OFTEN, "preset": "official_conv"}, {}),
    "taylor_loss": (mlp(), SGD, {**OFTEN, "utility": "taylor_loss"}, RELU),
    "taylor_loss of crelu": (mlp(activation="crelu"), ADAM, {**OFTEN, "utility": "taylor_loss"}, RELU),
    "taylor_loss of a convnet": (convnet, ADAM, {**OFTEN, "utility": "taylor_loss"}, {}),
    # What is orthogonal to all that speaks has a pre-activation of 0 but for rounding: no kink there.
    "orthogonal": (
        mlp(activation="tanh"),
        SGD,
        {**OFTEN, "feature_generator": "orthogonal"},
        {**RELU, "activation": "tanh"},
    ),
    "scaled": (mlp(), ADAM, {**OFTEN, "feature_generator": "scaled"}, RELU),
    "scaled convnet": (convnet, ADAM, {**OFTEN, "feature_generator": "scaled"}, {}),
    "convnet by adam": (convnet, ADAM, {**OFTEN, "preset": "paper"}, {}),
}


def assert_step_by_step(case: tuple[Any, Any, dict[str, Any], dict[str, Any]], steps: int, **more: Any) -> None:
    made, (ours, theirs), settings, drawn = case
    beside = Beside.of(made, steps, ours, {"continual_backprop": ContinualBackpropConfig(**settings)})
    optimizer = theirs(beside.model.parameters())
    cbp = ContinualBackprop(beside.model, optimizer, **settings, **drawn, **more)
    for k, trained in enumerate(beside.ours(cbp.seed)):
        beside.backward(optimizer, k)
        optimizer.step()
        cbp.step()
        own = trained.state["continual_backprop"]
        for name, age in own["age"].items():
            assert torch.equal(cbp.state["age"][name], age), (k, name)  # so the same units were replaced
            torch.testing.assert_close(cbp.state["utility"][name], own["utility"][name], rtol=1e-9, atol=1e-12)
        beside.assert_same(trained, 1e-9)
        assert cbp.replaced == int(trained.state["replaced"])
    assert cbp.replaced > 10


@pytest.mark.parametrize("name", CASES)
def test_step_by_step_as_our_trials(name: str) -> None:
    assert_step_by_step(CASES[name], 60)


def test_batch_norm_and_skip_paths_with_layers_named() -> None:
    """The released ResNet code's rule; fresh units have fresh gains and running statistics."""
    network, _ = resnet()
    layers = [(site.name, f"{site.name}_norm", site.outgoing_weight.removesuffix(".weight")) for site in network.sites]
    settings = {**OFTEN, "preset": "official_resnet", "utility": "contribution", "maturity_threshold": 4}
    case = (resnet, MOMENTUM, settings, {"initialisation": "kaiming_normal"})
    assert_step_by_step(case, 14, layers=layers)


# What a script may do with it


def script(dtype: torch.dtype = torch.float64, seed: int = 0, **settings: Any) -> tuple[Any, Any, ContinualBackprop]:
    """conv - batch norm - relu - pool - flatten - linear - tanh - dropout - linear, and its Adam."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        *(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(36, 8), nn.Tanh(), nn.Dropout(0.1), nn.Linear(8, 3)),
    ).to(dtype)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return model, optimizer, ContinualBackprop(model, optimizer, **{**OFTEN, **settings})


def run(model: Any, optimizer: Any, cbp: ContinualBackprop, start: int, steps: int) -> list[int]:
    replaced = []
    for k in range(start, start + steps):
        torch.manual_seed(k)
        like = model[0].weight
        x = torch.randn(4, 1, 8, 8, dtype=like.dtype)
        loss = nn.functional.cross_entropy(model(x), torch.randint(0, 3, (4,)))
        replaced.append(learn(loss, optimizer, cbp))
    return replaced


def learn(loss: torch.Tensor, optimizer: Any, cbp: ContinualBackprop) -> int:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return cbp.step()


def test_layers_are_found_through_norms_pools_and_flattening() -> None:
    model, optimizer, cbp = script()
    run(model, optimizer, cbp, 0, 1)
    assert cbp.state_dict()["layers"] == [("0", "1", "5"), ("5", "8")]
    named_model, named_optimizer, named = script(layers=[("0", "1", "2", "5"), ("5", "8")])
    named.seed = cbp.seed
    run(named_model, named_optimizer, named, 0, 1)
    assert run(model, optimizer, cbp, 1, 40) == run(named_model, named_optimizer, named, 1, 40)
    assert cbp.replaced > 10
    assert all(map(torch.equal, model.state_dict().values(), named_model.state_dict().values()))


def test_a_renewed_unit_is_fresh_in_module_and_optimizer() -> None:
    """Incoming drawn in the layer's bounds, bias 0, nothing leaves it, the norm's 1 and 0, moments 0, its own count."""
    model, optimizer, cbp = script(reset_optimizer=True)
    fresh: dict[str, list[int]] = {"0": [], "5": []}
    while not fresh["0"]:
        (done,) = run(model, optimizer, cbp, cbp.steps, 1)
        fresh = {name: torch.nonzero(age == 0).flatten().tolist() for name, age in cbp.state["age"].items()}
        assert sum(map(len, fresh.values())) == done
    for j in fresh["0"]:
        assert model[0].weight[j].abs().max() <= 1 / 3 and model[0].bias[j] == 0
        columns = model[5].weight[:, 9 * j : 9 * j + 9]
        assert torch.count_nonzero(columns) == 0
        norm = (model[1].weight, model[1].bias, model[1].running_mean, model[1].running_var)
        assert [values[j].item() for values in norm] == [1, 0, 0, 1]
        for key in ("exp_avg", "exp_avg_sq"):
            assert torch.count_nonzero(optimizer.state[model[0].weight][key][j]) == 0
            assert torch.count_nonzero(optimizer.state[model[5].weight][key][:, 9 * j : 9 * j + 9]) == 0
    for j in fresh["5"]:
        assert torch.count_nonzero(model[8].weight[:, j]) == 0 and model[5].bias[j] == 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize(
    "made",
    [
        lambda p: torch.optim.Adam(p, lr=0.25, betas=(0.5, 0.6)),
        lambda p: torch.optim.Adam(p, lr=0.25, betas=(0.5, 0.6), amsgrad=True),
        lambda p: torch.optim.AdamW(p, lr=0.25, betas=(0.5, 0.6), weight_decay=0.0),
        lambda p: AdamO(p, lr=0.25, betas=(0.5, 0.6), isometry_strength=0.0),
    ],
)
def test_under_a_constant_gradient_every_weight_of_adam_moves_by_its_step(made: Any, dtype: torch.dtype) -> None:
    """m̂ = √v̂ whatever a weight's age, if it has a count of its own; past the age from which its count matters too."""
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)).to(dtype)
    optimizer = made(model.parameters())
    cbp = ContinualBackprop(model, optimizer, replacement_rate=0.02, maturity_threshold=5)
    for _ in range(120):
        model(torch.randn(4, 3, dtype=dtype))
        with torch.no_grad():
            for p in model.parameters():
                p.grad = torch.ones_like(p)
                p.clamp_(-2, 2)  # where bfloat16 holds a quarter exactly enough
        before = [p.detach().clone() for p in model.parameters()]
        optimizer.step()
        for p, old in zip(model.parameters(), before, strict=True):
            moved = (old - p.detach()).double()
            assert (moved - 0.25).abs().max() < (1e-7 if dtype == torch.float64 else 0.02)
        cbp.step()
    assert cbp.replaced > 5


def farthest(model: Any, optimizer: Any) -> float:
    """A step under a gradient of 1 everywhere, which moves every weight by lr; by how much the worst moves."""
    model(torch.randn(4, 3, dtype=torch.float64))
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    before = [p.detach().clone() for p in model.parameters()]
    optimizer.step()
    return max(float((old - p.detach()).abs().max()) for p, old in zip(model.parameters(), before, strict=True))


def test_made_twice_or_for_parts_it_puts_adams_steps_right_once() -> None:
    """As by a notebook's cell run again; and after removal while weights are young, then leaving no hook."""
    often = {"replacement_rate": 0.05, "maturity_threshold": 5}
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2)).double()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.25, betas=(0.5, 0.6))
    cbps = [
        ContinualBackprop(model, optimizer, layers=each, **often) for each in ([("0", "2")], [("0", "2"), ("2", "4")])
    ]
    for _ in range(40):
        assert abs(farthest(model, optimizer) - 0.25) < 1e-7
        for cbp in cbps:
            cbp.step()
    assert all(cbp.replaced > 5 for cbp in cbps)
    for cbp in cbps:
        cbp.remove()
    assert optimizer._optimizer_step_post_hooks
    for _ in range(100):
        assert abs(farthest(model, optimizer) - 0.25) < 1e-7
    assert not optimizer._optimizer_step_post_hooks and not optimizer._optimizer_step_pre_hooks


def test_a_fused_step_that_met_an_overflow_moves_nothing() -> None:
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)).double()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.25, fused=True)
    cbp = ContinualBackprop(model, optimizer, replacement_rate=0.2, maturity_threshold=5)
    for _ in range(20):
        farthest(model, optimizer)
        cbp.step()
    optimizer.grad_scale, optimizer.found_inf = None, torch.tensor(1.0)  # as GradScaler hands them over
    assert cbp.replaced > 5 and farthest(model, optimizer) == 0


def test_half_precision_survives_a_count_that_loading_rounds() -> None:
    """torch casts a state to its parameter's type: step 1003 would be 1004, which the next step has yet to reach."""
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)).bfloat16()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.25)
    cbp = ContinualBackprop(model, optimizer, replacement_rate=1.0, maturity_threshold=0)
    model(torch.ones(4, 3, dtype=torch.bfloat16)).sum().backward()
    optimizer.step()
    for state in optimizer.state.values():
        state["step"].fill_(1003)
    assert cbp.step() == 8
    optimizer.load_state_dict(optimizer.state_dict())
    restarted = optimizer.state[model[0].weight]["restarted"]["step"]
    assert restarted.dtype == torch.float32 and restarted.unique().tolist() == [1003]
    optimizer.step()
    assert all(p.isfinite().all() for p in model.parameters())


def test_activations_under_autocast_are_averaged_in_the_weights_type() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    cbp = ContinualBackprop(model, torch.optim.SGD(model.parameters()))
    x = torch.randn(1000, 3, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        shown = model[1](model[0](x))
        model(x)
    cbp.step()
    assert shown.dtype == torch.bfloat16
    torch.testing.assert_close(cbp.state["mean"]["0"], 0.01 * shown.detach().float().mean(0), rtol=1e-5, atol=0)


def test_the_same_generator_gives_the_same_units_and_weights() -> None:
    ends = []
    for seed in (7, 7, 8):
        model, optimizer, cbp = script(generator=torch.Generator().manual_seed(seed), utility="random")
        run(model, optimizer, cbp, 0, 30)
        ends.append(model.state_dict())
    assert all(map(torch.equal, ends[0].values(), ends[1].values()))
    assert not all(map(torch.equal, ends[0].values(), ends[2].values()))


def test_a_script_goes_on_from_its_states(tmp_path: Path) -> None:
    """To the bit, through a file that torch.load reads by its own safe rules."""
    model, optimizer, cbp = script()
    run(model, optimizer, cbp, 0, 25)
    kept = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "cbp": cbp.state_dict()}
    torch.save(kept, tmp_path / "kept.pt")
    straight = run(model, optimizer, cbp, 25, 25)
    other, own, second = script(seed=5)
    read = torch.load(tmp_path / "kept.pt")
    other.load_state_dict(read["model"])
    own.load_state_dict(read["optimizer"])
    second.load_state_dict(read["cbp"])
    assert run(other, own, second, 25, 25) == straight and sum(straight) > 5
    assert second.replaced == cbp.replaced
    assert all(map(torch.equal, model.state_dict().values(), other.state_dict().values()))


def test_a_state_of_other_layers_is_refused() -> None:
    _, _, cbp = first = script()
    run(*first, 0, 1)
    *_, named = script(layers=[("5", "8")])
    with pytest.raises(CheckpointError, match=r"the state is of layers \[\('0', '1', '5'\), \('5', '8'\)\]"):
        named.load_state_dict(cbp.state_dict())
    wider = nn.Sequential(nn.Linear(36, 9), nn.Tanh(), nn.Linear(9, 3))
    other = ContinualBackprop(wider, torch.optim.SGD(wider.parameters()), layers=[("0", "2")])
    narrow = nn.Sequential(nn.Linear(36, 8), nn.Tanh(), nn.Linear(8, 3))
    own = ContinualBackprop(narrow, torch.optim.SGD(narrow.parameters()), layers=[("0", "2")])
    with pytest.raises(CheckpointError, match="of other sizes"):
        own.load_state_dict(other.state_dict())


def test_a_state_from_before_the_first_step_begins_anew() -> None:
    model, optimizer, cbp = script()
    fresh = cbp.state_dict()
    run(model, optimizer, cbp, 0, 12)
    cbp.load_state_dict(fresh)
    assert cbp.steps == cbp.replaced == 0
    assert not any(value.any() for part in ("age", "utility", "mean") for value in cbp.state[part].values())


def test_a_forward_pass_that_overflows_is_passed_over() -> None:
    """Its step of the optimizer is skipped, as by a GradScaler; then all goes on as if it had not been."""
    ends = []
    for overflows in (False, True):
        model, optimizer, cbp = script()
        run(model, optimizer, cbp, 0, 12)
        if overflows:
            before = copy.deepcopy(model.state_dict())
            model(torch.full((4, 1, 8, 8), torch.inf, dtype=torch.float64))
            model.load_state_dict(before)  # batch norm's averages, which do not forget either
            assert cbp.step() == 0
            cbp.steps -= 1  # draws go by the step
        ends.append((run(model, optimizer, cbp, 12, 20), cbp.state))
    assert ends[0][0] == ends[1][0] and sum(ends[0][0]) > 3
    assert all(map(torch.equal, ends[0][1]["utility"].values(), ends[1][1]["utility"].values()))


def test_a_module_is_saved_and_copied_while_it_is_watched(tmp_path: Path) -> None:
    """Before the first step and after; what was read back has hooks that do nothing."""
    model, optimizer, cbp = script()
    for k in range(2):
        torch.save(model, tmp_path / "model.pt")
        read = torch.load(tmp_path / "model.pt", weights_only=False)
        read(torch.randn(4, 1, 8, 8, dtype=torch.float64)).sum().backward()
        assert all(map(torch.equal, model.state_dict().values(), copy.deepcopy(model).state_dict().values()))
        run(model, optimizer, cbp, k, 1)


def test_rate_0_changes_nothing() -> None:
    model, optimizer, cbp = script(replacement_rate=0.0)
    plain, own, beside = script(replacement_rate=0.0)
    beside.remove()
    run(model, optimizer, cbp, 0, 20)

    class Idle:
        def step(self) -> int:
            return 0

    run(plain, own, Idle(), 0, 20)  # type: ignore[arg-type]
    assert all(map(torch.equal, model.state_dict().values(), plain.state_dict().values()))


def test_removed_it_leaves_no_hooks() -> None:
    """But the optimizer's, where weights are young: see what it puts right."""
    model, optimizer, cbp = script(replacement_rate=0.0)
    run(model, optimizer, cbp, 0, 12)
    cbp.remove()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert not optimizer._optimizer_step_pre_hooks and not optimizer._optimizer_step_post_hooks
    with pytest.raises(InputError, match="was removed"):
        cbp.step()


def test_it_follows_the_module_to_another_type() -> None:
    model, optimizer, cbp = script()
    run(model, optimizer, cbp, 0, 12)
    model.float()
    optimizer.load_state_dict(optimizer.state_dict())  # as after moving a module: its state follows the parameters
    assert sum(run(model, optimizer, cbp, 12, 20)) > 3
    assert cbp.state["utility"]["5"].dtype == torch.float32
    assert cbp.state["counter"].dtype == torch.float64 and cbp.state["due"].dtype == torch.int32


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_half_precision_units_age_and_are_drawn_as_in_any(dtype: torch.dtype) -> None:
    """bfloat16 counts to 256, and the largest number of float16 is far below a random word."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2)).to(dtype)
    wide = copy.deepcopy(model).float()
    ages, utilities = [], []
    for net in (model, wide):
        torch.manual_seed(1)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
        cbp = ContinualBackprop(net, optimizer, replacement_rate=0.01, maturity_threshold=300, utility="contribution")
        for _ in range(400):
            net(torch.randn(8, 4).to(net[0].weight.dtype))
            cbp.step()
        assert cbp.replaced > 5
        assert all(value.isfinite().all() for value in net.parameters())
        ages.append(cbp.state["age"]["0"])
        utilities.append(cbp.state["utility"]["0"])
    old = (ages[0] == 400) & (ages[1] == 400)  # never replaced
    assert old.sum() > 2
    torch.testing.assert_close(utilities[0][old], utilities[1][old], rtol=0.02, atol=1e-4)


def test_looking_without_training_is_not_seen() -> None:
    """Evaluation, without gradients or in eval mode, and after the training pass, changes nothing."""
    ends = []
    for looks in (False, True):
        model, optimizer, cbp = script()
        for k in range(20):
            torch.manual_seed(k)
            x = torch.randn(4, 1, 8, 8, dtype=torch.float64)
            loss = model(x).square().sum()
            if looks:
                model.eval()
                model(x + 1)
                with torch.no_grad():
                    model(x - 1)
                model.train()
            learn(loss, optimizer, cbp)
        ends.append(cbp.state)
    assert all(map(torch.equal, ends[0]["utility"].values(), ends[1]["utility"].values()))


def test_a_copy_of_the_module_is_not_seen() -> None:
    """As target networks and averaged weights are made; it may be trained too."""
    ends = []
    for copies in (False, True):
        model, optimizer, cbp = script()
        others = [copy.deepcopy(model)] if copies else []
        for k in range(15):
            others += [copy.deepcopy(model)] if copies and k == 10 else []
            torch.manual_seed(k)
            loss = model(torch.randn(4, 1, 8, 8, dtype=torch.float64)).square().sum()
            for other in others:
                other(torch.randn(4, 1, 8, 8, dtype=torch.float64)).sum().backward()
            learn(loss, optimizer, cbp)
        ends.append(cbp.state)
    assert all(map(torch.equal, ends[0]["utility"].values(), ends[1]["utility"].values()))


def test_a_step_without_a_forward_pass_is_refused() -> None:
    model, optimizer, cbp = script()
    with pytest.raises(InputError, match="no forward pass of the module in training mode"):
        cbp.step()
    run(model, optimizer, cbp, 0, 2)
    with pytest.raises(InputError, match="5 saw no forward pass in training mode"):
        cbp.step()


# What is refused


class Net(nn.Module):
    """Whatever its forward function makes of these layers."""

    def __init__(self, forward: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.lstm, self.wide, self.narrow = nn.LSTM(4, 4, batch_first=True), nn.Linear(4, 8), nn.Linear(2, 2)
        self.both = nn.Linear(8, 2)
        self.conv, self.conv2 = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.shuffled, self.square = nn.ChannelShuffle(2), nn.Linear(16, 3)
        self.rms, self.instance = nn.RMSNorm(4), nn.InstanceNorm2d(4, affine=True)
        self.made = forward

    def forward(self, x: Tensor) -> Any:
        return self.made(self, x)


def halves(net: Any, x: Tensor) -> Tensor:
    found: Tensor = net.head(nn.functional.glu(net.wide(x)))
    return found


def attended(net: Any, x: Tensor) -> Tensor:
    hidden = net.fc1(x)[None]
    found: Tensor = net.head(net.attention(hidden, hidden, hidden)[0])
    return found


class Flipped(torch.autograd.Function):
    """Whatever a user wrote: units change places."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.flip(1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        return grad.flip(1)


def checkpointed(net: Any, x: Tensor, reentrant: bool) -> Tensor:
    """Layers 2 and 3 in a checkpoint, which computes them again in the backward pass."""
    hidden = checkpoint(lambda h: net.fc3(net.fc2(h).relu()).relu(), net.fc1(x).relu(), use_reentrant=reentrant)
    found: Tensor = net.head(hidden)
    return found


def pictures(x: Tensor) -> Tensor:
    """(B, 4) as (B, 1, 4, 4)."""
    return x.view(-1, 1, 1, 4).expand(-1, 1, 4, 4)


def partly_overwritten(net: Any, x: Tensor) -> Tensor:
    hidden = net.fc1(x).clone()
    hidden[:, :2] = x[:, :2]
    found: Tensor = net.head(hidden)
    return found


REFUSED: dict[str, tuple[Callable[[Any, Tensor], Any], str]] = {
    "two successors": (
        lambda n, x: n.head(n.fc2(h := n.fc1(x).relu()) * n.fc3(h)),
        "fc1 feeds two layers, fc2 and fc3",
    ),
    "two heads": (lambda n, x: (n.head((h := n.fc1(x)).relu()), n.fc2(h)), "fc1 feeds two layers, head and fc2"),
    "skip": (lambda n, x: n.head(n.fc2(h := n.fc1(x)).relu() + h), "head is fed by fc1 and fc2 together"),
    "features too": (lambda n, x: (n.head(h := n.fc1(x).relu()), h), "fc1 feeds head, and goes to the module's output"),
    "attention": (attended, "attention.* of a (MultiheadAttention|NonDynamicallyQuantizableLinear) stands on the way"),
    "recurrent": (lambda n, x: n.head(n.lstm(n.fc1(x)[None])[0][0]), "lstm.weight.* of a LSTM stands on the way"),
    "shared": (lambda n, x: n.head(n.fc1(n.fc1(x)).relu()), "fc1 is used more than once"),
    "moved": (lambda n, x: n.head(n.fc1(x).flip(1).relu()), "between fc1 and head stands Flip"),
    "a function of the user's": (
        lambda n, x: n.head(Flipped.apply(n.fc1(x).relu())),
        "between fc1 and head stands Flipped, after which a unit is not found again",
    ),
    "reentrant checkpoint": (lambda n, x: checkpointed(n, x, True), "between fc1 and head stands CheckpointFunction"),
    "overwritten in part": (partly_overwritten, "between fc1 and head stands .*CopySlices"),
    "a detached head": (
        lambda n, x: (n.head(h := n.fc1(x).relu()), n.narrow(h.detach()[:, :2])),
        r"narrow was given a tensor without a graph which is not the module's input \(detached\?\)",
    ),
    "a detached torso": (lambda n, x: n.head(n.fc1(x).relu().detach()), "head was given a tensor without a graph"),
    "the input beside": (
        lambda n, x: n.both(torch.cat([n.fc1(x).relu(), x], 1)),
        "between fc1 and both, in Cat, joins what no layer made",
    ),
    "the input added": (lambda n, x: n.head(x + n.fc1(x)), "between fc1 and head, in Add, joins what no layer made"),
    "the last axis of pictures": (
        lambda n, x: n.fc1(n.conv(x.view(-1, 1, 2, 2).tile(2, 2)).relu()),
        "conv has 4 channels, and fc1 takes the last axis of pictures",
    ),
    "a mean over channels": (
        lambda n, x: n.square(n.conv(pictures(x)).mean(1).flatten(1)),
        "between conv and square stands Mean",
    ),
    "a maximum over channels": (
        lambda n, x: n.square(n.conv(pictures(x)).amax(-3).flatten(1)),
        "between conv and square stands Amax",
    ),
    "shuffled": (
        lambda n, x: n.conv2(n.shuffled(n.conv(pictures(x)))).mean(),
        "between conv and conv2 stands .*ChannelShuffle",
    ),
    "taken": (
        lambda n, x: n.head(torch.take(n.fc1(x), torch.arange(11, -1, -1)).view(3, 4)),
        "between fc1 and head stands Take",
    ),
    "viewed across rows": (
        lambda n, x: n.head(n.fc1(x).view(2, 2, 3).reshape(3, 4)),
        "between fc1 and head stands View",
    ),
    "rows and channels": (
        lambda n, x: n.square(n.conv(pictures(x[:1])).view(4, 16)),
        "conv has 4 channels, and square takes the last axis",
    ),
    "gated": (halves, "between wide and head stands Glu"),
    "sums of pairs": (
        lambda n, x: n.head(n.wide(x).view(-1, 4, 2).sum(2)),
        "wide has 8 units, and head takes 4 inputs",
    ),
    "nothing hidden": (lambda n, x: n.head(x), "no Linear or Conv2d layer feeds another"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_graph_that_is_not_understood_is_refused_by_name(case: str) -> None:
    forward, said = REFUSED[case]
    net = Net(forward)
    cbp = ContinualBackprop(net, torch.optim.SGD(net.parameters()))
    net(torch.ones(3, 4))
    with pytest.raises(InputError, match=said):
        cbp.step()


def test_layers_are_found_through_a_checkpoint_and_backward_hooks() -> None:
    """What a checkpoint computes again, in the backward pass, is no part of the graph."""
    net = Net(lambda n, x: checkpointed(n, x, False))
    net.fc2.register_full_backward_hook(lambda *_: None)
    cbp = ContinualBackprop(net, torch.optim.SGD(net.parameters()))
    for _ in range(2):
        net(torch.ones(3, 4)).sum().backward()
        cbp.step()
    assert cbp.network.layers == [("fc1", "fc2"), ("fc2", "fc3"), ("fc3", "head")]


def by_hand(net: Any, hidden: Tensor) -> Tensor:
    """Layer norm as one writes it: what is added there is no unit's."""
    hidden = hidden - hidden.mean(-1, keepdim=True)
    return hidden / (hidden.square().mean(-1, keepdim=True) + 1e-5).sqrt()


FOUND: dict[str, tuple[Callable[[Any, Tensor], Any], list[tuple[str, ...]]]] = {
    "a head of its own torso": (
        lambda n, x: (n.head(n.fc1(x / 2).relu()), n.fc3(n.fc2(x / 2).relu())),
        [("fc1", "head"), ("fc2", "fc3")],
    ),
    "a shift of the module's": (lambda n, x: n.head((n.fc1(x) + n.rms.weight).relu()), [("fc1", "head")]),
    "rms norm": (lambda n, x: n.head(n.rms(n.fc1(x)).relu()), [("fc1", "rms", "head")]),
    "instance norm": (
        lambda n, x: n.conv2(n.instance(n.conv(pictures(x))).relu()),
        [("conv", "instance", "conv2")],
    ),
    "a norm by hand": (lambda n, x: n.head(by_hand(n, n.fc1(x)).relu()), [("fc1", "head")]),
    "rows in two axes": (lambda n, x: n.head(n.fc1(x).view(3, 1, 4).relu()), [("fc1", "head")]),
    "time before flattening": (
        lambda n, x: n.head(n.conv(pictures(x)).mean((2, 3)).view(3, 1, -1)),
        [("conv", "head")],
    ),
    "mean over places": (lambda n, x: n.square(n.conv(pictures(x)).mean(-1).flatten(1)), [("conv", "square")]),
    "two parts": (
        lambda n, x: n.both(torch.cat([(h := n.fc1(x)).relu(), (-h).relu()], -1)),
        [("fc1", "both")],
    ),
}


@pytest.mark.parametrize("case", FOUND)
def test_layers_are_found_through_what_keeps_units_apart(case: str) -> None:
    forward, layers = FOUND[case]
    net = Net(forward)
    cbp = ContinualBackprop(net, torch.optim.SGD(net.parameters()))
    net(torch.rand(3, 4))
    cbp.step()
    assert cbp.network.layers == layers


def test_every_norms_scale_is_fresh_with_its_unit() -> None:
    for case, norm in (("rms norm", "rms"), ("instance norm", "instance")):
        net = Net(FOUND[case][0])
        torch.nn.init.constant_(net.get_submodule(norm).weight, 3.0)
        cbp = ContinualBackprop(
            net, torch.optim.SGD(net.parameters()), layers=FOUND[case][1], replacement_rate=1.0, maturity_threshold=0
        )
        net(torch.rand(3, 4))
        assert cbp.step() == 4
        assert net.get_submodule(norm).weight.tolist() == [1.0] * 4


def test_two_heads_are_taken_where_the_layers_are_named() -> None:
    net = Net(REFUSED["two heads"][0])
    cbp = ContinualBackprop(net, torch.optim.SGD(net.parameters()), layers=[("fc1", "head")])
    net(torch.ones(3, 4))
    cbp.step()
    assert list(cbp.state["age"]) == ["fc1"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"replacement_rat": 1e-3}, "unknown setting of ContinualBackprop 'replacement_rat': did you mean"),
        ({"replacement_rate": 2.0}, r"replacement_rate=2.0: .*less than or equal to 1"),
        ({"utility": "worth"}, "utility='worth'"),
        ({"preset": "official_resnet"}, "knows the utilities contribution and weight alone"),
        ({"activation": "rely"}, "unknown activation 'rely': did you mean 'relu'"),
        ({"activation": "groupsort_2"}, "one by one, and where groups of 2 are sorted no activation is one unit"),
        ({"initialisation": "he"}, "unknown initialisation 'he'"),
        ({"layers": [("fc1", "hed")]}, "unknown module 'hed': did you mean 'head'"),
        ({"layers": [("fc1", "attention")]}, "attention is a MultiheadAttention"),
        ({"layers": [("fc1",)]}, "allowed: a layer, norms that follow it"),
        ({"layers": []}, "layers is empty"),
        ({"layers": [("wide", "narrow")]}, "wide has 8 units, and narrow takes 2 inputs"),
        ({"layers": [("fc1", "head"), ("fc1", "fc2")]}, "layers names fc1 twice"),
        ({"layers": [("fc1", "fc2", "head")]}, "fc2, between fc1 and head, is a Linear; norms alone may stand there"),
    ],
    ids=str,
)
def test_settings_that_are_not_allowed_are_refused_at_once(settings: dict[str, Any], said: str) -> None:
    net = Net(lambda n, x: x)
    with pytest.raises(InputError, match=said):
        ContinualBackprop(net, torch.optim.SGD(net.parameters()), **settings)


def test_optimizers_whose_state_is_not_known_are_refused_unless_left_alone() -> None:
    net = Net(lambda n, x: n.head(n.fc1(x).relu()))
    optimizer = torch.optim.RMSprop(net.parameters())
    with pytest.raises(InputError, match="how RMSprop keeps its state is not known; give reset_optimizer=False"):
        ContinualBackprop(net, optimizer)
    cbp = ContinualBackprop(net, optimizer, reset_optimizer=False, replacement_rate=1.0, maturity_threshold=0)
    net(torch.ones(3, 4)).sum().backward()
    optimizer.step()
    assert cbp.step() == 4


def test_tied_weights_are_refused() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    model[4].weight = model[0].weight
    with pytest.raises(InputError, match=r"0\.weight is 4\.weight too \(tied weights\)"):
        ContinualBackprop(model, torch.optim.SGD(model.parameters()), layers=[("0", "2")])


def test_layers_that_are_not_trained_are_refused() -> None:
    net = Net(lambda n, x: n.head(n.fc1(x).relu()))
    cbp = ContinualBackprop(net, torch.optim.SGD(net.head.parameters()))
    net(torch.ones(3, 4)).sum().backward()
    with pytest.raises(InputError, match=r"fc1\.weight is not trained by the optimizer \(SGD\)"):
        cbp.step()
