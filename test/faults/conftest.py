"""A robot in front of the wall, the row that each test leaves, and the page that a whole run leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed; `make setup` installs it")

from drive import Drive
from fault_rows import FaultRow, write_page
from nodes_world import Wall
from ros_session import Ros

_ROWS = pytest.StashKey[list[FaultRow]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults-page", help="write the table of what happened here, when all tests passed")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    page, rows = session.config.getoption("--faults-page", default=None), session.config.stash.get(_ROWS, [])
    if page and exitstatus == pytest.ExitCode.OK and len(rows) == session.testscollected:
        write_page(rows, Path(page))


@pytest.fixture
def row(request: pytest.FixtureRequest) -> Iterator[FaultRow]:
    """What the test did and saw; it has to fill it."""
    row = FaultRow()
    yield row
    if row.cells is not None:
        request.config.stash.setdefault(_ROWS, []).append(row)


@pytest.fixture
def drive(ros: Ros, wall: Wall) -> Drive:
    """A robot with a localizer that knows where it is."""
    drive = Drive(ros, wall)
    drive.start_localizer()
    drive.warm_up()
    return drive


@pytest.fixture
def drive_with(ros: Ros, wall: Wall) -> Callable[..., Drive]:
    """Make a robot whose localizer has other parameters."""

    def make(*, raw: bool = True, **parameters: Any) -> Drive:
        drive = Drive(ros, wall, raw=raw)
        drive.start_localizer(**parameters)
        return drive

    return make
