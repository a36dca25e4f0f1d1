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

"""LiDAR places of a map: scans chosen by the distance travelled, with their descriptors and down-sampled points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vloc_ros.core.clouds.place_clouds import POINTS_CM, encode_points, keep_heading
from vloc_ros.core.clouds.point_cloud import downsample, level_ground_share
from vloc_ros.core.clouds.scan_context import ScanContext
from vloc_ros.core.errors import InputError
from vloc_ros.core.features.descriptor_codec import DescriptorCodec
from vloc_ros.core.features.extractor_config import RootSiftConfig
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.place_query import RANGE
from vloc_ros.core.localization.scan_places import find_scan_index
from vloc_ros.core.map.keyframes import Keyframes
from vloc_ros.core.map.landmark_map import LandmarkMap, LandmarkTable
from vloc_ros.core.map.places import Payload, Places, merge_places
from vloc_ros.core.map.scene import Scene
from vloc_ros.core.retrieval.encoders import RangeEncoder
from vloc_ros.core.retrieval.retrieval_index import RetrievalIndex
from vloc_ros.core.retrieval.scan_context_encoder import LIDAR, ScanContextEncoder
from vloc_ros.core.sources import PosedScan, Progress, silent
from vloc_ros.mapping.maps.alignment import choose_origin

SCAN_CONTEXT = "scan_context"
# of a map whose z axis points up, more of the points of most scans lie on one level plane
_LEVEL_GROUND = 0.05
_SIFT_DIMENSION, _CODE_DIMENSION = 128, 64
# scans whose points say how far the sensor sees
_SAMPLE = 20
# finer than the voxels of the registration, which down-samples again
_STORED_VOXELS = 0.75


def choose_places(scans: Sequence[PosedScan], *, spacing_m: float) -> list[PosedScan]:
    """The first scan, and each that is so far from the last one chosen; scans without a pose are left out."""
    chosen: list[PosedScan] = []
    for scan in scans:
        if scan.map_from_sensor is None:
            continue
        last = chosen[-1].map_from_sensor if chosen else None
        if last is None or np.linalg.norm(scan.map_from_sensor.translation - last.translation) >= spacing_m:
            chosen.append(scan)
    return chosen


def make_lidar_map(
    scans: Sequence[PosedScan],
    *,
    name: str,
    frame_id: str = "map",
    spacing_m: float = 3.0,
    context: ScanContext | None = None,
    encoder: RangeEncoder | None = None,
    progress: Progress = silent,
) -> LandmarkMap:
    """A map of LiDAR places alone.

    Args:
        scans: with poses, in the order of time.
        name: of the map.
        frame_id: of the poses.
        spacing_m: distance travelled from place to place.
        context: of the descriptor; None chooses its range by the scans.
        encoder: of a second index, whose descriptors images share; None for none.
        progress: shows how far it has come.

    Raises:
        InputError: no scan has a pose, or the map's z axis does not point up.
    """
    known = [scan.map_from_sensor.translation for scan in scans if scan.map_from_sensor is not None]
    empty = _make_empty_map(name, frame_id, choose_origin(known))
    grown = _add(empty, scans, frame_id=frame_id, spacing_m=spacing_m, context=context, progress=progress)
    return grown if encoder is None else encode_lidar_places(grown, scans, encoder, progress)


def add_lidar_places(
    landmark_map: LandmarkMap,
    scans: Sequence[PosedScan],
    *,
    frame_id: str = "",
    spacing_m: float = 3.0,
    encoder: RangeEncoder | None = None,
    progress: Progress = silent,
) -> LandmarkMap:
    """A map with further LiDAR places in one of its scenes; `make_lidar_map` has the parameters.

    Raises:
        InputError: no scan has a pose, the map has no such scene, no metric scale, or a z axis that does not point up.
    """
    if not landmark_map.metric:
        raise InputError(
            f"the map {landmark_map.name} has no metric scale, expected metres; run `vloc map align` first"
        )
    index = find_scan_index(landmark_map)
    context = ScanContext.from_arrays(index.encoder_arrays) if index else None
    grown = _add(landmark_map, scans, frame_id=frame_id, spacing_m=spacing_m, context=context, progress=progress)
    return grown if encoder is None else encode_lidar_places(grown, scans, encoder, progress)


def encode_lidar_places(
    landmark_map: LandmarkMap, scans: Sequence[PosedScan], encoder: RangeEncoder, progress: Progress = silent
) -> LandmarkMap:
    """A map whose LiDAR places have descriptors that images share, so that a camera finds them.

    They are made of the scans as they were recorded, denser than the points that the map keeps, in the places' frames.
    Places of an earlier recording keep theirs, by the same encoder.

    Args:
        landmark_map: with LiDAR places.
        scans: of which places are, by their names.
        encoder: of the descriptors.
        progress: shows how far it has come.

    Raises:
        InputError: another encoder made the map's index, or a place has neither descriptors nor a scan.
    """
    places, old = landmark_map.places[LIDAR], landmark_map.retrieval.get(RANGE)
    if old is not None and old.encoder != encoder.space:
        raise InputError(
            f"the index {RANGE} of the map {landmark_map.name} is of the descriptor space {old.encoder[:12]}, the "
            f"encoder's is {encoder.space[:12]}; give the encoder that made it, or make the map anew"
        )
    known = set() if old is None else set(old.items.tolist())
    by_name, rows, items = {scan.name: scan for scan in scans}, list[Array](), list[int]()
    for place in progress([k for k in range(len(places)) if k not in known], description="range descriptors"):
        scan = by_name.get(places.names[place])
        if scan is None:
            raise InputError(
                f"the LiDAR place {places.names[place]} has no descriptor of {RANGE}, nor is its scan given; make the "
                "map anew, of all recordings with the encoder"
            )
        _, points = _read_levelled(scan, landmark_map.scenes[int(places.scenes[place])])
        found = encoder.encode_scan(points, scan.load().intensity)
        rows.append(found)
        items += [place] * len(found)
    descriptors, numbers = (
        np.concatenate([np.zeros((0, encoder.dimension), np.float32), *rows]),
        np.array(items, np.int64),
    )
    if old is not None:
        return landmark_map.with_retrieval(old.append(descriptors, numbers))
    return landmark_map.with_retrieval(RetrievalIndex(RANGE, encoder.space, descriptors, numbers, LIDAR))


def _add(
    landmark_map: LandmarkMap,
    scans: Sequence[PosedScan],
    *,
    frame_id: str,
    spacing_m: float,
    context: ScanContext | None,
    progress: Progress,
) -> LandmarkMap:
    scene, chosen = landmark_map.scene(frame_id), choose_places(scans, spacing_m=spacing_m)
    if not chosen:
        raise InputError(f"none of the {len(scans)} scans has a pose, expected map_from_sensor; do their times fit?")
    number, old = landmark_map.scenes.index(scene), landmark_map.places.get(LIDAR)
    # the scans of a long drive do not fit into memory together: some say what the range is, before all are read
    some = [_read_levelled(scan, scene)[1] for scan in chosen[:: max(1, len(chosen) // _SAMPLE)]]
    _check_level(some)
    encoder = ScanContextEncoder(context or ScanContext.of_clouds(some))
    places = _make_places(chosen, scene, number, encoder, progress)
    merged = places if old is None or not len(old) else merge_places([old, places], [0, 0])
    # the descriptors are those of the points that are stored
    rows = encoder.encode([points / np.float32(100.0) for points in _parts(places)])
    items = np.arange(len(places), dtype=np.int64) + (len(merged) - len(places))
    index = find_scan_index(landmark_map) if old is not None and len(old) else None
    if index is None:
        index = RetrievalIndex(SCAN_CONTEXT, encoder.hash, rows, items, LIDAR, encoder.context.to_arrays())
    else:
        index = index.append(rows, items)
    provenance = _note(landmark_map, chosen, len(scans), spacing_m, encoder)
    grown = replace(landmark_map, places={**landmark_map.places, LIDAR: merged}, provenance=provenance)
    return grown.with_retrieval(index)


def _read_levelled(scan: PosedScan, scene: Scene) -> tuple[Pose, Array]:
    """scene_from_place, which is level, and a scan's (N, 3) points in that frame."""
    assert scan.map_from_sensor is not None
    pose = scene.scene_from(scan.map_from_sensor)
    heading = keep_heading(pose.rotation)
    points = (scan.load().points @ (heading.T @ pose.rotation).T).astype(np.float32)
    return Pose(heading, pose.translation), points


