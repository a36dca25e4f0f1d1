"""A bag as queries: images without ground truth, frames of other names, and what is held in memory."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import pytest
from plane_scene import CAMERA, SceneFolder

from vloc_ros.bags.reading import Bag, BagMessage
from vloc_ros.bags.writing import BagWriter
from vloc_ros.cli.main import main
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.datasets.bag_queries import BagQueries, TruthTopic, read_bag_queries

BASE_FROM_CAMERA = Pose.from_rotation_vector([0.1, -1.2, 0.7], [0.2, 0.1, 0.5])
STEP_NS = 100_000_000


@pytest.fixture(scope="module")
def bag(scene_folder: SceneFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six images, the first of them a nanosecond before the first truth, as recordings begin."""
    folder = tmp_path_factory.mktemp("source") / "bag"
    with BagWriter(folder, camera=CAMERA, base_from_camera=BASE_FROM_CAMERA) as writer:
        for index, map_from_camera in enumerate(scene_folder.truth):
            stamp_ns = index * STEP_NS
            writer.write_image(stamp_ns, scene_folder.scene.image(map_from_camera))
            map_from_base = map_from_camera @ BASE_FROM_CAMERA.inverse()
            writer.write_odometry(stamp_ns + (index == 0), map_from_base)
            writer.write_truth(stamp_ns + (index == 0), map_from_base)
    return folder


def source_of(bag: Path, **options: Any) -> BagQueries:
    return read_bag_queries(bag, ground_truth=TruthTopic("/truth"), **options)


def test_an_image_without_a_true_pose_is_left_out_and_counted(
    bag: Path, scene_folder: SceneFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = source_of(bag)
    assert source.stamps_ns == [k * STEP_NS for k in range(1, 6)]
    assert (source.left_out, len(source.queries), len(source.base_from_camera)) == (1, 5, 5)
    assert source.truth is not None
    for map_from_base, map_from_camera in zip(source.truth, scene_folder.truth[1:], strict=True):
        assert max((map_from_base @ BASE_FROM_CAMERA).distance_to(map_from_camera)) < 1e-8
    words = ["evaluate", "--map", scene_folder.map, "--bag", bag, "--truth-topic", "/truth"]
    assert main([str(word) for word in [*words, "--json", tmp_path / "s.json"]]) == 0
    scores = json.loads((tmp_path / "s.json").read_text())
    assert (scores["queries"], scores["left_out"], scores["false_accepts"]) == (5, 1, 0)
    assert "left out" in capsys.readouterr().out


def test_no_true_pose_at_all_is_an_error(bag: Path) -> None:
    with pytest.raises(InputError, match="/truth has no pose at the time of any of 1 images"):
        source_of(bag, limit=1)


def test_frames_are_named_and_never_guessed(bag: Path) -> None:
    with pytest.raises(InputError, match="no frame 'base_footprint'; name the robot's own with --base-frame"):
        source_of(bag, base_frame="base_footprint")
    with pytest.raises(InputError, match="no frame 'odometry'; name the odometry's with --odom-frame"):
        source_of(bag, odom_frame="odometry", requires_odometry=True)
    assert source_of(bag, odom_frame="odometry").odom_frame == ""
    assert source_of(bag, odom_frame="", requires_odometry=True).odom_frame == ""
    assert source_of(bag, requires_odometry=True).odom_frame == "odom"
    of_camera = source_of(bag, base_frame="camera_optical_frame")
    assert max(of_camera.base_from_camera[0].distance_to(Pose.identity())) == 0


def test_images_stay_in_the_bag_until_they_are_read(bag: Path) -> None:
    source = source_of(bag)
    gc.collect()
    assert not [held for held in gc.get_objects() if isinstance(held, BagMessage)]
    with Bag(bag) as opened:
        recorded = dict(opened.images(source.image_topic))
    for queried, stamp_ns in reversed(list(zip(source.queries, source.stamps_ns, strict=True))):
        query = queried.read()
        assert query.stamp_ns == stamp_ns
        assert (query.views[0].image == recorded[stamp_ns]).all()


def test_a_limit_reads_no_further(bag: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    decoded = BagMessage.decoded

    def counted(message: BagMessage) -> Any:
        read.extend([message.recorded_ns] * (message.topic == "/camera/image"))
        return decoded(message)

    monkeypatch.setattr(BagMessage, "decoded", counted)
    assert len(source_of(bag, limit=2).stamps_ns) == 1
    assert sorted(set(read)) == [0, STEP_NS]
