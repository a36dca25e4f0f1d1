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

"""Results of the fault tests: one row per test, and the page made of them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.nodes.rclpy_support.conversion import status_name

_HEAD = """# What happens when something goes wrong

`make faults` writes this page from the results of its tests, if all of them passed. In every row the nodes communicate
over DDS in a ROS domain of their own. The robot is in front of a small mapped wall, the one of the rows with scans in a
mapped apartment, with such a wall where it has a camera, too, that of the rows with a camera in a map of LiDAR places
in a simulated street. Parameters are the defaults except for those in the row and a reliable, deep image topic, so that
DDS loses no image. A test passes if every image that reached the localizer got exactly one status, no status is an
internal error, no node ended unintentionally, and an image is localized again within the time of the row, with an error
of less than 5 cm, a scan of less than 10 cm, an image from 60 m above or in the street of less than 50 cm. The time is
measured from the end of the fault, for a process from its restart, on a shared machine with two cores. In the street it
includes the drive to two new clouds, whose images are sent at once.

| fault | behaviour | recovered after |
| --- | --- | --- |
"""
_TAIL = """
## What is not caught

- A permanently wrong focal length in the calibration. In front of a flat wall it has the same effect as another
  distance: the jump is held for a few images, and then accepted with the status OK. The image size is compared with
  that of the calibration; the focal length is not verified.
- A camera of a rig with wrong extrinsics in TF, while no other camera sees the map: the pose has the same error. If two
  cameras see the map at the same time, they disagree and are refused.
- A service request to a map server just before it is killed gets no response, and DDS still lists the dead server for
  some seconds: clients have to repeat the request, as the localizer does.
"""


@dataclass(slots=True)
class FaultRow:
    """One row of the table; a test fills it once."""

    cells: tuple[str, str, str] | None = field(default=None)

    def record(self, did: str, happened: str, *, back_s: float, within_s: float) -> None:
        """Fill the row: the fault, the behaviour, and the time until an image was localized again."""
        assert self.cells is None, "the row is filled already"
        assert back_s <= within_s, f"{did}: recovered after {back_s:.1f} s, expected {within_s:g} s at most"
        seconds = f"{back_s:.1f} s" if back_s >= 0.1 else "less than 0.1 s"
        self.cells = did, happened, f"{seconds} (at most {within_s:g} s)"


def write_page(rows: Iterable[FaultRow], page: Path) -> None:
    """Write the page of a run."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row.cells) + " |" for row in rows if row.cells]
    page.write_text(_HEAD + "\n".join(lines) + "\n" + _TAIL, encoding="utf-8")


def count_statuses(statuses: Iterable[LocalizationStatus]) -> str:
    """Return a text such as `3 BAD_IMAGE, 1 OK`, in the order of first occurrence."""
    names = Counter(status_name(status.status) for status in statuses)
    return ", ".join(f"{count} {name}" for name, count in names.items())


def seconds_since(start_s: float) -> float:
    """Return the seconds since a monotonic time."""
    return time.monotonic() - start_s
