"""The roofline of a GPU: arithmetic on counted work and a data sheet. (The limits of a core: see test_bench.)"""

from __future__ import annotations

import pytest

from sweep.benchmarks.roofline import H100, KERNEL_NS, Case, convnet_case, gpu_cases, gpu_table, mlp_case, roofline


def test_a_small_network_is_bound_by_launches() -> None:
    # 20-5-1 has 111 parameters; 221 multiply-adds at batch 1 (see test_bench). Two layers forward, two backward and an
    # update: five kernels of 0.84 us for 3000 members are 1.4 ns each. 3000 x 444 bytes are 1.3 MB of a 50 MB cache.
    case = mlp_case("regression", 3000, [20, 5, 1])
    assert (case.flops, case.moved, case.resident, case.kernels) == (442, 1332, 444, 5)
    bound = roofline(case)
    assert bound.compute == pytest.approx(442 / 67_000)
    assert bound.memory == 0
    assert bound.ns == bound.launch == pytest.approx(4200 / 3000)
    assert bound.binds == "launch" and KERNEL_NS == 840


def test_a_large_network_is_bound_by_memory() -> None:
    # 784-2000-2000-2000-10: 1 570 000 + 2 x 4 002 000 + 20 010 parameters, of 4 bytes, read, read and written.
    case = mlp_case("MNIST", 10, [784, 2000, 2000, 2000, 10])
    assert case.moved == 12 * 9_594_010
    bound = roofline(case)
    assert bound.ns == bound.memory == pytest.approx(115_128_120 / 3350)
    assert bound.binds == "memory"


def test_a_convolutional_network_counted_by_hand() -> None:
    # Multiply-adds of one example: 28 x 28 x 75 x 32, 12 x 12 x 288 x 64, 4 x 4 x 576 x 128, then the linear layers.
    layers = [1_881_600, 2_654_208, 1_179_648, 65_536, 16_384, 256]
    parameters = 2432 + 18_496 + 73_856 + 65_664 + 16_512 + 258
    case = convnet_case("convnet", 30, 100)
    assert case.flops == 2 * (100 * (3 * sum(layers) - layers[0]) + parameters)
    assert roofline(case).binds == "compute"
    assert roofline(convnet_case("convnet", 30, 100, tf32=True)).compute == pytest.approx(case.flops / 494_500)


def test_in_the_cache_memory_is_no_roof() -> None:
    inside = Case("", members=10, flops=0, moved=1e6, resident=H100.cache / 10, kernels=0)
    assert roofline(inside).memory == 0
    assert roofline(Case("", members=11, flops=0, moved=1e6, resident=H100.cache / 10, kernels=0)).memory > 0


def test_the_table_says_that_it_is_computed() -> None:
    text = gpu_table()
    assert "computed, not measured" in text and "measured on an H200" in text
    assert len(text.splitlines()) == 3 + len(gpu_cases())
