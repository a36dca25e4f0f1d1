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

"""Preprocessing for global descriptors: order of colours, the whole image, no defaults in a manifest."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from vloc_ros.core.errors import InputError, ModelError
from vloc_ros.inference.preprocessing import Preprocessing

PLAIN = Preprocessing((2, 3), mean=(0.0, 0.5, 1.0), std=(1.0, 0.5, 0.25), own=False)


def test_every_value_follows_from_the_manifest() -> None:
    blue, green, red = 51, 102, 204
    values = PLAIN.apply(np.full((20, 60, 3), (blue, green, red), np.uint8))
    assert values.dtype == np.float32
    assert values.shape == (3, 2, 3)
    assert values.flags.c_contiguous
    expected = [0.8, (0.4 - 0.5) / 0.5, (0.2 - 1.0) / 0.25]
    assert np.allclose(values, np.array(expected)[:, None, None], atol=1e-6)


def test_a_pixel_is_the_mean_of_those_it_covers() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 60), np.uint8)
    values = Preprocessing((2, 3), mean=(0, 0, 0), std=(1, 1, 1), own=False).apply(image)
    blocks = image.reshape(2, 10, 3, 20).mean(axis=(1, 3))
    assert np.abs(values * 255 - blocks).max() <= 0.5 + 1e-4


def test_grey_is_the_same_in_every_channel() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (48, 64), np.uint8)
    preprocessing = Preprocessing((24, 24))
    assert np.array_equal(preprocessing.apply(grey), preprocessing.apply(np.repeat(grey[..., None], 3, axis=2)))


def test_brightness_and_contrast_do_not_change_the_values() -> None:
    image = np.random.default_rng(0).integers(60, 200, (48, 64, 3), np.uint8)
    preprocessing = Preprocessing((24, 24), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    values = preprocessing.apply(image)
    assert float(values.mean()) == pytest.approx(0, abs=1e-5)
    assert float(values.std()) == pytest.approx(1, abs=1e-5)
    brighter = preprocessing.apply(image + np.uint8(40))
    assert np.allclose(brighter, values, atol=0.05)
    assert np.abs(preprocessing.apply(np.full((48, 64), 7, np.uint8))).max() < 1e-4


def test_a_manifest_holds_all_values() -> None:
    manifest = json.loads(json.dumps(PLAIN.to_manifest()))
    assert manifest == {
        "size": [2, 3],
        "mean": [0.0, 0.5, 1.0],
        "std": [1.0, 0.5, 0.25],
        "color": "rgb",
        "interpolation": "area",
        "scale": 255.0,
        "own": False,
    }
    assert Preprocessing.from_manifest(manifest) == PLAIN


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("size", [240]),
        ("size", [240.0, 240.0]),
        ("size", [True, 240]),
        ("size", [0, 240]),
        ("size", "ab"),
        ("mean", [0.5]),
        ("std", [1.0, 0.0, 1.0]),
        ("std", [1.0, float("nan"), 1.0]),
        ("scale", "255"),
        ("scale", 0),
        ("color", "bgr"),
        ("interpolation", "bicubic"),
        ("own", 1),
    ],
)
def test_unsupported_values_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ModelError, match=r"preprocessing"):
        Preprocessing.from_manifest({**PLAIN.to_manifest(), name: value})


@pytest.mark.parametrize("change", [{"crop": 0.9}, {"scale": ...}])
def test_missing_or_unknown_entries_are_refused(change: dict[str, Any]) -> None:
    mapping = {name: v for name, v in {**PLAIN.to_manifest(), **change}.items() if v is not ...}
    with pytest.raises(ModelError, match="expected size, mean, std, color, interpolation, scale, own"):
        Preprocessing.from_manifest(mapping)


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.float32), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4), np.uint8)]
)
def test_what_is_no_image_is_refused(image: Any) -> None:
    with pytest.raises(InputError, match="an image has shape"):
        PLAIN.apply(image)
