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

"""Data sets of place recognition: the benchmark's layout, the table, their round trip, positives and checks."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.datasets.place_recognition.checks import check_dataset
from vloc_ros.datasets.place_recognition.layout import read_split
from vloc_ros.datasets.place_recognition.place_images import (
    FIELDS,
    PlaceImage,
    distance_or_none,
    fields_of_name,
    parse_image,
    positions_of,
)
from vloc_ros.datasets.place_recognition.positives import (
    find_positives,
    label_training_queries,
    read_shared_views,
)
from vloc_ros.datasets.place_recognition.sources import SimulatedPlaces, images_of_worlds
from vloc_ros.datasets.place_recognition.tables import TABLE, read_table
from vloc_ros.datasets.place_recognition.writing import export_row, fields_of_pose, write_layout
from vloc_ros.datasets.utm import to_utm


def write_image(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8))
    return path


def place(x: float, y: float, *, zone: str = "", heading: str = "") -> PlaceImage:
    fields = {"x": repr(x), "y": repr(y), "zone": zone, "heading": heading}
    return parse_image(Path("a.jpg"), f"{x}", fields, where="here")


def write_dataset(folder: Path, database: list[str], queries: list[str], split: str = "test") -> Path:
    for role, names in (("database", database), ("queries", queries)):
        for seed, name in enumerate(names):
            write_image(folder / "images" / split / role / name, seed)
    return folder


def test_a_name_says_where_an_image_was_taken(tmp_path: Path) -> None:
    name = "@0584606.04@4477440.33@17@T@040.44@-079.99@pano@3@120@0@@@202001@@.jpg"
    image = parse_image(tmp_path, name, fields_of_name(name) or {}, where=name)
    assert (image.easting_m, image.northing_m, image.heading_deg, image.zone) == (
        584606.04,
        4477440.33,
        120,
        "17 north",
    )


@pytest.mark.parametrize("name", ["a.jpg", "@1.jpg", "x@1@2@.jpg"])
def test_a_name_without_a_place_has_no_fields(name: str) -> None:
    assert fields_of_name(name) is None


@pytest.mark.parametrize("value", ["nan", "inf", "", "east"])
def test_a_coordinate_that_is_no_number_is_refused(value: str) -> None:
    with pytest.raises(InputError, match="finite"):
        parse_image(Path("a"), "a", {"x": value, "y": "1"}, where="a")


def test_utm_is_that_of_a_known_tower() -> None:
    found = to_utm(43.6425667, -79.3871389)
    assert (round(found.easting_m), round(found.northing_m), found.zone, found.letter) == (630084, 4833439, 17, "T")
    # across the border of the zone, into the other one
    assert to_utm(43.0, -78.001, zone=18).zone == 18
    assert to_utm(-33.0, 151.0).northing_m > 6e6


@pytest.mark.parametrize("latitude", [float("nan"), 91.0, -81.0])
def test_a_latitude_that_is_none_is_refused(latitude: float) -> None:
    with pytest.raises(InputError):
        to_utm(latitude, 0.0)


def test_positives_are_within_the_radius_and_the_zone() -> None:
    queries = [place(0, 0, zone="17"), place(100, 0, zone="17")]
    database = [place(25, 0, zone="17"), place(25.001, 0, zone="17"), place(0, 0, zone="18")]
    assert [found.tolist() for found in find_positives(queries, database)] == [[0], []]


def test_positives_may_have_to_look_the_same_way() -> None:
    queries, database = [place(0, 0, heading="350")], [place(1, 0, heading="10"), place(1, 0, heading="180")]
    assert find_positives(queries, database, max_angle_deg=30)[0].tolist() == [0]
    with pytest.raises(InputError, match="heading"):
        find_positives(queries, [place(0, 0)], max_angle_deg=30)


def test_training_has_nearer_positives_and_counts_what_it_drops(tmp_path: Path) -> None:
    split = read_split(write_dataset(tmp_path, ["@5@0@.jpg", "@20@0@.jpg"], ["@0@0@.jpg", "@900@0@.jpg"]))
    labels = label_training_queries(split)
    assert labels.dropped == 1
    assert labels.queries.tolist() == [0]
    assert len(labels.positives[0]) == 1
    assert len(labels.excluded[0]) == 2


def test_names_without_a_place_are_counted(tmp_path: Path) -> None:
    write_dataset(tmp_path, ["@5@0@.jpg", "house.jpg"], ["@0@0@.jpg"])
    with pytest.raises(InputError, match=r"1 of 2 images .* house\.jpg"):
        read_split(tmp_path)


def test_two_zones_are_refused_unless_they_are_separate(tmp_path: Path) -> None:
    write_dataset(tmp_path, ["@5@0@32@T@.jpg", "@5@0@33@T@.jpg"], ["@0@0@32@T@.jpg"])
    with pytest.raises(InputError, match="2 UTM zones"):
        read_split(tmp_path)
    split = read_split(tmp_path, one_zone=False)
    assert len(find_positives(split.queries, split.database)[0]) == 1
    distances = np.linalg.norm(positions_of(split.database) - positions_of(split.queries), axis=1)
    assert sorted(distance_or_none(one) is None for one in distances) == [False, True]


def test_the_database_is_no_set_of_queries(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="finds itself"):
        read_split(write_dataset(tmp_path, ["@5@0@.jpg"], ["@0@0@.jpg"]), queries="database")


@pytest.mark.parametrize("row", ["test,images/test/queries/@0@0@.jpg", "test,images/test/queries/@0@0@.jpg,{},nan"])
def test_a_damaged_row_of_shared_views_is_named(tmp_path: Path, row: str) -> None:
    split = read_split(write_dataset(tmp_path, ["@5@0@.jpg"], ["@0@0@.jpg"]))
    text = row.format(split.database[0].name)
    (tmp_path / "shared_views.csv").write_text(f"split,query,database,share\n{text}\n")
    with pytest.raises(InputError, match="line 2"):
        read_shared_views(tmp_path, "test", split, min_share=0.1)


def test_an_empty_split_is_refused_with_what_there_is(tmp_path: Path) -> None:
    write_dataset(tmp_path, ["@5@0@.jpg"], ["@0@0@.jpg"], split="val")
    with pytest.raises(InputError, match="val/queries"):
        read_split(tmp_path)


def test_a_published_data_set_that_is_missing_is_named_with_its_source(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Pitts30k comes from"):
        read_split(tmp_path / "pitts30k")


def write_table(folder: Path, text: str) -> Path:
    (folder / TABLE).write_text(text)
    return folder / TABLE


def test_layout_and_table_give_the_same_data_set_again(tmp_path: Path) -> None:
    for k in range(3):
        write_image(tmp_path / f"{k}.jpg", k)
    table = write_table(
        tmp_path, "path,x,y,role,heading\n0.jpg,0.1,-2.25,database,10\n1.jpg,1e3,3,queries,\n2.jpg,3,3,,\n"
    )
    written = write_layout(tmp_path / "first", map(export_row, read_table(table)))
    split = read_split(tmp_path / "first")
    assert len(written.names) == 3
    assert split.queries[0].easting_m == 1000.0
    assert {image.northing_m for image in split.database} == {-2.25, 3.0}
    rows = read_table(table)
    assert (tmp_path / "first" / written.names["0.jpg"]).read_bytes() == rows[0].image.path.read_bytes()
    # a file that is of the layout keeps its name
    again = write_table(tmp_path, "path,x,y,role," + ",".join(FIELDS[2:]) + "\n" + "".join(
        f"first/{image.name},{image.fields[0]},{image.fields[1]},{role},{','.join(image.fields[2:])}\n"
        for role, images in (("database", split.database), ("queries", split.queries)) for image in images
    ))  # fmt: skip
    write_layout(tmp_path / "second", map(export_row, read_table(again)))
    files = [sorted(p for p in (tmp_path / name).rglob("*") if p.is_file()) for name in ("first", "second")]
    assert [p.relative_to(tmp_path / "first") for p in files[0]] == [
        p.relative_to(tmp_path / "second") for p in files[1]
    ]
    assert [p.read_bytes() for p in files[0]] == [p.read_bytes() for p in files[1]]


def test_latitude_and_longitude_are_projected_to_one_zone(tmp_path: Path) -> None:
    # the border between zones 32 and 33 is at 12 degrees
    table = write_table(tmp_path, "path,latitude,longitude\na.jpg,48,11.9999\nb.jpg,48,12.0001\n")
    first, second = (row.image for row in read_table(table))
    assert first.zone == second.zone == "32 north"
    assert second.easting_m - first.easting_m == pytest.approx(14.9, abs=0.1)


def test_a_row_across_the_equator_is_of_the_hemisphere_of_the_first(tmp_path: Path) -> None:
    for latitudes in ((0.0001, -0.0001), (-0.0001, 0.0001)):
        rows = "".join(f"{k}.jpg,{latitude},9\n" for k, latitude in enumerate(latitudes))
        first, second = (row.image for row in read_table(write_table(tmp_path, f"path,latitude,longitude\n{rows}")))
        assert first.zone == second.zone
        assert abs(second.northing_m - first.northing_m) == pytest.approx(22.1, abs=0.1)


def test_a_row_across_the_date_line_is_near(tmp_path: Path) -> None:
    table = write_table(tmp_path, "path,latitude,longitude\na.jpg,0,179.9999\nb.jpg,0,-179.9999\n")
    first, second = (row.image for row in read_table(table))
    assert second.easting_m - first.easting_m == pytest.approx(22.3, abs=0.1)


@pytest.mark.parametrize("longitude", [15.1, 99.0, -81.0])
def test_a_row_far_from_the_zone_of_the_first_is_refused(tmp_path: Path, longitude: float) -> None:
    table = write_table(tmp_path, f"path,latitude,longitude\na.jpg,0,9\nb.jpg,0,{longitude}\n")
    with pytest.raises(InputError, match="line 3"):
        read_table(table)


@pytest.mark.parametrize(
    "text",
    [
        "file,x,y\n",
        "path,x\n",
        "path,x,y\n../a.jpg,1,2\n",
        "path,x,y\na.jpg,nan,2\n",
        "path,x,y,split\na.jpg,1,2,dev\n",
        "path,latitude,longitude\na.jpg,,8\n",
    ],
)
def test_a_wrong_table_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match=r"places\.csv"):
        read_table(write_table(tmp_path, text))


def test_one_damaged_image_among_many_is_named_and_left_out(tmp_path: Path) -> None:
    write_dataset(tmp_path, [f"@{k}@0@.jpg" for k in range(4)], ["@0@0@.jpg"])
    damaged = tmp_path / "images/test/database/@2@0@.jpg"
    damaged.write_bytes(damaged.read_bytes()[:200])
    report = check_dataset(tmp_path)
    assert [len(part.images) for part in report.parts] == [3, 1]
    assert len(report.problems) == 1
    assert "@2@0@.jpg" in report.problems[0]


def test_a_check_finds_each_fault(tmp_path: Path) -> None:
    database = ["@0@0@32@T@.jpg", "@nan@0@32@T@.jpg", "house.jpg", "@630084@4833439@17@T@43.64@-70@.jpg"]
    write_dataset(tmp_path, database, ["@500@0@32@T@.jpg"])
    write_dataset(tmp_path, ["@501@0@32@T@.jpg"], [], split="train")
    report = check_dataset(tmp_path)
    text = "\n".join(report.problems)
    for fault in ("without a place", "no finite number", "elsewhere", "2 UTM zones", "train: has no queries"):
        assert fault in text
    assert len(report.notes) == 1  # the query leaks from train
    assert next(part for part in report.parts if part.role == "queries").without_positive == 1


def test_two_images_of_one_name_are_refused(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write_image(tmp_path / folder / "1.jpg")
    table = write_table(tmp_path, "path,x,y\na/1.jpg,1,2\nb/1.jpg,1,2\n")
    with pytest.raises(InputError, match="one name"):
        write_layout(tmp_path / "out", map(export_row, read_table(table)))


def test_a_pose_gives_position_and_heading() -> None:
    looks_east = Pose(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.array([0.1, 2.0, 3.0]))
    fields = fields_of_pose(looks_east)
    assert float(fields["heading"]) == pytest.approx(90.0)
    assert (float(fields["x"]), float(fields["y"]), float(fields["height"])) == (0.1, 2.0, 3.0)


def test_simulated_worlds_are_apart_and_their_queries_have_positives() -> None:
    from vloc_ros.core.geometry.camera import Camera

    camera = Camera("SIMPLE_PINHOLE", 64, 48, (52.0, 32.0, 24.0))
    places = SimulatedPlaces("room", {"train": 1, "test": 1}, images=3, lights=("day", "night"), camera=camera)
    images = list(images_of_worlds(places))
    assert {image.role for image in images} == {"database", "queries", "queries_night"}
    parsed = {
        split: [parse_image(Path("a"), i.source, i.fields, where="") for i in images if i.split == split]
        for split in ("train", "test")
    }
    assert not any(len(found) for found in find_positives(parsed["train"], parsed["test"], radius_m=1000))
    assert all(len(found) for found in find_positives(parsed["test"], parsed["test"][:3], radius_m=10))
    assert images[0].read().startswith(b"\xff\xd8\xff")
