"""How fast a step could be on a GPU, computed from its data sheet and not measured: operations, bytes and kernels.

`python -m sweep.benchmarks.roofline` prints the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sweep.benchmarks.limits import WIDTH, work_of

# A kernel that waits for the one before it, inside a CUDA graph: no data sheet has it. Measured on an H200 as the
# replay of a graph of 1000 additions to 1024 numbers, each in place (torch 2.11, CUDA 13).
KERNEL_NS = 840.0


@dataclass(frozen=True, slots=True)
class Accelerator:
    """What a GPU's data sheet promises, per nanosecond, float32."""

    name: str
    source: str
    flops: float  # outside the tensor cores
    tf32_flops: float  # of the tensor cores, dense
    moved: float  # bytes to and from its memory
    cache: float  # bytes of the last cache


H100 = Accelerator(
    name="H100 SXM5 80 GB",
    source="NVIDIA H100 data sheet; the cache from the architecture's white paper",
    flops=67e3,  # 67 TFLOP/s
    tf32_flops=494.5e3,  # 989 TFLOP/s are with sparsity
    moved=3350,  # 3.35 TB/s
    cache=50e6,
)


H200 = Accelerator(
    name="H200 SXM 141 GB",
    source="NVIDIA H200 data sheet; the cache as CUDA reports it",
    flops=67e3,
    tf32_flops=494.5e3,
    moved=4800,
    cache=60e6,
)
KNOWN = (H100, H200)


@dataclass(frozen=True, slots=True)
class Case:
    """A pack on a GPU, by what a step of one of its trials does at least, all numbers read once where they are used."""

    name: str
    members: int
    flops: float
    moved: float  # bytes, if none of them stay in the cache
    resident: float  # bytes a step comes back to, of one trial
    kernels: int  # one after the other, for all members together
    tf32: bool = False


@dataclass(frozen=True, slots=True)
class Roofline:
    """The least ns of a trial-step by each of three roofs, and which is the lowest."""

    compute: float
    memory: float  # 0 where the whole pack stays in the cache, whose rate no data sheet tells
    launch: float

    @property
    def ns(self) -> float:
        """The bound: the slowest alone, as if all else hid behind it."""
        return max(self.compute, self.memory, self.launch)

    @property
    def binds(self) -> str:
        """What the bound is from."""
        return max(("compute", "memory", "launch"), key=lambda roof: float(getattr(self, roof)))


def roofline(case: Case, gpu: Accelerator = H100) -> Roofline:
    """The bounds of one trial-step of a pack, computed, not measured."""
    return Roofline(
        compute=case.flops / (gpu.tf32_flops if case.tf32 else gpu.flops),
        memory=case.moved / gpu.moved if case.members * case.resident > gpu.cache else 0.0,
        launch=case.kernels * KERNEL_NS / case.members,
    )


def mlp_case(name: str, members: int, sizes: Sequence[int]) -> Case:
    """SGD at batch 1: a weight is read forward, read and written by the update that its gradient goes straight into.

    Forward each layer waits for the one before, backward for the one after; one kernel updates all.
    """
    parameters = sum((a + 1) * b for a, b in zip(sizes, sizes[1:], strict=False))
    return Case(
        name=name,
        members=members,
        flops=2 * work_of(sizes, {"name": "sgd"}, {}).multiply_adds,
        moved=3 * WIDTH * parameters,
        resident=WIDTH * parameters,
        kernels=2 * (len(sizes) - 1) + 1,
    )


def convnet_case(name: str, members: int, batch: int, *, tf32: bool = False) -> Case:
    """The convnet on 32x32x3 pictures and two classes, SGD.

    Each product is done forward, for the weights' gradient and, above the first layer, for the layer below. Of every
    layer's output, before and after pooling, one copy is written, and read forward and backward.
    """
    from workloads.networks.config import CONV_KERNELS, ConvNetConfig

    config, shape, outputs = ConvNetConfig(), (3, 32, 32), 2
    channels, sides = [shape[0], *config.channels], config.sides(shape)
    products, kept = [], 0
    for a, b, kernel, (height, width) in zip(channels, channels[1:], CONV_KERNELS, sides, strict=False):
        products.append(4 * height * width * kernel * kernel * a * b)
        kept += (4 + 1) * height * width * b
    height, width = sides[-1]
    sizes = [height * width * channels[-1], config.hidden, config.hidden, outputs]
    products += [a * b for a, b in zip(sizes, sizes[1:], strict=False)]
    parameters = config.parameters(shape, outputs)
    return Case(
        name=name,
        members=members,
        flops=2 * (batch * (2 * sum(products) + sum(products[1:])) + parameters),
        moved=WIDTH * (3 * parameters + 3 * batch * (kept + sum(sizes[1:]))),
        resident=WIDTH * (parameters + batch * kept),
        kernels=3 * len(products) + 2 * len(CONV_KERNELS) + 1,  # products, poolings, the update
        tf32=tf32,
    )


def gpu_cases() -> list[Case]:
    """The main uses, at pack sizes that fit one GPU."""
    mnist = [784, *[100] * 3, 10], [784, *[2000] * 3, 10]
    return [
        *(mlp_case("regression 20-5-1", members, [20, 5, 1]) for members in (3000, 30_000)),
        *(mlp_case("MNIST, width 100", members, mnist[0]) for members in (30, 300, 3000)),
        *(mlp_case("MNIST, width 2000", members, mnist[1]) for members in (10, 100)),
        *(convnet_case("convnet, batch 100", members, 100) for members in (1, 30)),
        convnet_case("convnet, batch 100, TF32", 30, 100, tf32=True),
    ]


def gpu_table(gpu: Accelerator = H100) -> str:
    """The bounds of the main uses, as text."""
    lines = [
        f"{gpu.name}: computed, not measured. Float32, SGD. {gpu.source}.",
        f"Launch: {KERNEL_NS / 1000:g} us for each dependent kernel of a CUDA graph (measured on an H200).",
        f"{'':26}{'members':>8}{'flop':>10}{'bytes':>10}{'compute':>10}{'memory':>10}{'launch':>10}  ns per trial-step",
    ]
    for case in gpu_cases():
        bound = roofline(case, gpu)
        memory = f"{bound.memory:.4g}" if bound.memory else "in cache"
        lines.append(
            f"{case.name:26}{case.members:8}{case.flops:10.3g}{case.moved:10.3g}"
            f"{bound.compute:10.3g}{memory:>10}{bound.launch:10.3g}  {bound.ns:.3g}, by {bound.binds}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(gpu_table())
