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

"""Results of the last seconds, and statistics of them. Needs neither ROS nor a clock."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from statistics import median
from typing import Generic, TypeVar

T = TypeVar("T")

_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class RecentResult:
    """Summary of the status of one image.

    Attributes:
        status: name of the status in LocalizationStatus, such as `OK` or `DROPPED`.
        reason: why there is no pose.
        inliers: number of inliers of the pose.
        total_s: time from the worker taking the image to its result.
        stages_s: seconds by stage.
        cameras: cameras of a rig whose images were used.
        sensor: of the image, or scan.
        is_accumulating: the image is one of a moving camera, kept for a cloud that is not due yet.
    """

    status: str
    reason: str = ""
    inliers: int = 0
    total_s: float = 0.0
    stages_s: dict[str, float] = field(default_factory=dict)
    cameras: tuple[str, ...] = ()
    sensor: str = "camera"
    is_accumulating: bool = False


def find_unsynchronized_cameras(results: list[RecentResult], *, at_least: int) -> list[str]:
    """Return cameras with at least so many images that never share an image set; empty if any two do."""
    if any(len(result.cameras) > 1 for result in results):
        return []
    times = Counter(camera for result in results for camera in result.cameras)
    often = sorted(camera for camera, count in times.items() if count >= at_least)
    return often if len(often) > 1 else []


class Recent(Generic[T]):
    """Items of the last seconds, with their times."""

    def __init__(self, window_s: float) -> None:
        self._window_ns = window_s * _NS_PER_S
        self._items: deque[tuple[int, T]] = deque()

    def add(self, at_ns: int, item: T) -> None:
        """Add an item at the current time."""
        self._items.append((at_ns, item))
        self._remove_before(at_ns - self._window_ns)

    def since(self, now_ns: int) -> list[tuple[int, T]]:
        """Return the items of the window that ends now."""
        self._remove_before(now_ns - self._window_ns)
        return list(self._items)

    def _remove_before(self, first_ns: float) -> None:
        while self._items and self._items[0][0] < first_ns:
            self._items.popleft()


class Arrivals:
    """How many images of each camera arrived in the last seconds, and how many camera_infos."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._images: dict[str, Recent[None]] = {}
        self._infos: dict[str, Recent[None]] = {}

    def add_image(self, camera: str, at_ns: int) -> None:
        """Add an image at the current time."""
        self._images.setdefault(camera, Recent(self._window_s)).add(at_ns, None)

    def add_camera_info(self, camera: str, at_ns: int) -> None:
        """Add a camera_info at the current time."""
        self._infos.setdefault(camera, Recent(self._window_s)).add(at_ns, None)

    def counts(self, now_ns: int) -> list[tuple[str, int, int]]:
        """Return each camera of which images arrived, with its numbers of images and of camera_infos."""
        none: Recent[None] = Recent(0.0)
        return [
            (camera, len(images.since(now_ns)), len(self._infos.get(camera, none).since(now_ns)))
            for camera, images in self._images.items()
        ]


def divide_by_sensor(results: list[RecentResult]) -> list[list[RecentResult]]:
    """Return the results of each sensor that has some; without any result one empty list."""
    sensors = sorted({result.sensor for result in results})
    return [[result for result in results if result.sensor == sensor] for sensor in sensors] or [[]]


def describe_localized_share(results: list[RecentResult]) -> str:
    """Describe the share of fixes among the results of a sensor, and the statuses of the others."""
    if not results:
        return "no image was localized or refused lately"
    refused = Counter(result.status for result in results if result.status != "OK")
    why = ", ".join(f"{status} {count}" for status, count in refused.most_common())
    what, share = "scans" if results[0].sensor == "lidar" else "images", 1 - refused.total() / len(results)
    text = f"{share:.0%} of the last {len(results)} {what} localized"
    return f"{text} ({why})" if why else text


def median_inliers(fixes: list[RecentResult]) -> float:
    """Return the median number of inliers of at least one fix."""
    return median(fix.inliers for fix in fixes)


def median_total_s(results: list[RecentResult]) -> float:
    """Return the median total time of at least one result."""
    return median(result.total_s for result in results)


def median_stages_s(results: list[RecentResult]) -> dict[str, float]:
    """Return the median time by stage, over the images that reached it."""
    times_s: dict[str, list[float]] = {}
    for result in results:
        for stage, seconds in result.stages_s.items():
            times_s.setdefault(stage, []).append(seconds)
    return {stage: median(all_s) for stage, all_s in times_s.items()}
