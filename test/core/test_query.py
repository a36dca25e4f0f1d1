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

"""A query holds at least one image, each of its calibration's size."""

from __future__ import annotations

import numpy as np
import pytest

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.query import Query, View, reduce_image

_CAMERA = Camera("PINHOLE", 32, 24, (30.0, 30.0, 16.0, 12.0))


@pytest.mark.parametrize("shape", [(24, 32), (24, 32, 3)])
def test_grey_and_colour(shape: tuple[int, ...]) -> None:
    query = Query.single(np.zeros(shape, np.uint8), _CAMERA, stamp_ns=5)
    assert query.stamp_ns == 5
    assert query.prior is None
    np.testing.assert_array_equal(query.views[0].rig_from_camera.matrix, np.eye(4))


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (np.zeros((24, 32), np.float32), "float32, expected uint8"),
        (np.zeros((24, 32), np.uint16), "uint16, expected uint8"),
        (np.zeros((24, 32, 4), np.uint8), "expected uint8 grey or BGR"),
        (np.zeros(24, np.uint8), "expected uint8 grey or BGR"),
        (np.zeros((32, 24), np.uint8), "an image is 24x32, its camera calibration is for 32x24"),
    ],
)
def test_images_that_do_not_fit(image: np.ndarray, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        View(image, _CAMERA)


def test_no_image() -> None:
    with pytest.raises(InputError, match="no image"):
        Query(())


@pytest.mark.parametrize("size", [(400, 600), (401, 601), (1000, 1500)])  # halved first, not even, a fraction of halves
def test_what_a_reduced_image_shows_stays_in_its_place(size: tuple[int, int]) -> None:
    rows, columns = size
    y, x = np.mgrid[:rows, :columns] + 0.5
    true = np.array([0.3 * columns, 0.6 * rows])
    blob = 255 * np.exp(-((x - true[0]) ** 2 + (y - true[1]) ** 2) / (2 * (columns / 30) ** 2))
    reduced = reduce_image(blob.astype(np.uint8), 100, 70).astype(float)
    y, x = np.mgrid[:70, :100] + 0.5
    found = np.array([(reduced * x).sum(), (reduced * y).sum()]) / reduced.sum()
    np.testing.assert_allclose(found, true * (100 / columns, 70 / rows), atol=0.02)
