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

"""Where commands write: what is there is replaced only by something of its kind, and the command says so.

Checked before the work, so that a mistyped name costs neither an hour nor somebody's own file. For files see
`vloc_ros.storage.output_files`.
"""

from __future__ import annotations

from pathlib import Path

from vloc_ros.storage.output_files import Output


def map_at(folder: Path) -> Output:
    """A map folder: new, empty, or a map.

    Raises:
        StorageError, MapError: it is something else.
    """
    from vloc_ros.storage.map_folders import replaces_map

    return Output(folder, replaces_map(folder))


def name_at(out: Path, name: str, *, source: Path) -> str:
    """The name of a map that is made from another: its folder's where the other had its folder's, else the other's.

    Args:
        out: folder of the map.
        name: of the other map.
        source: folder of the other map.
    """
    return out.resolve().name if name == source.resolve().name else name


def results_at(folder: Path, *, with_truth: bool = False) -> Output:
    """A folder for results: new, empty, or with earlier ones, beside which other files stay as they are.

    Raises:
        StorageError: it is something else, or `with_truth` holds a truth.txt of somebody's own.
    """
    from vloc_ros.storage.results import replaces_results

    return Output(folder, replaces_results(folder, with_truth=with_truth))
