"""Asks a localizer about many images, each by itself or in the order in which a robot saw them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.localization.localizer import Localizer
from vloc_ros.core.localization.result import LocalizationResult, Status
from vloc_ros.core.query import PosePrior, Query
from vloc_ros.core.tracking.fix import fix_from_result
from vloc_ros.core.tracking.fix_filter import FixFilter
from vloc_ros.storage.results import ResultRecord


@dataclass(frozen=True, slots=True, eq=False)
class QuerySource:
    """One image to localize.

    Attributes:
        image: its name.
        query: reads and decodes the image when it is called; raises InputError where it cannot be used.
        stamp_ns: its time, for an image that cannot be used.
    """

    image: str
    query: Callable[[], Query]
    stamp_ns: int = 0


def localize_all(
    localizer: Localizer,
    questions: Sequence[QuerySource],
    *,
    progress: Callable[[Iterable[QuerySource]], Iterable[QuerySource]],
) -> Iterator[ResultRecord]:
    """Localize each question's image.

    Decoding lies outside the measured stages. The first image is asked once more in advance and that answer is
    dropped: libraries load lazily, and a running robot has that behind it. Answers do not depend on earlier ones. An
    image that cannot be used is answered with the reason.
    """
    _warm_up(localizer, questions)
    for question in progress(questions):
        query = _query_of(question)
        if isinstance(query, ResultRecord):
            yield query
        else:
            yield ResultRecord(question.image, query.stamp_ns, localizer.localize(query))


def localize_sequence(
    localizer: Localizer,
    questions: Sequence[QuerySource],
    odom_from_camera: Sequence[Pose | None],
    fixes: FixFilter,
    *,
    progress: Callable[[Iterable[QuerySource]], Iterable[QuerySource]],
) -> Iterator[ResultRecord]:
    """Localize each question's image as the node does: the last fix tells where to look, and a jump is held.

    Args:
        localizer: asked with a prior once there is a fix.
        questions: in the order of their stamps.
        odom_from_camera: odometry carried to the camera at every image's time, None where there is none.
        fixes: the filter; what it believes at the start is where the first image is looked for.
        progress: shows how far it has come.
    """
    _warm_up(localizer, questions)
    for question, odometry in zip(progress(questions), odom_from_camera, strict=True):
        query = _query_of(question)
        if isinstance(query, ResultRecord):
            yield query
            continue
        expected = fixes.carry(odometry, query.stamp_ns)
        prior = None if expected is None else PosePrior(expected.map_from_base, expected.covariance, expected.frame_id)
        result = localizer.localize(replace(query, prior=prior))
        if result.ok:
            fix = fix_from_result(result, camera_from_base=Pose.identity(), two_d=False)
            judgement = fixes.judge(fix, odometry, query.stamp_ns)
            result = result if judgement.publish else result.refused_as(Status.HELD, judgement.reason)
        yield ResultRecord(question.image, query.stamp_ns, result)


def _warm_up(localizer: Localizer, questions: Sequence[QuerySource]) -> None:
    for question in questions[:1]:
        query = _query_of(question)
        if isinstance(query, Query):
            localizer.localize(query)


def _query_of(question: QuerySource) -> Query | ResultRecord:
    """What is asked, or what is answered where the image cannot be used."""
    try:
        return question.query()
    except InputError as error:
        refused = LocalizationResult.refused(Status.NO_FEATURES, str(error))
        return ResultRecord(question.image, question.stamp_ns, refused, usable=False)
