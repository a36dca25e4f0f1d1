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

"""Memory of the nodes over time: a simulated robot drives in circles for twenty minutes at 30 Hz.

    make soak
    python tools/soak.py --minutes 3

Both nodes run as processes in a ROS domain of their own. Their anonymous resident memory (without shared libraries) is
read every ten seconds; the result is its growth from the third minute to the last. The exit code is 1 if that is 5 MB
or more, if a node ended, or if the robot was not localized. The figures of runs of at least twenty minutes are written
to docs/benchmark/soak.json.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.provenance import Watch, keep_figures
from benchmarks.simulated import build_lap_localizer
from tqdm import tqdm

from vloc_ros.core.geometry.pose import Pose
from vloc_ros.evaluation.live_processes import Children, free_domain
from vloc_ros.simulation.scenario import Lap, make_lap, make_scenario
from vloc_ros.storage.maps import write_map

NODES = ("localizer", "map_server")
MINUTES = 20.0
MAP_FRAMES, LAP_FRAMES, SEED = 80, 300, 141
SAMPLE_S, SETTLED_S, MOST_GROWTH_MB, START_S = 10.0, 180.0, 5.0, 60.0
BASE_FROM_CAMERA = Pose.from_rotation_vector([0.0, 0.0, 0.0], [0.1, 0.0, 0.4])


def main() -> int:
    """Run, and print a line a minute; 0 where the nodes kept their memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--rate", type=float, default=30.0, help="images per second")
    args, watch = parser.parse_args(), Watch()
    scenario = make_scenario("room", SEED, map_frames=MAP_FRAMES, query_frames=2)
    localizer = build_lap_localizer(scenario.map_lap)
    lap = make_lap(scenario.map_lap.world, LAP_FRAMES, SEED)
    with tempfile.TemporaryDirectory(prefix="vloc_soak_") as scratch, free_domain() as environment:
        folder = Path(scratch)
        write_map(localizer.map, folder / "map")
        os.environ.update(environment)
        with Children(environment, folder) as children:
            children.start("map_server", map=str(folder / "map"))
            children.start("localizer", map_cache=str(folder / "cache"), image_reliability="reliable")
            figures = _drive(lap, args, {name: children.pid(name) for name in NODES})
    if args.minutes >= MINUTES:
        keep_figures("soak", figures, watch.stop())
    print(json.dumps({name: value for name, value in figures.items() if name != "samples"}, indent=1))
    return 0 if figures["passed"] else 1


def _drive(lap: Lap, args: argparse.Namespace, processes: dict[str, int]) -> dict[str, Any]:
    """Publish images until the time is over, sample the memory, and count the statuses."""
    images = [lap.image(i) for i in tqdm(range(len(lap)), desc="rendering")]
    robot = SoakRobot(lap, images)
    samples: list[dict[str, float]] = []
    start = next_sample = time.monotonic()
    try:
        robot.wait_for_localizer(START_S)
        start = next_sample = time.monotonic()
        for number in range(round(args.minutes * 60 * args.rate)):
            robot.publish(number)
            now = time.monotonic()
            if now >= next_sample:
                samples.append({"s": now - start, **{name: read_anonymous_mb(pid) for name, pid in processes.items()}})
                next_sample += SAMPLE_S
                if len(samples) % 6 == 1:
                    print(f"  {samples[-1]['s'] / 60:5.1f} min  {samples[-1]}  {dict(robot.statuses)}", flush=True)
            robot.spin_until(start + (number + 1) / args.rate)
    finally:
        robot.close()
    return _summarize(samples, robot, args)


def _summarize(samples: list[dict[str, float]], robot: SoakRobot, args: argparse.Namespace) -> dict[str, Any]:
    settled = [sample for sample in samples if sample["s"] >= min(SETTLED_S, args.minutes * 30)]
    growth = {name: measure_growth_mb([sample[name] for sample in settled]) for name in NODES}
    alive = all(np.isfinite(samples[-1][name]) for name in NODES)
    return {
        "minutes": args.minutes,
        "rate_hz": args.rate,
        "statuses": dict(robot.statuses),
        "growth_mb": growth,
        "memory_mb": {name: settled[-1][name] for name in NODES},
        "samples": samples,
        "passed": bool(alive and robot.statuses["OK"] and all(mb < MOST_GROWTH_MB for mb in growth.values())),
    }


