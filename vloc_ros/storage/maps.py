"""Map folders: a readable `manifest.json`, and array files named by their content.

Arrays are written first and the manifest replaced last, so that a folder holds the old map or the new one, whatever
happens in between. Global descriptors are stored with 8 bits per value; everything else comes back exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from vloc_ros.core.errors import MapError, VlocError
from vloc_ros.core.features.descriptor_codec import DescriptorCodec
from vloc_ros.core.features.descriptor_statistics import DescriptorStatistics
from vloc_ros.core.features.extractor_config import ExtractorConfig, extractor_config_from
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.covariance import CovarianceCalibration
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.map.keyframes import Keyframes
from vloc_ros.core.map.landmark_map import LandmarkMap, LandmarkTable
from vloc_ros.core.map.places import Payload, Places
from vloc_ros.core.map.scene import Scene, number_consecutively
from vloc_ros.core.retrieval.retrieval_index import IMAGE, RetrievalIndex
from vloc_ros.storage.array_cache import load_array
from vloc_ros.storage.arrays import decoded_array, encoded_array
from vloc_ros.storage.atomic import write_bytes_atomically
from vloc_ros.storage.manifests import MANIFEST, manifest_bytes, read_manifest
from vloc_ros.storage.map_folders import lock_map_folder, map_files

__all__ = ["map_bytes", "map_files", "map_hash", "read_manifest", "read_map", "size_on_disk", "write_map"]

_QUANTISED_MAX = 127.0
_MOST_IN_A_SCENE = 1 << 31
_ORTHONORMAL_TOLERANCE = 1e-5
# names of retrieval indices in format 3
_NAMES_IN_3 = {"student": "model"}


def write_map(landmark_map: LandmarkMap, folder: Path, *, replacing: str | None = None) -> str:
    """Write a map; the same content gives the same files. Returns the map's hash.

    Args:
        landmark_map: to write.
        folder: of the map.
        replacing: hash of the only map that may be replaced; None for any, or none.

    Raises:
        StorageError: the disk is full, the folder is not writable or holds something else than a map, or another
            process is writing there or has written. The map that was there before, if any, is as it was.
        MapError: there is a map to be replaced no longer.
    """
    folder = Path(folder)
    text, digest, arrays = _encoded(landmark_map)
    with lock_map_folder(folder, replacing=replacing):
        for file, data in arrays.items():
            write_bytes_atomically(folder / file, data)
        write_bytes_atomically(folder / MANIFEST, text)
    return digest


def size_on_disk(landmark_map: LandmarkMap) -> int:
    """The bytes that `write_map` would write."""
    text, _, arrays = _encoded(landmark_map)
    return len(text) + sum(map(len, arrays.values()))


def read_map(folder: Path, *, mapped: bool = True) -> LandmarkMap:
    """Read a map and verify the checksum of every file that is read.

    Args:
        folder: of the map.
        mapped: large arrays are memory-mapped from a private cache (`array_cache`); one that is there already is taken
            from it, and its file in the folder is not looked at. False reads every file.

    Raises:
        MapError: there is no map, or it is damaged, altered, or of a newer format.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    try:
        return _checked(_assembled(manifest, _Arrays(folder, manifest["arrays"], mapped=mapped)))
    except MapError as error:
        if str(folder) in str(error):
            raise
        raise MapError(f"{folder}: {error}") from error
    except (VlocError, KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise MapError(f"{folder / MANIFEST}: does not describe a map ({error!r}); build it again") from error


def map_bytes(folder: Path) -> int:
    """Size of a map on disk in bytes."""
    return sum(size for _, size in map_files(folder))


def map_hash(folder: Path) -> str:
    """SHA-256 of a map's content: equal for equal maps, wherever they lie."""
    return str(read_manifest(folder)["hash"])


def _encoded(landmark_map: LandmarkMap) -> tuple[bytes, str, dict[str, bytes]]:
    """The manifest's bytes, the map's hash, and the bytes of every array file by its name."""
    manifest, arrays = _described(landmark_map), {}
    for name, array in _arrays(landmark_map).items():
        entry, data = encoded_array(name, array)
        manifest["arrays"][name] = entry
        arrays[entry["file"]] = data
    return *manifest_bytes(manifest), arrays


def _described(landmark_map: LandmarkMap) -> dict[str, Any]:
    """The manifest without the hash and the array table."""
    return {
        "name": landmark_map.name,
        "scenes": [_described_scene(scene) for scene in landmark_map.scenes],
        "metric": landmark_map.metric,
        "points": len(landmark_map.points),
        "landmarks": len(landmark_map.landmarks),
        "keyframes": list(landmark_map.keyframes.names),
        "cameras": _described_cameras(landmark_map.keyframes.cameras),
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
    }


def _described_scene(scene: Scene) -> dict[str, Any]:
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
    }


