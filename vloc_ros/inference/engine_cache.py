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

"""Engines that TensorRT built, on disk: each in a folder named by everything that it depends on.

`engine.plan` is what TensorRT wrote and nothing else, so that trtexec reads it; what it is of stands beside it in
`engine.json`, which is written last. A folder without it, or with another checksum, is no engine and is built again.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from vloc_ros.core.errors import EngineMissingError, ModelError
from vloc_ros.storage.atomic import StorageError, write_bytes_atomically

PLAN, SIDECAR = "engine.plan", "engine.json"
FORMAT, VERSION = "vloc_ros engine", 2
Profile = Mapping[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]
_POLL_S, _REPORT_S = 0.2, 1.0
# a builder that has not yet written its number into the lock
_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class EngineKey:
    """Everything that an engine depends on; another value of any of them is another engine.

    Attributes:
        model_hash: of the model folder.
        graph_sha256: of the typed graph that was built.
        flavour: `tensorrt` or `tensorrt_rtx`.
        version: of TensorRT.
        targets: compute capabilities such as `sm86`, sorted; one for `tensorrt`.
        precision: `fp32`, `fp16`, `bf16` or `int8`.
        profile: smallest, usual and largest shape of each input.
        keypoints: rows of the outputs of a keypoint model; 0 for other models.
        device: name of the GPU that `tensorrt` built it on; empty for `tensorrt_rtx`, which needs none.
    """

    model_hash: str
    graph_sha256: str
    flavour: str
    version: str
    targets: tuple[str, ...]
    precision: str
    profile: Profile = field(hash=False)
    keypoints: int = 0
    device: str = ""

    @property
    def digest(self) -> str:
        """Name of the engine's folder."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class BuiltEngine:
    """An engine on disk.

    Attributes:
        folder: that it is in.
        key: what it depends on.
        plan_sha256: checksum of the plan.
        notes: seconds to build, loss of the precision, for people; date of the last request, which is preferred.
    """

    folder: Path
    key: EngineKey
    plan_sha256: str
    notes: Mapping[str, Any]

    def read_plan(self) -> bytes:
        """The plan, checked.

        Raises:
            ModelError: it cannot be read, or was truncated or altered.
        """
        path = self.folder / PLAN
        try:
            plan = path.read_bytes()
        except OSError as error:
            raise ModelError(f"{path}: cannot be read ({error.strerror}); run `vloc model build` again") from error
        if hashlib.sha256(plan).hexdigest() != self.plan_sha256:
            raise ModelError(
                f"{path}: has {len(plan)} bytes that do not match {SIDECAR}, it is truncated or altered; "
                "remove the folder and run `vloc model build` again"
            )
        return plan


