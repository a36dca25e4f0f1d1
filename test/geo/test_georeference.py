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
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vloc_ros.bags.names import FrameNames
from vloc_ros.bags.writing import BagWriter
from vloc_ros.cli.main import main
from vloc_ros.core.errors import InputError
from vloc_ros.core.features.descriptor_codec import DescriptorCodec
from vloc_ros.core.features.extractor_config import RootSiftConfig
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.geodetic import Datum
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.map.keyframes import Keyframes
from vloc_ros.core.map.landmark_map import LandmarkMap, LandmarkTable
from vloc_ros.core.map.scene import Scene
from vloc_ros.geo.georeference import georeference_map
from vloc_ros.geo.position_tables import EarthPositions, Heights, read_positions
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.maps.merge import merge_maps
from vloc_ros.storage.maps import read_map, write_map

_TRUE = Datum(46.8426, -91.9945, 150.0, yaw_rad=0.7)
_UTM_15 = "EPSG:32615"


def _points(count: int = 12) -> np.ndarray:
    return np.random.default_rng(4).uniform((-60, -40, 0), (80, 50, 12), (count, 3))


def _positions(points: np.ndarray, noise_m: float = 0.0, *, height: bool = True) -> EarthPositions:
    moved = points + np.random.default_rng(5).normal(size=points.shape) * noise_m
    latitude, longitude, altitude = np.array([_TRUE.geodetic(p) for p in moved]).T
    return EarthPositions(("",) * len(points), latitude, longitude, altitude if height else None)


@pytest.fixture
def one_scene() -> LandmarkMap:
    """A map in metres of random points."""
    generator = np.random.default_rng(0)
    statistics = RootSiftConfig.recorded_statistics
    assert statistics is not None
    return LandmarkMap(
        name="yard",
        scenes=(Scene("map", range(60), range(2)),),
        points=generator.normal(size=(60, 3)).astype(np.float32),
        landmark_ids=np.zeros(60, np.int32),
        landmarks=LandmarkTable.numbered(1),
        codes=generator.integers(0, 256, (60, 16)).astype(np.uint8),
        codec=DescriptorCodec.fit(generator.normal(size=(100, 128)).astype(np.float32), 16),
        keyframes=Keyframes(
            ("a.jpg", "b.jpg"),
            np.stack([np.eye(3)] * 2),
            np.zeros((2, 3)),
            np.array([0, 30, 60]),
            np.arange(60, dtype=np.int32),
            (Camera("SIMPLE_PINHOLE", 64, 48, (50.0, 32.0, 24.0)),) * 2,
        ),
        extractor=RootSiftConfig(),
        descriptor_statistics=statistics,
    )


def test_a_leaning_map_is_turned_level_and_finds_its_place(one_scene: LandmarkMap) -> None:
    lean = Pose.from_rotation_vector([0.2, -0.1, 0.0], np.zeros(3))
    points = _points()
    positions = _positions(points)
    positions.latitude[3] += 0.001  # 111 m off
    found = georeference_map(one_scene, points @ lean.rotation.T, positions, level=False)
    datum = found.landmark_map.scene().datum
    assert datum is not None
    assert np.degrees(found.lean_rad) == pytest.approx(np.degrees(np.arccos(lean.rotation[2, 2])), abs=1e-3)
    assert not found.agreeing[3]
    assert found.residuals[found.agreeing].max() < 1e-3
    assert datum.latitude == pytest.approx(_TRUE.latitude, abs=1e-8)
    assert datum.altitude_m == pytest.approx(150.0, abs=1e-3)


def test_positions_without_heights_place_a_level_map(one_scene: LandmarkMap) -> None:
    points = _points()
    found = georeference_map(one_scene, points, _positions(points, 0.5, height=False), level=False)
    datum = found.landmark_map.scene().datum
    assert datum is not None
    assert datum.altitude_m is None
    assert datum.yaw_rad == pytest.approx(0.7, abs=4 * datum.yaw_std_rad)
    east, north, _ = _TRUE.local(datum.latitude, datum.longitude)
    assert np.hypot(east, north) < 4 * datum.position_std_m < 2.0
    assert found.lean_rad == 0.0


def test_positions_without_heights_do_not_place_a_frame_that_images_chose(one_scene: LandmarkMap) -> None:
    points = _points()
    chosen = replace(one_scene, scenes=(replace(one_scene.scene(), frame_is_arbitrary=True),))
    with pytest.raises(InputError, match="z axis"):
        georeference_map(chosen, points, _positions(points, height=False), level=False)
    assert georeference_map(chosen, points, _positions(points, height=False), level=True).lean_rad == 0.0
    assert georeference_map(chosen, points, _positions(points), level=False).agreeing.all()


