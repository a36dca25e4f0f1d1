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

"""Where global descriptors are compared: maps with their images, and queries with ground truth."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from benchmarks.building import EXTRACTOR, STATISTICS, Room, build_building_map, map_room, rooms
from benchmarks.landmarks import relight_folder
from benchmarks.provenance import make_once
from benchmarks.real import build_once, scene
from tqdm import tqdm

from vloc_ros.assembly import build_extractor
from vloc_ros.core.features.descriptor_codec import DescriptorCodec
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.map.keyframes import Keyframes
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.map.scene import Scene
from vloc_ros.core.retrieval.vlad import VLAD, Vocabulary
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.landmarks.definition import define_landmarks
from vloc_ros.simulation.lighting import NIGHT
from vloc_ros.simulation.scenario import make_lap
from vloc_ros.simulation.world import make_world
from vloc_ros.storage.cameras import write_camera
from vloc_ros.storage.images import list_images, read_image
from vloc_ros.storage.maps import write_map
from vloc_ros.storage.trajectories import Trajectory, write_tum

# every other query of a room is used
QUERY_EVERY = 2
CORRIDOR_LAP = 40
OTHER_FRAMES = 40
# seeds that no other section has
OTHER_WORLDS = [("corridor", 721), ("corridor", 722), ("corridor", 723), ("corridor", 724),
                ("apartment", 725), ("apartment", 726), ("room", 727), ("room", 728)]  # fmt: skip
_OTHER_PITCH_M = 80.0
_JPEG = (cv2.IMWRITE_JPEG_QUALITY, 95)
_DIMENSION, _WORDS = 64, 64


@dataclass(frozen=True, slots=True)
class Place:
    """A map and its queries.

    Attributes:
        map: folder of the map.
        images: folder of the images that the map was built from.
        queries: folder of the query images.
        truth: options of `training.place_recognition.evaluate` with the ground truth of the queries.
        posed: options of `vloc evaluate` with the ground truth; empty where there are no poses.
    """

    map: Path
    images: Path
    queries: Path
    truth: tuple[str | Path, ...]
    posed: tuple[str | Path, ...] = ()


def kitchen(out: Path) -> Place:
    """The map of redkitchen and its queries."""
    data = scene("redkitchen")
    given = ("--poses", data / "query/poses_tum.txt", "--camera", data / "camera_info.yaml")
    return Place(build_once(out, "redkitchen"), data / "map/images", data / "query/images", given, given)


def building(out: Path, name: str, count: int, seed: int) -> tuple[Place, Place]:
    """A simulated building with queries by day, and with the same queries relit to night."""
    folder = out / "buildings" / name
    place = Place(
        out / "maps" / name,
        folder / "map",
        folder / "query",
        truth := ("--poses", folder / "poses_tum.txt", "--camera", folder / "camera_info.yaml"),
        truth,
    )
    night = folder / "night"
    make_once(
        (folder, place.map),
        of={"rooms": count, "seed": seed, "query_every": QUERY_EVERY},
        make=lambda: _write(place, name, rooms(count, seed), count, folder),
    )
    make_once(
        (night,),
        of={"lighting": asdict(NIGHT)},
        make=lambda: relight_folder(place.queries, night, NIGHT),
    )
    return place, replace(place, queries=night, truth=(*truth, "--by-day", place.queries))


def other_places(out: Path) -> tuple[Place, ...]:
    """Simulated corridors, flats and rooms, and redkitchen: nothing of the corridor that is evaluated."""
    folder, name = out / "buildings" / "other-places", "other-places"
    place = Place(out / "maps" / name, folder / "map", folder / "query", ())
    make_once(
        (folder, place.map),
        of={"worlds": [list(world) for world in OTHER_WORLDS], "frames": OTHER_FRAMES},
        make=lambda: _write(place, name, map(_other_room, range(len(OTHER_WORLDS))), len(OTHER_WORLDS), folder),
    )
    return place, kitchen(out)


def corridor(out: Path) -> Place:
    """The second lap of a corridor against the first, by pairs annotated by hand."""
    data, folder = scene("corridor"), out / "buildings" / "corridor"
    pairs = folder / "pairs.csv"
    place = Place(out / "maps" / "corridor-lap-1", folder / "lap-1", folder / "lap-2", ("--pairs", pairs))
    make_once(
        (folder, place.map),
        of={"lap": CORRIDOR_LAP},
        make=lambda: _write_laps(place, data, pairs),
    )
    return place


def _write_laps(place: Place, data: Path, pairs: Path) -> None:
    """Write the map, the images of both laps, and the pairs of images across laps."""
    paths = list_images(data / "images")
    for lap, part in ((place.images, paths[:CORRIDOR_LAP]), (place.queries, paths[CORRIDOR_LAP:])):
        lap.mkdir(parents=True)
        for path in part:
            shutil.copy(path, lap)
    # at the end of the second lap the table goes on into that lap itself
    first_lap = {path.name for path in list_images(place.images)}
    header, *rows = (data / "same_place.csv").read_text().split()
    pairs.write_text("\n".join([header, *(row for row in rows if row.split(",")[1] in first_lap)]) + "\n")
    write_map(_map_without_structure(list_images(place.images), place.map.name), place.map)


def _write(place: Place, name: str, visited: Iterable[Room], count: int, folder: Path) -> None:
    """Write the map, its images, the query images and their poses."""
    place.queries.mkdir(parents=True)
    extractor, parts, poses = build_extractor(EXTRACTOR), [], list[Pose]()
    for number, room in enumerate(tqdm(visited, desc=name, total=count)):
        parts.append((room, map_room(room, extractor)))
        (place.images / room.map_lap.world.name).mkdir(parents=True)
        for k in range(len(room.map_lap)):
            _write_image(place.images / room.map_lap.world.name / f"{k}.jpg", room.map_lap.image(k))
        for k in range(0, len(room.query_lap), QUERY_EVERY):
            _write_image(place.queries / f"room-{number:02}-{k:03}.jpg", room.query_lap.image(k))
            poses.append(room.building_from_room @ room.query_lap.map_from_camera[k])
        write_camera(folder / "camera_info.yaml", room.query_lap.camera, name="camera")
    landmark_map = build_building_map(parts, name)
    keyframes = replace(landmark_map.keyframes, names=tuple(f"{n}.jpg" for n in landmark_map.keyframes.names))
    write_map(replace(landmark_map, keyframes=keyframes), place.map)
    write_tum(folder / "poses_tum.txt", Trajectory(np.arange(len(poses)) * 10**9, tuple(poses)))


def _write_image(path: Path, image: np.ndarray) -> None:
    if not cv2.imwrite(str(path), image, _JPEG):
        raise OSError(f"{path}: cannot be written")


def _other_room(number: int) -> Room:
    world = make_world(*OTHER_WORLDS[number])
    laps = [make_lap(world, frames, 2 * number + k) for k, frames in enumerate((OTHER_FRAMES, 2))]
    return Room(laps[0], laps[1], Pose(np.eye(3), np.array([number * _OTHER_PITCH_M, 0.0, 0.0])))


def _map_without_structure(paths: Sequence[Path], name: str) -> LandmarkMap:
    """A map with VLAD only, of images without structure: it has one point, which no image observes."""
    extractor = build_extractor(EXTRACTOR)
    images = [read_image(path) for path in paths]
    found = [extractor.extract(image).descriptors for image in images]
    described, count = np.concatenate(found), len(paths)
    codec = DescriptorCodec.fit(described, _DIMENSION)
    projected = [codec.project(part) for part in found]
    vocabulary = Vocabulary.fit(np.concatenate(projected), _WORDS)
    height, width = images[0].shape[:2]
    camera = Camera("PINHOLE", width, height, (0.9 * width, 0.9 * width, width / 2, height / 2))
    keyframes = Keyframes(
        names=tuple(path.name for path in paths),
        rotations=np.tile(np.eye(3), (count, 1, 1)),
        translations=np.zeros((count, 3)),
        point_offsets=np.zeros(count + 1, np.int64),
        point_indices=np.zeros(0, np.int32),
        cameras=(camera,) * count,
    )
    points = np.zeros((1, 3), np.float32)
    landmark_ids, landmarks = define_landmarks(points, keyframes, MappingConfig())
    return LandmarkMap(
        name=name,
        scenes=(Scene("map", range(1), range(count)),),
        points=points,
        landmark_ids=landmark_ids,
        landmarks=landmarks,
        codes=codec.encode(described[:1]),
        codec=codec,
        keyframes=keyframes,
        extractor=EXTRACTOR,
        descriptor_statistics=STATISTICS,
        retrieval={VLAD: vocabulary.index(np.stack(list(map(vocabulary.encode, projected))))},
    )
