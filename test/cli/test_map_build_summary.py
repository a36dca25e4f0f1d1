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

"""What a build says of its self-test, and of the covariance that is calibrated on it."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vloc_ros.cli.map_build_summary import summarize
from vloc_ros.core.geometry.covariance import CovarianceCalibration

_GAP_M = 1.0


class _Keyframes:
    """Thirty of them along a line."""

    translations = np.arange(30.0)[:, None] * [1.0, 0.0, 0.0]
    see_few_points = np.zeros(30, dtype=bool)
    cameras = ()

    def __len__(self) -> int:
        return len(self.translations)


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        (29, r"^29 of 30 left-out images localized again; covariance calibrated on them \(scale 2\.65\)$"),
        (9, r"^9 of 30 left-out images localized again; covariance .* \(scale 2\.65\): these are FEW; "),
        (0, r"^covariance NOT calibrated, a typical scale is used: fewer than 8 of 30 left-out images were "),
    ],
)
def test_how_many_left_out_images_were_localized_comes_first(samples: int, expected: str) -> None:
    scene = SimpleNamespace(calibration=CovarianceCalibration(scale=2.65, samples=samples))
    built: Any = SimpleNamespace(
        scene=lambda: scene, keyframes=_Keyframes(), points=(), landmarks=(), provenance={}, metric=True
    )
    assert re.search(expected, summarize(built, 30, _GAP_M), re.MULTILINE)


@pytest.mark.parametrize(("metric", "expected"), [(True, "1.23 cm (median; at most 4.5)"), (False, "0.0123 map units")])
def test_lengths_of_a_map_without_scale_are_not_called_centimetres(*, metric: bool, expected: str) -> None:
    scene = SimpleNamespace(calibration=CovarianceCalibration(scale=2.65, samples=29))
    moved = {"median_distance_from_given_poses_m": 0.0123, "largest_distance_from_given_poses_m": 0.045}
    built: Any = SimpleNamespace(
        scene=lambda: scene, keyframes=_Keyframes(), points=(), landmarks=(), provenance=moved, metric=metric
    )
    assert f"its cameras lie {expected}" in summarize(built, 30, _GAP_M)


@pytest.mark.parametrize("turned_deg", [0.3, 1.4])
def test_rotations_that_do_not_fit_their_positions_are_told(turned_deg: float) -> None:
    scene = SimpleNamespace(calibration=CovarianceCalibration(scale=2.65, samples=29))
    built: Any = SimpleNamespace(
        scene=lambda: scene,
        keyframes=_Keyframes(),
        points=(),
        landmarks=(),
        provenance={"common_turn_from_given_poses_deg": turned_deg},
        metric=True,
    )
    assert ("TURNED by 1.4 deg" in summarize(built, 30, _GAP_M)) == (turned_deg == 1.4)