@pytest.mark.parametrize("level", [False, True])
def test_the_yaw_is_that_of_the_origin_of_the_map(one_scene: LandmarkMap, level: bool) -> None:
    """East in the middle of the positions, 8 km away, is not east at the origin."""
    true = replace(_TRUE, latitude=60.0)
    points = _points() + np.linspace((1000.0, 0.0, 0.0), (16_000.0, -1000.0, 0.0), 12)
    latitude, longitude, altitude = np.array([true.geodetic(p) for p in points]).T
    positions = EarthPositions(("",) * 12, latitude, longitude, altitude)
    datum = georeference_map(one_scene, points, positions, level=level).landmark_map.scene().datum
    assert datum is not None
    for point in points:
        np.testing.assert_allclose(true.local(*datum.geodetic(point)), point, atol=1e-3)


def test_an_origin_far_from_the_positions_is_refused(one_scene: LandmarkMap) -> None:
    points = _points()
    with pytest.raises(InputError, match="vloc map align"):
        georeference_map(one_scene, points + np.array([460_000.0, 5_190_000.0, 0.0]), _positions(points), level=True)


def test_a_wrong_height_of_a_level_map_does_not_count(one_scene: LandmarkMap) -> None:
    points = _points()
    positions = _positions(points, 0.1)
    assert positions.altitude_m is not None
    positions.altitude_m[2] += 100.0
    found = georeference_map(one_scene, points, positions, level=True, std_m=0.2)
    datum = found.landmark_map.scene().datum
    assert datum is not None
    assert datum.altitude_m == pytest.approx(150.0, abs=0.2)
    assert 0.2 < datum.altitude_std_m < 0.3
    assert datum.position_std_m < 0.3
    assert found.residuals.max() < 0.5


def test_a_former_datum_is_forgotten(one_scene: LandmarkMap) -> None:
    former = replace(one_scene, provenance={"datum": {"latitude": 1.0, "longitude": 2.0, "altitude_m": 3.0}})
    found = georeference_map(former, _points(), _positions(_points()), level=False).landmark_map
    assert "datum" not in found.provenance


@pytest.mark.parametrize("level", [False, True])
def test_a_line_leaves_open_what_is_up(one_scene: LandmarkMap, level: bool) -> None:
    points = np.linspace((0.0, 0.0, 0.0), (90.0, 30.0, 0.0), 10)
    positions = _positions(points, 0.3)
    if level:
        datum = georeference_map(one_scene, points, positions, level=True).landmark_map.scene().datum
        assert datum is not None
        assert datum.yaw_rad == pytest.approx(0.7, abs=0.03)
    else:
        with pytest.raises(InputError, match=r"line|open"):
            georeference_map(one_scene, points, positions, level=False)


@pytest.mark.parametrize(
    ("points", "noise_m", "reason"),
    [
        (_points(2), 0.0, "2 positions"),
        (0.02 * _points(), 2.0, "heading|times as far"),
        (2 * _points(), -1.0, "as far"),
    ],
)
def test_what_does_not_determine_the_datum_is_refused(
    one_scene: LandmarkMap, points: np.ndarray, noise_m: float, reason: str
) -> None:
    positions = _positions(points / 2 if noise_m < 0 else points, max(noise_m, 0.0))
    with pytest.raises(InputError, match=reason):
        georeference_map(one_scene, points, positions, level=True)


def test_a_datum_is_stored_and_kept_by_merging(one_scene: LandmarkMap, tmp_path: Path) -> None:
    here = replace(one_scene, scenes=(replace(one_scene.scene(), datum=_TRUE),))
    assert write_map(here, tmp_path / "a") != write_map(one_scene, tmp_path / "b")
    read = read_map(tmp_path / "a")
    assert read.scene().datum == _TRUE
    there = replace(one_scene, scenes=(replace(one_scene.scene(), frame_id="elsewhere"),))
    assert [scene.datum for scene in merge_maps([read, there], name="both", config=MappingConfig()).scenes] == [
        _TRUE,
        None,
    ]


