"""Views of maps and COLMAP models, their overlap, and the mining of batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="no torch and lightning: `make training` installs them")

from hypothesis import given, settings
from hypothesis import strategies as st
from place_world import make_random_views, wall_map, write_wall
from plane_scene import CAMERA

from training.place_recognition.config import MiningConfig
from training.place_recognition.labels import compute_overlap
from training.place_recognition.mining import Miner
from training.place_recognition.views import collect_map_views, identify_source, join_views, read_views
from vloc_ros.core.errors import InputError, MapError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.storage.maps import write_map


def table(seed: int, views: int = 12, points: int = 40, density: float = 0.2) -> Array:
    return np.random.default_rng(seed).uniform(size=(views, points)) < density


@given(seed=st.integers(0, 10**6), density=st.floats(0.0, 0.6))
@settings(max_examples=25, deadline=None)
def test_the_share_is_the_jaccard_index(seed: int, density: float) -> None:
    visible = table(seed, density=density)
    overlap = compute_overlap(make_random_views(visible))
    for i, a in enumerate(visible):
        for j, b in enumerate(visible):
            assert overlap.shared[i, j] == (a & b).sum()
            either = (a | b).sum()
            expected = 1.0 if i == j else (a & b).sum() / max(either, 1)
            assert overlap.share[i, j] == pytest.approx(expected, abs=1e-6)


def test_boxes_overlap_by_volume() -> None:
    views = make_random_views(np.array([[1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0]], bool))
    views.points[:] = [[0, 0, 0], [2, 2, 2], [1, 1, 1], [3, 3, 3]]
    share = compute_overlap(views, kind="boxes").share.toarray()
    assert share[0, 1] == pytest.approx(1 / 15)
    assert share.diagonal().tolist() == [1, 1, 1]
    assert share[0, 2] == 0


@pytest.mark.parametrize("kind", ["points", "boxes"])
def test_maps_share_nothing(kind: str) -> None:
    parts = [make_random_views(table(0)), make_random_views(table(1))]
    together = join_views(parts)
    share = compute_overlap(together, kind=kind).share.toarray()
    assert not share[:12, 12:].any()
    for part, block in zip(parts, (share[:12, :12], share[12:, 12:]), strict=True):
        assert np.allclose(block, compute_overlap(part, kind=kind).share.toarray())
    second = together.select(np.arange(12, 24))
    assert np.array_equal(second.points[second.indices], parts[1].points[parts[1].indices])
    assert set(together.scenes) == {0, 1}


def test_selected_views_keep_their_points() -> None:
    views = make_random_views(table(3))
    kept = np.array([7, 2, 2])
    assert np.array_equal(views.select(kept).visibility().toarray(), views.visibility().toarray()[kept])


def test_a_map_becomes_views(tmp_path: Path) -> None:
    scene, landmark_map = wall_map(6)
    images = write_wall(tmp_path / "images", scene, landmark_map)
    write_map(landmark_map, tmp_path / "map")
    views = read_views(tmp_path / "map", images)
    assert [path.name for path in views.paths] == list(landmark_map.keyframes.names)
    seen = views.observations(2)
    assert np.array_equal(views.indices[seen], landmark_map.keyframes.visible(2))
    pose = landmark_map.keyframes.pose(2)
    xy = CAMERA.project(pose.inverse().apply(views.points[views.indices[seen]]))
    assert np.allclose(views.uv[seen] * [CAMERA.width, CAMERA.height], xy, atol=1e-3)
    (images / "03.png").unlink()
    with pytest.raises(InputError, match=r"holds 5 of the map's 6 images, 03.png is missing"):
        collect_map_views(landmark_map, images)


@pytest.mark.parametrize("suffix", ["bin", "txt"])
def test_a_colmap_model_becomes_the_same_views(tmp_path: Path, suffix: str) -> None:
    pycolmap = pytest.importorskip("pycolmap")
    scene, landmark_map = wall_map(4)
    images = write_wall(tmp_path / "images", scene, landmark_map)
    expected = collect_map_views(landmark_map, images)
    model = pycolmap.Reconstruction()
    camera = pycolmap.Camera(
        model=CAMERA.model, width=CAMERA.width, height=CAMERA.height, params=CAMERA.parameters, camera_id=1
    )
    model.add_camera_with_trivial_rig(camera)
    keyframes, tracks = landmark_map.keyframes, {}
    for k, name in enumerate(keyframes.names):
        camera_from_map = keyframes.pose(k).inverse()
        placed = pycolmap.Rigid3d(pycolmap.Rotation3d(camera_from_map.rotation), camera_from_map.translation)
        xy = expected.uv[expected.observations(k)] * [CAMERA.width, CAMERA.height]
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
    views = read_views(tmp_path / "model", images)
    assert np.allclose(views.translations, expected.translations)
    assert np.allclose(views.rotations, expected.rotations)
    assert np.array_equal(compute_overlap(views).shared.toarray(), compute_overlap(expected).shared.toarray())
    assert np.allclose(np.sort(views.uv, axis=0), np.sort(expected.uv, axis=0), atol=1e-3)
    model.delete_point3D(min(model.points3D))
    (model.write_binary if suffix == "bin" else model.write_text)(tmp_path / "model")
    assert identify_source(tmp_path / "model")["hash"] != named["hash"]


def test_a_map_is_named_by_its_manifest(tmp_path: Path) -> None:
    digest = write_map(wall_map(4)[1], tmp_path / "map")
    assert identify_source(tmp_path / "map") == {"name": "wall", "hash": digest}
    (tmp_path / "map" / "manifest.json").write_text("{")
    with pytest.raises(MapError, match="is cut short or no JSON"):
        identify_source(tmp_path / "map")


def corridor() -> Array:
    """Views 0 to 9 in a row, each of which sees ten points and shares five of them with the next one."""
    visible = np.zeros((10, 60), bool)
    for k in range(10):
        visible[k, 5 * k : 5 * k + 10] = True
    return visible


def test_hard_negatives_are_near_by_pose_or_by_covisibility() -> None:
    views = make_random_views(corridor())
    views.translations[:] = np.outer(np.arange(10.0), [1, 0, 0])
    views.translations[9] = [0.1, 0, 0]  # next to view 0, sees something else
    miner = Miner(views, compute_overlap(views), MiningConfig(min_shared=4))
    assert miner.positives(4).tolist() == [3, 5]
    assert miner.near_by_pose(0)[0] == 9
    assert miner.near_by_covisibility(4).tolist() == [2, 6]
    assert set(np.flatnonzero(miner.negatives(4))) == {0, 1, 2, 6, 7, 8, 9}


def test_views_that_look_the_other_way_are_farther() -> None:
    views = make_random_views(np.eye(3, dtype=bool))
    views.translations[:] = [[0, 0, 0], [1, 0, 0], [-1, 0, 0]]
    views.rotations[1] = np.diag([-1.0, 1.0, -1.0])
    miner = Miner(views, compute_overlap(views), MiningConfig())
    assert miner.near_by_pose(0).tolist() == [2, 1]


@pytest.mark.parametrize("kind", ["hard", "random"])
def test_a_group_is_an_anchor_its_positives_and_its_negatives(kind: str) -> None:
    views = make_random_views(corridor())
    miner = Miner(
        views, compute_overlap(views), MiningConfig(negative_selection=kind, min_shared=4, positives=2, negatives=3)
    )
    for batch in miner.batches(0, groups=2, seed=0):
        for first in range(0, len(batch), 6):
            anchor, group = batch[first], batch[first + 1 : first + 6]
            assert set(group[:2]) <= set(miner.positives(anchor))
            assert miner.negatives(anchor)[list(group[2:])].all()


def test_batches_follow_from_seed_and_epoch() -> None:
    views = make_random_views(corridor())
    miner = Miner(views, compute_overlap(views), MiningConfig(min_shared=4))
    epochs = [list(miner.batches(epoch, groups=3, seed=seed)) for epoch, seed in ((0, 0), (0, 0), (1, 0), (0, 1))]
    assert epochs[0] == epochs[1]
    assert epochs[0] != epochs[2] != epochs[3] != epochs[0]
    anchors = [batch[first] for batch in epochs[0] for first in range(0, len(batch), 6)]
    assert sorted(anchors) == list(range(10))


def test_an_image_that_shares_nothing_is_no_anchor() -> None:
    visible = corridor()
    visible[5] = False
    views = make_random_views(visible)
    assert 5 not in Miner(views, compute_overlap(views), MiningConfig(min_shared=4)).anchors
