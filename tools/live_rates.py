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

"""How many images reach a localizer, and how soon their poses are there: a table of transports, sizes and rates.

    python tools/live_rates.py                                              # 12 rows, in four to five minutes
    python tools/live_rates.py --transport raw --size 640x480 --rate 30 --seconds 30
    PYTHONPATH=OTHER_CHECKOUT python tools/live_rates.py                    # the nodes of another checkout

A simulated robot drives up and down a room. One process publishes images, camera_info and, at 50 Hz, odometry on TF,
with the defaults of Fast DDS; the localizer is a process of its own, with default parameters. That is harder than on
most robots, where odometry has its own process: in the shared memory of one process large images displace transforms.

A row counts the images published, those that have a status (`statuses`, DROPPED included), and the OK, DROPPED,
NO_ODOMETRY and other ones among them; the time from publishing an image to receiving its pose; and the processor time
of both processes in percent of one core. `enough` is yes if at least 95 % of the images have a status, and at most 1 %
of those that are not DROPPED are NO_ODOMETRY. The exit code is 1 if that is not so in every row.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.live_robot import LiveRobot, resize_images
from benchmarks.simulated import build_lap_localizer
from tqdm import tqdm

from vloc_ros.core.geometry.pose import Array
from vloc_ros.evaluation.live_processes import Children, free_domain
from vloc_ros.simulation.scenario import Lap, make_lap, make_scenario
from vloc_ros.storage.maps import write_map

TRANSPORTS, RELIABILITIES = ("raw", "compressed"), ("best_effort", "reliable")
SIZES, RATES_HZ = ("640x480", "1280x720"), (10, 30)
MAP_FRAMES, SEED = 60, 141
# a lap of steps of 2.4 cm, of which the robot drives the first ones: 0.7 m/s at 30 Hz
LAP_FRAMES, DRIVEN_FRAMES = 600, 60
ENOUGH_STATUSES, MOST_WITHOUT_ODOMETRY = 0.95, 0.01
_PROFILES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE", "FASTDDS_BUILTIN_TRANSPORTS")
_DISCOVERY = ("ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_LOCALHOST_ONLY")
_STATUSES = ("OK", "DROPPED", "NO_ODOMETRY", "other")
_COLUMNS = ("transport", "driver", "size", "Hz", "images", "statuses", *_STATUSES, "p50 ms", "p95 ms")
_COLUMNS += ("localizer %", "robot %", "enough")


@dataclass(frozen=True, slots=True)
class Row:
    """What is published in a row of the table, and by a publisher of which reliability."""

    transport: str
    driver: str
    size: str
    rate_hz: int


def main() -> int:
    """Measure all rows and print the table; 0 if enough images are localized in every row."""
    args = _read_arguments()
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start", flush=True)
    table: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="vloc_rates_") as scratch:
        map_lap = make_scenario("room", SEED, map_frames=MAP_FRAMES, query_frames=2).map_lap
        write_map(build_lap_localizer(map_lap).map, Path(scratch) / "map")
        lap = make_lap(map_lap.world, LAP_FRAMES, SEED)
        images = [lap.image(i) for i in tqdm(range(DRIVEN_FRAMES), desc="rendering", disable=None)]
        print("| " + " | ".join(_COLUMNS) + " |\n|" + "---|" * len(_COLUMNS), flush=True)
        for row in choose_rows(args.transport, args.driver, args.size, args.rate):
            table.append(measure(row, lap, images, Path(scratch), args))
            print("| " + " | ".join(str(table[-1][name]) for name in _COLUMNS) + " |", flush=True)
    print(f"load {os.getloadavg()[0]:.1f} at the end")
    if args.json:
        args.json.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    return 0 if all(line["enough"] == "yes" for line in table) else 1


def _read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="time of a row (default 10)")
    parser.add_argument("--transport", choices=TRANSPORTS, help="only this one")
    parser.add_argument("--driver", choices=RELIABILITIES, help="only this reliability of the image publisher")
    parser.add_argument("--size", choices=SIZES, help="only this one")
    parser.add_argument("--rate", type=int, help="only this one, in images per second")
    parser.add_argument("--localhost", action="store_true", help="with ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST")
    parser.add_argument("--json", type=Path, help="also write the table to this file")
    return parser.parse_args()


def choose_rows(
    transport: str | None = None, driver: str | None = None, size: str | None = None, rate_hz: int | None = None
) -> list[Row]:
    """Return all rows, or those of some values; compressed images are published best-effort only."""
    chosen = itertools.product(
        [transport] if transport else TRANSPORTS,
        [driver] if driver else RELIABILITIES,
        [size] if size else SIZES,
        [rate_hz] if rate_hz else RATES_HZ,
    )
    rows = [Row(*values) for values in chosen]
    return [row for row in rows if driver or row.transport == "raw" or row.driver == "best_effort"]


def measure(row: Row, lap: Lap, images: list[Array], folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Start a localizer, drive for the time of a row, and return its line of the table."""
    width, height = map(int, row.size.split("x"))
    camera, images = resize_images(lap.camera, images, width, height)
    with free_domain() as variables:
        environment = stock_environment(variables, localhost=args.localhost)
        with Children(environment, folder) as children:
            children.start("localizer", map=str(folder / "map"), image_transport=row.transport)
            robot = LiveRobot(
                camera,
                images,
                list(lap.map_from_camera[:DRIVEN_FRAMES]),
                rate_hz=row.rate_hz,
                compressed=row.transport == "compressed",
                reliable=row.driver == "reliable",
            )
            try:
                robot.wait_for_localizer()
                pids = {"localizer": children.pid("localizer"), "robot": os.getpid()}
                before, start = {name: _cpu_s(pid) for name, pid in pids.items()}, time.monotonic()
                sent = robot.drive(args.seconds)
                took_s = time.monotonic() - start
                used = {f"{name} %": round(100 * (_cpu_s(pid) - before[name]) / took_s) for name, pid in pids.items()}
            finally:
                robot.close()
    latencies_ms = [robot.latencies_ms[stamp] for stamp in sent if stamp in robot.latencies_ms]
    line = {"transport": row.transport, "driver": row.driver, "size": row.size, "Hz": row.rate_hz}
    return line | summarize(sent, robot.statuses, latencies_ms) | used


