# Copyright 2026 vloc_ros maintainers
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""Tokens of 3D structure: the points of a patch under crops, mirroring and random transforms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="no torch and lightning: `make training` installs them")

from hypothesis import given, settings
from hypothesis import strategies as st
from place_world import tiny, wall_map, write_wall

from training.data.image_crop import ImageCrop
from training.data.image_files import ImageFiles
from training.data.map_images import collect_keyframes
from training.data.relighting import relight_randomly
from training.place_recognition.config import PlaceAugmentationConfig
from training.place_recognition.examples import Examples, ViewBatchKey, load_batch
from training.place_recognition.structure import StructureTransform, structure_tokens
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.sources import silent
from vloc_ros.inference.preprocessing import Preprocessing

GRID = 4
TRANSFORMS = {
    mirrored: StructureTransform.draw(np.random.default_rng(0), 5.0, mirrored=mirrored) for mirrored in (False, True)
}


def points_in_view(seed: int, count: int = 60) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    return rng.uniform(-0.1, 1.1, (count, 2)), rng.normal(size=(count, 3)) * 3


def test_tokens_are_medians_spreads_and_counts() -> None:
    uv = np.array([[0.1, 0.1], [0.2, 0.1], [0.1, 0.2], [0.9, 0.1], [0.95, 0.6], [0.99, 0.7], [1.0, 0.5], [0.5, -0.1]])
    points = np.array([[0, 0, 0], [1, 5, 0], [2, 0, 9], [3, 3, 3], [0, 0, 0], [4, 0, 0], [7, 7, 7], [8, 8, 8.0]])
    tokens = structure_tokens(uv, points, grid=2)
    assert tokens[:, 4].tolist() == [3, 1, 0, 2]
    assert tokens[0, :3].tolist() == [1, 0, 0]
    assert tokens[0, 3] == pytest.approx(np.median([1, 5, np.sqrt(1 + 81)]))
    assert tokens[1].tolist() == [3, 3, 3, 0, 1]
    assert tokens[2].tolist() == [0] * 5
    assert tokens[3].tolist() == [2, 0, 0, 2, 2]


