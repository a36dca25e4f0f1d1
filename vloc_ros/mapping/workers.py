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

"""Who does the work of building a map: this process, or the processes of a cluster."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Protocol, TypeVar

import cv2
from threadpoolctl import ThreadpoolController

from vloc_ros.mapping.sfm.pairs import Pair

R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")
_THREADS = 2


class Workers(Protocol):
    """Does work that falls into parts. Who does it makes no difference beyond what threads of libraries round.

    Work has to be fit for another process: a function of a module, a method of an object that can be pickled, or a
    partial of these. Its result depends on its arguments alone, and on nothing that other work has left behind.
    """

    def map(self, work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """The results of all items, in order.

        Args:
            work: on an item.
            items: such as the pixels of images; taken when they can be worked on, so that few are held at a time.
        """
        ...

    def map_pairs(self, work: Callable[[S, S, T], R], images: Sequence[S], pairs: Mapping[Pair, T]) -> Iterator[R]:
        """The results of all pairs of images, in order.

        Args:
            work: on the first and the second image of a pair, and on what else the pair has.
            images: whatever of each image the work needs.
            pairs: of numbers of images, with what else the work needs of each pair.
        """
        ...


class ThisProcess:
    """Two threads, each of which does its work in one: more of libraries' own would wait for each other's cores."""

    def map(self, work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """See `Workers`; pending work is cancelled when the consumer stops."""
        with _threads() as pool:
            waiting = deque[Future[R]]()
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > _THREADS:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def map_pairs(self, work: Callable[[S, S, T], R], images: Sequence[S], pairs: Mapping[Pair, T]) -> Iterator[R]:
        """See `Workers`; pending work is cancelled when the consumer stops."""
        with _threads() as pool:
            yield from pool.map(lambda pair: work(images[pair[0]], images[pair[1]], pairs[pair]), pairs)


@contextmanager
def _threads() -> Iterator[ThreadPoolExecutor]:
    # OpenMP's threads, as of FAISS, are limited by thread, and BLAS's in all of the process
    pools, of_opencv = ThreadpoolController(), cv2.getNumThreads()  # found before there are threads, see footprint
    pool = ThreadPoolExecutor(_THREADS, initializer=partial(pools.limit, limits=1))
    cv2.setNumThreads(1)
    try:
        with pools.limit(limits=1):
            yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        cv2.setNumThreads(of_opencv)


THIS_PROCESS = ThisProcess()
