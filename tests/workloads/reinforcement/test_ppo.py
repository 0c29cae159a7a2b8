"""PPO's pieces: advantages by hand, the losses by autograd and by torch's own distributions, and their settings."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import torch
from bandit import Bandit, BanditConfig
from torch import Tensor
from torch.distributions import Categorical as Softmax
from torch.distributions import Independent, Normal, kl_divergence

from workloads.errors import InputError
from workloads.networks.config import MLPConfig
from workloads.networks.mlp import MLP
from workloads.reinforcement.deviation import WithDeviation
from workloads.reinforcement.policies import Categorical, Gaussian, Policy
from workloads.reinforcement.ppo import PolicyLoss, ValueLoss, advantages, normalised
from workloads.reinforcement.settings import WorldConfig, ppo_of
from workloads.reinforcement.worlds import Continuous, Discrete


def column(*values: float) -> Tensor:
    """(T, 1, 1)"""
    return torch.tensor(values, dtype=torch.float64)[:, None, None]


def test_advantages_by_hand() -> None:
    """γ = λ = 1/2, values 1, 2, 3, 4, and 8 after the last; the second step ends an episode.

    δ: 1 + 2/2 − 1 = 1; 2 − 2 = 0; 3 + 4/2 − 3 = 2; 4 + 8/2 − 4 = 4. Backwards: 4; 2 + 4/4 = 3; 0; 1 + 0/4 = 1.
    """
    ended = column(0, 1, 0, 0).bool()
    found = advantages(column(1, 2, 3, 4), column(1, 2, 3, 4), column(2, 0, 4, 8), ended, discount=0.5, gae_lambda=0.5)
    assert found.flatten().tolist() == [1, 0, 3, 4]


def test_what_is_to_be_had_after_a_truncated_episode_is_bootstrapped_and_passed_no_further() -> None:
    """As above, where the second step's episode was cut off at a value of 6: δ = 2 + 6/2 − 2 = 3, the first 1 + 3/4."""
    ended = column(0, 1, 0, 0).bool()
    found = advantages(column(1, 2, 3, 4), column(1, 2, 3, 4), column(2, 6, 4, 8), ended, discount=0.5, gae_lambda=0.5)
    assert found.flatten().tolist() == [1.75, 3, 3, 4]


def test_with_lambda_1_an_advantage_is_the_return_less_the_value() -> None:
    generator = torch.Generator().manual_seed(0)
    rewards, values = torch.randn((2, 50, 3, 2), generator=generator, dtype=torch.float64)
    last = torch.randn((1, 3, 2), generator=generator, dtype=torch.float64)
    never = torch.zeros(50, 3, 2, dtype=torch.bool)
    found = advantages(rewards, values, torch.cat([values[1:], last]), never, discount=0.9, gae_lambda=1.0)
    powers = 0.9 ** torch.arange(51, dtype=torch.float64)[:, None, None]
    for t in (0, 20, 49):
        returned = (powers[: 50 - t] * rewards[t:]).sum(0) + 0.9 ** (50 - t) * last[0]
        assert torch.allclose(found[t], returned - values[t], rtol=1e-12)


def test_advantages_are_normalised_by_the_unbiased_deviation() -> None:
    assert normalised(torch.tensor([1.0, 2.0, 3.0])).tolist() == [-1, 0, 1]
    assert normalised(torch.tensor([5.0, 5.0, 5.0])).tolist() == [0, 0, 0]


@pytest.mark.parametrize("advantage", [1.5, -1.5])
@pytest.mark.parametrize("ratio", [0.5, 0.9, 1.1, 2.0])
def test_the_clipped_loss_and_its_gradient(ratio: float, advantage: float) -> None:
    """−min(ρ Â, clip(ρ) Â): the gradient by preferences is −ρ Â ∇ log π, and 0 where the clipped side is smaller."""
    preferences = torch.tensor([[0.3, -0.4, 1.1]], dtype=torch.float64, requires_grad=True)
    log = torch.log_softmax(preferences.detach(), -1)[0, 2]
    target = torch.stack([torch.tensor(2.0, dtype=torch.float64), log - np.log(ratio), torch.tensor(advantage)])[None]
    loss = PolicyLoss(Discrete(3), clip=0.2, entropy=0.0).example_losses(preferences, target)
    loss.sum().backward()
    clipped = (ratio > 1.2 and advantage > 0) or (ratio < 0.8 and advantage < 0)
    assert loss.item() == pytest.approx(-min(ratio * advantage, min(max(ratio, 0.8), 1.2) * advantage))
    policy = torch.softmax(preferences.detach()[0], 0)
    slope = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64) - policy
    assert preferences.grad is not None
    assert torch.allclose(preferences.grad[0], torch.zeros(3).double() if clipped else -ratio * advantage * slope)


