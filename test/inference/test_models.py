import json
from pathlib import Path

import pytest
from graphs import recognizer_graph, recognizer_manifest, write_recognizer

from vloc_ros.core.errors import ModelError
from vloc_ros.inference.models import read_model, replaces_model, write_model
from vloc_ros.storage.atomic import StorageError


def _refused(folder: Path, reason: str, kind: str = "recognizer") -> None:
    with pytest.raises(ModelError, match=reason) as error:
        read_model(folder, kind=kind)
    assert str(folder) in str(error.value)


def test_round_trip(tmp_path: Path) -> None:
    digest = write_model(tmp_path / "model", recognizer_graph(), recognizer_manifest())
    model = read_model(tmp_path / "model", kind="recognizer")
    assert model.graph == recognizer_graph()
    assert model.entry("hash") == digest
    assert model.entry("keypoints", "max_keypoints") == 512
    assert write_model(tmp_path / "again", recognizer_graph(), recognizer_manifest()) == digest


def test_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    expected = r"expected a folder with manifest\.json and model\.onnx, as `python -m training\.recognizer` writes it"
    _refused(tmp_path / "nowhere", f"does not exist, {expected}")
    _refused(tmp_path / "empty", rf"holds no manifest\.json, {expected}")
    _refused(tmp_path / "file", f"is a file, {expected}")
    folder = write_recognizer(tmp_path / "model")
    with pytest.raises(ModelError, match=r"has no keypoints\.colour; train"):
        read_model(folder, kind="recognizer").entry("keypoints", "colour")
    (folder / "model.onnx").unlink()
    _refused(folder, "cannot be read")


@pytest.mark.parametrize("file", ["model.onnx", "manifest.json"])
def test_a_file_that_was_altered_is_refused(tmp_path: Path, file: str) -> None:
    path = write_recognizer(tmp_path / "model") / file
    path.write_bytes(path.read_bytes().replace(b"recognizer", b"recognized", 1).replace(b"512", b"513"))
    _refused(tmp_path / "model", "altered|kind")


def test_a_file_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    folder = write_recognizer(tmp_path / "model")
    (folder / "model.onnx").write_bytes(recognizer_graph()[:-20])
    _refused(folder, "altered")
    (folder / "manifest.json").write_text((folder / "manifest.json").read_text()[:-20])
    _refused(folder, "cut short")


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    folder = write_recognizer(tmp_path / "model")
    (folder / "model.onnx").rename(tmp_path / "elsewhere")
    (folder / "model.onnx").symlink_to(tmp_path / "elsewhere")
    _refused(folder, "cannot be read")


def test_another_kind_or_format_is_refused(tmp_path: Path) -> None:
    folder = write_recognizer(tmp_path / "model")
    _refused(folder, "of kind 'recognizer', expected 'place encoder', as `python -m training", kind="place encoder")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "version": 2}))
    _refused(folder, "format version 2, this installation reads 1")
    (folder / "manifest.json").write_text(json.dumps({"format": "vloc_ros map"}))
    _refused(folder, "is not the manifest of a model, its format is 'vloc_ros map', expected a folder")


def test_only_a_model_is_replaced(tmp_path: Path) -> None:
    folder = write_recognizer(tmp_path / "model")
    assert replaces_model(folder)
    write_model(folder, recognizer_graph(), recognizer_manifest())
    (tmp_path / "map").mkdir()
    (tmp_path / "map" / "manifest.json").write_text('{"format": "vloc_ros map"}')
    for refused in (lambda: replaces_model(tmp_path / "map"), lambda: write_recognizer(tmp_path / "map")):
        with pytest.raises(StorageError, match=r"manifest\.json of format 'vloc_ros map', expected nothing or a model"):
            refused()
    assert [path.name for path in (tmp_path / "map").iterdir()] == ["manifest.json"]
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        write_recognizer(tmp_path / "file" / "model")