def _make_places(
    chosen: Sequence[PosedScan], scene: Scene, number: int, encoder: ScanContextEncoder, progress: Progress
) -> Places:
    """Places with the points that are within the range, as many as their voxels."""
    furthest_m, voxel_m = 1.5 * encoder.context.range_m, encoder.context.voxel_m
    poses, parts = [], []
    for scan in progress(chosen, description="places", total=len(chosen)):
        pose, points = _read_levelled(scan, scene)
        near = points[np.linalg.norm(points, axis=1) < furthest_m]
        if not len(near):
            raise InputError(f"the scan {scan.name} has no point within {furthest_m:g} m; leave it out")
        poses.append(pose)
        parts.append(encode_points(downsample(near, _STORED_VOXELS * voxel_m)))
    offsets = np.cumsum([0, *map(len, parts)]).astype(np.int64)
    return Places(
        tuple(scan.name for scan in chosen),
        np.full(len(chosen), number, np.int32),
        np.array([pose.rotation for pose in poses]),
        np.array([pose.translation for pose in poses]),
        np.array([np.ptp(points.astype(float), axis=0) / 100.0 for points in parts]),
        {POINTS_CM: Payload(np.concatenate(parts), offsets)},
    )


def _parts(places: Places) -> list[Array]:
    return [places.payloads[POINTS_CM].of(k) for k in range(len(places))]


