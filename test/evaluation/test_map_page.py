"""The page of a map holds the whole map and loads nothing."""

import base64
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from test_report import assert_self_contained

from vloc_ros.evaluation import map_page as module
from vloc_ros.evaluation.map_page import make_map_page


def data_in(page: str) -> dict:
    return json.loads(re.search(r"const map = (\{.*\});", page)[1])


def points_in(data: dict) -> np.ndarray:
    levels = np.frombuffer(base64.b64decode(data["points"]), "<u2").reshape(-1, 3)
    return np.array(data["low"]) + levels * np.array(data["step"])


def test_page_holds_every_point_and_keyframe(scene_folder):
    landmark_map = scene_folder.scene.landmark_map
    page = make_map_page(landmark_map, map_hash="0123456789abcdef")
    data = data_in(page)
    assert_self_contained(page)
    np.testing.assert_allclose(points_in(data), landmark_map.points, atol=2e-4)
    np.testing.assert_allclose(data["positions"], landmark_map.keyframes.translations, atol=1e-4)
    assert "0123456789ab" in page
    assert "4000 points ·" in page


def test_points_of_a_landmark_share_a_colour_of_their_own(scene_folder):
    landmark_map = scene_folder.scene.landmark_map
    data = data_in(make_map_page(landmark_map, map_hash=""))
    colours = np.frombuffer(base64.b64decode(data["colours"]), np.uint8).reshape(-1, 3)
    pairs = {(int(i), tuple(map(int, c))) for i, c in zip(landmark_map.landmark_ids, colours, strict=True)}
    assert len(pairs) == len(landmark_map.landmarks) == len({colour for _, colour in pairs})


def test_a_large_map_is_thinned_and_the_page_states_so(scene_folder, monkeypatch):
    monkeypatch.setattr(module, "_MAX_POINTS", 1500)
    page = make_map_page(scene_folder.scene.landmark_map, map_hash="")
    assert len(points_in(data_in(page))) == 1334
    assert "4000 points (1334 of them drawn)" in page


def test_keyframes_that_see_hardly_any_point_are_marked(scene_folder):
    landmark_map = scene_folder.scene.landmark_map
    assert "orange" not in make_map_page(landmark_map, map_hash="")
    offsets = landmark_map.keyframes.point_offsets.copy()
    offsets[1] = offsets[0]
    page = make_map_page(
        replace(landmark_map, keyframes=replace(landmark_map.keyframes, point_offsets=offsets)), map_hash=""
    )
    assert "keyframes (orange: 1 that see hardly any point)" in page
    assert data_in(page)["few"].count(True) == 1


def test_a_name_cannot_break_out_of_the_page(scene_folder):
    named = replace(scene_folder.scene.landmark_map, name="</title><script>@DATA@")
    page = make_map_page(named, map_hash="")
    assert "<title>&lt;/title&gt;&lt;script&gt;@DATA@</title>" in page
    assert page.count("<script>") == 1


@pytest.mark.parametrize("factor", [1.0, 0.0])
def test_up_is_the_cameras_up_or_z(scene_folder, factor):
    landmark_map = scene_folder.scene.landmark_map
    rotations = landmark_map.keyframes.rotations.copy()
    if factor == 0.0:
        rotations[::2] = rotations[::2] @ np.diag([-1.0, -1.0, 1.0])
        rotations[1::2] = rotations[::2] @ np.diag([-1.0, -1.0, 1.0])
    turned = replace(landmark_map, keyframes=replace(landmark_map.keyframes, rotations=rotations))
    expected = [0, -1, 0] if factor else [0, 0, 1]
    np.testing.assert_allclose(module.estimate_up_direction(turned), expected, atol=0.1)
