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

"""From a map to the content of its folder: the manifest, and the arrays that become files."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.map.places import Places
from vloc_ros.core.map.scene import Scene
from vloc_ros.storage.arrays import encode_array
from vloc_ros.storage.manifests import manifest_bytes

_QUANTISED_MAX = 127.0


# name of the array with the graph of a map's keypoint model
KEYPOINT_GRAPH = "keypoint_model/graph"


def encode_map(landmark_map: LandmarkMap) -> tuple[bytes, str, dict[str, bytes]]:
    """The manifest's bytes, the map's hash, and the bytes of every array file by its name."""
    manifest, arrays = _describe(landmark_map), {}
    for name, array in _arrays(landmark_map).items():
        entry, data = encode_array(name, array)
        manifest["arrays"][name] = entry
        arrays[entry["file"]] = data
    return *manifest_bytes(manifest), arrays


def _describe(landmark_map: LandmarkMap) -> dict[str, Any]:
    """The manifest without the hash and the array table."""
    model = landmark_map.keypoint_model
    return {
        "name": landmark_map.name,
        "scenes": [_describe_scene(scene) for scene in landmark_map.scenes],
        "metric": landmark_map.metric,
        "points": len(landmark_map.points),
        "landmarks": len(landmark_map.landmarks),
        "keyframes": list(landmark_map.keyframes.names),
        "cameras": _describe_cameras(landmark_map.keyframes.cameras),
        "extractor": asdict(landmark_map.extractor),
        "descriptor_statistics": asdict(landmark_map.descriptor_statistics),
        "codec": {"dimension": landmark_map.codec.dimension, "step": float(landmark_map.codec.step)},
        "retrieval": {
            name: {
                "encoder": index.encoder,
                "modality": index.modality,
                "scale": _quantisation_scale(index.descriptors),
                "encoder_arrays": sorted(index.encoder_arrays),
            }
            for name, index in sorted(landmark_map.retrieval.items())
        },
        "places": {
            modality: {"names": list(places.names), "payloads": sorted(places.payloads)}
            for modality, places in sorted(landmark_map.places.items())
        },
        "provenance": dict(landmark_map.provenance),
        "arrays": {},
        **({"keypoint_model": dict(model.manifest)} if model else {}),
    }


def _describe_scene(scene: Scene) -> dict[str, Any]:
    calibration = scene.calibration
    return {
        "frame_id": scene.frame_id,
        "origin": [float(v) for v in scene.origin],
        "points": len(scene.points),
        "keyframes": len(scene.keyframes),
        "calibration": {
            "scale": float(calibration.scale),
            "floor": [float(v) for v in calibration.floor],
            "samples": int(calibration.samples),
        },
        "self_similarity": asdict(scene.self_similarity),
        "frame_uncertainty": {
            "covariance": scene.frame_uncertainty.covariance.tolist(),
            "centre": scene.frame_uncertainty.centre.tolist(),
            "bending": scene.frame_uncertainty.bending.tolist(),
        },
        "frame_is_arbitrary": scene.frame_is_arbitrary,
        **({"datum": asdict(scene.datum)} if scene.datum else {}),
    }


def _describe_cameras(cameras: tuple[Camera, ...]) -> dict[str, Any]:
    """Each calibration once, and the number of that of every keyframe; few maps have more than one."""
    distinct = list(dict.fromkeys(cameras))
    numbers = {camera: number for number, camera in enumerate(distinct)}
    of_keyframe = [numbers[camera] for camera in cameras]
    return {"calibrations": [asdict(camera) for camera in distinct], "of_keyframe": of_keyframe}


def _arrays(landmark_map: LandmarkMap) -> dict[str, Array]:
    keyframes, codec = landmark_map.keyframes, landmark_map.codec
    arrays: dict[str, Array] = {
        "points": landmark_map.points.astype(np.float32),
        "landmark_ids": landmark_map.landmark_ids.astype(np.int32),
        "landmarks/keys": landmark_map.landmarks.keys.astype(np.int64),
        "landmarks/parents": landmark_map.landmarks.parents.astype(np.int32),
        "codes": landmark_map.codes.astype(np.uint8),
        "codec/mean": codec.mean.astype(np.float32),
        "codec/basis": codec.basis.astype(np.float32),
        "keyframes/rotations": keyframes.rotations.astype(np.float64),
        "keyframes/translations": keyframes.translations.astype(np.float64),
        "keyframes/point_offsets": keyframes.point_offsets.astype(np.int64),
        "keyframes/point_indices": keyframes.point_indices.astype(np.int32),
    }
    for name, index in landmark_map.retrieval.items():
        levels = np.rint(index.descriptors / _quantisation_scale(index.descriptors))
        arrays[f"retrieval/{name}/descriptors"] = levels.astype(np.int8)
        arrays[f"retrieval/{name}/items"] = index.items.astype(np.int64)
        for part, array in index.encoder_arrays.items():
            arrays[f"retrieval/{name}/encoder/{part}"] = array
    for modality, places in landmark_map.places.items():
        arrays |= _arrays_of_places(f"places/{modality}", places)
    if landmark_map.keypoint_model:
        arrays[KEYPOINT_GRAPH] = landmark_map.keypoint_model.graph
    return arrays


def _arrays_of_places(prefix: str, places: Places) -> dict[str, Array]:
    arrays: dict[str, Array] = {
        f"{prefix}/scenes": places.scenes.astype(np.int32),
        f"{prefix}/rotations": places.rotations.astype(np.float64),
        f"{prefix}/translations": places.translations.astype(np.float64),
        f"{prefix}/extents": places.extents.astype(np.float64),
    }
    for name, payload in places.payloads.items():
        arrays[f"{prefix}/payloads/{name}/values"] = payload.values
        arrays[f"{prefix}/payloads/{name}/offsets"] = payload.offsets.astype(np.int64)
    return arrays


def _quantisation_scale(descriptors: Array) -> float:
    """Size of one of 127 levels, exact in float32 so that reading and writing again changes nothing."""
    largest = float(np.abs(descriptors).max(initial=0.0))
    return float(np.float32(largest / _QUANTISED_MAX)) or 1.0
