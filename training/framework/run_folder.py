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

"""The folder of a run: what it is of, which run may be resumed, and what is removed of an earlier one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vloc_ros.core.errors import InputError
from vloc_ros.storage.atomic import StorageError, write_bytes_atomically
from vloc_ros.storage.output_folders import replaces_folder
from vloc_ros.storage.text import read_text

FORMAT = "vloc_ros run"
# of checkpoints; a run of another version is not resumed
VERSION = 2
LAST, BEST = "last.ckpt", "best.safetensors"
CONFIG, SOURCES, PROGRESS, INFO = "config.json", "sources.json", "progress.txt", "info.log"
LOG, WEIGHTS = "log", "weights"
NOT_FINITE = "not_finite"


def check_run_folder(run_dir: Path, out: Path, *, parts: Sequence[str] = ()) -> None:
    """Check, before the work, that a run and its model overwrite nothing else.

    Args:
        run_dir: folder of the run.
        out: folder of the model.
        parts: folders that the task writes into the run's.

    Raises:
        StorageError: the run's folder holds something other than a run.
        InputError: one of the two would be written into the other.
    """
    inner, outer = run_dir.resolve(), out.resolve()
    own = [inner / name for name in (LOG, WEIGHTS, *parts)]
    if inner.is_relative_to(outer) or any(outer.is_relative_to(folder) for folder in own):
        raise InputError(f"the run's folder is {run_dir}, the model's {out}, expected one outside the other; name both")
    _replaces_run(run_dir)


def open_run(
    run_dir: Path, config: Any, sources: Mapping[str, Any], *, resume: bool, leftovers: Sequence[str] = ()
) -> None:
    """Record the configuration and sources of a new run, or check those of a run to resume.

    Files of an earlier run are removed first, so that the new one cannot resume from them.

    Args:
        run_dir: folder of the run.
        config: a dataclass.
        sources: hashes of the training data, by name, as JSON types.
        resume: whether to resume.
        leftovers: files and folders of an earlier run beside its checkpoints.

    Raises:
        InputError: there is no run to resume, or it has another configuration or other sources.
        StorageError: the folder cannot be written, or holds something other than a run.
    """
    text, content = json.dumps(asdict(config), indent=1), {"format": FORMAT, "version": VERSION, **sources}
    if resume:
        _check_same_run(run_dir, text, content)
        return
    remove_checkpoints(run_dir, leftovers=leftovers)
    write_bytes_atomically(run_dir / SOURCES, json.dumps(content, indent=1).encode())
    write_bytes_atomically(run_dir / CONFIG, text.encode())


def remove_checkpoints(run_dir: Path, *, leftovers: Sequence[str] = ()) -> None:
    """Remove the weights of an earlier run, so that nothing resumes from them.

    Args:
        run_dir: folder of the run; it need not exist.
        leftovers: files and folders beside its checkpoints.

    Raises:
        StorageError: a file cannot be removed, or the folder holds something other than a run.
    """
    _replaces_run(run_dir)
    earlier = [*run_dir.glob("*.ckpt"), *run_dir.glob(f"{NOT_FINITE}*"), run_dir / BEST]
    for path in [*earlier, *(run_dir / name for name in leftovers)]:
        _remove(path)


def find_checkpoint(run_dir: Path) -> Path:
    """The checkpoint of a run's last complete epoch.

    Raises:
        InputError: there is no checkpoint.
    """
    if not (run_dir / LAST).is_file():
        raise InputError(f"{run_dir}: holds no run with a complete epoch, expected {LAST}; start one without --resume")
    return run_dir / LAST


def _replaces_run(run_dir: Path) -> bool:
    return replaces_folder(run_dir, manifest=SOURCES, format_=FORMAT, kind="run")


def _check_same_run(run_dir: Path, config: str, sources: Mapping[str, Any]) -> None:
    if not _replaces_run(run_dir) or not (run_dir / CONFIG).is_file():
        raise InputError(f"{run_dir}: holds no run, expected {SOURCES} and {CONFIG}; start one without --resume")
    before = json.loads(read_text(run_dir / SOURCES))
    if before.get("version") != VERSION:
        raise InputError(f"{run_dir}: was started by another version of this code; start a run without --resume")
    if read_text(run_dir / CONFIG) != config:
        raise InputError(
            f"{run_dir / CONFIG}: differs from the given configuration; resume with the same preset and --set"
        )
    if other := sorted(name for name in before.keys() | sources.keys() if before.get(name) != sources.get(name)):
        raise InputError(
            f"{run_dir / SOURCES}: the run was started with other sources ({', '.join(other)}); resume with the same "
            "ones, or start a run without --resume"
        )


def _remove(path: Path) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"{path}: of an earlier run, cannot be removed ({error.strerror})") from error
