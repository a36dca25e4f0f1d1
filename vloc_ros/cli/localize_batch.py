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

"""Many images localized one after the other: one that cannot be used is named, and the others go on."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from vloc_ros.progress import bar

if TYPE_CHECKING:
    from vloc_ros.core.geometry.pose import Pose
    from vloc_ros.core.localization.localizer import Localizer
    from vloc_ros.core.sources import QuerySource
    from vloc_ros.core.tracking.fix_filter import FixFilter
    from vloc_ros.storage.results import ResultRecord


# what the most frequent status of refused images most often comes from
_CAUSES = {
    "no_features": "too dark, blurred or bare images",
    "no_candidates": "another place or other viewpoints than those mapped, or a wrong calibration",
    "ambiguous": "places of the map that look alike",
}
_CAUSES |= dict.fromkeys(("too_few_matches", "pose_rejected"), _CAUSES["no_candidates"])


def explain_refusals(counts: Mapping[str, int]) -> str:
    """The usual cause of the most frequent of these statuses; empty where none is known.

    Args:
        counts: number of refused images by the value of their status.
    """
    cause = _CAUSES.get(max(counts, key=lambda status: counts[status], default=""))
    return f"most often from {cause}: docs/ros-interface.md#statuses" if cause else ""


def localize_with_progress(
    localizer: Localizer,
    queries: Sequence[QuerySource],
    *,
    in_sequence: FixFilter | None = None,
    odom_from_camera: Sequence[Pose | None] = (),
    on_request: bool = True,
) -> list[ResultRecord]:
    """Localize all images, with a progress bar; each by itself, or in sequence under a filter.

    `on_request` is of images that are localized by themselves, see `localize_all`.

    Says which images cannot be used, and where the calibration of the map's own images fits these better than theirs.

    Raises:
        InputError: none of the images can be used.
    """
    from vloc_ros.core.errors import InputError
    from vloc_ros.evaluation.batch_localization import localize_all, localize_sequence
    from vloc_ros.evaluation.calibration_doubt import doubt_calibration

    def show(sources: Iterable[QuerySource]) -> Iterable[QuerySource]:
        return bar(sources, description="localizing")

    if in_sequence is None:
        records = list(localize_all(localizer, queries, progress=show, on_request=on_request))
    else:
        records = list(localize_sequence(localizer, queries, odom_from_camera, in_sequence, progress=show))
    unusable = [record for record in records if not record.usable]
    if unusable and len(unusable) == len(records):
        others = f", and none of {len(records)} images can be used" if len(records) > 1 else ""
        raise InputError(unusable[0].result.reason + others)
    for record in unusable:
        print(f"vloc: warning: {record.image} cannot be used: {record.result.reason}", file=sys.stderr)
    if doubt := doubt_calibration(localizer, queries):
        print(f"vloc: warning: {doubt}", file=sys.stderr)
    return records
