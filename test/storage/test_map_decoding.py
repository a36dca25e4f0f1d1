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

"""Maps of format 3 are read, and maps of places alone."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stored_map import KEYFRAMES, POINTS, SUBMAPS, assert_equal_places, make_map, make_places, refused

from vloc_ros.core.errors import MapError
from vloc_ros.core.features.descriptor_codec import DescriptorCodec
from vloc_ros.core.features.extractor_config import RootSiftConfig
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.covariance import FrameUncertainty
from vloc_ros.core.geometry.geodetic import Datum
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.map.keyframes import Keyframes
from vloc_ros.core.map.landmark_map import LandmarkMap, LandmarkTable
from vloc_ros.core.map.places import Places
from vloc_ros.core.map.scene import Scene, SelfSimilarity
from vloc_ros.core.retrieval.retrieval_index import RetrievalIndex
from vloc_ros.storage.arrays import encode_array
from vloc_ros.storage.maps import map_hash, read_map, write_map

CAMERA = Camera("PINHOLE", 640, 480, (500.0, 500.0, 320.0, 240.0))


def _map_of_format_3() -> LandmarkMap:
    """What format 3 can hold: no origin, no places, one row per keyframe."""
    whole, rng = make_map(), np.random.default_rng(2)
    rows = rng.normal(size=(KEYFRAMES, 8)).astype(np.float32)
    model = RetrievalIndex("model", "e" * 64, rows, np.arange(KEYFRAMES))
    return replace(
        whole,
        scenes=(replace(whole.scene(), origin=np.zeros(3)),),
        keyframes=replace(whole.keyframes, cameras=(CAMERA,) * KEYFRAMES),
        retrieval={"vlad": whole.retrieval["vlad"], "model": model},
        places={},
        descriptor_statistics=RootSiftConfig.recorded_statistics,
    )


def _write_format_3(landmark_map: LandmarkMap, folder: Path, **changes: Any) -> str:
    """Write a map as version 0.1.0's development did until format 4. Returns its hash."""
    folder.mkdir()
    keyframes, codec, scene = landmark_map.keyframes, landmark_map.codec, landmark_map.scene()
    names = {"vlad": "vlad", "model": "student"}
    scales = {
        name: float(np.float32(np.abs(index.descriptors).max() / 127)) for name, index in landmark_map.retrieval.items()
    }
    arrays = {
        "points": landmark_map.points,
        "landmark_ids": landmark_map.landmark_ids,
        "landmarks/keys": landmark_map.landmarks.keys,
        "landmarks/parents": landmark_map.landmarks.parents,
        "codes": landmark_map.codes,
        "codec/mean": codec.mean,
        "codec/basis": codec.basis,
        "keyframes/rotations": keyframes.rotations,
        "keyframes/translations": keyframes.translations,
        "keyframes/point_offsets": keyframes.point_offsets,
        "keyframes/point_indices": keyframes.point_indices,
        "places/vlad/encoder/words": landmark_map.retrieval["vlad"].encoder_arrays["words"],
    }
    for name, index in landmark_map.retrieval.items():
        arrays[f"places/{names[name]}/descriptors"] = np.rint(index.descriptors / scales[name]).astype(np.int8)
    table = {}
    for name, array in arrays.items():
        table[name], data = encode_array(name, array)
        (folder / table[name]["file"]).write_bytes(data)
    calibration = scene.calibration
    manifest = {
        "format": "vloc_ros map",
        "version": 3,
        "name": landmark_map.name,
        "scenes": [
            {
                "frame_id": scene.frame_id,
                "points": POINTS,
                "keyframes": KEYFRAMES,
                "calibration": {
                    "scale": calibration.scale,
                    "floor": calibration.floor.tolist(),
                    "samples": calibration.samples,
                },
            }
        ],
        "metric": landmark_map.metric,
        "points": POINTS,
        "landmarks": len(landmark_map.landmarks),
        "keyframes": list(keyframes.names),
        "cameras": {"calibrations": [asdict(CAMERA)], "of_keyframe": [0] * KEYFRAMES},
        "extractor": {"name": "rootsift", "max_keypoints": 800, "contrast_threshold": 0.02},
        "codec": {"dimension": codec.dimension, "step": codec.step},
        "places": {
            names[name]: {
                "encoder": index.encoder,
                "scale": scales[name],
                "encoder_arrays": sorted(index.encoder_arrays),
            }
            for name, index in landmark_map.retrieval.items()
        },
        "provenance": dict(landmark_map.provenance),
        "arrays": table,
        **changes,
    }
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps({**manifest, "hash": digest}))
    return digest