def summarize(sent: Sequence[int], statuses: Mapping[int, str], latencies_ms: Sequence[float]) -> dict[str, Any]:
    """Return counts, latency, and whether enough images have a status and odometry.

    Args:
        sent: stamps of the images published.
        statuses: name of the status by the stamp of its image.
        latencies_ms: time from publishing to pose, of the localized images.
    """
    names = Counter(statuses[stamp] for stamp in sent if stamp in statuses)
    answered = sum(names.values())
    most = MOST_WITHOUT_ODOMETRY * (answered - names["DROPPED"])
    enough = answered >= ENOUGH_STATUSES * len(sent) and names["NO_ODOMETRY"] <= most
    quantiles = {f"p{q} ms": round(float(np.percentile(latencies_ms, q))) if latencies_ms else "none" for q in (50, 95)}
    counts = {"images": len(sent), "statuses": answered} | {name: names[name] for name in _STATUSES}
    return counts | quantiles | {"enough": "yes" if enough else "no"}


def stock_environment(variables: Mapping[str, str], *, localhost: bool) -> dict[str, str]:
    """Return the environment of a ROS domain with the defaults of Fast DDS, and give it to this process too.

    Discovery is that of a machine as it is installed, in the whole subnet, unless `localhost` is set.
    """
    removed = _PROFILES if localhost else (*_PROFILES, *_DISCOVERY)
    environment = {name: value for name, value in variables.items() if name not in removed}
    for name in removed:
        os.environ.pop(name, None)
    os.environ.update(environment)
    return environment


def _cpu_s(pid: int) -> float:
    """Return the processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main())
