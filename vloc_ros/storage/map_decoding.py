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

"""From the content of a map folder to a map, checked; formats 3 and 4."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vloc_ros.core.errors import ConfigError, MapError
from vloc_ros.core.features.descriptor_codec import DescriptorCodec
from vloc_ros.core.features.descriptor_statistics import DescriptorStatistics
from vloc_ros.core.features.extractor_config import ExtractorConfig, RootSiftConfig, extractor_config_from
from vloc_ros.core.features.keypoint_model import KeypointModel
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.covariance import CovarianceCalibration, FrameUncertainty, is_covariance
from vloc_ros.core.geometry.geodetic import Datum
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.map.keyframes import Keyframes
from vloc_ros.core.map.landmark_map import LandmarkMap, LandmarkTable
from vloc_ros.core.map.places import Payload, Places
from vloc_ros.core.map.scene import Scene, SelfSimilarity, number_consecutively
from vloc_ros.core.retrieval.retrieval_index import IMAGE, RetrievalIndex
from vloc_ros.storage.array_cache import load_array
from vloc_ros.storage.arrays import decode_array
from vloc_ros.storage.map_encoding import KEYPOINT_GRAPH

_MOST_IN_A_SCENE = 1 << 31
_ORTHONORMAL_TOLERANCE = 1e-5
# maps of earlier versions were built with one contrast threshold for all images, of any size, and are queried so
_BEFORE_ADAPTATION = {"min_keypoints": 0, "max_megapixels": 1000.0}
# names of retrieval indices in format 3
_NAMES_IN_3 = {"student": "model"}


def decode_map(folder: Path, manifest: Mapping[str, Any], *, mapped: bool) -> LandmarkMap:
    """The map of a folder by its manifest; large arrays are memory-mapped from the cache where `mapped`.

    Raises:
        MapError: it is damaged, altered or impossible. Other exceptions mean that the manifest describes no map.
    """
    return _check(_assemble(manifest, _Arrays(folder, manifest["arrays"], mapped=mapped)))


class _Arrays:
    """The array table of a manifest, read and checked on demand."""

    def __init__(self, folder: Path, table: Mapping[str, Any], *, mapped: bool) -> None:
        self._folder, self._table = folder, table
        self._stored = load_array if mapped else decode_array

    def read(self, name: str, dtype: type[np.generic] | None = None) -> Array:
        if name not in self._table:
            raise MapError(f"the manifest lists no array {name}; build the map again")
        array = self._stored(self._folder, name, self._table[name])
        if dtype is not None and array.dtype != dtype:
            raise MapError(f"array {name} holds {array.dtype}, expected {np.dtype(dtype)}; build the map again")
        return array


def _assemble(manifest: Mapping[str, Any], arrays: _Arrays) -> LandmarkMap:
    extractor = _extractor(manifest["extractor"])
    keyframes = _keyframes(manifest, arrays)
    return LandmarkMap(
        name=str(manifest["name"]),
        scenes=_scenes(manifest),
        points=arrays.read("points", np.float32),
        landmark_ids=arrays.read("landmark_ids", np.int32),
        landmarks=LandmarkTable(arrays.read("landmarks/keys", np.int64), arrays.read("landmarks/parents", np.int32)),
        codes=arrays.read("codes", np.uint8),
        codec=_codec(manifest, arrays),
        keyframes=keyframes,
        extractor=extractor,
        descriptor_statistics=_descriptor_statistics(manifest, extractor),
        retrieval=_retrieval(manifest, arrays, len(keyframes)),
        places=_places(manifest, arrays),
        metric=bool(manifest["metric"]),
        provenance=dict(manifest["provenance"]),
        keypoint_model=_keypoint_model(manifest, arrays),
    )


def _extractor(entry: Any) -> ExtractorConfig:
    if isinstance(entry, dict) and entry.get("name") == RootSiftConfig().name:
        entry = {**_BEFORE_ADAPTATION, **entry}
    try:
        return extractor_config_from(entry)
    except ConfigError as error:
        raise MapError(str(error)) from error


def _keypoint_model(manifest: Mapping[str, Any], arrays: _Arrays) -> KeypointModel | None:
    """The model of a learned extractor, of which only its extractor checks the content."""
    if "keypoint_model" not in manifest:
        return None
    return KeypointModel(dict(manifest["keypoint_model"]), arrays.read(KEYPOINT_GRAPH, np.uint8))


def _scenes(manifest: Mapping[str, Any]) -> tuple[Scene, ...]:
    """The scenes; those of format 3 have their origin at zero."""
    scenes, former = [], _datum_in_provenance(manifest)
    for entry in manifest["scenes"]:
        counts = entry["points"], entry["keyframes"]
        if any(type(n) is not int or not 0 <= n < _MOST_IN_A_SCENE for n in counts):
            raise MapError(f"a scene has {counts} points and keyframes, expected their numbers; build the map again")
        points, keyframes = (range(count) for count in counts)
        origin = np.array(entry["origin"] if manifest["version"] >= 4 else (0.0, 0.0, 0.0), np.float64)
        calibration, alike = _calibration(entry["calibration"]), _self_similarity(entry)
        frame = _frame_uncertainty(entry)
        # maps of earlier versions say so of those of unknown scale only
        arbitrary = bool(entry.get("frame_is_arbitrary", not manifest["metric"]))
        place = entry.get("datum") or former
        datum = Datum(**place) if place else None
        scenes.append(Scene(entry["frame_id"], points, keyframes, calibration, origin, alike, frame, arbitrary, datum))
    return number_consecutively(scenes)


def _datum_in_provenance(manifest: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Where maps of earlier versions note the origin of their positions by satellites; None of one moved since."""
    provenance = manifest["provenance"]
    if len(manifest["scenes"]) != 1 or "alignments" in provenance:
        return None
    found: Mapping[str, Any] | None = provenance.get("datum")
    return found