@given(seed=st.integers(0, 10**6))
@settings(max_examples=25)
def test_tokens_agree_with_each_patch_alone(seed: int) -> None:
    uv, points = points_in_view(seed)
    tokens = structure_tokens(uv, points, grid=GRID)
    for patch in range(GRID * GRID):
        low = np.array([patch % GRID, patch // GRID]) / GRID
        inside = ((uv >= low) & (uv < low + 1 / GRID)).all(axis=1)
        assert tokens[patch, 4] == inside.sum()
        if inside.any():
            middle = np.median(points[inside], axis=0)
            assert np.allclose(tokens[patch, :3], middle, atol=1e-5)
            assert np.isclose(tokens[patch, 3], np.median(np.linalg.norm(points[inside] - middle, axis=1)), atol=1e-5)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=25)
def test_mirroring_reverses_the_columns_of_patches(seed: int) -> None:
    uv, points = points_in_view(seed)
    plain = structure_tokens(ImageCrop().transform(uv), points, grid=GRID).reshape(GRID, GRID, -1)
    mirrored = structure_tokens(ImageCrop(mirrored=True).transform(uv), points, grid=GRID).reshape(GRID, GRID, -1)
    assert np.array_equal(mirrored, plain[:, ::-1])


@given(seed=st.integers(0, 10**6), mirrored=st.booleans())
@settings(max_examples=25)
def test_pixels_and_points_are_cropped_and_mirrored_equally(seed: int, mirrored: bool) -> None:
    rng = np.random.default_rng(seed)
    left, top = rng.integers(0, 20, 2)
    right, bottom = left + rng.integers(5, 20), top + rng.integers(5, 20)
    crop = ImageCrop(left / 40, top / 40, right / 40, bottom / 40, mirrored)
    column, row = rng.integers(left, right), rng.integers(top, bottom)
    image = np.zeros((40, 40), np.uint8)
    image[row, column] = 255
    part = crop.apply(image)
    there = crop.transform(np.array([[(column + 0.5) / 40, (row + 0.5) / 40]]))[0]
    assert part.shape == (bottom - top, right - left)
    assert part[int(there[1] * part.shape[0]), int(there[0] * part.shape[1])] == 255


@given(seed=st.integers(0, 10**6), mirrored=st.booleans())
@settings(max_examples=25)
def test_a_random_transform_keeps_lengths_and_mirrors_if_requested(seed: int, mirrored: bool) -> None:
    rng = np.random.default_rng(seed)
    transform, points = StructureTransform.draw(rng, 20.0, mirrored=mirrored), rng.normal(size=(9, 3)) + 1e6
    assert np.linalg.det(transform.matrix) == pytest.approx(-1 if mirrored else 1)
    transformed = transform.apply(points)
    assert np.abs(transformed).max() < 40
    apart = [np.linalg.norm(p[:, None] - p[None], axis=2) for p in (points, transformed)]
    assert np.allclose(*apart, atol=1e-6)
    assert np.array_equal(transform.apply(points[:0]), points[:0])


def test_a_mirrored_example_is_the_mirrored_image_with_its_structure(tmp_path_factory: pytest.TempPathFactory) -> None:
    scene, landmark_map = wall_map(3)
    views = collect_keyframes(landmark_map, write_wall(tmp_path_factory.mktemp("wall") / "images", scene, landmark_map))
    still = PlaceAugmentationConfig(crop=0, light=0, dusk=0, night=0, blur_px=0, points=0)
    images = ImageFiles.load(views.posed.paths, in_memory=True, progress=silent)
    examples = Examples(views, images, Preprocessing((48, 48)), still, extent_m=5.0)
    plain, mirrored = (examples.augment(1, np.random.default_rng(0), TRANSFORMS[m], mirrored=m) for m in (False, True))
    assert np.allclose(mirrored[0], plain[0][:, :, ::-1], atol=0.06)
    counts = [tokens[:, 4].reshape(4, 4) for tokens in (plain[1], mirrored[1])]
    assert np.array_equal(counts[1], counts[0][:, ::-1])
    assert np.array_equal(examples.prepare(1)[0], plain[0])
    fewer = Examples(views, images, Preprocessing((48, 48)), PlaceAugmentationConfig(crop=0, points=0.9), extent_m=5.0)
    counted = [
        fewer.augment(1, np.random.default_rng(seed), TRANSFORMS[False], mirrored=False).structure[:, 4].sum()
        for seed in range(8)
    ]
    assert min(counted) < 0.5 * counts[0].sum() < max(counted) <= counts[0].sum()


def test_labels_are_those_of_the_crops(tmp_path: Path) -> None:
    scene, landmark_map = wall_map(6)
    views = collect_keyframes(landmark_map, write_wall(tmp_path / "images", scene, landmark_map))
    config = tiny("augmentation.crop=0.6", "mining.min_shared=60")
    images = ImageFiles.load(views.posed.paths, in_memory=True, progress=silent)
    examples = Examples(views, images, Preprocessing((48, 48)), config.augmentation, extent_m=5.0)
    key = ViewBatchKey(0, 0, (0, 1, 2, 1))
    batch = load_batch(examples, key, config)
    rng = np.random.default_rng([config.fit.seed, 0, 0, 1])
    mirrored = bool(rng.uniform() < config.augmentation.mirror)
    transform = examples.draw_transform(rng, mirrored=mirrored)
    seen, visible = [], views.visibility
    for view, tokens in zip(key.views, batch.structure.numpy(), strict=True):
        made = examples.augment(view, rng, transform, mirrored=mirrored)
        assert np.array_equal(made.structure, tokens)
        seen.append(set(visible.indices[visible.observations(view)][made.shown].tolist()))
    assert len(seen[1]) < len(visible.points_of(1))
    for i, j in np.ndindex(4, 4):
        assert batch.positive[i, j] == (len(seen[i] & seen[j]) >= config.mining.min_shared)
        assert batch.share[i, j] == pytest.approx(len(seen[i] & seen[j]) / len(seen[i] | seen[j]), abs=1e-6)
        whole = [set(visible.indices[visible.observations(key.views[k])].tolist()) for k in (i, j)]
        assert bool(batch.apart[i, j]) == (not whole[0] & whole[1])


def test_night_is_darker_and_random() -> None:
    image = np.full((60, 80, 3), 150, np.uint8)
    always = PlaceAugmentationConfig(night=1.0, dusk=0.0, light=0.0, blur_px=0.0)
    night, same, other = (
        relight_randomly(image, always, np.random.default_rng(seed), original_width=640) for seed in (0, 0, 1)
    )
    assert np.array_equal(night, same)
    assert not np.array_equal(night, other)
    assert night.mean() < 0.8 * image.mean()
    grey = relight_randomly(image[..., 0], always, np.random.default_rng(0), original_width=640)
    assert grey.shape == (60, 80)