def _described_cameras(cameras: tuple[Camera, ...]) -> dict[str, Any]:
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


class _Arrays:
    """The array table of a manifest, read and checked on demand."""

    def __init__(self, folder: Path, table: Mapping[str, Any], *, mapped: bool) -> None:
        self._folder, self._table = folder, table
        self._stored = load_array if mapped else decoded_array

    def read(self, name: str, dtype: type[np.generic] | None = None) -> Array:
        if name not in self._table:
            raise MapError(f"the manifest lists no array {name}; build the map again")
        array = self._stored(self._folder, name, self._table[name])
        if dtype is not None and array.dtype != dtype:
            raise MapError(f"array {name} holds {array.dtype}, expected {np.dtype(dtype)}; build the map again")
        return array


def _assembled(manifest: Mapping[str, Any], arrays: _Arrays) -> LandmarkMap:
    extractor = extractor_config_from(manifest["extractor"])
    keyframes = _keyframes(manifest, arrays)
    return LandmarkMap(
        name=str(manifest["name"]),
        scenes=_scenes(manifest["scenes"]),
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
    )


def _scenes(entries: list[Any]) -> tuple[Scene, ...]:
    scenes = []
    for entry in entries:
        counts = entry["points"], entry["keyframes"]
        if any(type(n) is not int or not 0 <= n < _MOST_IN_A_SCENE for n in counts):
            raise MapError(f"a scene has {counts} points and keyframes, expected their numbers; build the map again")
        points, keyframes = (range(count) for count in counts)
        origin = np.array(entry.get("origin", (0.0, 0.0, 0.0)), np.float64)
        scenes.append(Scene(entry["frame_id"], points, keyframes, _calibration(entry["calibration"]), origin))
    return number_consecutively(scenes)


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
                name, entry, arrays, f"retrieval/{name}", arrays.read(f"retrieval/{name}/items", np.int64)
            )
            for name, entry in manifest["retrieval"].items()
        }
    former = {_NAMES_IN_3.get(name, name): (name, entry) for name, entry in manifest["places"].items()}
    return {
        name: _retrieval_index(name, entry, arrays, f"places/{old}", np.arange(keyframes))
        for name, (old, entry) in former.items()
    }


def _retrieval_index(name: str, entry: Mapping[str, Any], arrays: _Arrays, prefix: str, items: Array) -> RetrievalIndex:
    levels = arrays.read(f"{prefix}/descriptors", np.int8)
    return RetrievalIndex(
        name=name,
        encoder=str(entry["encoder"]),
        descriptors=levels.astype(np.float32) * np.float32(entry["scale"]),
        items=items,
        modality=str(entry.get("modality", IMAGE)),
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


def _checked(landmark_map: LandmarkMap) -> LandmarkMap:
    """Check what neither the checksums nor the map's constructor do: values that would fail later, or elsewhere."""
    keyframes, codec = landmark_map.keyframes, landmark_map.codec
    posed = [keyframes.rotations, *(places.rotations for places in landmark_map.places.values())]
    indices = landmark_map.retrieval.values()
    finite = [keyframes.translations, codec.mean, codec.basis, *(index.descriptors for index in indices)]
    finite += [array for places in landmark_map.places.values() for array in (places.translations, places.extents)]
    complaints = {
        f"codes have shape {landmark_map.codes.shape}": landmark_map.codes.shape[1:] != (codec.dimension,),
        f"the codec's step is {codec.step}": not 0 < codec.step < np.inf,
        "rotations of keyframes or places are no rotations": not all(map(_are_rotations, posed)),
        "values are not finite": not all(np.isfinite(array).all() for array in finite),
    }
    for complaint, found in complaints.items():
        if found:
            raise MapError(f"the map's {complaint}; build the map again")
    return landmark_map


def _are_rotations(matrices: Array) -> bool:
    errors = np.abs(np.einsum("kij,klj->kil", matrices, matrices) - np.eye(3))
    return bool(errors.max(initial=0.0) < _ORTHONORMAL_TOLERANCE and (np.linalg.det(matrices) > 0).all())
