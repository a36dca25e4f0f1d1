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

"""Images of maps and of COLMAP models, with the points that they see."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="no torch and lightning: `make training` installs them")

from place_world import wall_map, write_wall
from plane_scene import CAMERA

from training.data.map_images import collect_keyframes, identify_source, read_map_images
from training.data.overlap import compute_overlap
from vloc_ros.core.errors import InputError, MapError
from vloc_ros.storage.maps import write_map


def test_a_map_becomes_views(tmp_path: Path) -> None:
    scene, landmark_map = wall_map(6)
    images = write_wall(tmp_path / "images", scene, landmark_map)
    write_map(landmark_map, tmp_path / "map")
    views = read_map_images(tmp_path / "map", images)
    assert [path.name for path in views.posed.paths] == list(landmark_map.keyframes.names)
    visibility, seen = views.visibility, views.visibility.observations(2)
    assert np.array_equal(visibility.indices[seen], landmark_map.keyframes.visible(2))
    pose = landmark_map.keyframes.pose(2)
    xy = CAMERA.project(pose.inverse().apply(visibility.points_of(2)))
    assert np.allclose(visibility.uv[seen] * [CAMERA.width, CAMERA.height], xy, atol=1e-3)
    (images / "03.png").unlink()
    with pytest.raises(InputError, match=r"holds 5 of the map's 6 images, missing are 03.png"):
        collect_keyframes(landmark_map, images)


@pytest.mark.parametrize("suffix", ["bin", "txt"])
def test_a_colmap_model_becomes_the_same_views(tmp_path: Path, suffix: str) -> None:
    pycolmap = pytest.importorskip("pycolmap")
    scene, landmark_map = wall_map(4)
    images = write_wall(tmp_path / "images", scene, landmark_map)
    expected = collect_keyframes(landmark_map, images)
    model = pycolmap.Reconstruction()
    camera = pycolmap.Camera(
        model=CAMERA.model, width=CAMERA.width, height=CAMERA.height, params=CAMERA.parameters, camera_id=1
    )
    model.add_camera_with_trivial_rig(camera)
    keyframes, tracks = landmark_map.keyframes, {}
    for k, name in enumerate(keyframes.names):
        camera_from_map = keyframes.pose(k).inverse()
        placed = pycolmap.Rigid3d(pycolmap.Rotation3d(camera_from_map.rotation), camera_from_map.translation)
        xy = expected.visibility.uv[expected.visibility.observations(k)] * [CAMERA.width, CAMERA.height]
        model.add_image_with_trivial_frame(pycolmap.Image(name, xy.astype(float), 1, k + 1), placed)
        for number, point in enumerate(keyframes.visible(k)):
            tracks.setdefault(int(point), []).append(pycolmap.TrackElement(k + 1, number))
    for point, elements in sorted(tracks.items()):
        model.add_point3D(landmark_map.points[point].astype(float), pycolmap.Track(elements))
    (tmp_path / "model").mkdir()
    (model.write_binary if suffix == "bin" else model.write_text)(tmp_path / "model")
    (tmp_path / "model" / "manifest.json").write_text("of another format")
    named = identify_source(tmp_path / "model")
    assert named["name"] == "model"
    assert identify_source(tmp_path / "model") == named
    views = read_map_images(tmp_path / "model", images)
    assert np.allclose(views.posed.positions, expected.posed.positions)
    assert np.allclose(views.posed.rotations, expected.posed.rotations)
    assert np.allclose(compute_overlap(views).share.toarray(), compute_overlap(expected).share.toarray())
    uv, expected_uv = (np.sort(one.visibility.uv, axis=0) for one in (views, expected))
    assert np.allclose(uv, expected_uv, atol=1e-3)
    (images / "03.png").unlink()
    with pytest.raises(InputError, match=r"holds 3 of the map's 4 images, missing are 03.png"):
        read_map_images(tmp_path / "model", images)
    model.delete_point3D(min(model.points3D))
    (model.write_binary if suffix == "bin" else model.write_text)(tmp_path / "model")
    assert identify_source(tmp_path / "model")["hash"] != named["hash"]


def test_a_map_is_named_by_its_manifest(tmp_path: Path) -> None:
    digest = write_map(wall_map(4)[1], tmp_path / "map")
    assert identify_source(tmp_path / "map") == {"name": "wall", "hash": digest}
    (tmp_path / "map" / "manifest.json").write_text("{")
    with pytest.raises(MapError, match="is cut short or no JSON"):
        identify_source(tmp_path / "map")
