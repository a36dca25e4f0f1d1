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

"""What the installed wheels hold: the published networks."""

from __future__ import annotations

import importlib
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest

from vloc_ros.model_export.export import NETWORKS


def skip_without(network: str) -> None:
    """Skip the test where the weights of a keypoint network are not installed."""
    skip_without_package(NETWORKS[network].weights.package)


def skip_without_package(package: str) -> None:
    """Skip the test where a package is not installed."""
    try:
        metadata.distribution(package)
    except metadata.PackageNotFoundError:
        pytest.skip(f"no {package}: pip install --no-deps {package}")


def published_module(package: str, module: str) -> ModuleType:
    """A module of an installed package, without the import of the package, which needs kornia."""
    folder = Path(str(metadata.distribution(package.replace("_", "-")).locate_file(package)))
    if package not in sys.modules:
        sys.modules[package] = ModuleType(package)
        sys.modules[package].__path__ = [str(folder)]
    return importlib.import_module(f"{package}.{module}")
