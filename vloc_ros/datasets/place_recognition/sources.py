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

"""Images of maps, bags and simulated worlds as a data set of place recognition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

import numpy as np

from vloc_ros.bags.reading import Bag
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.datasets.bag_extraction import ExtractedFile, extract_files
from vloc_ros.datasets.bag_frames import stamp_images
from vloc_ros.datasets.bag_images import find_camera_path
from vloc_ros.datasets.bag_topics import choose_image_topic
from vloc_ros.datasets.keyframe_images import find_keyframe_images
from vloc_ros.datasets.place_recognition.place_images import DATABASE, QUERIES
from vloc_ros.datasets.place_recognition.writing import ExportImage, encode_jpeg, fields_of_pose, read_bytes
from vloc_ros.datasets.stamp_order import find_stamps_in_order
from vloc_ros.simulation.driving import drive_route, plan_route
from vloc_ros.simulation.lighting import CLEAR_DAY, DAY, DUSK, NIGHT, Lighting
from vloc_ros.simulation.render import render
from vloc_ros.simulation.scene import World
from vloc_ros.simulation.town import with_other_cars
from vloc_ros.simulation.trajectories import walk
from vloc_ros.simulation.world import make_world
from vloc_ros.storage.images import decode_image
from vloc_ros.storage.trajectories import LARGEST_GAP_NS

LIGHTS: Mapping[str, Lighting] = {"day": DAY, "dusk": DUSK, "night": NIGHT}
# worlds are so far apart that no image of one is near one of another
_PITCH_M = 10_000.0
_CAMERA = Camera("SIMPLE_PINHOLE", 640, 480, (525.0, 320.0, 240.0))
_STREET_SPACING_M, _QUERY_SPACING_M = 5.0, 7.3
# why an image of a bag is left out
WITHOUT_POSE = "have no pose, or are in a gap, see --max-time-difference"
OUT_OF_ORDER = "have stamps that are repeated or not in the order of recording"
TOO_NEAR = "are nearer than --spacing to the one before"


@dataclass(frozen=True, slots=True)
class SimulatedPlaces:
    """How simulated worlds become a data set.

    Attributes:
        kind: of the worlds.
        worlds: number of worlds of each split; no world is in two.
        seed: of the first world.
        images: of the database in each room; streets have one every 5 m.
        lights: of the queries; each beyond the first is a set of queries of its own.
        camera: of all images.
    """

    kind: str
    worlds: Mapping[str, int]
    seed: int = 0
    images: int = 20
    lights: Sequence[str] = ("day",)
    camera: Camera = _CAMERA


def images_of_map(
    landmark_map: LandmarkMap, images: Path, *, queries: str, split: str = "test", scene: str = ""
) -> list[ExportImage]:
    """The keyframes of a map whose x axis points east, y north and z up.

    Args:
        landmark_map: the map.
        images: folder of the images that it was built from.
        queries: pattern of the names of the keyframes that are queries, such as `visit2/*`.
        split: of all images.
        scene: frame of the scene, of several.

    Raises:
        InputError: the map has no scale, an image is missing, or no keyframe is a query.
    """
    part = landmark_map.part(scene)
    if not part.metric:
        raise InputError(f"the map {part.name} is not in metres, expected metres; align it first with `vloc map align`")
    if not np.isfinite(part.keyframes.translations).all():
        raise InputError(f"the map {part.name} has keyframes whose positions are not finite; build it again")
    paths, origin = find_keyframe_images(part, images), part.scene().origin
    found = []
    for k, (name, path) in enumerate(zip(part.keyframes.names, paths, strict=True)):
        pose = part.keyframes.pose(k)
        fields = fields_of_pose(replace(pose, translation=pose.translation + origin), note=Path(name).stem)
        role = QUERIES if fnmatch(name, queries) else DATABASE
        found.append(ExportImage(split, role, name, path.suffix.lower(), fields, partial(read_bytes, path)))
    if not {QUERIES, DATABASE} <= {image.role for image in found}:
        raise InputError(
            f"{queries!r} fits {sum(i.role == QUERIES for i in found)} of {len(found)} keyframes, such as "
            f"{part.keyframes.names[0]}; expected some, not all; give another --queries"
        )
    return found


def shared_views_of_map(
    landmark_map: LandmarkMap, *, queries: str, split: str = "test", scene: str = ""
) -> list[tuple[str, str, str, float]]:
    """Split, query, database image and Jaccard index of the points that both observe, where they share any."""
    keyframes = landmark_map.part(scene).keyframes
    observed = [set(keyframes.visible(k).tolist()) for k in range(len(keyframes))]
    is_query = [fnmatch(name, queries) for name in keyframes.names]
    rows = []
    for q in np.flatnonzero(is_query):
        for k in np.flatnonzero(~np.array(is_query)):
            if shared := len(observed[q] & observed[k]):
                share = shared / len(observed[q] | observed[k])
                rows.append((split, keyframes.names[q], keyframes.names[k], share))
    return rows


def images_of_bag(
    path: Path,
    *,
    split: str,
    role: str,
    image_topic: str | None = None,
    pose_topic: str | None = None,
    odom_topic: str | None = None,
    base_frame: str | None = None,
    spacing_m: float = 1.0,
    largest_gap_ns: int = LARGEST_GAP_NS,
    left_out: Counter[str] | None = None,
) -> Iterator[ExportImage]:
    """The images of a bag, so many metres apart; poses are in the map, or else in odometry's frame.

    Args:
        path: of the bag.
        split: of the images.
        role: of the images.
        image_topic: None takes the only one.
        pose_topic: poses in the map.
        odom_topic: odometry.
        base_frame: whose poses the topic holds.
        spacing_m: between images.
        largest_gap_ns: between the poses before and after an image, between which its own is interpolated.
        left_out: counts how many images are left out, by the reason, once all are read.

    Raises:
        InputError: a topic or the camera's extrinsics are unknown.
    """
    left_out = Counter() if left_out is None else left_out
    with Bag(path) as bag:
        topic = choose_image_topic(bag, image_topic)
        camera_path = find_camera_path(
            bag, bag.frame_id(topic), odom_topic, pose_topic, base_frame, largest_gap_ns=largest_gap_ns
        )
        stamps_ns = [stamp_ns for stamp_ns, _ in stamp_images(bag, bag.messages([topic]))]
        in_order = set(find_stamps_in_order([stamp_ns for stamp_ns in stamps_ns if camera_path(stamp_ns) is not None]))
        posed = ((file, camera_path(file.stamp_ns)) for file in extract_files(bag, topic))
        for file, pose in _select_images(posed, in_order, spacing_m, left_out):
            fields = {**fields_of_pose(pose, note=str(file.stamp_ns)), "timestamp": str(file.stamp_ns)}
            source = f"{path} {role} {file.stamp_ns}"
            yield ExportImage(split, role, source, ".jpg", fields, partial(_as_jpeg, file.data, file.reason))


def _select_images(
    files: Iterable[tuple[ExtractedFile, Pose | None]], in_order: set[int], spacing_m: float, left_out: Counter[str]
) -> Iterator[tuple[ExtractedFile, Pose]]:
    """The images with a pose that is far enough from the last one's; `in_order` numbers those that have a pose."""
    last: Pose | None = None
    number = -1
    for file, pose in files:
        number += pose is not None
        if pose is None:
            left_out[WITHOUT_POSE] += 1
        elif file.repeated or number not in in_order:
            left_out[OUT_OF_ORDER] += 1
        elif last is not None and pose.distance_to(last)[0] < spacing_m:
            left_out[TOO_NEAR] += 1
        else:
            last = last if file.data is None else pose
            yield file, pose


