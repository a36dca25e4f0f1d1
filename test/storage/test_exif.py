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

"""The focal length that EXIF data state, and none where they are damaged."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from exif_photographs import with_exif

from vloc_ros.storage.exif import find_focal_length_35mm, focal_length_px, read_focal_lengths_35mm

_JPEG = bytes(cv2.imencode(".jpg", np.zeros((30, 40), np.uint8))[1])


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_focal_length_is_found(order: str) -> None:
    assert find_focal_length_35mm(with_exif(_JPEG, 26, order=order)) == 26


def test_damaged_data_state_nothing() -> None:
    whole = with_exif(_JPEG, 26)
    end = whole.index(b"\x05\xa4") + 10
    for cut in range(end):
        assert find_focal_length_35mm(whole[:cut]) == 0
    rng = np.random.default_rng(0)
    for _ in range(300):
        altered = bytearray(whole)
        altered[int(rng.integers(2, end))] = int(rng.integers(256))
        assert isinstance(find_focal_length_35mm(bytes(altered)), int)
    for other in (_JPEG, b"", b"\x89PNG\r\n\x1a\n"):
        assert find_focal_length_35mm(other) == 0


def test_files_without_a_statement_are_left_out(tmp_path) -> None:
    (tmp_path / "a.jpg").write_bytes(with_exif(_JPEG, 26))
    (tmp_path / "b.jpg").write_bytes(_JPEG)
    paths = [tmp_path / name for name in ("a.jpg", "b.jpg", "gone.jpg")]
    assert read_focal_lengths_35mm(paths) == {tmp_path / "a.jpg": 26}


@pytest.mark.parametrize("size", [(4000, 3000), (3000, 4000)])
def test_the_diagonal_angle_of_view_is_that_of_full_frame(size: tuple[int, int]) -> None:
    assert focal_length_px(43.2666, *size) == pytest.approx(5000.0, rel=1e-4)
    assert focal_length_px(26.0, *size) == pytest.approx(3004.6, abs=0.1)
