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

"""Batch localization: many images, each by itself or in sequence as a robot took them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.localization.localizer import Localizer
from vloc_ros.core.localization.result import LocalizationResult, Status
from vloc_ros.core.localization.views_from_above import FROM_ABOVE
from vloc_ros.core.query import PosePrior, Query
from vloc_ros.core.sources import QuerySource
from vloc_ros.core.tracking.fix import fix_from_result
from vloc_ros.core.tracking.fix_filter import FixFilter
from vloc_ros.storage.results import ResultRecord


def localize_all(
    localizer: Localizer,
    sources: Sequence[QuerySource],
    *,
    progress: Callable[[Iterable[QuerySource]], Iterable[QuerySource]],
    on_request: bool = True,
) -> Iterator[ResultRecord]:
    """Localize each image by itself; results do not depend on earlier ones.

    Decoding is not part of the measured stages. The first image is localized once in advance and that result is
    dropped, since libraries load lazily. The result of an image that cannot be used is a refusal with the reason.

    Args:
        localizer: of the map.
        sources: the images.
        progress: wraps the loop over the images.
        on_request: each may take longer, see `Localizer.localize`; the node does so for the service relocalize alone.
    """
    _warm_up(localizer, sources)
    for source in progress(sources):
        query = _read_query(source)
        if isinstance(query, ResultRecord):
            yield query
        else:
            yield ResultRecord(source.name, query.stamp_ns, localizer.localize(query, on_request=on_request))


def localize_sequence(
    localizer: Localizer,
    sources: Sequence[QuerySource],
    odom_from_camera: Sequence[Pose | None],
    fixes: FixFilter,
    *,
    progress: Callable[[Iterable[QuerySource]], Iterable[QuerySource]],
) -> Iterator[ResultRecord]:
    """Localize images in sequence as the node does: the last fix gives the prior, and a jump is held.

    Args:
        localizer: gets a prior with every query once there is a fix.
        sources: the images in the order of their stamps.
        odom_from_camera: pose of the camera in the odometry frame for each image, None where there is none.
        fixes: the filter; a fix in it at the start gives the prior of the first image.
        progress: wraps the loop over the images.
    """
    _warm_up(localizer, sources)
    for source, odometry in zip(progress(sources), odom_from_camera, strict=True):
        query = _read_query(source)
        if isinstance(query, ResultRecord):
            yield query
            continue
        expected = fixes.carry(odometry, query.stamp_ns)
        prior = None if expected is None else PosePrior(expected.map_from_base, expected.covariance, expected.frame_id)
        result = localizer.localize(replace(query, prior=prior))
        if result.ok:
            fix = fix_from_result(result, rig_from_base=Pose.identity(), two_d=False)
            from_above = result.candidate == FROM_ABOVE
            sensor = FROM_ABOVE if from_above else ""
            decision = fixes.gate(fix, odometry, query.stamp_ns, sensor=sensor, coarse=from_above)
            result = result if decision.publish else result.refused_as(Status.HELD, decision.reason)
        yield ResultRecord(source.name, query.stamp_ns, result)


def _warm_up(localizer: Localizer, sources: Sequence[QuerySource]) -> None:
    for source in sources[:1]:
        query = _read_query(source)
        if isinstance(query, Query):
            localizer.localize(query)


def _read_query(source: QuerySource) -> Query | ResultRecord:
    """Read a query; the refusal if its image cannot be used."""
    try:
        return source.read()
    except InputError as error:
        refused = LocalizationResult.refused(Status.NO_FEATURES, str(error))
        return ResultRecord(source.name, source.stamp_ns, refused, usable=False)
