"""Which name a mistyped one stands for."""

from __future__ import annotations

import pytest

from vloc_ros.core.spelling import nearest_name

NAMES = ("pose.max_error_px", "pose.seed", "verification.min_matches", "matcher.ratio", "base_frame")


@pytest.mark.parametrize(
    ("found", "meant"),
    [
        ("pose.max_eror_px", "pose.max_error_px"),
        ("verification.max_error_px", "pose.max_error_px"),
        ("ratio", "matcher.ratio"),
        ("base_frmae", "base_frame"),
        ("xyzzy", None),
        ("", None),
    ],
)
def test_nearest_name(found: str, meant: str | None) -> None:
    assert nearest_name(found, NAMES) == meant


def test_names_may_be_given_once() -> None:
    assert nearest_name("b.x", iter(["a.y", "a.x", "bb.x"])) == "bb.x"
