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

"""Differences between a network and its export are measured between the same keypoints, and refused when large."""

from __future__ import annotations

import numpy as np
import pytest

from vloc_ros.model_export.onnx_files import ExportError
from vloc_ros.model_export.parity import KeypointDifferences, compare, raise_if_different, textured_image

SIZE = (60, 80)


def outputs(seed: int = 0):
    rng = np.random.default_rng(seed)
    pixels = np.stack(np.meshgrid(np.arange(5, 75, 3), np.arange(5, 55, 3)), axis=-1).reshape(-1, 2)
    rng.shuffle(pixels)
    return [
        (pixels + 0.5).astype(np.float32),
        np.linspace(1, 0, len(pixels), dtype=np.float32),
        rng.normal(size=(len(pixels), 8)),
    ]


def test_the_same_keypoints_in_another_order_do_not_differ() -> None:
    order = np.random.default_rng(1).permutation(len(outputs()[0]))
    parity = compare(outputs(), [output[order] for output in outputs()], size=SIZE)
    assert (parity.unpaired, parity.offset_px, parity.score, parity.descriptor) == (0, 0, 0, 0)
    raise_if_different(parity)


@pytest.mark.parametrize(("output", "change", "named"), [(0, 0.1, "px"), (1, 0.01, "score"), (2, 0.1, "descriptor")])
def test_a_difference_is_refused(output: int, change: float, named: str) -> None:
    found = outputs()
    found[output][7] += change
    parity = compare(outputs(), found, size=SIZE)
    with pytest.raises(ExportError, match=rf"80x60.*of .*{named}.* at most"):
        raise_if_different(parity)


def test_missing_keypoints_are_refused() -> None:
    parity = compare(outputs(), [output[:-10] for output in outputs()], size=SIZE)
    assert parity.unpaired == pytest.approx(10 / len(outputs()[0]))
    with pytest.raises(ExportError, match="only one finds"):
        raise_if_different(parity)


def test_a_comparison_without_keypoints_proves_nothing() -> None:
    nothing = [output[:0] for output in outputs()]
    assert compare(outputs(), nothing, size=SIZE).unpaired == 1
    with pytest.raises(ExportError):
        raise_if_different(KeypointDifferences(SIZE, 0, 0.0, 0.0, 0.0, 0.0))


def test_images_are_textured_and_of_the_size_and_colour() -> None:
    assert textured_image((40, 50), color="grey").shape == (40, 50)
    assert textured_image((40, 50), color="rgb").shape == (40, 50, 3)
    assert textured_image((40, 50), color="grey").std() > 20
