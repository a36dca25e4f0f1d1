"""What a run of the fault tests has to say: one row per test, and the page made of them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.nodes.conversion import status_name

_HEAD = """# What happens when something goes wrong

Written by `make faults` from what its tests saw, once all of them passed. In every row the nodes run on real DDS in a
ROS domain of their own, in front of a small mapped wall, with the parameters they ship with but for what the row names
and a reliable, deep image topic, so that DDS itself loses nothing. A test passes when every image that reached the
localizer got exactly one status, no status is an internal error, no node ended that was not ended on purpose, and an
image is localized again, within 5 cm of the truth, no later than the row says. The time counts from when things are as
they should be again, that of a process from its start; all of it on a shared machine with two cores.

| what was done | what happened | back at work after |
| --- | --- | --- |
"""
_TAIL = """
## What is not caught

- A calibration with a wrong focal length that stays wrong. On a flat wall seen from the front a picture cannot tell it
  from another distance: the jump is held for a few images, and then believed, with the status OK. The image size is
  compared with the calibration's, the focal length with nothing.
- A camera of a rig that sits elsewhere than TF says, while no other one sees the map: the pose is as wrong as that.
  Where two see the map at the same moment, they disagree and are refused.
- A service caller that asked a map server just before it was killed gets no answer, and DDS offers the dead server for
  some seconds more: callers ask again, as the localizer does.
"""


@dataclass(slots=True)
class FaultRow:
    """One row; a test fills it once."""

    cells: tuple[str, str, str] | None = field(default=None)

    def record(self, did: str, happened: str, *, back_s: float, within_s: float) -> None:
        """What was done, what happened, and the time from then on until an image was localized again."""
        assert self.cells is None, "a test has one row"
        assert back_s <= within_s, f"{did}: back at work after {back_s:.1f} s, expected {within_s:g} s at most"
        seconds = f"{back_s:.1f} s" if back_s >= 0.1 else "less than 0.1 s"
        self.cells = did, happened, f"{seconds} (at most {within_s:g} s)"


def write_page(rows: Iterable[FaultRow], page: Path) -> None:
    """The page of a run."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row.cells) + " |" for row in rows if row.cells]
    page.write_text(_HEAD + "\n".join(lines) + "\n" + _TAIL, encoding="utf-8")


def counted(statuses: Iterable[LocalizationStatus]) -> str:
    """`3 BAD_IMAGE, 1 OK`, in the order in which they first came."""
    names = Counter(status_name(status.status) for status in statuses)
    return ", ".join(f"{count} {name}" for name, count in names.items())


def seconds_since(start_s: float) -> float:
    """From a monotonic time until now."""
    return time.monotonic() - start_s
