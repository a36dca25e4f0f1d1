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

import json
from pathlib import Path

import pytest
from graphs import recognizer_graph, recognizer_manifest, write_recognizer

from vloc_ros.cli.models import note_parts
from vloc_ros.core.errors import ModelError
from vloc_ros.inference.models import (
    OLD_KINDS,
    read_graph_hashes,
    read_model,
    read_parts,
    read_stage,
    replaces_model,
    write_model,
)
from vloc_ros.storage.atomic import StorageError


def _assert_refused(folder: Path, reason: str, kind: str = "recognizer") -> None:
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


def test_missing_models_and_entries(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    writer = r"`python -m training\.landmark_recognizer\.train`"
    expected = rf"expected a folder with manifest\.json and model\.onnx, as {writer} writes it"
    _assert_refused(tmp_path / "nowhere", f"does not exist, {expected}")
    _assert_refused(tmp_path / "empty", rf"holds no manifest\.json, {expected}")
    _assert_refused(tmp_path / "file", f"is a file, {expected}")
    folder = write_recognizer(tmp_path / "model")
    with pytest.raises(ModelError, match=r"has no keypoints\.colour; train"):
        read_model(folder, kind="recognizer").entry("keypoints", "colour")
    (folder / "model.onnx").unlink()
    _assert_refused(folder, "cannot be read")


def test_the_stages_of_a_model_are_checked_one_by_one(tmp_path: Path) -> None:
    manifest = {**recognizer_manifest(), "stages": {"layers_1": {"inputs": {"a": {}}, "outputs": {"b": {}}}}}
    write_model(tmp_path / "model", recognizer_graph(), manifest, stages={"layers_1": b"graph"})
    model = read_model(tmp_path / "model", kind="recognizer")
    stage = read_stage(model, "layers_1")
    assert (stage.graph, stage.entry("inputs"), stage.entry("kind")) == (b"graph", {"a": {}}, "recognizer")
    assert read_graph_hashes(tmp_path / "model") == [part.entry("hash") for part in read_parts(model).values()]
    assert note_parts(model).startswith("embedding only")
    with pytest.raises(ModelError, match=r"has no stages\.layers_2"):
        read_stage(model, "layers_2")
    (tmp_path / "model" / "layers_1.onnx").write_bytes(b"other")
    with pytest.raises(ModelError, match=r"layers_1\.onnx: was altered"):
        read_stage(model, "layers_1")
    (tmp_path / "model" / "layers_1.onnx").unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        read_stage(model, "layers_1")


@pytest.mark.parametrize("file", ["model.onnx", "manifest.json"])
def test_a_file_that_was_altered_is_refused(tmp_path: Path, file: str) -> None:
    path = write_recognizer(tmp_path / "model") / file
    path.write_bytes(path.read_bytes().replace(b"recognizer", b"recognized", 1).replace(b"512", b"513"))
    _assert_refused(tmp_path / "model", "altered|kind")


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    folder = write_recognizer(tmp_path / "model")
    (folder / "model.onnx").write_bytes(recognizer_graph()[:-20])
    _assert_refused(folder, "altered")
    (folder / "manifest.json").write_text((folder / "manifest.json").read_text()[:-20])
    _assert_refused(folder, "truncated")


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    folder = write_recognizer(tmp_path / "model")
    (folder / "model.onnx").rename(tmp_path / "outside")
    (folder / "model.onnx").symlink_to(tmp_path / "outside")
    _assert_refused(folder, "cannot be read")


def test_another_kind_or_format_is_refused(tmp_path: Path) -> None:
    folder = write_recognizer(tmp_path / "model")
    _assert_refused(
        folder, "of kind 'recognizer', expected 'global descriptor', as `python -m training", kind="global descriptor"
    )
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "version": 2}))
    _assert_refused(folder, "format version 2, this installation reads 1")
    (folder / "manifest.json").write_text(json.dumps({"format": "vloc_ros map"}))
    _assert_refused(folder, "is not the manifest of a model, its format is 'vloc_ros map', expected a folder")


@pytest.mark.parametrize(("old", "kind"), OLD_KINDS.items())
def test_a_model_of_an_old_kind_is_read_by_its_new_name(tmp_path: Path, old: str, kind: str) -> None:
    folder = write_recognizer(tmp_path / "model", kind=old)
    assert read_model(folder, kind=kind).entry("kind") == old
    _assert_refused(folder, f"of kind '{old}', expected 'recognizer'")
    _assert_refused(write_recognizer(tmp_path / "new", kind=kind), f"of kind '{kind}', expected '{old}'", kind=old)


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