def _table(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "positions.csv"
    path.write_text(text)
    return path


def test_the_command_tells_residuals_and_refuses_bad_tables(
    one_scene: LandmarkMap, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_map(one_scene, tmp_path / "map")
    points = _points(6)
    rows = [(*p, *_TRUE.geodetic(p)) for p in points]
    text = "\n".join(",".join(f"{v:.10f}" for v in row) for row in rows)
    table = _table(tmp_path, f"x,y,z,latitude,longitude,altitude\n{text}\n")
    command = ["map", "georeference", str(tmp_path / "map"), "--points", str(table), "--out", str(tmp_path / "out")]
    height = ["--height-column", "altitude", "--height-reference"]
    assert main([*command, *height, "ellipsoidal"]) == 0
    assert "6 agree" in capsys.readouterr().out
    assert main(["map", "info", str(tmp_path / "out")]) == 0
    assert "46.84260000 -91.99450000, 150.00 m" in capsys.readouterr().out
    assert main([*command, *height, "orthometric"]) == 1
    assert main([*command, *height[:2]]) == 1
    table.write_text(f"x,y,z,longitude,latitude,altitude\n{text}\n")
    assert main([*command, *height, "ellipsoidal"]) == 1
    assert "swapped" in capsys.readouterr().err


def test_the_command_takes_positions_of_keyframes(one_scene: LandmarkMap, tmp_path: Path) -> None:
    """Of a map far from zero, whose keyframes are relative to its origin; other images of the flight do not count."""
    points, origin = _points(3), np.array([1000.0, -1000.0, 0.0])
    keyframes = _with_keyframes(one_scene, points, ("a.jpg", "b.jpg", "c.jpg")).keyframes
    placed = replace(one_scene, keyframes=keyframes, scenes=(Scene("map", range(60), range(3), origin=origin),))
    write_map(placed, tmp_path / "map")
    places = [_TRUE.geodetic(p + origin)[:2] for p in points]
    rows = zip(("c.jpg", "other.jpg", "a.jpg", "b.jpg"), (places[2], (1.0, 2.0), *places[:2]), strict=True)
    table = _table(tmp_path, "name,latitude,longitude\n" + "".join(f"{n},{p[0]:.10f},{p[1]:.10f}\n" for n, p in rows))
    command = ["map", "georeference", str(tmp_path / "map"), "--out", str(tmp_path / "out"), "--exif", str(table)]
    assert main(command) == 0
    datum = read_map(tmp_path / "out").scene().datum
    assert datum is not None
    np.testing.assert_allclose(_TRUE.local(datum.latitude, datum.longitude), 0.0, atol=0.2)
    assert datum.yaw_rad == pytest.approx(0.7, abs=1e-4)
    assert main([*command[:-1], str(_table(tmp_path, "name,latitude,longitude\nother.jpg,1,2\n"))]) == 1


def _with_keyframes(one_scene: LandmarkMap, points: np.ndarray, names: tuple[str, ...]) -> LandmarkMap:
    """With keyframes of one camera at (N, 3) places, that look along x of the map."""
    count = len(points)
    keyframes = Keyframes(
        names,
        np.stack([[[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]] * count),
        points,
        np.concatenate([[0], np.full(count, 60)]),
        np.arange(60, dtype=np.int32),
        one_scene.keyframes.cameras[:1] * count,
    )
    return replace(one_scene, keyframes=keyframes, scenes=(Scene("map", range(60), range(count)),))


def test_the_command_takes_the_fixes_of_a_bag(
    one_scene: LandmarkMap, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The receiver is at the base, half a metre below the camera and two metres behind it."""
    base_from_camera = Pose(np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]), np.array([2.0, 0.0, 0.5]))
    bases, stamps_ns = _points(8), [10**9 * (k + 1_600_000_000) for k in range(8)]
    names = tuple(f"{stamp_ns}.jpg" for stamp_ns in stamps_ns)
    camera = Camera("PINHOLE", 32, 24, (30.0, 30.0, 16.0, 12.0))
    with BagWriter(tmp_path / "bag", camera=camera, base_from_camera=base_from_camera) as writer:
        for stamp_ns, base in zip(stamps_ns, bases, strict=True):
            writer.write_image(stamp_ns, np.zeros((24, 32), np.uint8))
            writer.write_fix(stamp_ns, _TRUE.geodetic(base), 0.3)
    built = _with_keyframes(one_scene, bases + base_from_camera.translation, names)
    write_map(built, tmp_path / "map")
    bag = ["--gnss-bag", str(tmp_path / "bag"), "--gnss-topic", "/fix", "--camera-frame", FrameNames().camera]
    command = ["map", "georeference", str(tmp_path / "map"), "--out", str(tmp_path / "out"), *bag]
    assert main(command) == 0
    datum = read_map(tmp_path / "out").scene().datum
    assert datum is not None
    np.testing.assert_allclose(_TRUE.local(datum.latitude, datum.longitude, datum.altitude_m), 0.0, atol=1e-2)
    assert main([*command, "--height-reference", "ellipsoidal"]) == 1
    assert main([*command, "--geoid-undulation", "30"]) == 1
    capsys.readouterr()
    of_rig = replace(built.keyframes, names=(*(f"front/{n}" for n in names[:4]), *(f"rear/{n}" for n in names[4:])))
    write_map(replace(built, keyframes=of_rig), tmp_path / "rig")
    assert main(["map", "georeference", str(tmp_path / "rig"), "--out", str(tmp_path / "other"), *bag]) == 1
    assert "2 cameras" in capsys.readouterr().err


def test_orthometric_and_projected_tables_are_converted(tmp_path: Path) -> None:
    pyproj = pytest.importorskip("pyproj")
    easting, northing = pyproj.Transformer.from_crs("EPSG:4326", _UTM_15, always_xy=True).transform(-91.9945, 46.8426)
    table = _table(tmp_path, f"easting,northing,msl\n{easting},{northing},180\n")
    read = read_positions(table, heights=Heights("msl", "orthometric", -30.0), crs=_UTM_15)
    assert read.latitude[0] == pytest.approx(46.8426, abs=1e-7)
    assert read.altitude_m is not None
    assert read.altitude_m[0] == 150.0
    with pytest.raises(InputError, match=r"zone|range|outside"):
        read_positions(_table(tmp_path, f"easting,northing\n{northing},{easting}\n"), crs=_UTM_15)
    with pytest.raises(InputError, match="finite"):
        read_positions(_table(tmp_path, "latitude,longitude\nnan,8\n"))