def test_the_entropy_bonus_and_the_weight_of_the_values() -> None:
    output = torch.tensor([[0.3, -0.4, 1.1]], dtype=torch.float64)
    target = torch.tensor([[1.0, -1.7, 0.8]], dtype=torch.float64)
    plain, bonus = (PolicyLoss(Discrete(3), 0.2, beta).example_losses(output, target) for beta in (0.0, 0.5))
    assert (plain - bonus).item() == pytest.approx(0.5 * Softmax(logits=output).entropy().item())
    assert ValueLoss(0.5).example_losses(torch.tensor([[3.0]]), torch.tensor([[1.0]])).tolist() == [2.0]


POLICIES: dict[str, tuple[Policy, Any]] = {
    "categorical": (Categorical(), lambda output: Softmax(logits=output)),
    "gaussian": (Gaussian(2), lambda output: Independent(Normal(output[..., :2], output[..., 2:].exp()), 1)),
}


@pytest.mark.parametrize("name", POLICIES)
def test_policies_are_torchs_distributions(name: str) -> None:
    policy, made = POLICIES[name]
    generator = torch.Generator().manual_seed(1)
    output, other = torch.randn((2, 5, 4), generator=generator, dtype=torch.float64)
    action = made(output).sample()
    ours = action[:, None].double() if name == "categorical" else action
    assert torch.allclose(policy.log_probability(output, ours), made(output).log_prob(action))
    assert torch.allclose(policy.entropy(output), made(output).entropy())
    assert torch.allclose(policy.divergence(output, other), kl_divergence(made(output), made(other)))


def test_actions_are_drawn_by_their_probabilities() -> None:
    output = torch.log(torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64))
    noise = torch.tensor([0.0, 0.19, 0.21, 0.69, 0.71, 0.9999], dtype=torch.float64)[:, None]
    drawn = Categorical().acted(output.expand(6, 3), noise)
    assert Categorical().told(drawn).tolist() == [0, 0, 1, 1, 2, 2]
    gaussian = Gaussian(2).acted(torch.tensor([[1.0, 2.0, 0.0, np.log(3)]]), torch.tensor([[0.5, -1.0]]))
    assert gaussian[0].tolist() == pytest.approx([1.5, -1.0])


def test_the_deviation_is_a_parameter_that_only_the_outputs_show() -> None:
    mean = MLP(MLPConfig(width=4, depth=1), 3, 2)
    network = WithDeviation(mean)
    params = network.init(5)
    assert params["log_std"].tolist() == [0, 0] and list(params)[-1] == "log_std"
    assert network.parameter_count() == mean.parameter_count() + 2 and "log_std" not in network.weights
    x = torch.ones((5, 3), dtype=torch.float64)
    output = network.apply({**params, "log_std": torch.tensor([0.1, 0.2], dtype=torch.float64)}, x)[0]
    assert torch.equal(output[:, :2], mean.apply(params, x)[0])
    assert output[:, 2:].tolist() == [[0.1, 0.2]] * 5


def test_presets_and_what_is_said_beside_them() -> None:
    """Dohare et al. (2024), Methods; and Huang et al. (2022), "The 37 implementation details of PPO"."""
    alike = {"discount": 0.99, "gae_lambda": 0.95, "clip": 0.2}
    published = {"rollout": 2048, "epochs": 10, "minibatches": 16, "value_weight": 1.0, "entropy": 0.0}
    assert asdict(ppo_of(WorldConfig())) == {**alike, **published, "time_limits": "end"}
    usual = {"rollout": 128, "epochs": 4, "minibatches": 4, "value_weight": 0.5, "entropy": 0.01}
    assert asdict(ppo_of(WorldConfig(ppo="modern"))) == {**alike, **usual, "time_limits": "bootstrap"}
    modern = WorldConfig(ppo="modern", envs=8, steps_per_task=10_240, entropy=0.5)
    assert ppo_of(modern).entropy == 0.5 and ppo_of(modern).rollout == 128
    assert WorldConfig(rollout=2048) == WorldConfig()  # the same trial, however it is said


def test_sizes_that_do_not_fit_are_told_before_anything_is_computed() -> None:
    with pytest.raises(InputError, match="steps_per_task 100 must be whole iterations .* 8 steps: take 96 or 104"):
        Bandit(BanditConfig(steps_per_task=100), 0).check()
    with pytest.raises(InputError, match="minibatches 3 must divide envs x rollout, 8 steps"):
        Bandit(BanditConfig(minibatches=3), 0).check()
    with pytest.raises(InputError, match="steps_per_task 8 must be at least 16 for an episode to end in each task"):
        Bandit(BanditConfig(steps_per_task=8), 0).check()


def test_continuous_worlds_have_two_outputs_a_number() -> None:
    target = torch.tensor([[0.5, -0.5, -2.0, 1.0]], dtype=torch.float64)
    output = torch.tensor([[0.4, -0.4, 0.0, 0.0]], dtype=torch.float64)
    loss = PolicyLoss(Continuous(2), 0.2, 0.0).example_losses(output, target)
    log = Normal(torch.tensor([0.4, -0.4]).double(), 1.0).log_prob(target[0, :2]).sum()
    assert loss.item() == pytest.approx(-min(float((log + 2).exp()), 1.2))
