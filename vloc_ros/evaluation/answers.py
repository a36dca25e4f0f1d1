"""Asks a localizer about many images, one after the other, as a robot would."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from vloc_ros.core.localizer import Localizer
from vloc_ros.core.query import Query
from vloc_ros.storage.results import ResultRecord


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """One image to localize.

    Attributes:
        image: its name.
        query: reads and decodes the image when it is called.
    """

    image: str
    query: Callable[[], Query]


def answers(
    localizer: Localizer, questions: Sequence[Question], *, progress: Callable[[Iterable[Question]], Iterable[Question]]
) -> Iterator[ResultRecord]:
    """Localize each question's image.

    Decoding lies outside the measured stages. The first image is asked once more in advance and that answer is
    dropped: libraries load lazily, and a running robot has that behind it. Answers do not depend on earlier ones.

    Raises:
        InputError: an image cannot be read, or does not fit its camera.
    """
    for question in questions[:1]:
        localizer.localize(question.query())
    for question in progress(questions):
        query = question.query()
        yield ResultRecord(question.image, query.stamp_ns, localizer.localize(query))
