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

"""Engines on disk: found by what they depend on, refused when damaged, never half-written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from vloc_ros.core.errors import ModelError
from vloc_ros.inference.engine_cache import (
    PLAN,
    SIDECAR,
    EngineKey,
    announce_build,
    find_builder,
    find_engine,
    list_engines,
    lock_engine,
    read_engine,
    renew_engine,
    write_engine,
)
from vloc_ros.storage.atomic import StorageError

KEY = EngineKey(
    model_hash="a" * 64,
    graph_sha256="b" * 64,
    flavour="tensorrt_rtx",
    version="1.7.1",
    targets=("sm86", "sm89"),
    precision="fp16",
    profile={"image": ((96, 96), (480, 640), (480, 640))},
    keypoints=100,
)


def write(cache: Path, key: EngineKey = KEY, plan: bytes = b"a plan", date: str = "2026") -> Path:
    return write_engine(cache / key.digest, key, plan, {"date": date}).folder


@pytest.mark.parametrize(
    "change",
    [
        {"model_hash": "c" * 64},
        {"graph_sha256": "c" * 64},
        {"flavour": "tensorrt"},
        {"version": "1.8"},
        {"targets": ("sm86",)},
        {"precision": "int8"},
        {"profile": {"image": ((96, 96), (480, 640), (960, 1280))}},
        {"keypoints": 200},
        {"device": "Orin"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_an_engine_depends_on_makes_another(change: dict[str, object]) -> None:
    assert replace(KEY, **change).digest != KEY.digest  # type: ignore[arg-type]


def test_an_engine_is_read_as_it_was_written(tmp_path: Path) -> None:
    folder = write(tmp_path)
    assert (folder / PLAN).read_bytes() == b"a plan"  # pure, for trtexec
    found = read_engine(folder)
    assert found.key == KEY
    assert found.read_plan() == b"a plan"


def test_a_truncated_plan_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path)
    os.truncate(folder / PLAN, 3)
    with pytest.raises(ModelError, match="has 3 bytes that do not match"):
        read_engine(folder).read_plan()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "vloc_ros engine", "format_version": 2}', "{}"])
def test_a_damaged_sidecar_is_refused_and_not_listed(tmp_path: Path, text: str) -> None:
    folder = write(tmp_path)
    (folder / SIDECAR).write_text(text)
    with pytest.raises(ModelError, match=r"run `vloc model build`"):
        read_engine(folder)
    assert list_engines(tmp_path) == []


def test_a_sidecar_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path)
    content = json.loads((folder / SIDECAR).read_text())
    (folder / SIDECAR).write_text(json.dumps({**content, "format_version": 3}))
    with pytest.raises(ModelError, match="is not the sidecar of an engine of format 2"):
        read_engine(folder)


def test_a_folder_that_cannot_be_written_is_named() -> None:
    cache = Path("/proc/vloc_ros")
    with pytest.raises(StorageError, match="cannot be written"), lock_engine(cache, KEY, timeout_s=1):
        pass
    with pytest.raises(StorageError, match="cannot be written"):
        write(cache)


def test_a_full_disk_leaves_no_engine(tmp_path: Path) -> None:
    """The limit of a file's size stands for the end of the disk."""
    script = """
        import resource, signal, sys
        from pathlib import Path
        sys.path.insert(0, sys.argv[2])
        from test_engine_cache import write
        from vloc_ros.storage.atomic import StorageError
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
        try:
            write(Path(sys.argv[1]), plan=bytes(1 << 20))
        except StorageError as error:
            print(error)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path), str(Path(__file__).parent)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    assert "cannot be written (File too large)" in done.stdout
    assert list_engines(tmp_path) == []
    assert [path.name for path in (tmp_path / KEY.digest).iterdir()] == []


def test_the_newest_engine_is_found(tmp_path: Path) -> None:
    write(tmp_path, replace(KEY, version="1.6"), date="2025")
    newest = write(tmp_path)
    found = find_engine(tmp_path, KEY.model_hash, flavour="tensorrt_rtx", precision="fp16")
    assert found.folder == newest
    with pytest.raises(ModelError, match=r"has no engine by tensorrt in fp16 .* found tensorrt_rtx fp16; run `vloc"):
        find_engine(tmp_path, KEY.model_hash, flavour="tensorrt", precision="fp16")


def test_what_was_asked_for_last_is_found(tmp_path: Path) -> None:
    first = write(tmp_path, date="2025")
    write(tmp_path, replace(KEY, version="1.8"), date="2026")
    renew_engine(read_engine(first), date="2027")
    assert read_engine(first).read_plan() == b"a plan"
    assert find_engine(tmp_path, KEY.model_hash, flavour="tensorrt_rtx", precision="fp16").folder == first


def test_a_newer_engine_that_does_not_fit_hides_no_older_one(tmp_path: Path) -> None:
    """Built for one robot, then for another, into a cache that both copy."""
    older = write(tmp_path, replace(KEY, targets=("sm86",)), date="2025")
    write(tmp_path, replace(KEY, targets=("sm89",)), date="2026")

    def find(target: str) -> Path:
        return find_engine(
            *(tmp_path, KEY.model_hash),
            flavour="tensorrt_rtx",
            precision="fp16",
            explain_misfit=lambda key: "" if target in key.targets else f"is not for {target}",
        ).folder

    assert find("sm86") == older
    with pytest.raises(ModelError, match=r"that fits, found \w{8} is not for sm120, \w{8} is not for sm120"):
        find("sm120")


@pytest.mark.parametrize("change", [{"model_hash": "c" * 64}, {"flavour": "tensorrt"}, {"precision": "int8"}])
def test_the_build_of_something_else_is_not_waited_for(tmp_path: Path, change: dict[str, str]) -> None:
    with lock_engine(tmp_path, replace(KEY, **change), timeout_s=1):  # type: ignore[arg-type]
        assert find_builder(tmp_path, KEY.model_hash, KEY.flavour, KEY.precision) is None
        with pytest.raises(ModelError, match="has no engine"):
            find_engine(tmp_path, KEY.model_hash, flavour="tensorrt_rtx", precision="fp16", wait_s=600)


def test_an_engine_that_is_being_built_is_waited_for(tmp_path: Path) -> None:
    """The report is what a node shows while it is being configured; the builder here finishes after it."""
    reports: list[str] = []
    with lock_engine(tmp_path, KEY, timeout_s=1):

        def report(line: str) -> None:
            reports.append(line)
            write(tmp_path)

        found = find_engine(
            tmp_path, KEY.model_hash, flavour="tensorrt_rtx", precision="fp16", wait_s=60, report=report
        )
    assert found.key == KEY
    assert reports == [f"waiting for the engine of the model {'a' * 12}, which process {os.getpid()} builds"]


def test_every_graph_of_a_model_that_is_being_built_is_waited_for(tmp_path: Path) -> None:
    """Also before its own turn comes, and between two of them."""
    with announce_build(tmp_path, ["f" * 64, KEY.model_hash], KEY.flavour, KEY.precision):
        assert find_builder(tmp_path, KEY.model_hash, KEY.flavour, KEY.precision) == str(os.getpid())
        assert find_builder(tmp_path, KEY.model_hash, KEY.flavour, "int8") is None
        assert find_builder(tmp_path, "e" * 64, KEY.flavour, KEY.precision) is None
    assert list(tmp_path.iterdir()) == []


def test_a_builder_that_takes_too_long_is_named(tmp_path: Path) -> None:
    with lock_engine(tmp_path, KEY, timeout_s=1):
        again = lock_engine(tmp_path, KEY, timeout_s=0)
        with pytest.raises(ModelError, match=f"process {os.getpid()} still builds"), again:
            pass
        with pytest.raises(ModelError, match="has no engine"):
            find_engine(tmp_path, KEY.model_hash, flavour="tensorrt_rtx", precision="fp16", wait_s=0)


def test_the_lock_of_a_dead_process_is_free(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from vloc_ros.inference.engine_cache import lock_engine\n"
        "sys.path.insert(0, sys.argv[2]); from test_engine_cache import KEY\n"
        "with lock_engine(Path(sys.argv[1]), KEY, timeout_s=1): os.kill(os.getpid(), 9)"
    )
    command = [sys.executable, "-c", script, str(tmp_path), str(Path(__file__).parent)]
    done = subprocess.run(command, check=False, timeout=300)
    assert done.returncode == -9
    with lock_engine(tmp_path, KEY, timeout_s=0):
        assert (tmp_path / f"{KEY.digest}.lock").read_text().split()[0] == str(os.getpid())
