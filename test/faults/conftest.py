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

"""A robot in front of the wall, the row of each test, and the page of a complete run."""

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
    parser.addoption("--faults-page", help="file for the table of results, written if all tests passed")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config) -> None:
    """Write the page if every test has a row in it."""
    page, rows = config.getoption("--faults-page", default=None), config.stash.get(_ROWS, [])
    passed = len(terminalreporter.stats.get("passed", []))
    if page is None:
        return
    if exitstatus == pytest.ExitCode.OK and passed == len(rows):
        write_page(rows, Path(page))
        terminalreporter.write_line(f"{page}: {len(rows)} rows")
    else:
        terminalreporter.write_line(f"{page} is not written: {passed} tests passed with {len(rows)} rows, not all")


@pytest.fixture
def row(request: pytest.FixtureRequest) -> Iterator[FaultRow]:
    """The row of the test, which the test has to fill."""
    row = FaultRow()
    yield row
    if row.cells is not None:
        request.config.stash.setdefault(_ROWS, []).append(row)


@pytest.fixture
def drive(ros: Ros, wall: Wall) -> Drive:
    """A robot that its localizer has localized."""
    drive = Drive(ros, wall)
    drive.start_localizer()
    drive.warm_up()
    return drive


@pytest.fixture
def drive_with(ros: Ros, wall: Wall) -> Callable[..., Drive]:
    """Make a robot whose localizer has given parameters."""

    def make(*, raw: bool = True, **parameters: Any) -> Drive:
        drive = Drive(ros, wall, raw=raw)
        drive.start_localizer(**parameters)
        return drive

    return make
