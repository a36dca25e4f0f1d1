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

"""What a map folder holds, as JSON values and as a table for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from vloc_ros.core.features.keypoint_model import KeypointModel
from vloc_ros.core.geometry.geodetic import Datum
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.map.keyframes import MIN_POINTS_SEEN
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.map.scene import Scene
from vloc_ros.core.retrieval.retrieval_index import RetrievalIndex
from vloc_ros.storage.maps import keypoint_model_bytes, map_bytes, read_manifest, read_map

# steps that a map's provenance notes after its build, and those of them that change its images or points
_STEPS = {"merged_from", "alignments", "georeferenced", "compressed_from", "updates", "joined"}
_CHANGES = {"compressed_from", "updates", "joined"}


def describe_map(folder: Path) -> dict[str, Any]:
    """Everything worth knowing, JSON values only; lengths in metres (or the map's unit), angles in radians.

    Raises:
        MapError: there is no map, or it is damaged.
    """
    landmark_map, manifest = read_map(folder), read_manifest(folder)
    keyframes = landmark_map.keyframes
    return {
        "name": landmark_map.name,
        "hash": manifest["hash"],
        "bytes": map_bytes(folder),
        "keypoint_model": _describe_keypoint_model(landmark_map.keypoint_model, keypoint_model_bytes(folder)),
        "format_version": manifest["version"],
        "metric": landmark_map.metric,
        "points": len(landmark_map.points),
        "landmarks": len(landmark_map.landmarks),
        "keyframes": list(keyframes.names),
        "keyframes_that_see_few_points": int(keyframes.see_few_points.sum()),
        "points_per_keyframe": len(keyframes.point_indices) / max(len(keyframes), 1),
        "keyframes_per_point": len(keyframes.point_indices) / max(len(landmark_map.points), 1),
        "scenes": [_describe_scene(landmark_map, scene) for scene in landmark_map.scenes],
        "extractor": asdict(landmark_map.extractor),
        "descriptor_bytes": landmark_map.codec.dimension,
        "descriptor_statistics": asdict(landmark_map.descriptor_statistics),
        "retrieval": {name: _describe_index(index) for name, index in landmark_map.retrieval.items()},
        "places": {modality: len(places) for modality, places in landmark_map.places.items()},
        "provenance": _history(landmark_map.provenance),
    }


def _describe_keypoint_model(model: KeypointModel | None, size: int) -> dict[str, Any] | None:
    """Name, bytes on disk, source and licence of a learned extractor's model; None for none."""
    if model is None:
        return None
    source, licence = (model.manifest.get(key) for key in ("source", "license"))
    return {
        "name": model.manifest.get("name"),
        "hash": model.hash,
        "bytes": size,
        "source": source,
        "license": licence.get("name") if isinstance(licence, Mapping) else licence,
    }


def _describe_index(index: RetrievalIndex) -> dict[str, Any]:
    return {
        "encoder": index.encoder,
        "modality": index.modality,
        "dimension": int(index.descriptors.shape[1]),
        "rows": len(index.items),
        "items": len(np.unique(index.items)),
    }


def _describe_scene(landmark_map: LandmarkMap, scene: Scene) -> dict[str, Any]:
    points = landmark_map.points[scene.points.start : scene.points.stop]
    positions = landmark_map.keyframes.translations[scene.keyframes.start : scene.keyframes.stop]
    changes = _changes(landmark_map.provenance, scene.frame_id, alone=len(landmark_map.scenes) == 1)
    return {
        "frame_id": scene.frame_id,
        "origin": [float(v) for v in scene.origin],
        "points": len(points),
        "keyframes": len(positions),
        "points_extent": _extent(points),
        "keyframes_extent": _extent(positions),
        "calibration": {
            "samples": scene.calibration.samples,
            "scale": scene.calibration.scale,
            "floor": [float(v) for v in scene.calibration.floor],
            "before": list(dict.fromkeys(changes)),
        },
        "self_similarity": asdict(scene.self_similarity),
        "frame_std": [float(v) for v in np.sqrt(np.diag(scene.frame_uncertainty.covariance))],
        "frame_is_arbitrary": scene.frame_is_arbitrary,
        "datum": asdict(scene.datum) if scene.datum else None,
        "bending_std": [float(v) for v in np.sqrt(scene.frame_uncertainty.bending)],
    }


def _history(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The provenance; of a map that was changed since, what the build noted comes below `when_built`."""
    steps = {name: step for name, step in provenance.items() if name in _STEPS}
    if merged := steps.get("merged_from"):
        steps["merged_from"] = {title: _history(source) for title, source in merged.items()}
    if sources := steps.get("joined"):
        steps["joined"] = {t: {**step, "provenance": _history(step["provenance"])} for t, step in sources.items()}
    built = {name: value for name, value in provenance.items() if name not in _STEPS}
    return {"when_built": built, **steps} if built and _CHANGES & steps.keys() else {**built, **steps}


def _changes(provenance: Mapping[str, Any], frame_id: str, *, alone: bool) -> Iterator[str]:
    """What was done to a scene since its covariance was calibrated, which only building does."""
    for title, source in provenance.get("merged_from", {}).items():
        if frame_id in (frames := _frames_in(title)):
            yield from _changes(source, frame_id, alone=len(frames) == 1)
    for name, key in (("compressed", "compressed_from"), ("updated", "updates"), ("joined", "joined")):
        if _concerns(provenance.get(key), frame_id, alone=alone):
            yield name


def _frames_in(title: str) -> list[str]:
    """The frames that `vloc_ros.mapping.maps.merge.map_title` puts behind a map's name."""
    return title.rpartition("(")[2].rstrip(")").split(", ")


def _concerns(steps: Any, frame_id: str, *, alone: bool) -> bool:
    """Whether steps of a map's history were done to one of its scenes; those without a scene were done to all."""
    entries = list(steps.values()) if isinstance(steps, Mapping) else steps or []
    named = [entry["scene"] for entry in entries if isinstance(entry, Mapping) and "scene" in entry]
    return bool(entries) and (alone or not named or frame_id in named)


def _extent(positions: Array) -> list[float] | None:
    """Size of the box around (N, 3) positions along the map's axes; None for none."""
    return [float(v) for v in np.ptp(positions, axis=0)] if len(positions) else None


def format_description(description: Mapping[str, Any]) -> str:
    """Lines of aligned text."""
    scenes = description["scenes"]
    rows = [*_content_rows(description)]
    for scene in scenes:
        rows += _scene_rows(scene, metric=description["metric"], alone=len(scenes) == 1)
    rows += _making_rows(description)
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def _content_rows(description: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "name", description["name"]
    yield "hash", description["hash"]
    model = description["keypoint_model"]
    of_model = f" ({model['bytes'] / 1e6:.2f} MB of it the keypoint model)" if model else ""
    size = f"{description['bytes'] / 1e6:.2f} MB{of_model}"
    yield "size on disk", f"{size}, format version {description['format_version']}"
    yield "points", f"{description['points']} in {description['landmarks']} landmarks"
    yield "keyframes per point", f"{description['keyframes_per_point']:.1f}"
    few = description["keyframes_that_see_few_points"]
    note = f"; {few} see fewer than {MIN_POINTS_SEEN}" if few else ""
    yield "keyframes", f"{len(description['keyframes'])}, {description['points_per_keyframe']:.0f} points each{note}"


def _scene_rows(scene: Mapping[str, Any], *, metric: bool, alone: bool) -> Iterator[tuple[str, str]]:
    unit = "m" if metric else "(not metres: the scale is unknown)"
    size = "" if alone else f", {scene['points']} points, {scene['keyframes']} keyframes"
    chosen = ", arbitrary: images alone chose it" if scene["frame_is_arbitrary"] else ""
    yield "frame", f"{scene['frame_id']}, {'metric' if metric else 'scale unknown'}{chosen}{size}"
    if any(scene["origin"]):
        yield "origin", " ".join(f"{v:.0f}" for v in scene["origin"]) + f" {unit}"
    if scene["datum"]:
        yield "datum", format_datum(Datum(**scene["datum"]))
    for name, key in (("extent", "points_extent"), ("keyframes' extent", "keyframes_extent")):
        if scene[key] is not None:
            yield name, f"{' x '.join(f'{v:.2f}' for v in scene[key])} {unit}"
    yield from _calibration_rows(scene["calibration"], metric=metric)
    if any(scene["frame_std"]):
        yield "frame known to", _format_frame_std(scene["frame_std"], metric=metric)
    if any(scene["bending_std"]):
        yield "bent by", _format_frame_std([*scene["bending_std"], 0.0], metric=metric)
    yield "looks alike", _describe_self_similarity(scene["self_similarity"])


def format_datum(datum: Datum) -> str:
    """The place of the map's origin, and its x axis: yaw from east, as ROS has it, and compass bearing."""
    height = "height unknown" if datum.altitude_m is None else f"{datum.altitude_m:.2f} m above the ellipsoid"
    known = f"known to {datum.position_std_m:.2g} m and {np.degrees(datum.yaw_std_rad):.2g} deg"
    bearing = np.degrees(datum.heading_of(0.0))
    axis = f"x axis at yaw {datum.yaw_rad:.6f} rad from east ({bearing:.2f} deg from north)"
    return f"{datum.latitude:.8f} {datum.longitude:.8f}, {height}, {axis}; {known}"


def _describe_self_similarity(alike: Mapping[str, Any]) -> str:
    compared = f"{alike['negatives']} images compared with the parts of the map that they do not show"
    if not alike["negatives"]:
        return "not known: no image was compared with a part of the map that it does not show"
    shift = alike["score_shift"]
    return f"{compared}: all scores lowered by {-shift:.2f}" if shift else f"nowhere, by {compared}"


def _calibration_rows(calibration: Mapping[str, Any], *, metric: bool) -> Iterator[tuple[str, str]]:
    if not calibration["samples"]:
        yield "covariance", "not calibrated on this map"
        return
    stds = np.sqrt(calibration["floor"])
    position = _format_lengths(stds[:3], metric=metric)
    rotation = " ".join(f"{v:.2g}" for v in np.degrees(stds[3:]))
    changed = f", before the map was {' and '.join(calibration['before'])}" if calibration["before"] else ""
    yield "covariance", f"calibrated on {calibration['samples']} left-out images{changed}"
    yield "  scale", f"{calibration['scale']:.2f} x the standard deviations from the inliers"
    yield "  floor", f"{position}, {rotation} deg"


def _format_lengths(lengths: Sequence[float], *, metric: bool) -> str:
    """Centimetres, or the map's own units where its scale is unknown."""
    unit, factor = ("cm", 100.0) if metric else ("(map units)", 1.0)
    return f"{' '.join(f'{factor * v:.2g}' for v in lengths)} {unit}"


def _format_frame_std(std: Sequence[float], *, metric: bool) -> str:
    shift, turn = std[:3], np.degrees(std[3:6])
    parts = [
        _format_lengths(shift, metric=metric) if any(shift) else "",
        f"{' '.join(f'{v:.2g}' for v in turn)} deg" if turn.any() else "",
        f"{100 * std[6]:.2g} % of lengths" if std[6] else "",
    ]
    return ", ".join(part for part in parts if part)


def _making_rows(description: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    values = description["extractor"].items()
    extractor = ", ".join(f"{name} {value}" for name, value in values if name not in ("name", "model", "model_hash"))
    yield "extractor", f"{description['extractor']['name']} ({extractor})"
    yield from _keypoint_model_rows(description["keypoint_model"])
    yield "descriptors", f"{description['descriptor_bytes']} bytes per point"
    statistics = description["descriptor_statistics"]
    distances = f"{statistics['same_point']:.3f} of one point, {statistics['unrelated']:.3f} of unrelated ones"
    yield "descriptor distances", f"{distances} ({statistics['source']})"
    indices = [f"{name} ({i['dimension']} values, {i['items']} items)" for name, i in description["retrieval"].items()]
    yield "retrieval indices", ", ".join(indices) or "none"
    if description["places"]:
        yield "places", ", ".join(f"{count} {modality}" for modality, count in description["places"].items())
    yield from _provenance_rows(description["provenance"])


def _keypoint_model_rows(model: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    if model is None:
        return
    source = model["source"]
    if isinstance(source, Mapping):
        source = " ".join(str(source[key]) for key in ("package", "version", "file") if key in source)
    yield "keypoint model", f"{model['name']} {model['hash'][:12]}, {model['bytes'] / 1e6:.2f} MB"
    yield "  source", source or "unknown"
    yield "  licence", model["license"] or "unknown"


def _provenance_rows(provenance: Mapping[str, Any], indent: str = "") -> Iterator[tuple[str, str]]:
    for name, value in provenance.items():
        title = indent + name.replace("_", " ")
        if isinstance(value, Mapping):
            yield title, ""
            yield from _provenance_rows(value, indent + "  ")
        elif isinstance(value, list) and all(isinstance(entry, Mapping) for entry in value):
            for number, entry in enumerate(value, start=1):
                yield f"{title} {number}", ", ".join(f"{key} {item}" for key, item in entry.items())
        else:
            yield title, f"{value:.3f}" if isinstance(value, float) else str(value)