def _as_jpeg(data: bytes | None, reason: str) -> bytes:
    if data is None:
        raise InputError(reason)
    return data if data.startswith(b"\xff\xd8\xff") else encode_jpeg(decode_image(data))


def images_of_worlds(places: SimulatedPlaces) -> Iterator[ExportImage]:
    """Images of simulated worlds: a database by day, and queries of another drive or walk, in streets past other cars.

    Raises:
        InputError: the kind of world or a light is unknown.
    """
    if unknown := [light for light in places.lights if light not in LIGHTS]:
        raise InputError(f"found the light {unknown[0]!r}, expected one of {', '.join(LIGHTS)}")
    number = 0
    for split, count in places.worlds.items():
        for _ in range(count):
            yield from _images_of_world(places, split, number)
            number += 1


def _images_of_world(places: SimulatedPlaces, split: str, number: int) -> Iterator[ExportImage]:
    world = make_world(places.kind, places.seed + number)
    shift = Pose(np.eye(3), np.array([_PITCH_M * number, 0.0, 0.0]))
    day = CLEAR_DAY if world.roads else DAY
    for k, pose in enumerate(_database_poses(world, places.images)):
        yield _rendered(world, places.camera, day, pose, shift, split, DATABASE, 7 * k)
    visited = with_other_cars(world, 1) if world.roads else world
    for at, light in enumerate(places.lights):
        role = QUERIES if at == 0 else f"{QUERIES}_{light}"
        lighting = day if light == "day" else LIGHTS[light]
        for k, pose in enumerate(_query_poses(world, places.images)):
            yield _rendered(visited, places.camera, lighting, pose, shift, split, role, 7 * k + 3)


def _database_poses(world: World, images: int) -> Sequence[Pose]:
    if world.roads:
        return drive_route(world, plan_route(world), spacing_m=_STREET_SPACING_M, seed=0)
    return list(walk(world, images, 0))


def _query_poses(world: World, images: int) -> Sequence[Pose]:
    if world.roads:
        return drive_route(world, plan_route(world), spacing_m=_QUERY_SPACING_M, seed=1)[1:]
    return list(walk(world, max(2, images // 2), 1))


def _rendered(
    world: World,
    camera: Camera,
    lighting: Lighting,
    map_from_camera: Pose,
    shift: Pose,
    split: str,
    role: str,
    seed: int,
) -> ExportImage:
    source = f"{world.name} {role} {seed}"
    fields = fields_of_pose(shift @ map_from_camera, note=f"{world.name}-{seed}")

    def read() -> bytes:
        return encode_jpeg(render(world, camera, map_from_camera, lighting=lighting, seed=seed))

    return ExportImage(split, role, source, ".jpg", fields, read)
