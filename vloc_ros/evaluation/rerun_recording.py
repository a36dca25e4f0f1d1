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

"""Recordings for the viewer of rerun (https://rerun.io): the map, and the queries along a timeline.

Coordinates are relative to the origin of the scene, so that float32 is exact far from zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rerun as rr

from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.query import View
from vloc_ros.core.sources import QuerySource
from vloc_ros.evaluation.map_page import QueryPose, landmark_colours
from vloc_ros.evaluation.point_colours import sample_point_colours
from vloc_ros.storage.images import read_image
from vloc_ros.storage.results import ResultRecord

_BLUE, _RED, _INK, _GREY, _YELLOW = (11, 92, 173), (140, 29, 64), (27, 31, 36), (154, 164, 175), (240, 228, 66)
_JPEG_QUALITY = 75
_WIDTH_PX = 480
# 2001; clocks that count from their own start are far from it
_FIRST_DATE_NS = 10**18
# of a Gaussian in three dimensions, so many standard deviations hold 95 %
_STDS_95 = 2.7955


def record_map(
    landmark_map: LandmarkMap, *, keyframe_images: Sequence[Path] = (), queries: Sequence[QueryPose] = ()
) -> bytes:
    """The recording of a map of one scene.

    Args:
        landmark_map: of one scene.
        keyframe_images: file of every keyframe, for colours and to look at; none where they are not at hand.
        queries: poses in the frame of the scene.

    Raises:
        InputError: an image cannot be read.
    """
    stream = rr.RecordingStream("vloc map")
    memory = stream.memory_recording()
    colours = sample_point_colours(landmark_map, keyframe_images) if keyframe_images else None
    _log_points(stream, landmark_map, landmark_colours(landmark_map.landmark_ids) if colours is None else colours)
    keyframes = landmark_map.keyframes
    for k, name in enumerate(keyframes.names):
        entity = f"scene/keyframes/{k}"
        _log_pose(stream, entity, keyframes.pose(k), static=True)
        stream.log(entity, rr.AnyValues(image=name), static=True)
        if keyframes.cameras:
            _log_camera(stream, entity, keyframes.cameras[k], _BLUE, static=True)
        if keyframe_images:
            _log_image(stream, entity, read_image(keyframe_images[k]), static=True)
    scene = landmark_map.scene()
    if queries:
        positions = [scene.scene_from(query.map_from_rig).translation for query in queries]
        labels = [f"{query.name}: {query.note}" for query in queries]
        points = rr.Points3D(positions, colors=[_RED], radii=[_radius(landmark_map)], labels=labels, show_labels=False)
        stream.log("scene/queries", points, static=True)
    return _bytes_of(memory)


def record_run(
    landmark_map: LandmarkMap,
    sources: Sequence[QuerySource],
    records: Sequence[ResultRecord],
    truth: Sequence[Pose] | None,
    *,
    frame_id: str = "",
) -> bytes:
    """The recording of a run: of every query the image, inliers, pose, covariance and truth.

    The timeline `query` counts them; `time` is that of the images, exact, where all times are known: a date, or a
    duration where they do not count from 1970.

    Args:
        landmark_map: the map of the localizer.
        sources: the images.
        records: the results.
        truth: true map_from_rig of every image; None for negatives.
        frame_id: of the scene to show; empty where the map has only one.

    Raises:
        InputError: the map has several scenes and none is named, or an image cannot be read.
    """
    part = landmark_map.part(frame_id)
    stream = rr.RecordingStream("vloc evaluate")
    memory = stream.memory_recording()
    _log_points(stream, part, np.full((len(part.points), 3), _GREY, np.uint8))
    if truth is not None:
        path = [part.scene().scene_from(pose).translation for pose in truth]
        stream.log("scene/truth", rr.LineStrips3D([path], colors=[_INK]), static=True)
    stamps_ns = [record.stamp_ns for record in records if record.stamp_ns is not None]
    timed, dated = len(stamps_ns) == len(records), bool(stamps_ns) and min(stamps_ns) >= _FIRST_DATE_NS
    for i, (source, record) in enumerate(zip(sources, records, strict=True)):
        stream.set_time("query", sequence=i)
        if timed and dated:
            stream.set_time("time", timestamp=np.datetime64(record.stamp_ns, "ns"))
        elif timed:
            stream.set_time("time", duration=np.timedelta64(record.stamp_ns, "ns"))
        _log_query(stream, part, source, record, truth[i] if truth else None)
    return _bytes_of(memory)


def _log_query(
    stream: rr.RecordingStream, part: LandmarkMap, source: QuerySource, record: ResultRecord, truth: Pose | None
) -> None:
    scene, result, entity = part.scene(), record.result, "scene/estimate"
    view = source.read().views[0]
    drawn = result.map_from_rig is not None and result.frame_id in ("", scene.frame_id)
    if truth is not None:
        _log_pose(stream, "scene/true_pose", scene.scene_from(truth))
    if drawn:
        assert result.map_from_rig is not None
        assert result.covariance is not None
        scene_from_rig = scene.scene_from(result.map_from_rig)
        _log_pose(stream, entity, scene_from_rig @ view.rig_from_camera)
        _log_ellipsoid(stream, scene_from_rig.translation, result.covariance[:3, :3])
    else:
        stream.log("scene/covariance", rr.Clear(recursive=True))
    _log_camera(stream, entity, view.camera, _BLUE if drawn else _GREY)
    _log_image(stream, entity, view.image)
    _log_inliers(stream, entity, view, result.inlier_xy[result.inlier_views == 0])
    for name, value in _measures(record, truth if drawn else None).items():
        stream.log(f"plots/{name}", rr.Scalars(value))
    level = rr.TextLogLevel.INFO if result.ok else rr.TextLogLevel.WARN
    text = f"{record.image}: {result.status.value}" + (f", {result.reason}" if result.reason else "")
    stream.log("results", rr.TextLog(text, level=level))


def _measures(record: ResultRecord, truth: Pose | None) -> dict[str, float]:
    """What is plotted over the timeline."""
    result = record.result
    values = {"inliers": float(result.inliers), "time_ms": float(sum(result.times_ms.values()))}
    if truth is not None and result.map_from_rig is not None:
        metres, radians = result.map_from_rig.distance_to(truth)
        values |= {"position_error_cm": metres * 100, "rotation_error_deg": float(np.rad2deg(radians))}
    return values


def _log_points(stream: rr.RecordingStream, part: LandmarkMap, colours: Array) -> None:
    points = rr.Points3D(part.points, colors=colours, radii=[_radius(part) / 3])
    stream.log("scene/points", points, static=True)


def _radius(part: LandmarkMap) -> float:
    """Of a point that is easily seen: a two-hundredth of the extent of most points."""
    low, high = np.percentile(part.points, (5, 95), axis=0)
    return float(np.linalg.norm(high - low)) / 200 or 1.0


def _log_pose(stream: rr.RecordingStream, entity: str, pose: Pose, *, static: bool = False) -> None:
    transform = rr.Transform3D(translation=pose.translation, mat3x3=pose.rotation)
    stream.log(entity, transform, static=static)


def _log_camera(
    stream: rr.RecordingStream, entity: str, camera: Camera, colour: tuple[int, int, int], *, static: bool = False
) -> None:
    """A pinhole; distortion is left out, of which rerun knows nothing."""
    scale = min(1.0, _WIDTH_PX / camera.width)
    matrix = np.diag([scale, scale, 1.0]) @ camera.matrix
    size = [camera.width * scale, camera.height * scale]
    stream.log(entity, rr.Pinhole(image_from_camera=matrix, resolution=size, color=colour), static=static)


def _log_image(stream: rr.RecordingStream, entity: str, image: Array, *, static: bool = False) -> None:
    scale = min(1.0, _WIDTH_PX / image.shape[1])
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    done, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    assert done
    stream.log(f"{entity}/image", rr.EncodedImage(contents=bytes(data), media_type="image/jpeg"), static=static)


def _log_inliers(stream: rr.RecordingStream, entity: str, view: View, xy: Array) -> None:
    scale = min(1.0, _WIDTH_PX / view.camera.width)
    stream.log(f"{entity}/image/inliers", rr.Points2D(xy * scale, colors=[_YELLOW], radii=[2.5]))


def _log_ellipsoid(stream: rr.RecordingStream, position: Array, covariance: Array) -> None:
    """The ellipsoid that holds 95 % of a Gaussian."""
    variances, axes = np.linalg.eigh(covariance)
    axes = axes * np.sign(np.linalg.det(axes))
    half_sizes = _STDS_95 * np.sqrt(np.maximum(variances, 0.0))
    quaternion = Pose(axes, np.zeros(3)).quaternion
    ellipsoid: Any = rr.Ellipsoids3D(
        centers=[position], half_sizes=[half_sizes], quaternions=[rr.Quaternion(xyzw=quaternion)], colors=[_RED]
    )
    stream.log("scene/covariance", ellipsoid)


def _bytes_of(memory: Any) -> bytes:
    return bytes(memory.drain_as_bytes())
