"""What all tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from workloads.native import TORCHS_FOLDER, cache_folder

# What torch compiles, for all tests at one place, also for those that have a cache of their own.
os.environ.setdefault(TORCHS_FOLDER, str(cache_folder()))

# The same examples in every run, so that none fails by the luck of the day. Whoever wants others, and many of them,
# asks for `pytest --hypothesis-profile=hunt`; what is found there becomes a test of its own.
settings.register_profile("same", derandomize=True, database=None, deadline=None, max_examples=25)
settings.register_profile("hunt", database=None, deadline=None, max_examples=500)
settings.load_profile("same")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Networks this small only lose by a second thread of torch, and wait for it where the machine is busy."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
