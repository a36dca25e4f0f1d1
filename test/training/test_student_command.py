"""`python -m training.student`, from maps and their images to a model folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="no torch and lightning: `make training` installs them")

from places_world import TINY, wall_map, write_wall

from training.places.checkpoints import read_checkpoint
from training.places.teacher import TeacherEncoder
from training.student import main
from vloc_ros.inference.models import read_model
from vloc_ros.storage.maps import map_hash, write_map

QUICK = [word for setting in (*TINY, "fit.epochs=1", "fit.held_out=0.2") for word in ("--set", setting)]


@dataclass(frozen=True)
class Place:
    """A map and its images on disk."""

    map: Path
    images: Path


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> list[Place]:
    made = []
    for seed in (0, 5):
        folder = tmp_path_factory.mktemp("place")
        scene, landmark_map = wall_map(8, seed=seed)
        write_map(landmark_map, folder / "map")
        made.append(Place(folder / "map", write_wall(folder / "images", scene, landmark_map)))
    return made


def command(places: list[Place], out: Path, *more: str) -> int:
    words = [word for place in places for word in ("--map", str(place.map), "--images", str(place.images))]
    return main([*words, "--out", str(out), *QUICK, *more])


def test_a_student_comes_with_its_teacher(
    places: list[Place], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(places[:1], tmp_path / "model") == 0
    assert "held-out images: queries" in capsys.readouterr().out
    training = read_model(tmp_path / "model", kind="place encoder").entry("training")
    assert training["maps"] == [{"name": "wall", "hash": map_hash(places[0].map)}]
    assert training["config"]["network"]["size"] == 48
    run = tmp_path / "model.run"
    assert isinstance(read_checkpoint(run / "teacher")[0], TeacherEncoder)
    assert read_checkpoint(run / "weights")[1].model == "student"
    assert command(places[:1], tmp_path / "model", "--resume") == 0
    capsys.readouterr()
    assert command(places[:1], tmp_path / "alone", "--teacher", "none", "--batch", "1") == 0
    assert not (tmp_path / "alone.run" / "teacher").exists()
    assert read_model(tmp_path / "alone", kind="place encoder").entry("inputs", "images")["shape"][0] == 1


def test_a_teacher_of_several_maps_serves_any_student(places: list[Place], tmp_path: Path) -> None:
    assert command(places, tmp_path / "teacher", "--model", "teacher") == 0
    assert sorted(path.name for path in (tmp_path / "teacher").iterdir()) == ["manifest.json", "weights.safetensors"]
    assert command(places[:1], tmp_path / "student", "--teacher", str(tmp_path / "teacher")) == 0


def test_a_baseline_is_trained_by_the_same_command(places: list[Place], tmp_path: Path) -> None:
    assert command(places, tmp_path / "model", "--model", "resnet18-netvlad") == 0
    model = read_model(tmp_path / "model", kind="place encoder")
    assert model.entry("outputs", "descriptors")["shape"] == ["N", 4 * 256]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--images", "elsewhere"], "1 --map and 2 --images, expected one folder for each map"),
        (["--teacher", "nowhere"], "nowhere: holds no weights"),
        (["--resume"], "holds no run"),
        (["--model", "teacher", "--pretrained"], "nobody publishes weights of the teacher"),
    ],
)
def test_what_is_missing_is_one_line(
    places: list[Place], tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert command(places[:1], tmp_path / "model", *words) == 1
    error = capsys.readouterr().err.splitlines()
    assert [line for line in error if line.startswith("student: ")][-1].count(message) == 1