def _descriptor_statistics(manifest: Mapping[str, Any], extractor: ExtractorConfig) -> DescriptorStatistics:
    """Those of the map; of format 3, which has none, those that are recorded for its extractor."""
    if manifest["version"] >= 4:
        return DescriptorStatistics(**manifest["descriptor_statistics"])
    if extractor.recorded_statistics is None:
        raise MapError(f"the map's format 3 has no descriptor statistics of {extractor.name}; build the map again")
    recorded = extractor.recorded_statistics
    return replace(recorded, source=f"{recorded.source}; the map's format 3 has none of its own")


def _codec(manifest: Mapping[str, Any], arrays: _Arrays) -> DescriptorCodec:
    mean, basis = arrays.read("codec/mean", np.float32), arrays.read("codec/basis", np.float32)
    dimension = int(manifest["codec"]["dimension"])
    if basis.shape != (len(mean), dimension):
        raise MapError(f"the codec has a basis of shape {basis.shape}, expected {(len(mean), dimension)}")
    return DescriptorCodec(mean, basis, float(manifest["codec"]["step"]))


def _keyframes(manifest: Mapping[str, Any], arrays: _Arrays) -> Keyframes:
    offsets = arrays.read("keyframes/point_offsets", np.int64)
    if len(offsets) == 0 or offsets[0] != 0 or (np.diff(offsets) < 0).any():
        raise MapError("the keyframe observations do not start at 0 and increase; build the map again")
    return Keyframes(
        names=tuple(str(name) for name in manifest["keyframes"]),
        rotations=arrays.read("keyframes/rotations", np.float64),
        translations=arrays.read("keyframes/translations", np.float64),
        point_offsets=offsets,
        point_indices=arrays.read("keyframes/point_indices", np.int32),
        cameras=_cameras(manifest["cameras"]),
    )


def _cameras(entry: Mapping[str, Any]) -> tuple[Camera, ...]:
    distinct = [Camera(**{**camera, "parameters": tuple(camera["parameters"])}) for camera in entry["calibrations"]]
    if any(type(number) is not int or not 0 <= number < len(distinct) for number in entry["of_keyframe"]):
        raise MapError(f"a keyframe names a camera beyond the map's {len(distinct)}; build the map again")
    return tuple(distinct[number] for number in entry["of_keyframe"])


def _retrieval(manifest: Mapping[str, Any], arrays: _Arrays, keyframes: int) -> dict[str, RetrievalIndex]:
    """The retrieval indices; in format 3 they lie below `places`, and describe every keyframe by one row."""
    if manifest["version"] >= 4:
        return {
            name: _retrieval_index(
                name,
                entry,
                arrays,
                prefix=f"retrieval/{name}",
                items=arrays.read(f"retrieval/{name}/items", np.int64),
                modality=str(entry["modality"]),
            )
            for name, entry in manifest["retrieval"].items()
        }
    former = {_NAMES_IN_3.get(name, name): (name, entry) for name, entry in manifest["places"].items()}
    return {
        name: _retrieval_index(name, entry, arrays, prefix=f"places/{old}", items=np.arange(keyframes), modality=IMAGE)
        for name, (old, entry) in former.items()
    }


def _retrieval_index(
    name: str, entry: Mapping[str, Any], arrays: _Arrays, *, prefix: str, items: Array, modality: str
) -> RetrievalIndex:
    levels = arrays.read(f"{prefix}/descriptors", np.int8)
    return RetrievalIndex(
        name=name,
        encoder=str(entry["encoder"]),
        descriptors=levels.astype(np.float32) * np.float32(entry["scale"]),
        items=items,
        modality=modality,
        encoder_arrays={part: arrays.read(f"{prefix}/encoder/{part}") for part in entry["encoder_arrays"]},
    )


