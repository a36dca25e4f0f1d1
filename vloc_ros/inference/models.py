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

"""Model folders: `model.onnx`, and a readable `manifest.json` with the kind, inputs, outputs and map of the model.

A model that runs in stages has further graphs, `STAGE.onnx`, whose inputs, outputs and checksums the manifest lists.
The manifest's hash covers the manifest and the graph with its weights. A model that is truncated, altered or mixed
from two is refused. Nothing in a model folder is executed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from vloc_ros.core.errors import InputError, ModelError
from vloc_ros.storage.atomic import write_bytes_atomically
from vloc_ros.storage.output_folders import replaces_folder
from vloc_ros.storage.regular_files import open_regular
from vloc_ros.storage.text import read_text

FORMAT = "vloc_ros model"
VERSION = 1
MAIN = "model"
MANIFEST, GRAPH, REFERENCES = "manifest.json", "model.onnx", "references.npz"
# kinds of models that earlier versions wrote, and their names now
OLD_KINDS = {"place encoder": "global descriptor"}
# the command that writes a model of a kind
_WRITERS = {
    "recognizer": "python -m training.landmark_recognizer.train",
    "global descriptor": "python -m training.place_recognition.train",
    "range descriptor": "python -m training.cross_modal.train",
    "keypoints": "vloc model export",
    "matcher": "vloc model export",
}
# how a model of a kind is made anew, where it is not trained
_REMEDIES = dict.fromkeys(("keypoints", "matcher"), "export the model again with `vloc model export`")


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A model from disk, checked.

    Attributes:
        folder: of the model, or what stands for it in messages.
        manifest: `kind`, `inputs` and `outputs` (name to dtype and shape), and entries of its kind.
        graph: the bytes of the ONNX file, weights inside.
    """

    folder: Path
    manifest: Mapping[str, Any]
    graph: bytes

    def entry(self, *names: str) -> Any:
        """A value of the manifest.

        Raises:
            ModelError: the manifest has no such entry.
        """
        value: Any = self.manifest
        for name in names:
            if not isinstance(value, Mapping) or name not in value:
                raise ModelError(f"{self.folder / MANIFEST}: has no {'.'.join(names)}; {self.remedy}")
            value = value[name]
        return value

    @property
    def remedy(self) -> str:
        """What to do about a model that cannot be used, for messages."""
        return _remedy(str(self.manifest.get("kind")))


def replaces_model(folder: Path) -> bool:
    """Whether writing a model there replaces another one.

    Raises:
        StorageError: the folder holds something else, such as a map, whose manifest has the same name.
    """
    return replaces_folder(Path(folder), manifest=MANIFEST, format_=FORMAT, kind="model")


