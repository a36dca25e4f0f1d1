"""Model folders: `model.onnx`, and a readable `manifest.json` that says what goes in, what comes out and for which map.

The manifest's hash covers itself and the graph with its weights, so that a model that was cut short, altered or put
together from two is refused. Nothing in a model folder is executed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vloc_ros.core.errors import InputError, ModelError
from vloc_ros.storage.atomic import write_bytes_atomically
from vloc_ros.storage.output_folders import replaces_folder
from vloc_ros.storage.regular_files import open_regular
from vloc_ros.storage.text import read_text

FORMAT = "vloc_ros model"
VERSION = 1
MANIFEST, GRAPH = "manifest.json", "model.onnx"
_REMEDY = "copy the model again or train it again"
# what writes a model of a kind
_WRITERS = {
    "recognizer": "python -m training.recognizer",
    "place encoder": "python -m training.place_recognition.train",
}


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A model as it lies on disk, checked.

    Attributes:
        folder: where it lies, for messages.
        manifest: `kind`, `inputs` and `outputs` (name to dtype and shape), and what its kind needs.
        graph: the bytes of the ONNX file, weights inside.
    """

    folder: Path
    manifest: Mapping[str, Any]
    graph: bytes

    def entry(self, *names: str) -> Any:
        """A value of the manifest.

        Raises:
            ModelError: there is none.
        """
        value: Any = self.manifest
        for name in names:
            if not isinstance(value, Mapping) or name not in value:
                raise ModelError(f"{self.folder / MANIFEST}: has no {'.'.join(names)}; train the model again")
            value = value[name]
        return value


def replaces_model(folder: Path) -> bool:
    """Whether a model that is written there replaces another one.

    Raises:
        StorageError: something else is there, such as a map, whose manifest has the same name.
    """
    return replaces_folder(Path(folder), manifest=MANIFEST, format_=FORMAT, kind="model")


def write_model(folder: Path, graph: bytes, manifest: Mapping[str, Any]) -> str:
    """Write a model, its manifest without format, version and hash; returns the hash.

    The manifest is written last: a folder whose writing was interrupted is refused when it is read.

    Raises:
        StorageError: the folder cannot be written, or holds something else than a model.
    """
    folder = Path(folder)
    replaces_model(folder)
    content = {"format": FORMAT, "version": VERSION, **manifest}
    digest = _digest(content, graph)
    write_bytes_atomically(folder / GRAPH, graph)
    text = json.dumps({**content, "hash": digest}, indent=1, sort_keys=True, allow_nan=False)
    write_bytes_atomically(folder / MANIFEST, (text + "\n").encode())
    return digest


def read_model(folder: Path, *, kind: str) -> Model:
    """Read and check a model of a kind.

    Raises:
        ModelError: there is none, it is damaged, altered, of another kind or of a newer format.
    """
    folder = Path(folder)
    path = folder / MANIFEST
    manifest = _manifest(path, kind)
    version, found = manifest.get("version"), manifest.get("kind")
    if version != VERSION:
        raise ModelError(f"{path}: has format version {version!r}, this installation reads {VERSION}; update vloc_ros")
    if found != kind:
        raise ModelError(f"{path}: is a model of kind {found!r}, expected {kind!r}{_written(kind)}; name such a one")
    graph = _graph(folder / GRAPH)
    if manifest.get("hash") != _digest({key: v for key, v in manifest.items() if key != "hash"}, graph):
        raise ModelError(f"{folder}: was altered, its hash does not fit its manifest and {GRAPH}; {_REMEDY}")
    return Model(folder, manifest, graph)


def _manifest(path: Path, kind: str) -> dict[str, Any]:
    folder = path.parent
    expected = f"expected a folder with {MANIFEST} and {GRAPH}{_written(kind)}; name that, or train one"
    if folder.exists() and not folder.is_dir():
        raise ModelError(f"{folder}: is a file, {expected}")
    try:
        manifest = json.loads(read_text(path))
    except InputError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            found = f"holds no {MANIFEST}" if folder.is_dir() else "does not exist"
            raise ModelError(f"{folder}: {found}, {expected}") from None
        raise ModelError(f"{error}; {_REMEDY}") from error
    except (ValueError, RecursionError):
        raise ModelError(f"{path}: is cut short or no JSON; {_REMEDY}") from None
    format_ = manifest.get("format") if isinstance(manifest, dict) else None
    if not isinstance(manifest, dict) or format_ != FORMAT:
        raise ModelError(f"{path}: is not the manifest of a model, its format is {format_!r}, {expected}")
    return manifest


def _written(kind: str) -> str:
    return f", as `{_WRITERS[kind]}` writes it" if kind in _WRITERS else ""


def _graph(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            return file.read()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); {_REMEDY}") from error


def _digest(content: Mapping[str, Any], graph: bytes) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode() + b"\0" + graph).hexdigest()