def _places(manifest: Mapping[str, Any], arrays: _Arrays) -> dict[str, Places]:
    if manifest["version"] < 4:
        return {}
    return {modality: _places_of(f"places/{modality}", entry, arrays) for modality, entry in manifest["places"].items()}


def _places_of(prefix: str, entry: Mapping[str, Any], arrays: _Arrays) -> Places:
    return Places(
        names=tuple(str(name) for name in entry["names"]),
        scenes=arrays.read(f"{prefix}/scenes", np.int32),
        rotations=arrays.read(f"{prefix}/rotations", np.float64),
        translations=arrays.read(f"{prefix}/translations", np.float64),
        extents=arrays.read(f"{prefix}/extents", np.float64),
        payloads={
            name: Payload(
                arrays.read(f"{prefix}/payloads/{name}/values"),
                arrays.read(f"{prefix}/payloads/{name}/offsets", np.int64),
            )
            for name in entry["payloads"]
        },
    )


def _calibration(entry: Mapping[str, Any]) -> CovarianceCalibration:
    floor = np.array(entry["floor"], dtype=np.float64)
    if floor.shape != (6,) or not np.isfinite(floor).all() or (floor < 0).any():
        raise MapError(f"the calibration's floor is {entry['floor']}, expected six variances; build the map again")
    scale = float(entry["scale"])
    if not 0 < scale < np.inf:
        raise MapError(f"the calibration's scale is {scale}, expected a factor above 0; build the map again")
    return CovarianceCalibration(scale, floor, int(entry["samples"]))


def _self_similarity(entry: Mapping[str, Any]) -> SelfSimilarity:
    """That of a scene; maps of earlier versions have none."""
    if "self_similarity" not in entry:
        return SelfSimilarity()
    values = entry["self_similarity"]
    shift = float(values["score_shift"])
    if not -np.inf < shift <= 0:
        raise MapError(f"a scene shifts scores by {shift}, expected 0 or less; build the map again")
    return SelfSimilarity(shift, int(values["negatives"]))


def _frame_uncertainty(entry: Mapping[str, Any]) -> FrameUncertainty:
    """That of a scene; maps of earlier versions have none."""
    if "frame_uncertainty" not in entry:
        return FrameUncertainty()
    values = entry["frame_uncertainty"]
    names = ("covariance", "centre", "bending")
    covariance, centre, bending = (np.array(values[name], dtype=np.float64) for name in names)
    shapes = covariance.shape, centre.shape, bending.shape
    if shapes != ((7, 7), (3,), (6,)) or not np.isfinite([*covariance.flat, *centre, *bending]).all():
        raise MapError(
            f"the uncertainty of a scene's frame has shapes {shapes}, expected finite values of (7, 7), (3,) and "
            "(6,); build the map again"
        )
    if (bending < 0).any() or not is_covariance(covariance):
        raise MapError(
            "the uncertainty of a scene's frame is no covariance, expected a symmetric, positive semi-definite matrix "
            "and variances; build the map again"
        )
    return FrameUncertainty(covariance, centre, bending)


def _check(landmark_map: LandmarkMap) -> LandmarkMap:
    """Check what neither the checksums nor the map's constructor do: values that would fail later."""
    keyframes, codec = landmark_map.keyframes, landmark_map.codec
    posed = [keyframes.rotations, *(places.rotations for places in landmark_map.places.values())]
    indices = landmark_map.retrieval.values()
    finite = [keyframes.translations, codec.mean, codec.basis, *(index.descriptors for index in indices)]
    finite += [array for places in landmark_map.places.values() for array in (places.translations, places.extents)]
    complaints = {
        f"codes have shape {landmark_map.codes.shape}": landmark_map.codes.shape[1:] != (codec.dimension,),
        f"the codec's step is {codec.step}": not 0 < codec.step < np.inf,
        "rotations of keyframes or places are no rotations": not all(map(_are_rotations, posed)),
        "places have negative extents": any((places.extents < 0).any() for places in landmark_map.places.values()),
        "values are not finite": not all(np.isfinite(array).all() for array in finite),
    }
    for complaint, found in complaints.items():
        if found:
            raise MapError(f"the map's {complaint}; build the map again")
    return landmark_map


def _are_rotations(matrices: Array) -> bool:
    errors = np.abs(np.einsum("kij,klj->kil", matrices, matrices) - np.eye(3))
    return bool(errors.max(initial=0.0) < _ORTHONORMAL_TOLERANCE and (np.linalg.det(matrices) > 0).all())
