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

"""Which name a mistyped one stands for."""

from __future__ import annotations

import pytest

from vloc_ros.core.spelling import nearest_name

NAMES = ("pose.max_error_px", "pose.seed", "verification.min_matches", "matcher.ratio", "base_frame", "map")


@pytest.mark.parametrize(
    ("found", "meant"),
    [
        ("pose.max_eror_px", "pose.max_error_px"),
        ("verification.max_error_px", "pose.max_error_px"),
        ("ratio", "matcher.ratio"),
        ("base_frmae", "base_frame"),
        ("mpa", "map"),
        ("pam", None),
        ("xyzzy", None),
        ("", None),
    ],
)
def test_nearest_name(found: str, meant: str | None) -> None:
    assert nearest_name(found, NAMES) == meant


def test_names_may_be_given_once() -> None:
    assert nearest_name("b.x", iter(["a.y", "a.x", "bb.x"])) == "bb.x"