def test_a_map_of_format_3_is_read(tmp_path: Path) -> None:
    written = _map_of_format_3()
    digest = _write_format_3(written, tmp_path / "old")
    read = read_map(tmp_path / "old")
    assert map_hash(tmp_path / "old") == digest
    recorded = RootSiftConfig.recorded_statistics
    assert recorded is not None
    statistics = read.descriptor_statistics
    assert (statistics.same_point, statistics.unrelated) == (recorded.same_point, recorded.unrelated)
    assert recorded.source in statistics.source
    assert "format 3" in statistics.source
    assert list(read.retrieval) == ["vlad", "model"]
    # all else is what format 4 gives back
    assert read.extractor == RootSiftConfig(max_keypoints=800, min_keypoints=0, max_megapixels=1000.0), (
        "it adapts to no image"
    )
    scene = replace(written.scene(), self_similarity=SelfSimilarity(), frame_uncertainty=FrameUncertainty())
    scenes = (scene,)
    assert read.scene().frame_is_arbitrary, "as that of every map of unknown scale"
    expected = replace(written, scenes=scenes, descriptor_statistics=statistics, extractor=read.extractor)
    write_map(expected, tmp_path / "expected")
    assert write_map(read, tmp_path / "new") == map_hash(tmp_path / "expected")


def test_format_3_does_not_hold_what_came_with_format_4(tmp_path: Path) -> None:
    """A manifest whose version does not fit its content is not half read."""
    _write_format_3(_map_of_format_3(), tmp_path / "map", version=4)
    refused(tmp_path / "map", ".")


def test_a_map_of_format_3_with_too_few_rows_is_refused(tmp_path: Path) -> None:
    written = _map_of_format_3()
    index = written.retrieval["model"]
    short = replace(index, descriptors=index.descriptors[1:], items=index.items[1:])
    _write_format_3(written.with_retrieval(short), tmp_path / "map")
    refused(tmp_path / "map", "one row each")


def _places_alone(codec: DescriptorCodec) -> LandmarkMap:
    """Two scenes of LiDAR submaps, and no images."""
    poses = [Pose.from_rotation_vector([0.0, 0.0, 0.3 * n], np.zeros(3)) for n in range(SUBMAPS)]
    places = replace(make_places(np.stack([p.rotation for p in poses])), scenes=np.array([0, 0, 1], np.int32))
    rows = np.eye(4, dtype=np.float32)
    return LandmarkMap(
        name="yard",
        scenes=(
            Scene("yard", range(0), range(0), origin=np.array([1e5, 0.0, 0.0])),
            Scene("hall", range(0), range(0)),
        ),
        points=np.zeros((0, 3), np.float32),
        landmark_ids=np.zeros(0, np.int32),
        landmarks=LandmarkTable.numbered(0),
        codes=np.zeros((0, codec.dimension), np.uint8),
        codec=codec,
        keyframes=Keyframes.empty(),
        extractor=RootSiftConfig(),
        descriptor_statistics=RootSiftConfig.recorded_statistics,
        retrieval={"scan": RetrievalIndex("scan", "f" * 64, rows, np.array([0, 1, 2, 2]), modality="lidar")},
        places={"lidar": places},
    )


@pytest.mark.parametrize("dimensions", [(128, 64), (0, 0)])
def test_a_map_of_places_alone_comes_back(tmp_path: Path, dimensions: tuple[int, int]) -> None:
    codec = DescriptorCodec(np.zeros(dimensions[0], np.float32), np.eye(*dimensions, dtype=np.float32), 0.01)
    written = _places_alone(codec)
    digest = write_map(written, tmp_path / "map")
    read = read_map(tmp_path / "map")
    assert (len(read.points), len(read.keyframes), len(read.landmarks)) == (0, 0, 0)
    assert read.points.shape == (0, 3)
    assert read.codec.basis.shape == dimensions
    assert_equal_places(read.places["lidar"], written.places["lidar"])
    np.testing.assert_array_equal(read.retrieval["scan"].items, [0, 1, 2, 2])
    assert [scene.frame_id for scene in read.scenes] == ["yard", "hall"]
    np.testing.assert_array_equal(read.scene("yard").origin, [1e5, 0.0, 0.0])
    assert write_map(read, tmp_path / "again") == digest


@pytest.mark.parametrize("name", ["a b", "a/b", "", "süd", "a.b"])
def test_a_name_that_no_file_can_have_is_refused_before_it_is_written(name: str) -> None:
    whole = make_map()
    places, index = whole.places["lidar"], whole.retrieval["vlad"]
    payloads: Places = replace(places, payloads={name: places.payloads["points"]})
    for changes in (
        {"places": {"lidar": places, name: places}},
        {"places": {"lidar": payloads}},
        {"retrieval": {name: replace(index, name=name)}},
        {"retrieval": {"vlad": replace(index, encoder_arrays={name: index.encoder_arrays["words"]})}},
    ):
        with pytest.raises(MapError, match="expected letters, digits and underscores"):
            replace(whole, **changes)


def test_the_datum_of_a_map_of_earlier_versions_is_in_its_provenance(tmp_path: Path) -> None:
    place = {"latitude": 47.4, "longitude": 8.55, "altitude_m": 450.0}
    former = replace(make_map(), provenance={"datum": place})
    write_map(former, tmp_path / "map")
    assert read_map(tmp_path / "map").scene().datum == Datum(47.4, 8.55, 450.0)
    write_map(replace(former, provenance={"datum": place, "alignments": [{}]}), tmp_path / "moved")
    assert read_map(tmp_path / "moved").scene().datum is None
