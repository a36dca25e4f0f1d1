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

"""The folder of a run: which run may be resumed, and what is removed of an earlier one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="no torch and lightning: `make training` installs them")

from training.framework.provenance import hash_images
from training.framework.run_folder import (
    BEST,
    LAST,
    SOURCES,
    check_run_folder,
    find_checkpoint,
    open_run,
    remove_checkpoints,
)
from vloc_ros.core.errors import InputError, VlocError
from vloc_ros.storage.atomic import StorageError


@dataclass(frozen=True)
class Config:
    seed: int = 0


def start_run(run_dir: Path, *, seed: int = 0, **sources: Any) -> Path:
    """A run with a complete epoch."""
    open_run(run_dir, Config(seed), sources, resume=False)
    (run_dir / LAST).write_bytes(b"weights")
    return run_dir


def test_a_run_is_resumed_with_the_same_configuration_and_sources(tmp_path: Path) -> None:
    run = start_run(tmp_path / "run", maps=[{"hash": "a"}], teacher=None)
    open_run(run, Config(), {"maps": [{"hash": "a"}], "teacher": None}, resume=True)
    assert find_checkpoint(run).read_bytes() == b"weights"
    with pytest.raises(InputError, match="differs from the given configuration"):
        open_run(run, Config(1), {"maps": [{"hash": "a"}], "teacher": None}, resume=True)


def test_weights_of_an_earlier_run_are_removed(tmp_path: Path) -> None:
    remove_checkpoints(tmp_path / "none")
    run = start_run(tmp_path / "run")
    (run / BEST).write_bytes(b"weights")
    remove_checkpoints(run)
    assert not (run / LAST).exists()
    assert not (run / BEST).exists()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / LAST).write_bytes(b"not of a run")
    with pytest.raises(StorageError):
        remove_checkpoints(tmp_path / "other")


@pytest.mark.parametrize(
    ("given", "other"),
    [
        ({"maps": ["b"], "teacher": "t"}, "maps"),
        ({"maps": ["a"], "teacher": None}, "teacher"),
        ({"maps": ["b"], "teacher": "t", "weights": "w"}, "maps, weights"),
        ({}, "maps, teacher"),
    ],
)
def test_a_run_is_not_resumed_with_other_sources(tmp_path: Path, given: dict[str, Any], other: str) -> None:
    run = start_run(tmp_path / "run", maps=["a"], teacher="t")
    with pytest.raises(InputError, match=rf"was started with other sources \({other}\); resume with"):
        open_run(run, Config(), given, resume=True)


def test_a_run_of_another_version_is_not_resumed(tmp_path: Path) -> None:
    run = start_run(tmp_path / "run", maps=["a"])
    text = (run / SOURCES).read_text()
    (run / SOURCES).write_text(text.replace('"version": 2,', ""))
    with pytest.raises(InputError, match="by another version"):
        open_run(run, Config(), {"maps": ["a"]}, resume=True)


def test_a_new_run_removes_the_files_of_an_earlier_one(tmp_path: Path) -> None:
    run = start_run(tmp_path / "run", maps=["a"])
    (run / BEST).write_bytes(b"")
    (run / "teacher").mkdir()
    (run / "teacher" / "manifest.json").write_text("{}")
    (run / "log").mkdir()
    open_run(run, Config(), {"maps": ["b"]}, resume=False, leftovers=("teacher",))
    assert sorted(path.name for path in run.iterdir()) == ["config.json", "log", "sources.json"]
    open_run(run, Config(), {"maps": ["b"]}, resume=True)
    with pytest.raises(InputError, match=r"holds no run with a complete epoch, expected last\.ckpt"):
        find_checkpoint(run)


def test_only_a_run_is_resumed_or_replaced(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no run, expected"):
        open_run(tmp_path / "none", Config(), {}, resume=True)
    (tmp_path / LAST).write_bytes(b"another file")
    for resume in (True, False):
        with pytest.raises(StorageError, match=r"holds last\.ckpt and no run"):
            open_run(tmp_path, Config(), {}, resume=resume)
    assert (tmp_path / LAST).read_bytes() == b"another file"


@pytest.mark.parametrize(
    ("run", "out", "apart"),
    [
        ("model.run", "model", True),
        ("tries", "tries/model", True),
        ("model", "model", False),
        ("model/run", "model", False),
        ("model.run", "model.run/weights", False),
        ("model.run", "model.run/teacher", False),
    ],
)
def test_a_run_and_its_model_are_not_written_into_each_other(tmp_path: Path, run: str, out: str, apart: bool) -> None:
    if apart:
        check_run_folder(tmp_path / run, tmp_path / out, parts=("teacher",))
        return
    with pytest.raises(VlocError, match="expected one outside the other"):
        check_run_folder(tmp_path / run, tmp_path / out, parts=("teacher",))


def test_images_are_hashed_by_names_and_sizes(tmp_path: Path) -> None:
    for name, content in (("a/0.png", b"1"), ("b/0.png", b"1"), ("b/1.png", b"1")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    one, same, more = (hash_images(tmp_path / f, sorted((tmp_path / f).glob("0.png"))) for f in ("a", "b", "b"))
    assert one == same == more
    assert hash_images(tmp_path / "b", sorted((tmp_path / "b").iterdir())) != one
    (tmp_path / "a" / "0.png").write_bytes(b"22")
    assert hash_images(tmp_path / "a", [tmp_path / "a" / "0.png"]) != one