def write_model(
    folder: Path,
    graph: bytes,
    manifest: Mapping[str, Any],
    *,
    references: bytes | None = None,
    stages: Mapping[str, bytes] = MappingProxyType({}),
) -> str:
    """Write a model and return its hash; format, version and hash are added to the manifest.

    The manifest is written last, so that an incomplete folder is refused when it is read.

    Args:
        folder: to write.
        graph: the bytes of the ONNX file.
        manifest: what it says beside format, version and hash.
        references: see `vloc_ros.inference.references`; None for none.
        stages: further graphs by name, whose inputs and outputs the manifest has in `stages`.

    Raises:
        StorageError: the folder cannot be written, or holds something other than a model.
    """
    folder = Path(folder)
    replaces_model(folder)
    content = {"format": FORMAT, "version": VERSION, **manifest}
    if references is not None:
        content["references"] = {"sha256": hashlib.sha256(references).hexdigest()}
        write_bytes_atomically(folder / REFERENCES, references)
    if stages:
        content["stages"] = {
            name: {**manifest["stages"][name], "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in stages.items()
        }
    for name, data in stages.items():
        write_bytes_atomically(_stage_file(folder, name), data)
    digest = _digest(content, graph)
    write_bytes_atomically(folder / GRAPH, graph)
    text = json.dumps({**content, "hash": digest}, indent=1, sort_keys=True, allow_nan=False)
    write_bytes_atomically(folder / MANIFEST, (text + "\n").encode())
    return digest


def read_any_model(folder: Path) -> Model:
    """Read and check a model of whatever kind.

    Raises:
        ModelError: there is no model, it is damaged, altered or of a newer format.
    """
    return read_model(folder, kind=read_kind(folder))


def read_kind(folder: Path) -> str:
    """The kind of the model in a folder, by its name now.

    Raises:
        ModelError: there is no model.
    """
    found = str(_read_manifest(Path(folder) / MANIFEST, "global descriptor").get("kind"))
    return OLD_KINDS.get(found, found)


def read_model(folder: Path, *, kind: str) -> Model:
    """Read and check a model of a kind, which may have been written under that kind's old name.

    Raises:
        ModelError: there is no model, it is damaged, altered, of another kind or of a newer format.
    """
    folder = Path(folder)
    path = folder / MANIFEST
    manifest = _read_manifest(path, kind)
    _check_kind(path, manifest, kind)
    return verify_model(folder, manifest, _read_graph(folder / GRAPH, kind), kind=kind)


def read_stage(model: Model, name: str) -> Model:
    """A further graph of a model, with its inputs and outputs.

    Raises:
        ModelError: the model has no such stage, or its file is missing, damaged or altered.
    """
    entry = model.entry("stages", name)
    path = _stage_file(model.folder, name)
    graph = _read_graph(path, str(model.manifest.get("kind")))
    found = hashlib.sha256(graph).hexdigest()
    if not isinstance(entry, Mapping) or found != entry.get("sha256"):
        raise ModelError(f"{path}: was altered, its checksum is not that of {MANIFEST}; copy it again or "
                         f"{model.remedy}")  # fmt: skip
    return Model(model.folder, {"kind": model.manifest.get("kind"), "hash": found, **entry}, graph)


def read_parts(model: Model) -> dict[str, Model]:
    """Every graph of a model by name, each with its inputs and outputs; `model` is that of the folder.

    Raises:
        ModelError: the file of a stage is missing, damaged or altered.
    """
    stages = model.manifest.get("stages", {})
    return {MAIN: model, **{name: read_stage(model, name) for name in stages}}


def read_graph_hashes(folder: Path) -> list[str]:
    """The hash of every graph of a model, by which its engine is found, from the manifest alone.

    Raises:
        ModelError: there is no model, or its manifest is damaged.
    """
    folder = Path(folder)
    described = Model(folder, _read_manifest(folder / MANIFEST, "keypoints"), b"")
    stages = described.manifest.get("stages")
    names = stages if isinstance(stages, Mapping) else ()
    return [str(described.entry("hash")), *(str(described.entry("stages", name, "sha256")) for name in names)]


def _stage_file(folder: Path, name: str) -> Path:
    if not (name.isidentifier() and name.isascii()) or f"{name}.onnx" == GRAPH:  # it becomes a file's name
        raise ModelError(f"{folder / MANIFEST}: a stage is named {name!r}, expected letters, digits and underscores")
    return folder / f"{name}.onnx"


def verify_model(
    folder: Path, manifest: Mapping[str, Any], graph: bytes, *, kind: str, remedy: str | None = None
) -> Model:
    """Check the parts of a model: version, kind and hash.

    Args:
        folder: that they are from, or what stands for it in messages.
        manifest: of the model.
        graph: the bytes of the ONNX file.
        kind: that is expected.
        remedy: for an altered one; None for that of a folder.

    Raises:
        ModelError: they are of another kind or version, damaged, altered or of two models.
    """
    _check_kind(folder / MANIFEST, manifest, kind)
    if manifest.get("hash") != _digest({key: v for key, v in manifest.items() if key != "hash"}, graph):
        remedy = remedy or f"copy it again or {_remedy(kind)}"
        raise ModelError(f"{folder}: was altered, its hash does not match its manifest and {GRAPH}; {remedy}")
    return Model(folder, manifest, graph)


def _check_kind(path: Path, manifest: Mapping[str, Any], kind: str) -> None:
    version, found = manifest.get("version"), manifest.get("kind")
    if version != VERSION:
        raise ModelError(f"{path}: has format version {version!r}, this installation reads {VERSION}; update vloc_ros")
    if kind not in (found, OLD_KINDS.get(str(found))):
        raise ModelError(
            f"{path}: is a model of kind {found!r}, expected {kind!r}{_name_writer(kind)}; name such a model"
        )


def _read_manifest(path: Path, kind: str) -> dict[str, Any]:
    folder, again = path.parent, f"copy it again or {_remedy(kind)}"
    expected = f"expected a folder with {MANIFEST} and {GRAPH}{_name_writer(kind)}; name that"
    if folder.exists() and not folder.is_dir():
        raise ModelError(f"{folder}: is a file, {expected}")
    try:
        manifest = json.loads(read_text(path))
    except InputError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            found = f"holds no {MANIFEST}" if folder.is_dir() else "does not exist"
            raise ModelError(f"{folder}: {found}, {expected}") from None
        raise ModelError(f"{error}; {again}") from error
    except (ValueError, RecursionError):
        raise ModelError(f"{path}: is truncated or no JSON; {again}") from None
    format_ = manifest.get("format") if isinstance(manifest, dict) else None
    if not isinstance(manifest, dict) or format_ != FORMAT:
        raise ModelError(f"{path}: is not the manifest of a model, its format is {format_!r}, {expected}")
    return manifest


def _name_writer(kind: str) -> str:
    return f", as `{_WRITERS[kind]}` writes it" if kind in _WRITERS else ""


def _remedy(kind: str) -> str:
    return _REMEDIES.get(kind, "train the model again")


def _read_graph(path: Path, kind: str) -> bytes:
    try:
        with open_regular(path) as file:
            return file.read()
    except OSError as error:
        again = f"copy it again or {_remedy(kind)}"
        raise ModelError(f"{path}: cannot be read ({error.strerror}); {again}") from error


def _digest(content: Mapping[str, Any], graph: bytes) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode() + b"\0" + graph).hexdigest()
