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

"""Reference inputs and outputs of a model, stored at export: what any engine has to give, on any machine."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vloc_ros.core.errors import ModelError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.inference.models import MANIFEST, REFERENCES, Model


@dataclass(frozen=True, slots=True, eq=False)
class References:
    """One call of the network that a model was exported from.

    Attributes:
        inputs: by name.
        outputs: by name, of PyTorch.
    """

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]

    def to_bytes(self) -> bytes:
        """As an NPZ file."""
        file = io.BytesIO()
        arrays = {f"inputs/{name}": array for name, array in self.inputs.items()}
        arrays |= {f"outputs/{name}": array for name, array in self.outputs.items()}
        np.savez_compressed(file, allow_pickle=False, **arrays)
        return file.getvalue()


def read_references(model: Model) -> References | None:
    """Those of a model folder; None where it was exported without, or where a map carries the model.

    Raises:
        ModelError: the file is missing, damaged or altered.
    """
    entry = model.manifest.get("references")
    if entry is None or not (model.folder / MANIFEST).is_file():
        return None
    path = model.folder / REFERENCES
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); copy the model again") from error
    if not isinstance(entry, Mapping) or hashlib.sha256(data).hexdigest() != entry.get("sha256"):
        raise ModelError(f"{path}: was altered, its checksum is not that of {MANIFEST}; copy the model again")
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path}: is no NPZ file of arrays ({error}); export the model again") from error
    sides = (
        {n.partition("/")[2]: a for n, a in arrays.items() if n.startswith(side)} for side in ("inputs", "outputs")
    )
    references = References(*sides)
    for side, found in (("inputs", references.inputs), ("outputs", references.outputs)):
        if found.keys() != set(model.entry(side)):
            raise ModelError(f"{path}: has the {side} {', '.join(sorted(found))}, {MANIFEST} declares "
                             f"{', '.join(sorted(model.entry(side)))}; export the model again")  # fmt: skip
    return references
