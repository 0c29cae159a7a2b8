"""The Hessian's largest eigenvalue and the covariance of gradients: by hand, and against autograd in float64."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from workloads.diagnostics.lanczos import STEPS, start_of, tridiagonal
from workloads.diagnostics.look import Look
from workloads.diagnostics.measure import measure
from workloads.diagnostics.quadrature import effective_rank_of_sums, starts_of, sums, sums_of_whole
from workloads.losses.implementations import CrossEntropy, SquaredError
from workloads.networks.config import MLPConfig
from workloads.networks.mlp import MLP

F64 = torch.float64
NAMES = ("hessian_max", "hessian_fifth", "hessian_effective_rank", "gradient_covariance_rank")


def linear_look(x: list[list[float]], y: list[list[float]]) -> Look:
    """f(x) = w x without a bias, at w = 0, on squared error."""
    network = MLP(MLPConfig(width=None, depth=0, activation=None, biases=False), len(x[0]), 1)
    params = {"layers.0.weight": torch.zeros(1, 1, len(x[0]), dtype=F64)}
    return Look(network, params, torch.tensor([x]), targets=torch.tensor([y]), loss=SquaredError())


def test_a_linear_model_has_the_curvature_of_its_inputs() -> None:
    """H = 2/N sum x x^T: of (3, 0) and (0, 1) it is diag(9, 1)."""
    found = measure(NAMES, linear_look([[3.0, 0.0], [0.0, 1.0]], [[1.0], [1.0]]))
    assert found["hessian_max"].item() == pytest.approx(9)
    assert found["hessian_fifth"].isnan(), "of two parameters there is no fifth"
    entropy = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1))
    assert found["hessian_effective_rank"].item() == pytest.approx(math.exp(entropy), rel=1e-6)


def test_gradients_of_two_directions_have_rank_two() -> None:
    """g = -2 y x: +-(2, 0) and +-(0, 2) have mean 0 and covariance diag(2, 2); along one line it is of rank 1."""
    x = [[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]
    found = measure(NAMES, linear_look(x, [[1.0]] * 4))
    assert found["gradient_covariance_rank"].item() == pytest.approx(2)
    found = measure(NAMES, linear_look([[1.0, 0.0], [2.0, 0.0], [5.0, 0.0]], [[1.0]] * 3))
    assert found["gradient_covariance_rank"].item() == pytest.approx(1)
    # The mean of the gradients is no spread of them: equal ones have none.
    found = measure(NAMES, linear_look([[1.0, 4.0]] * 3, [[1.0]] * 3))
    assert found["gradient_covariance_rank"].item() == pytest.approx(1)


def whole(network: MLP, look: Look, place: int) -> tuple[Tensor, Tensor]:
    """Of one member, by autograd's dense Hessian and a loop over examples: H, and the gradients (N, parameters)."""
    params = {name: value[place] for name, value in look.params.items()}
    assert look.targets is not None and look.loss is not None
    x, y, loss = look.x[place], look.targets[place], look.loss
    sizes = [value.numel() for value in params.values()]

    def losses(flat: Tensor) -> Tensor:
        parts = zip(params.items(), flat.split(sizes), strict=True)
        own = {name: part.view(value.shape) for (name, value), part in parts}
        return loss.example_losses(network.apply(own, x)[0], y)

    flat = torch.cat([value.flatten() for value in params.values()])
    hessian = torch.autograd.functional.hessian(lambda flat: losses(flat).mean(), flat)
    return hessian, torch.autograd.functional.jacobian(losses, flat)


@pytest.mark.parametrize(
    "settings", [{"activation": "tanh"}, {"activation": "relu", "normalisation": "layer"}], ids=str
)
@pytest.mark.parametrize("kind", ["regression", "classes"])
def test_autograd_is_the_oracle(settings: Any, kind: str) -> None:
    network = MLP(MLPConfig(width=4, depth=2, **settings), 5, 3)
    params = {name: torch.stack([network.init(k)[name] for k in range(2)]) for name in network.init(0)}
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 8, 5, generator=generator, dtype=F64)
    y = torch.randint(0, 3, (2, 8), generator=generator) if kind == "classes" else 3 * x[..., :3]
    look = Look(network, params, x, targets=y, loss=CrossEntropy() if kind == "classes" else SquaredError())
    found = measure(NAMES, look)
    for place in range(2):
        hessian, gradients = whole(network, look, place)
        values = torch.linalg.eigvalsh(hessian)
        largest = values[-1].item()
        exact = torch.special.entr(values.abs() / values.abs().sum()).sum().exp().item()
        assert found["hessian_effective_rank"][place].item() == pytest.approx(exact, rel=1e-6)
        assert found["hessian_max"][place].item() == pytest.approx(largest, rel=1e-6)
        assert found["hessian_max"][place].item() <= largest * (1 + 1e-7), "never above it"
        assert found["hessian_fifth"][place].item() == pytest.approx(values[-5].item(), rel=1e-5)
        spread = torch.linalg.svdvals(gradients - gradients.mean(0)) ** 2
        torch.testing.assert_close(look.gradient_covariance_spectrum[place], spread[:8] / 8, rtol=1e-8, atol=1e-12)
        share = spread / spread.sum()
        rank = torch.special.entr(share).sum().exp().item()
        assert found["gradient_covariance_rank"][place].item() == pytest.approx(rank)


