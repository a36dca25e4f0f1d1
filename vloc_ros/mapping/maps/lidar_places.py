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

from vloc_ros.core.clouds.place_clouds import POINTS_CM, decode_points, encode_points, keep_heading
from vloc_ros.core.clouds.point_cloud import PointCloud, downsample, level_ground_share
from vloc_ros.core.clouds.scan_context import ScanContext
from vloc_ros.core.errors import InputError, ModelError
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
        ModelError: a descriptor of the encoder is not finite.
    """
    known = [scan.map_from_sensor.translation for scan in scans if scan.map_from_sensor is not None]
    empty = _make_empty_map(name, frame_id, choose_origin(known))
    return _add(
        empty, scans, frame_id=frame_id, spacing_m=spacing_m, context=context, encoder=encoder, progress=progress
    )


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

    The index of an encoder describes all places of a map or none: the one that made it has to be given, and only it.

    Raises:
        InputError: no scan has a pose, the map has no such scene, no metric scale, or a z axis that does not point up,
            or its places were not described by the encoder.
        ModelError: a descriptor of the encoder is not finite.
    """
    if not landmark_map.metric:
        raise InputError(
            f"the map {landmark_map.name} has no metric scale, expected metres; run `vloc map align` first"
        )
    index = find_scan_index(landmark_map)
    context = ScanContext.from_arrays(index.encoder_arrays) if index else None
    return _add(
        landmark_map, scans, frame_id=frame_id, spacing_m=spacing_m, context=context, encoder=encoder, progress=progress
    )


