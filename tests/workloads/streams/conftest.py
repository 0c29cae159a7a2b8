"""The small data set of `marked_images` in place of the real ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest
from marked_images import CLASSES, SHAPE, TEST, TRAIN, MarkedImages

from workloads.data import front
from workloads.data.catalogue import DATASETS
from workloads.streams import image_sets


@pytest.fixture
def marked(monkeypatch: pytest.MonkeyPatch) -> Iterator[MarkedImages]:
    """Stands in for every data set; glyphs also has its sizes, while others keep those they have."""
    made = MarkedImages()
    monkeypatch.setattr(front, "image_set", lambda name: made)
    small = dataclasses.replace(DATASETS["glyphs"], shape=SHAPE, classes=CLASSES, per_class=(TRAIN, TEST))
    monkeypatch.setitem(DATASETS, "glyphs", small)
    image_sets.first_images.cache_clear()
    yield made
    image_sets.first_images.cache_clear()
