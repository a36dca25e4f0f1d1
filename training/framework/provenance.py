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

"""Provenance of a model: configuration, hashes of the training data, seed, revision of the code."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from training.framework.configuration import TrainingConfig
from vloc_ros.core.errors import InputError

_AT_ONCE_BYTES = 1 << 20


def read_revision() -> str | None:
    """The commit of the training code, None outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() or None


def training_metadata(
    config: TrainingConfig, held_out: Mapping[str, float], sources: Mapping[str, Any]
) -> dict[str, Any]:
    """The `training` entry of a model's manifest.

    Args:
        config: all parameters.
        held_out: scores on the held-out images.
        sources: hashes of the inputs, by name.
    """
    return {
        "config": asdict(config),  # type: ignore[call-overload]
        # a score without samples is NaN, which JSON does not have
        "metrics": {"held_out": {name: None if value != value else value for name, value in held_out.items()}},
        **sources,
        "git": read_revision(),
        "seed": config.fit.seed,
    }


def hash_file(path: Path) -> str:
    """SHA-256 of a file.

    Raises:
        InputError: the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while part := file.read(_AT_ONCE_BYTES):
                digest.update(part)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}), expected a file; check the name") from error
    return digest.hexdigest()


def hash_images(folder: Path, paths: Sequence[Path]) -> str:
    """SHA-256 of the names and sizes in bytes of a folder's images, whose content is not read."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
    return digest.hexdigest()
