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

"""Workers of a real Ray cluster on this machine: order, memory, deaths, errors, and maps that are the same."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from learned_wall import LearnedWall, build_learned_map
from plane_scene import CAMERA, SceneFolder, make_plane_scene, poses
from test_workers import assert_same_map

from vloc_ros.core.errors import ClusterError, InputError
from vloc_ros.core.sources import PosedImage
from vloc_ros.datasets.image_folders import list_posed_images
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.maps.build import build_map
from vloc_ros.mapping.ray_workers import RayWorkers, connect_to_ray, describe_code
from vloc_ros.storage.maps import read_map

ray = pytest.importorskip("ray", reason="no Ray: pip install 'vloc_ros[ray]'")

from benchmarks.local_cluster import running_cluster  # noqa: E402

_PROCESSORS = 2


@pytest.fixture(scope="module")
def workers() -> Iterator[RayWorkers]:
    """Those of a cluster that ends with the tests."""
    with running_cluster(_PROCESSORS), connect_to_ray() as connected:
        yield connected


# Workers cannot import test modules: Ray sends functions that are made within functions as a whole.
def _tens() -> Callable[[Any], Any]:
    return lambda item: 10 * item


def _killing_once(marker: Path) -> Callable[[int], int]:
    """Work that takes its worker with it the first time that it comes to item 5."""

    def work(item: int) -> int:
        if item == 5 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return 10 * item

    return work


def _raising(error: type[Exception]) -> Callable[[int], int]:
    def work(item: int) -> int:
        if item == 2:
            raise error("the third one")
        return item

    return work


def test_results_are_in_order_and_can_be_written(workers: RayWorkers) -> None:
    found = list(workers.map(_tens(), (np.full(200_000, k) for k in range(20))))
    assert [int(one[0]) for one in found] == list(range(0, 200, 10))
    found[0][0] = 1  # an array of Ray's own store could not be


def test_pairs_get_their_images_and_what_else_they_have_in_order(workers: RayWorkers) -> None:
    pairs = {(k, 2 * k % 7): str(k) for k in range(100)}
    images = [np.full(3, k) for k in range(100)]
    found = workers.map_pairs(_first_second_more(), images, pairs)
    assert list(found) == [(k, 2 * k % 7, str(k)) for k in range(100)]


def _first_second_more() -> Callable[[Any, Any, str], tuple[int, int, str]]:
    return lambda first, second, more: (int(first[0]), int(second[0]), more)


def test_few_items_are_taken_ahead_and_none_after_the_end(workers: RayWorkers) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for k in range(1000):
            taken.append(k)
            yield k

    results = workers.map(_tens(), items())
    assert next(results) == 0
    assert len(taken) <= 4 * _PROCESSORS
    results.close()  # type: ignore[attr-defined]
    assert len(taken) <= 4 * _PROCESSORS


def test_a_worker_that_dies_costs_no_result(workers: RayWorkers, tmp_path: Path) -> None:
    marker = tmp_path / "died"
    assert list(workers.map(_killing_once(marker), range(20))) == list(range(0, 200, 10))
    assert marker.exists()


def test_work_that_kills_every_worker_is_given_up(workers: RayWorkers) -> None:
    def work(item: int) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(ClusterError, match="6 times where workers died"):
        list(workers.map(work, [0]))


def test_expected_errors_come_as_they_are_and_bugs_with_their_traceback(workers: RayWorkers) -> None:
    with pytest.raises(InputError, match=r"^the third one$"):
        list(workers.map(_raising(InputError), range(5)))
    with pytest.raises(ZeroDivisionError, match="in work"):
        list(workers.map(_raising(ZeroDivisionError), range(5)))
    assert list(workers.map(_tens(), range(3))) == [0, 10, 20]


def test_a_worker_that_runs_other_code_is_refused(workers: RayWorkers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_code", "vloc_ros with the source 0123")
    with pytest.raises(ClusterError, match=f"{socket.gethostname()} runs vloc_ros.*expected vloc_ros.*0123 as here"):
        list(workers.map(_tens(), range(3)))


def test_work_has_one_thread(workers: RayWorkers) -> None:
    def threads(_: int) -> list[int]:
        import cv2
        from threadpoolctl import threadpool_info

        return [cv2.getNumThreads(), *(pool["num_threads"] for pool in threadpool_info())]

    assert set(next(workers.map(threads, [0]))) == {1}


def test_a_map_is_the_same_bit_for_bit(workers: RayWorkers) -> None:
    scene, views = make_plane_scene(), poses(14, seed=4)
    images = [
        PosedImage(f"{k:02}.png", lambda pose=pose: scene.image(pose), CAMERA, pose) for k, pose in enumerate(views)
    ]
    config = MappingConfig(calibration_gap_m=0.4)
    here = build_map(images, name="wall", config=config)
    assert here.scene().calibration.samples > 0
    assert_same_map(here, build_map(images, name="wall", config=config, workers=workers))


def test_a_map_of_a_learned_extractor_is_the_same_bit_for_bit(workers: RayWorkers, learned_wall: LearnedWall) -> None:
    views = poses(14, seed=4)
    here, there = (
        build_learned_map(learned_wall.scene, learned_wall.model, views, calibration_gap_m=0.4, **options)
        for options in ({}, {"workers": workers})
    )
    assert_same_map(here, there)


def test_the_command_builds_on_the_cluster_that_the_environment_names(
    workers: RayWorkers, scene_folder: SceneFolder, tmp_path: Path
) -> None:
    given = ["--images", scene_folder.images, "--poses", scene_folder.poses, "--camera", scene_folder.camera]
    command = [sys.executable, "-m", "vloc_ros.cli.main", "map", "build", *given, "--workers", "ray"]
    done = subprocess.run(
        [*command, "--out", tmp_path / "map"], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    images = list_posed_images(scene_folder.images, CAMERA, poses_file=scene_folder.poses)
    assert_same_map(read_map(tmp_path / "map"), build_map(images, name="map", config=MappingConfig()))


def test_a_cluster_without_processors_is_refused(workers: RayWorkers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"memory": 1.0})
    with pytest.raises(ClusterError, match=r"has no processors.*ray start"):
        RayWorkers(ray)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1:1", "no Ray cluster at 127.0.0.1:1, which RAY_ADDRESS names.*ray start --head"),
        ("ray://127.0.0.1:10001", "RAY_ADDRESS is ray://127.0.0.1:10001, expected HOST:PORT"),
        ("local", "RAY_ADDRESS is local, expected HOST:PORT"),
    ],
)
def test_no_cluster_is_started_where_there_is_none(monkeypatch: pytest.MonkeyPatch, address: str, reason: str) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ClusterError, match=reason), connect_to_ray():
        pass


def test_code_is_told_apart_by_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.py").write_text("x = 1")
    monkeypatch.setattr("vloc_ros.mapping.ray_workers._PACKAGE", tmp_path)
    before = describe_code.__wrapped__()
    assert describe_code.__wrapped__() == before
    (tmp_path / "a.py").write_text("x = 2")
    assert describe_code.__wrapped__() != before