@pytest.mark.parametrize("size", [1, 3, 20, 400])
@pytest.mark.parametrize("kind", ["positive", "indefinite", "of rank one", "zero"])
def test_lanczos_finds_the_largest_eigenvalue_of_a_matrix(size: int, kind: str) -> None:
    raw = torch.randn(size, size, generator=torch.Generator().manual_seed(3), dtype=F64)
    matrix = {"positive": raw @ raw.mT, "indefinite": raw + raw.mT, "of rank one": raw[:, :1] @ raw[:, :1].mT}.get(
        kind, torch.zeros_like(raw)
    )
    seen = torch.linalg.eigvalsh(tridiagonal(lambda vector: matrix @ vector, start_of(size)))
    values = torch.linalg.eigvalsh(matrix)
    assert seen.shape == (STEPS,)
    assert seen[-1].item() == pytest.approx(values[-1].item(), rel=5e-3, abs=1e-12)
    assert seen[-1] <= values[-1] + 1e-9 and seen[0] >= values[0] - 1e-9


def test_a_negative_matrix_that_ends_early_hides_nothing() -> None:
    """Of -I one direction is all there is: zeros in the place of the others would be above every eigenvalue."""
    seen = torch.linalg.eigvalsh(tridiagonal(lambda vector: -vector, start_of(7)))
    torch.testing.assert_close(seen, -torch.ones(STEPS, dtype=F64))


def truth(values: Tensor) -> float:
    """The effective rank of eigenvalues."""
    return torch.special.entr(values.abs() / values.abs().sum()).sum().exp().item()


@pytest.mark.parametrize("silent", [0.0, 0.9], ids=["newborn", "mostly silent"])
def test_a_large_hessians_effective_rank_is_within_a_fifth_and_its_fifth_eigenvalue_closer(silent: float) -> None:
    """Of 693 parameters, by autograd's dense Hessian."""
    network = MLP(MLPConfig(width=16, depth=2), 20, 5)
    params = {name: value[None].clone() for name, value in network.init(0).items()}
    for name in ("layers.0.bias", "layers.1.bias"):
        params[name][:, : int(silent * 16)] = -100
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 64, 20, generator=generator, dtype=F64)
    y = torch.randint(0, 5, (1, 64), generator=generator)
    look = Look(network, params, x, targets=y, loss=CrossEntropy())
    values = torch.linalg.eigvalsh(whole(network, look, 0)[0])
    found = measure(["hessian_effective_rank", "hessian_fifth"], look)
    assert found["hessian_effective_rank"].item() == pytest.approx(truth(values), rel=0.2)
    assert found["hessian_fifth"].item() == pytest.approx(values[-5].item(), rel=0.01)
    assert found["hessian_fifth"] <= values[-5] * (1 + 1e-6)


@pytest.mark.parametrize(
    "some",
    [[], [5.0], [5.0, -1.0, 0.5, 1e-3, 40.0], [3.0] * 200, [40.0] * 10 + [3.0] * 100 + [0.1] * 90],
    ids=["zero", "one", "few", "all alike", "of three sizes"],
)
def test_sums_over_eigenvalues_of_a_matrix(some: list[float]) -> None:
    """Few are found and count once; of equal ones, which are found once, the quadrature counts the others."""
    size = 200
    vectors = torch.linalg.qr(torch.randn(size, size, generator=torch.Generator().manual_seed(3), dtype=F64))[0]
    values = torch.tensor([*some, *[0.0] * (size - len(some))], dtype=F64)
    matrix = vectors @ values.diag() @ vectors.mT
    expected = torch.stack([values.abs().sum(), -torch.special.entr(values.abs()).sum()])
    close = 0.3 if len(set(some)) == 3 else 1e-9  # how much a random direction has of ten that are alike is chance
    for found in (sums(lambda v: matrix @ v, starts_of(size)), sums_of_whole(lambda v: matrix @ v, values)):
        torch.testing.assert_close(found, expected, rtol=close, atol=1e-9)
        assert effective_rank_of_sums(found).item() == pytest.approx(truth(values) if some else 1, rel=close)


def test_what_is_of_a_loss_needs_targets() -> None:
    look = linear_look([[1.0]], [[1.0]])
    for name in NAMES:
        with pytest.raises(ValueError, match="a look without targets"):
            measure([name], Look(look.network, look.params, look.x))