def measure_growth_mb(values: list[float]) -> float:
    """Return the difference of the medians of the last and the first minute."""
    part = max(1, min(6, len(values) // 2))
    return float(np.median(values[-part:]) - np.median(values[:part]))


def read_anonymous_mb(pid: int) -> float:
    """Return the anonymous resident memory of a process; NaN if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return float("nan")
    kilobytes = next((line.split()[1] for line in lines if line.startswith("RssAnon")), "nan")
    return float(kilobytes) / 1024


class SoakRobot:
    """Publishes images, calibration, odometry and extrinsics, and counts the statuses."""

    def __init__(self, lap: Lap, images: list[Any], *, localizers: Sequence[str] = ("vloc_localizer",)) -> None:
        import rclpy
        from rclpy.qos import DurabilityPolicy, QoSProfile
        from sensor_msgs.msg import CameraInfo, Image
        from tf2_msgs.msg import TFMessage

        from vloc_msgs.msg import LocalizationStatus
        from vloc_ros.nodes.rclpy_support.conversion import bgr_message, header, status_name, transform_message

        rclpy.init()
        self._rclpy, self._lap = rclpy, lap
        self._node = rclpy.create_node("robot")
        self.statuses: Counter[str] = Counter()
        self._image = self._node.create_publisher(Image, "image", 10)
        self._info = self._node.create_publisher(CameraInfo, "camera_info", 10)
        self._tf = self._node.create_publisher(TFMessage, "/tf", 100)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._static = self._node.create_publisher(TFMessage, "/tf_static", latched)
        self._static.publish(TFMessage(transforms=[transform_message(0, "base_link", "camera", BASE_FROM_CAMERA)]))
        for name in localizers:
            self._node.create_subscription(
                LocalizationStatus, f"{name}/status", lambda m: self.statuses.update([status_name(m.status)]), 100
            )
        self._messages = [bgr_message(0, "camera", image) for image in images]
        model, k, d = lap.camera.to_ros()
        self._calibration = CameraInfo(header=header(0, "camera"), width=lap.camera.width, height=lap.camera.height)
        self._calibration.distortion_model, self._calibration.k, self._calibration.d = model, k, d

    def wait_for_localizer(self, seconds: float) -> None:
        """Wait until the localizer subscribes and has its map."""
        deadline = time.monotonic() + seconds
        number = 0
        while not self.statuses["OK"]:
            if time.monotonic() > deadline:
                raise SystemExit(
                    f"soak: the localizer was not ready within {seconds:g} s; statuses so far: {dict(self.statuses)}"
                )
            self.publish(number)
            number += 1
            self.spin_until(time.monotonic() + 0.2)

    def publish(self, number: int) -> None:
        """Publish odometry, calibration and image of one time."""
        from tf2_msgs.msg import TFMessage

        from vloc_ros.nodes.rclpy_support.conversion import time_message, transform_message

        index, stamp_ns = number % len(self._lap), time.time_ns()
        odom_from_base = self._lap.map_from_camera[index] @ BASE_FROM_CAMERA.inverse()
        transform = transform_message(stamp_ns, "odom", "base_link", odom_from_base)
        message = self._messages[index]
        message.header.stamp = self._calibration.header.stamp = time_message(stamp_ns)
        self._tf.publish(TFMessage(transforms=[transform]))
        self._info.publish(self._calibration)
        self._image.publish(message)

    def spin_until(self, time_s: float) -> None:
        """Receive statuses until a moment of the monotonic clock."""
        while (left := time_s - time.monotonic()) > 0:
            self._rclpy.spin_once(self._node, timeout_sec=left)

    def close(self) -> None:
        """Destroy the node."""
        self._node.destroy_node()
        self._rclpy.shutdown()


if __name__ == "__main__":
    sys.exit(main())