def default_cache() -> Path:
    """`$XDG_CACHE_HOME/vloc_ros/engines`, by default below ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "vloc_ros" / "engines"


def write_engine(folder: Path, key: EngineKey, plan: bytes, notes: Mapping[str, Any]) -> BuiltEngine:
    """Write an engine, its sidecar last.

    Raises:
        StorageError: the disk is full, or the folder is not writable; there is no engine then.
    """
    write_bytes_atomically(folder / PLAN, plan)
    return _write_sidecar(BuiltEngine(folder, key, hashlib.sha256(plan).hexdigest(), dict(notes)))


def renew_engine(built: BuiltEngine, *, date: str) -> BuiltEngine:
    """Make an engine that was asked for again the newest of its model.

    Raises:
        StorageError: the folder is not writable.
    """
    return _write_sidecar(replace(built, notes={**built.notes, "date": date}))


def _write_sidecar(built: BuiltEngine) -> BuiltEngine:
    of = {"plan_sha256": built.plan_sha256, "notes": dict(built.notes)}
    content = {"format": FORMAT, "format_version": VERSION, **asdict(built.key), **of}
    text = json.dumps(content, indent=1, sort_keys=True) + "\n"
    write_bytes_atomically(built.folder / SIDECAR, text.encode())
    return built


def read_engine(folder: Path) -> BuiltEngine:
    """The engine in a folder; its plan is not read.

    Raises:
        ModelError: there is none, or its sidecar is damaged or of another format.
    """
    path = folder / SIDECAR
    try:
        content = json.loads(path.read_text())
        if content["format"] != FORMAT or content["format_version"] != VERSION:
            raise ModelError(f"{path}: is not the sidecar of an engine of format {VERSION}; run `vloc model build`")
        profile = {name: tuple(tuple(shape) for shape in shapes) for name, shapes in content["profile"].items()}
        values = {item.name: content[item.name] for item in fields(EngineKey)}
        key = EngineKey(**{**values, "targets": tuple(content["targets"]), "profile": profile})
        return BuiltEngine(folder, key, content["plan_sha256"], content["notes"])
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); run `vloc model build`") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path}: is damaged ({error!r}); remove the folder and run `vloc model build`") from error


def list_engines(cache: Path) -> list[BuiltEngine]:
    """All engines of a cache; damaged ones are left out."""
    found = []
    for folder in sorted(path for path in cache.iterdir() if path.is_dir()) if cache.is_dir() else []:
        with contextlib.suppress(ModelError):
            found.append(read_engine(folder))
    return found


def find_engine(
    cache: Path,
    model_hash: str,
    *,
    flavour: str,
    precision: str,
    explain_misfit: Callable[[EngineKey], str] = lambda _: "",
    wait_s: float = 0.0,
    report: Callable[[str], None] = lambda _: None,
) -> BuiltEngine:
    """The newest engine of a model in a cache that fits; one that another process is building is waited for.

    Args:
        cache: folder of the engines.
        model_hash: of the model folder.
        flavour: `tensorrt` or `tensorrt_rtx`.
        precision: `fp32`, `fp16`, `bf16` or `int8`.
        explain_misfit: why an engine cannot be used here, empty where it can.
        wait_s: at most, for one that is being built.
        report: takes a line about each wait.

    Raises:
        EngineMissingError: there is none.
    """
    until = time.monotonic() + wait_s
    while True:
        owner = find_builder(cache, model_hash, flavour, precision)  # first: what it finishes meanwhile is found
        found = _engines_of(cache, model_hash, flavour, precision)
        misfits = {built.folder.name: explain_misfit(built.key) for built in found}
        if fitting := [built for built in found if not misfits[built.folder.name]]:
            return fitting[-1]
        if owner is None or time.monotonic() > until:
            break
        report(f"waiting for the engine of the model {model_hash[:12]}, which process {owner} builds")
        time.sleep(min(_REPORT_S, max(0.0, until - time.monotonic())))
    others = {f"{b.key.flavour} {b.key.precision}" for b in list_engines(cache) if b.key.model_hash == model_hash}
    reasons = [f"{name[:8]} {reason}" for name, reason in misfits.items()] or sorted(others)
    raise EngineMissingError(
        f"{cache}: has no engine by {flavour} in {precision} of the model {model_hash[:12]} that fits, found "
        f"{', '.join(reasons) or 'none'}; run `vloc model build MODEL --engine {flavour} --precision "
        f"{precision}`, MODEL being its folder or that of the map that carries it"
    )


def _engines_of(cache: Path, model_hash: str, flavour: str, precision: str) -> list[BuiltEngine]:
    """Oldest first."""
    wanted = (model_hash, flavour, precision)
    found = [b for b in list_engines(cache) if (b.key.model_hash, b.key.flavour, b.key.precision) == wanted]
    return sorted(found, key=lambda built: (str(built.notes.get("date", "")), built.folder.name))


@contextlib.contextmanager
def announce_build(cache: Path, model_hashes: Sequence[str], flavour: str, precision: str) -> Iterator[None]:
    """Let `find_builder` see the build of a whole model while it lasts, whichever of its graphs is at work.

    Args:
        cache: folder of the engines.
        model_hashes: of all graphs of the model.
        flavour: `tensorrt` or `tensorrt_rtx`.
        precision: `fp32`, `fp16`, `bf16` or `int8`.

    Raises:
        StorageError: the folder is not writable.
    """
    with contextlib.ExitStack() as stack:
        try:
            cache.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(NamedTemporaryFile("w", dir=cache, prefix="build-", suffix=".lock"))
        except OSError as error:
            raise StorageError(f"{cache}: cannot be written ({error.strerror}); name a writable folder") from error
        fcntl.flock(file, fcntl.LOCK_EX)
        _write_builder(file, flavour, precision, *model_hashes)
        yield


def _write_builder(file: Any, flavour: str, precision: str, *model_hashes: str) -> None:
    file.truncate(0)
    file.write(" ".join([str(os.getpid()), flavour, precision, *model_hashes]) + "\n")
    file.flush()


@contextlib.contextmanager
def lock_engine(
    cache: Path, key: EngineKey, *, timeout_s: float, report: Callable[[str], None] = lambda _: None
) -> Iterator[None]:
    """Be the only process that builds an engine. The system frees the lock of a process that died.

    Raises:
        StorageError: the folder is not writable.
        ModelError: another process still builds it after the time.
    """
    path = cache / f"{key.digest}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115 - held over the yield
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}); name a writable folder") from error
    with file:
        _wait_for_lock(file, path, timeout_s, report)
        _write_builder(file, key.flavour, key.precision, key.model_hash)
        yield


def _wait_for_lock(file: Any, path: Path, timeout_s: float, report: Callable[[str], None]) -> None:
    until, waits = time.monotonic() + timeout_s, False
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            file.seek(0)
            owner = (file.read().split() or [_UNKNOWN])[0]
        if not waits:
            report(f"process {owner} builds {path.stem}; waiting for it, at most {timeout_s:.0f} s")
            waits = True
        if time.monotonic() > until:
            raise ModelError(f"{path}: process {owner} still builds this engine after {timeout_s:.0f} s; try again")
        time.sleep(_POLL_S)


def find_builder(cache: Path, model_hash: str, flavour: str, precision: str) -> str | None:
    """The process that builds such an engine of a graph, or of the model it belongs to, now; None where none does."""
    for path in sorted(cache.glob("*.lock")) if cache.is_dir() else []:
        with contextlib.suppress(FileNotFoundError), open(path, encoding="utf-8") as file:  # it ended meanwhile
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                owner, *builds = file.read().split() or [_UNKNOWN]
                if not builds or (builds[:2] == [flavour, precision] and model_hash in builds[2:]):
                    return owner
    return None
