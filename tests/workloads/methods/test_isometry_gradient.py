"""The isometry penalty's gradient: by hand, against autograd of eq. 16, and what the options scale."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from workloads.methods.config import CoupledIsometryConfig
from workloads.methods.isometry import isometry_gradient, isometry_gradients, projected, targets
from workloads.networks.base import Network
from workloads.networks.config import ConvNetConfig, MLPConfig, ResNet18Config
from workloads.networks.convnet import ConvNet
from workloads.networks.mlp import MLP
from workloads.networks.resnet import ResNet18

SHAPES = [(5, 3), (3, 5), (4, 4), (1, 6), (6, 1)]


def matrix(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def tall_penalty(weight: Tensor) -> Tensor:
    """‖WᵀW − I‖²_F."""
    return ((weight.T @ weight - torch.eye(weight.shape[1], dtype=weight.dtype)) ** 2).sum()


def wide_penalty(weight: Tensor) -> Tensor:
    """‖WWᵀ − I‖²_F."""
    return tall_penalty(weight.T)


def test_diagonal_by_hand() -> None:
    """R(diag(2, 1)) = (4 − 1)² = 9 and dR/ds = 4 s (s² − 1) = 24 at 2, 0 at 1."""
    weight = torch.diag(torch.tensor([2.0, 1.0], dtype=torch.float64))
    assert tall_penalty(weight) == 9
    assert isometry_gradient(weight).tolist() == [[24, 0], [0, 0]]


def test_one_row_and_one_column_by_hand() -> None:
    """w = (1, 2): R = (5 − 1)², gradient 4 x 4 w on either side."""
    row = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    assert isometry_gradient(row).tolist() == [[16, 32]]
    assert isometry_gradient(row.T).tolist() == [[16], [32]]


@pytest.mark.parametrize("shape", SHAPES)
def test_zero_at_isometries_and_at_zero(shape: tuple[int, int]) -> None:
    isometry = torch.linalg.svd(matrix(*shape), full_matrices=False)
    weight = isometry.U @ isometry.Vh
    assert isometry_gradient(weight).abs().max() < 1e-14
    assert isometry_gradient(torch.zeros(shape)).abs().max() == 0


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("penalty", [tall_penalty, wide_penalty])
def test_autograd_of_either_side_gives_the_same(shape: tuple[int, int], penalty) -> None:
    weight = matrix(*shape)
    torch.testing.assert_close(isometry_gradient(weight), torch.func.grad(penalty)(weight), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_two_sides_differ_by_a_constant(shape: tuple[int, int]) -> None:
    weight = matrix(*shape)
    assert (wide_penalty(weight) - tall_penalty(weight)).item() == pytest.approx(shape[0] - shape[1])


@pytest.mark.parametrize("shape", SHAPES)
def test_shape_and_dtype_stay_and_vmap_gives_each_alone(shape: tuple[int, int]) -> None:
    weights = torch.stack([matrix(*shape, seed=k) for k in range(3)])
    assert isometry_gradient(weights[0].float()).dtype == torch.float32
    batched = torch.func.vmap(isometry_gradient)(weights)
    assert batched.shape == weights.shape
    for one, weight in zip(batched, weights, strict=True):
        torch.testing.assert_close(one, isometry_gradient(weight), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("penalty", ["full", "half"])
@pytest.mark.parametrize("scale_by_gram", [False, True])
@pytest.mark.parametrize("head", [False, True])
def test_a_networks_gradients_are_autograd_of_the_summed_penalty(penalty: str, scale_by_gram: bool, head: bool) -> None:
    """3-6-6-2: a tall, a square and a wide matrix, Gram sizes 3, 6 and 2."""
    network = MLP(MLPConfig(width=6, depth=2), 3, 2)
    params = network.init(0)

    def total(params: dict[str, Tensor]) -> Tensor:
        terms = [
            tall_penalty(params["layers.0.weight"]) / (3 if scale_by_gram else 1),
            tall_penalty(params["layers.1.weight"]) / (6 if scale_by_gram else 1),
            (wide_penalty(params["layers.2.weight"]) if head else 0) / (2 if scale_by_gram else 1),
        ]
        return (1 if penalty == "full" else 0.5) * sum(terms)

    expected = torch.func.grad(total)(params)
    config = CoupledIsometryConfig(penalty=penalty, scale_by_gram=scale_by_gram, head=head)
    found = isometry_gradients(params, network, config)
    assert set(found) == {f"layers.{k}.weight" for k in range(3 if head else 2)}  # no bias is ever pulled
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-12, atol=1e-12)


CONVNET = ConvNet(ConvNetConfig(width=3, hidden=4), (3, 24, 24), 2)
RESNET = ResNet18(ResNet18Config(width=1), (3, 8, 8), 2)


def test_a_kernel_by_hand() -> None:
    """One output channel, 2 x 1 x 2: the row (1, 0, 2, 0), whose gradient is 4 (5 - 1) times itself."""
    params = {**CONVNET.init(0), "convs.0.weight": torch.tensor([[[[1.0, 0.0]], [[2.0, 0.0]]]], dtype=torch.float64)}
    found = isometry_gradients(params, CONVNET, CoupledIsometryConfig())["convs.0.weight"]
    assert found.tolist() == [[[[16, 0]], [[32, 0]]]]


@pytest.mark.parametrize("network", [CONVNET, RESNET], ids=["convnet", "resnet18"])
@pytest.mark.parametrize("head", [False, True])
def test_kernels_are_pulled_as_the_matrix_of_what_maps_a_patch(network: Network, head: bool) -> None:
    params = network.init(0)

    def total(params: dict[str, Tensor]) -> Tensor:
        result = torch.zeros((), dtype=torch.float64)
        for name in network.weights if head else network.weights[:-1]:
            rows = torch.stack([kernel.flatten() for kernel in params[name]])  # (out, in x height x width)
            penalty = wide_penalty(rows) if rows.shape[0] < rows.shape[1] else tall_penalty(rows)
            result = result + penalty / min(rows.shape)
        return result

    expected = torch.func.grad(total)(params)
    found = isometry_gradients(params, network, CoupledIsometryConfig(scale_by_gram=True, head=head))
    assert list(found) == list(network.weights if head else network.weights[:-1])  # no bias and no batch norm
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-11, atol=1e-11)


def test_an_orthogonal_start_is_not_pulled() -> None:
    network = ConvNet(ConvNetConfig(width=3, hidden=4, initialisation="orthogonal"), (3, 24, 24), 2)
    found = isometry_gradients(network.init(0), network, CoupledIsometryConfig())
    assert {value.ndim for value in found.values()} == {2, 4}
    assert max(value.abs().max().item() for value in found.values()) < 1e-13


@pytest.mark.parametrize("shape", SHAPES)
def test_a_target_is_what_the_gram_matrix_is_pulled_to(shape: tuple[int, int]) -> None:
    """Against autograd of ‖WᵀW − 2 I‖²; zero at √2 times an isometry."""
    weight, eye = matrix(*shape), 2 * torch.eye(min(shape), dtype=torch.float64)

    def penalty(weight: Tensor) -> Tensor:
        gram = weight.T @ weight if shape[0] >= shape[1] else weight @ weight.T
        return ((gram - eye) ** 2).sum()

    torch.testing.assert_close(isometry_gradient(weight, 2.0), torch.func.grad(penalty)(weight), rtol=1e-12, atol=1e-12)
    halves = torch.linalg.svd(weight, full_matrices=False)
    assert isometry_gradient(2**0.5 * halves.U @ halves.Vh, 2.0).abs().max() < 1e-13


def test_which_matrices_are_pulled_and_to_what() -> None:
    """3-6-6-2 with tanh, whose gain is 5/3; the head has none. Of a convnet with relu, 2 for all but the head."""
    network = MLP(MLPConfig(width=6, depth=2, activation="tanh"), 3, 2)
    first, hidden, head = network.weights
    scaled = targets(network, CoupledIsometryConfig(target="gain_squared"))
    assert scaled == {first: pytest.approx(25 / 9), hidden: pytest.approx(25 / 9), head: 1}
    assert targets(network, CoupledIsometryConfig()) == {first: 1, hidden: 1, head: 1}
    assert list(targets(network, CoupledIsometryConfig(first=False, head=False))) == [hidden]
    for pictures in (CONVNET, RESNET):
        scaled = targets(pictures, CoupledIsometryConfig(target="gain_squared"))
        assert scaled.pop(pictures.head) == 1 and list(scaled.values()) == pytest.approx([2] * len(scaled))
        matrices = [n for n in pictures.weights if len(pictures.parameter_shapes()[n]) == 2]
        assert list(targets(pictures, CoupledIsometryConfig(kernels=False))) == matrices
    linear = MLP(MLPConfig(depth=0), 3, 2)  # its one matrix is both
    assert targets(linear, CoupledIsometryConfig(first=False)) == {}


@pytest.mark.parametrize("shape", [*SHAPES, (3, 2, 2, 2)])
@pytest.mark.parametrize("target", [1.0, 2.0])
def test_newton_and_schulz_end_at_the_polar_factor(shape: tuple[int, ...], target: float) -> None:
    """Also from singular values of 4 and more, where the plain iteration goes astray."""
    weight = 3 * matrix(*shape)
    halves = torch.linalg.svd(weight.flatten(1), full_matrices=False)
    assert halves.S.max() > 3
    found = projected(weight, 60, target).flatten(1)
    torch.testing.assert_close(found, target**0.5 * halves.U @ halves.Vh, rtol=1e-9, atol=1e-9)


def test_one_step_near_an_isometry_is_a_pull_of_one_half() -> None:
    """s <- s - (s^3 - s) / 2: by hand 1.1 becomes 0.9845, 0.9 becomes 0.9855; zero stays."""
    weight = torch.diag(torch.tensor([1.1, 0.9, 0.0], dtype=torch.float64))
    expected = torch.diag(torch.tensor([0.9845, 0.9855, 0.0], dtype=torch.float64))
    torch.testing.assert_close(projected(weight, 1), expected, rtol=1e-14, atol=1e-15)
    torch.testing.assert_close(projected(weight, 1), weight - isometry_gradient(weight) / 8, rtol=1e-14, atol=1e-15)
    assert torch.count_nonzero(projected(torch.zeros(2, 3), 2)) == 0