def _check_level(some: Sequence[Array]) -> None:
    """Refuse scans of which most show no level ground: the poses are not of this sensor, or not of a map with z up."""
    shares = [level_ground_share(points) for points in some]
    if np.median(shares) < _LEVEL_GROUND:
        raise InputError(
            f"of most scans {np.median(shares):.1%} of the points lie on a level plane, expected {_LEVEL_GROUND:.0%} "
            "at least; are the poses those of the LiDAR in a map whose z axis points up, not the camera's?"
        )


def _make_empty_map(name: str, frame_id: str, origin: Array) -> LandmarkMap:
    """A map of one scene without anything in it, except for the places that come."""
    basis = np.eye(_SIFT_DIMENSION, _CODE_DIMENSION, dtype=np.float32)
    no_places = Places((), np.zeros(0, np.int32), np.zeros((0, 3, 3)), np.zeros((0, 3)), np.zeros((0, 3)))
    statistics = RootSiftConfig.recorded_statistics
    assert statistics is not None
    return LandmarkMap(
        name=name,
        scenes=(Scene(frame_id, range(0), range(0), origin=origin),),
        points=np.zeros((0, 3), np.float32),
        landmark_ids=np.zeros(0, np.int32),
        landmarks=LandmarkTable.numbered(0),
        codes=np.zeros((0, _CODE_DIMENSION), np.uint8),
        codec=DescriptorCodec(np.zeros(_SIFT_DIMENSION, np.float32), basis, 0.01),
        keyframes=Keyframes.empty(),
        extractor=RootSiftConfig(),
        descriptor_statistics=statistics,
        places={LIDAR: no_places},
    )


def _note(
    landmark_map: LandmarkMap, chosen: Sequence[PosedScan], scans: int, spacing_m: float, encoder: ScanContextEncoder
) -> dict[str, object]:
    """The provenance with one more recording of LiDAR places."""
    step = {
        "places": len(chosen),
        "scans": scans,
        "spacing_m": spacing_m,
        "range_m": encoder.context.range_m,
        "first": chosen[0].name,
        "last": chosen[-1].name,
    }
    before = landmark_map.provenance.get("lidar", [])
    return {**landmark_map.provenance, "lidar": [*before, step]}