def _add(
    landmark_map: LandmarkMap,
    scans: Sequence[PosedScan],
    *,
    frame_id: str,
    spacing_m: float,
    context: ScanContext | None,
    encoder: RangeEncoder | None,
    progress: Progress,
) -> LandmarkMap:
    _check_range_index(landmark_map, encoder)
    scene, chosen = landmark_map.scene(frame_id), choose_places(scans, spacing_m=spacing_m)
    if not chosen:
        raise InputError(f"none of the {len(scans)} scans has a pose, expected map_from_sensor; do their times fit?")
    number, old = landmark_map.scenes.index(scene), landmark_map.places.get(LIDAR)
    # the scans of a long drive do not fit into memory together: some say what the range is, before all are read
    some = [_read_levelled(scan, scene)[1].points for scan in chosen[:: max(1, len(chosen) // _SAMPLE)]]
    _check_level(some)
    contexts = ScanContextEncoder(context or ScanContext.of_clouds(some))
    places, views = _make_places(chosen, scene, number, contexts, encoder, progress)
    merged = places if old is None or not len(old) else merge_places([old, places], [0, 0])
    first = len(merged) - len(places)
    provenance = _note(landmark_map, chosen, len(scans), spacing_m, contexts)
    grown = replace(landmark_map, places={**landmark_map.places, LIDAR: merged}, provenance=provenance)
    grown = grown.with_retrieval(_grow_scan_index(landmark_map, places, contexts, first))
    return grown if encoder is None else grown.with_retrieval(_grow_range_index(landmark_map, views, encoder, first))


def _check_range_index(landmark_map: LandmarkMap, encoder: RangeEncoder | None) -> None:
    """Refuse to leave places without descriptors of the index `range` beside places that have them."""
    index, count = landmark_map.retrieval.get(RANGE), landmark_map.item_count(LIDAR)
    if index is None:
        if encoder is not None and count:
            raise InputError(
                f"the {count} LiDAR places of the map {landmark_map.name} have no descriptors of {RANGE}; make the map "
                "anew, of all recordings with the encoder, or add these without it"
            )
    elif encoder is None:
        raise InputError(
            f"the LiDAR places of the map {landmark_map.name} have descriptors of {RANGE}, no encoder is given, and "
            "images would not find the new places; give the range model that made them (--encoder)"
        )
    elif (index.encoder, index.descriptors.shape[1]) != (encoder.hash, encoder.dimension):
        raise InputError(
            f"the index {RANGE} of the map {landmark_map.name} is of the descriptor space {index.encoder[:12]}, the "
            f"encoder's is {encoder.hash[:12]}; give the encoder that made it, or make the map anew"
        )


def _grow_scan_index(
    landmark_map: LandmarkMap, places: Places, encoder: ScanContextEncoder, first: int
) -> RetrievalIndex:
    """The index of Scan Contexts with rows for further places, of which the first has the number `first`."""
    # the descriptors are those of the points that are stored; all of them as metres take twice the memory of the map
    rows = encoder.encode(decode_points(places.payloads[POINTS_CM].of(k)) for k in range(len(places)))
    items = np.arange(len(places), dtype=np.int64) + first
    index = find_scan_index(landmark_map) if first else None
    if index is None:
        return RetrievalIndex(SCAN_CONTEXT, encoder.hash, rows, items, LIDAR, encoder.context.to_arrays())
    return index.append(rows, items)


def _grow_range_index(
    landmark_map: LandmarkMap, views: Sequence[Array], encoder: RangeEncoder, first: int
) -> RetrievalIndex:
    """The index `range` with the (V, D) rows of further places; V is 0 where a scan shows nothing at any heading."""
    rows = np.concatenate([np.zeros((0, encoder.dimension), np.float32), *views])
    items = np.repeat(np.arange(len(views), dtype=np.int64) + first, [len(part) for part in views])
    old = landmark_map.retrieval.get(RANGE)
    return old.append(rows, items) if old else RetrievalIndex(RANGE, encoder.hash, rows, items, LIDAR)


def _read_levelled(scan: PosedScan, scene: Scene) -> tuple[Pose, PointCloud]:
    """scene_from_place, which is level, and a scan's cloud in that frame."""
    assert scan.map_from_sensor is not None
    pose, cloud = scene.scene_from(scan.map_from_sensor), scan.load()
    heading = keep_heading(pose.rotation)
    points = (cloud.points @ (heading.T @ pose.rotation).T).astype(np.float32)
    return Pose(heading, pose.translation), replace(cloud, points=points)


def _make_places(
    chosen: Sequence[PosedScan],
    scene: Scene,
    number: int,
    contexts: ScanContextEncoder,
    encoder: RangeEncoder | None,
    progress: Progress,
) -> tuple[Places, list[Array]]:
    """Places with the points that are within the range, as many as their voxels, and their rows of the encoder.

    The rows are of the scans as they were recorded, denser than the points that the map keeps.
    """
    furthest_m, voxel_m = 1.5 * contexts.context.range_m, contexts.context.voxel_m
    poses, counts, extents, views = [], [0], [], list[Array]()
    # of all places: as arrays of their own that are joined in the end, they would take twice the memory
    stored = bytearray()
    for scan in progress(chosen, description="places", total=len(chosen)):
        pose, cloud = _read_levelled(scan, scene)
        near = cloud.points[np.linalg.norm(cloud.points, axis=1) < furthest_m]
        if not len(near):
            raise InputError(f"the scan {scan.name} has no point within {furthest_m:g} m; leave it out")
        poses.append(pose)
        points = encode_points(downsample(near, _STORED_VOXELS * voxel_m))
        stored += points.tobytes()
        counts.append(len(points))
        extents.append(np.ptp(points.astype(float), axis=0) / 100.0)
        if encoder is not None:
            views.append(_encode_scan(scan.name, cloud, encoder))
    values, offsets = np.frombuffer(stored, np.int16).reshape(-1, 3), np.cumsum(counts).astype(np.int64)
    places = Places(
        tuple(scan.name for scan in chosen),
        np.full(len(chosen), number, np.int32),
        np.array([pose.rotation for pose in poses]),
        np.array([pose.translation for pose in poses]),
        np.array(extents),
        {POINTS_CM: Payload(values, offsets)},
    )
    return places, views


def _encode_scan(name: str, cloud: PointCloud, encoder: RangeEncoder) -> Array:
    try:
        return encoder.encode_scan(cloud.points, cloud.intensity)
    except ModelError as error:
        raise ModelError(f"the scan {name}: {error}") from error


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
