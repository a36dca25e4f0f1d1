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

"""A folder is written to if it is new, empty or of the same kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from vloc_ros.storage.atomic import StorageError
from vloc_ros.storage.output_folders import replaces_folder


def replaces(folder: Path) -> bool:
    return replaces_folder(folder, manifest="manifest.json", format_="vloc_ros model", kind="model")


def test_new_and_empty_folders_and_those_of_the_kind(tmp_path: Path) -> None:
    assert not replaces(tmp_path / "new" / "model")
    assert not replaces(tmp_path)
    (tmp_path / ".model.onnx.123.part").write_bytes(b"of a writer that was killed")
    assert not replaces(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": "vloc_ros model"}')
    assert replaces(tmp_path)


@pytest.mark.parametrize(
    "content", ['{"format": "vloc_ros map"}', '{"format": ["vloc_ros model"]}', '["vloc_ros model"]', "{", "", "\xff"]
)
def test_another_manifest_is_named_with_its_format(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content, encoding="latin-1")
    with pytest.raises(StorageError, match=r"holds a manifest\.json of format .*, expected nothing or a model"):
        replaces(tmp_path)


def test_foreign_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(b"")
    with pytest.raises(StorageError, match=r"holds photo\.png and no model, expected nothing; name an empty or new"):
        replaces(tmp_path)
    with pytest.raises(StorageError, match=r"photo\.png: is a file, expected a folder for the model"):
        replaces(tmp_path / "photo.png")
