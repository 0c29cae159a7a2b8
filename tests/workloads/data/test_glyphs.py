"""The drawn data set: the same bytes everywhere, classes that differ, a cache to share, tasks worth learning."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from workloads.data import front, glyphs
from workloads.data.catalogue import DATASETS
from workloads.data.class_files import class_file
from workloads.data.entries import Bytes
from workloads.errors import DataError, InputError

DRAW_SUMS = """
import hashlib
from workloads.data import glyphs
for label in (7, 3):
    print(hashlib.sha256(glyphs.draw(label).data).hexdigest())
print(glyphs.checksum())
"""
FETCH_FOUR = """
from dataclasses import replace
from workloads.data import front
from workloads.data.catalogue import DATASETS
DATASETS["glyphs"] = replace(DATASETS["glyphs"], classes=4)
print(front.fetch("glyphs").source)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty data folder, and four glyphs alone."""
    monkeypatch.setenv("PLIANT_DATA", str(tmp_path / "data"))
    monkeypatch.setitem(DATASETS, "glyphs", replace(DATASETS["glyphs"], classes=4))
    yield tmp_path / "data"
    front._of_class.cache_clear()


def kept(folder: Path, label: int) -> Path:
    return class_file(folder / "glyphs-v2", label)


def start(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=os.environ)


# The images


def test_a_thousand_characters_with_names_of_their_own() -> None:
    names = glyphs.names()
    assert len(names) == len(set(names)) == DATASETS["glyphs"].classes >= 1000
    assert all(name.split()[0] in glyphs.FONTS for name in names)
    assert len({name.split()[0] for name in names[:100]}) > 3  # shuffled: the first classes mix the fonts


def test_all_shapes_look_different() -> None:
    # A font that lacks a character shows the same box for each that it lacks: no class may be that box.
    shapes = np.stack([glyphs.shape_of(label).ravel() for label in range(len(glyphs.names()))]).astype(np.float32)
    shapes -= shapes.mean(axis=1, keepdims=True)
    shapes /= np.linalg.norm(shapes, axis=1, keepdims=True)
    alike = shapes @ shapes.T
    np.fill_diagonal(alike, 0)
    assert alike.max() < 0.95


def test_images_are_the_same_in_any_order_and_any_process() -> None:
    other = start(DRAW_SUMS)
    here = {label: glyphs.draw(label) for label in (3, 7)}
    again = glyphs.draw(3)
    printed, _ = other.communicate(timeout=120)
    assert np.array_equal(again, here[3])
    sums = [hashlib.sha256(here[label].data).hexdigest() for label in (7, 3)]
    assert printed.split() == [*sums, glyphs.checksum()]


def test_images_of_a_class_differ_and_so_do_classes() -> None:
    images = glyphs.draw(0)
    assert images.shape == (700, 3 * 32 * 32) and images.dtype == np.uint8
    assert len(np.unique(images, axis=0)) == 700
    other = glyphs.draw(1)
    assert len(np.unique(np.concatenate([images, other]), axis=0)) == 1400


def test_the_noise_and_the_place_of_an_image_are_its_classes_own() -> None:
    # Were the random words those of the number alone, image i of every class would lie alike and share its noise.
    first, second = (glyphs.draw(label)[:100].astype(np.float64) for label in (0, 1))
    one, two = ((images[:, 1:] - images[:, :-1]).ravel() for images in (first, second))
    assert abs(float(one @ two)) < 0.05 * float(np.linalg.norm(one) * np.linalg.norm(two))


def test_training_and_test_images_are_drawn_alike() -> None:
    images = glyphs.draw(2).astype(np.float64)
    train, test = images[:600], images[600:]
    assert abs(train.mean() - test.mean()) < 10 and abs(train.std() - test.std()) < 10
    assert 40 < images.mean() < 215 and images.std() > 30
    assert not np.array_equal(images[0, :1024], images[0, 1024:2048])  # coloured


# The cache


def test_training_and_test_images_of_a_class(folder: Path) -> None:
    glyph_set = front.image_set("glyphs")
    assert (glyph_set.shape, glyph_set.classes, glyph_set.maximum) == ((3, 32, 32), 4, 255)
    assert front.status("glyphs").source == "library"
    train, test = glyph_set.train(2), glyph_set.test(2)
    assert train.shape == (600, 3072) and test.shape == (100, 3072)
    assert np.array_equal(np.concatenate([train, test]), glyphs.draw(2))
    for images in (train, test):
        with pytest.raises(ValueError, match="read-only"):
            images[0] = 0
    assert [path.name for path in (folder / "glyphs-v2").iterdir()] == ["class_0002.npy"]
    for label in (-1, 4):
        with pytest.raises(InputError, match=f"dataset glyphs has the classes 0 to 3, not {label}"):
            glyph_set.train(label)


def test_a_class_that_is_kept_is_not_drawn_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = front.image_set("glyphs").train(1)
    front._of_class.cache_clear()

    def refuse(label: int) -> Bytes:
        raise AssertionError(f"class {label} is drawn again")

    monkeypatch.setitem(DATASETS, "glyphs", replace(DATASETS["glyphs"], draw=refuse))
    assert np.array_equal(front.image_set("glyphs").train(1), train)


@pytest.mark.parametrize("kind", ["one bit", "truncated", "empty", "no checksum", "longer", "other images"])
def test_a_damaged_class_is_named_and_force_replaces_it(folder: Path, kind: str) -> None:
    right = front.image_set("glyphs").train(1)
    front._of_class.cache_clear()
    path = kept(folder, 1)
    whole = path.read_bytes()
    if kind == "other images":
        np.save(path, np.zeros((700, 3072), np.uint8))
    else:
        spoilt = {
            "one bit": whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:],
            "truncated": whole[: len(whole) // 2],
            "empty": b"",
            "no checksum": whole[:-32],
            "longer": whole + b"\0",
        }
        path.write_bytes(spoilt[kind])
    with pytest.raises(DataError, match="sweep data fetch glyphs --force") as error:
        front.image_set("glyphs").train(1)
    assert str(error.value).startswith(f"{path}: damaged")
    with pytest.raises(DataError, match="damaged"):
        front.verify("glyphs")
    front.fetch("glyphs", force=True)
    assert np.array_equal(front.image_set("glyphs").train(1), right)


def test_two_processes_at_once(folder: Path) -> None:
    processes = [start(FETCH_FOUR), start(FETCH_FOUR)]
    assert [process.communicate(timeout=120)[0].strip() for process in processes] == ["cache", "cache"]
    assert sorted(path.name for path in (folder / "glyphs-v2").iterdir()) == [f"class_000{k}.npy" for k in range(4)]
    assert front.verify("glyphs").path == folder / "glyphs-v2"
    assert np.array_equal(front.image_set("glyphs").test(3), glyphs.draw(3)[600:])


def test_a_folder_that_cannot_be_written_costs_the_cache_only(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PLIANT_DATA", str(tmp_path / "file" / "data"))
    assert np.array_equal(front.image_set("glyphs").train(0), glyphs.draw(0)[:600])
    assert "glyphs is not cached" in caplog.text
    with pytest.raises(DataError, match="glyphs-v2: cannot be written"):
        front.fetch("glyphs")


def test_one_sum_without_drawing_an_image(folder: Path) -> None:
    assert front.checksum("glyphs") == glyphs.checksum()
    assert not folder.exists()


def test_it_cannot_be_loaded_whole(folder: Path) -> None:
    with pytest.raises(InputError, match="glyphs is kept class by class and cannot be loaded whole; mnist, "):
        front.load("glyphs")


def test_a_missing_font_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("matplotlib.get_data_path", lambda: str(tmp_path))
    with pytest.raises(DataError, match=r"\.ttf: the font that glyphs are drawn from is not readable") as error:
        glyphs.draw(0)
    assert str(tmp_path) in str(error.value)


# Worth learning


def linear_accuracy(train: torch.Tensor, labels: torch.Tensor, test: torch.Tensor, answers: torch.Tensor) -> float:
    """The best of several ridge regressions on pixels, picked by the test set: more than any honest one reaches."""
    ones = [torch.cat([x, torch.ones(len(x), 1)], dim=1).double() for x in (train, test)]
    gram = ones[0] @ ones[0].T  # (n, n); the dual, as there are more pixels than images
    target = labels.double() * 2 - 1
    accuracies = []
    for ridge in (1e1, 1e2, 1e3, 1e4, 1e5):
        dual = torch.linalg.solve(gram + ridge * torch.eye(len(gram)), target)
        said = ones[1] @ (ones[0].T @ dual) > 0
        accuracies.append(float((said == answers.bool()).double().mean()))
    return max(accuracies)


def conv_accuracy(train: torch.Tensor, labels: torch.Tensor, test: torch.Tensor, answers: torch.Tensor) -> float:
    """After 25 epochs of a small convolutional network."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Unflatten(1, (3, 32, 32)),
        torch.nn.Conv2d(3, 16, 5), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(16, 32, 3), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(32, 64, 3), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
        torch.nn.Flatten(), torch.nn.Linear(256, 64), torch.nn.ReLU(), torch.nn.Linear(64, 2),
    )  # fmt: skip
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for _ in range(25):
        for batch in torch.randperm(len(train)).reshape(-1, 50):
            loss = torch.nn.functional.cross_entropy(net(train[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    with torch.no_grad():
        return float((net(test).argmax(dim=1) == answers).double().mean())


@pytest.mark.slow
def test_a_convolutional_network_learns_a_pair_better_than_a_straight_boundary() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        gains = []
        for first in (0, 10, 20, 30):
            images = [glyphs.draw(label) for label in (first, first + 1)]
            train = torch.tensor(np.concatenate([each[:600] for each in images])).float() / 255
            test = torch.tensor(np.concatenate([each[600:] for each in images])).float() / 255
            mean, spread = train.mean(), train.std()
            sets = (train - mean) / spread, torch.arange(2).repeat_interleave(600)
            held = (test - mean) / spread, torch.arange(2).repeat_interleave(100)
            conv, linear = conv_accuracy(*sets, *held), linear_accuracy(*sets, *held)
            print(f"classes {first} and {first + 1}: convolutional {conv:.3f}, linear {linear:.3f}")
            gains.append(conv - linear)
    finally:
        torch.set_num_threads(threads)
    assert np.mean(gains) >= 0.08, gains
