"""The papers that shipped studies follow, and which studies belong to each. Needs neither torch nor pandas."""

from __future__ import annotations

from dataclasses import dataclass

from workloads.registry import lookup


@dataclass(frozen=True, slots=True)
class Paper:
    """A paper, and the shipped studies that repeat its experiments."""

    title: str
    cite: str
    studies: tuple[str, ...]


PAPERS: dict[str, Paper] = {
    "loss-of-plasticity": Paper(
        "Loss of plasticity in deep continual learning",
        "Dohare et al. (2024), Nature 632:768",
        (
            "slowly_changing_regression",
            "permuted_mnist",
            "permuted_mnist_popular",
            "permuted_mnist_rate",
            "generate_and_test",
            "continual_imagenet",
            "incremental_cifar",
        ),
    ),
    # Hours, where the rest of the paper is an hour. `hopper` and `walker` (Extended Data Fig. 5a) would be hours more,
    # in which nothing can be told: at laptop scale they are a hundredth and a fiftieth as long as the paper's.
    "loss-of-plasticity-agents": Paper(
        "Loss of plasticity in deep continual learning: reinforcement learning",
        "Dohare et al. (2024), Nature 632:768, Figs. 3 and 4",
        ("continual_control", "slippery_ant", "ant"),
    ),
    "isometry": Paper(
        "Preserving plasticity in continual learning via dynamical isometry",
        "Rosseau, Müller, Nowé (2026), arXiv 2606.09762",
        (
            "relabelled",
            "permuted_pixels",
            "shuffled_labels",
            "four_axes",
            "expressiveness",
            "reactivation",
            "input_permuted_mnist",
            "isometry_lens",
            "continual_minatar",
        ),
    ),
    "warm-start": Paper(
        "On warm-starting neural network training",
        "Ash and Adams (2020), NeurIPS",
        ("warm_start",),
    ),
    "upgd": Paper(
        "Addressing loss of plasticity and catastrophic forgetting in continual learning",
        "Elsayed and Mahmood (2024), ICLR, arXiv 2404.00781",
        ("input_permuted_mnist",),
    ),
}


def paper(name: str) -> Paper:
    """The paper of that name; InputError where there is none."""
    return lookup(PAPERS, name, "paper")
