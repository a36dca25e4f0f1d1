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

"""Locate images from above in a map of aerial tiles: latitude, longitude, heading, and how good they are.

  vloc aerial locate MAP IMAGE... --camera FILE --nadir                     a gimbal that looks straight down
  vloc aerial locate MAP IMAGE... --camera FILE --gravity X Y Z --altitude METRES

What is known narrows the search and makes the answer better: gravity in the camera's optical frame, altitude above the
ground, heading of the upper edge of the image. Without gravity the tilt is estimated from the matches. An image of
another place, of water or of the horizon is refused with the reason.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vloc_ros.cli.camera_options import add_camera_or_focal_px, check_focal_px

if TYPE_CHECKING:
    from vloc_ros.core.geometry.geodetic import Datum
    from vloc_ros.core.localization.ground_view import AerialQuery
    from vloc_ros.core.localization.result import LocalizationResult

# of a gimbal that looks straight down, degrees
_NADIR_STD_DEG = 0.5


def register(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("map", type=Path, metavar="MAP", help="map folder, from `vloc map aerial build`")
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="images of one camera")
    add_camera_or_focal_px(parser, required=True)
    down = parser.add_mutually_exclusive_group()
    down.add_argument("--nadir", action="store_true", help="the camera looks straight down, as a gimbal holds it")
    down.add_argument(
        "--gravity", type=float, nargs=3, metavar=("X", "Y", "Z"), help="direction of gravity in the optical frame"
    )
    parser.add_argument("--altitude", type=float, metavar="METRES", help="above the ground")
    parser.add_argument(
        "--heading",
        type=float,
        metavar="DEG",
        help="of the upper edge, clockwise from north; poses more than 34 deg off are excluded",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line instead of text for people")


def run(args: argparse.Namespace) -> int:
    """Locate the images."""
    from vloc_ros.assembly import build_tile_search
    from vloc_ros.core.config import LocalizerConfig
    from vloc_ros.storage.images import read_image
    from vloc_ros.storage.manifests import require_map
    from vloc_ros.storage.maps import read_map

    check_focal_px(args)
    require_map(args.map, build="vloc map aerial build")
    landmark_map = read_map(args.map)
    datums = {scene.frame_id: scene.datum for scene in landmark_map.scenes}
    search = build_tile_search(LocalizerConfig(), landmark_map)
    for path in args.images:
        query = _query(args, read_image(path), datums)
        result = search.localize(query)
        answer = describe_answer(result, datums.get(result.frame_id))
        print(json.dumps({"image": path.name, **answer}) if args.json else _format(path.name, answer))
    return 0


def _query(args: argparse.Namespace, image: Any, datums: dict[str, Datum | None]) -> AerialQuery:
    import numpy as np

    from vloc_ros.core.errors import InputError
    from vloc_ros.core.geometry.camera import Camera
    from vloc_ros.core.localization.ground_view import AerialQuery
    from vloc_ros.core.query import View
    from vloc_ros.storage.cameras import read_camera

    height, width = image.shape[:2]
    if args.camera:
        camera = read_camera(args.camera)
    else:
        camera = Camera("SIMPLE_PINHOLE", width, height, (args.focal_px, width / 2, height / 2))
    down, yaw = None, None
    if args.nadir:
        down = np.array([0.0, 0.0, 1.0])
    elif args.gravity:
        length = float(np.linalg.norm(args.gravity))
        if not 0 < length < np.inf:
            raise InputError(f"--gravity is {args.gravity}, expected a direction in the optical frame (z forward)")
        down = np.array(args.gravity) / length
    if args.heading is not None:
        datum = next(iter(datums.values()))
        if datum is None or len(datums) > 1:
            raise InputError("--heading is from north, and the map has no datum, or several scenes; leave it out")
        yaw = float(np.pi / 2 - np.radians(args.heading) - datum.yaw_rad)
    std = np.radians(_NADIR_STD_DEG) if args.nadir else 0.03
    return AerialQuery(View(image, camera), down, float(std), args.altitude, yaw_rad=yaw)


def describe_answer(result: LocalizationResult, datum: Datum | None) -> dict[str, Any]:
    """JSON values: the position on Earth where the map has a datum, the pose in the map, or why there is none."""
    import numpy as np

    from vloc_ros.core.geometry.earth_pose import EarthPose

    answer: dict[str, Any] = {
        "status": result.status.value,
        "confidence": round(result.confidence, 4),
        "inliers": result.inliers,
    }
    if result.map_from_rig is None or result.covariance is None:
        return {**answer, "reason": result.reason}
    pose, covariance = result.map_from_rig, result.covariance
    answer |= {
        "frame_id": result.frame_id,
        "position": [round(float(v), 3) for v in pose.translation],
        "orientation": [float(v) for v in pose.quaternion],
        "position_std_m": [round(float(v), 3) for v in np.sqrt(np.diag(covariance)[:3])],
    }
    if datum is not None:
        earth = EarthPose.of_camera(datum, pose, covariance)
        answer |= {
            "latitude": round(earth.latitude, 8),
            "longitude": round(earth.longitude, 8),
            "altitude_m": None if np.isnan(earth.altitude_m) else round(earth.altitude_m, 2),
            "heading_deg": round(float(np.degrees(earth.heading_rad)), 2),
            "heading_std_deg": round(float(np.degrees(earth.heading_std_rad)), 2),
            "earth_std_m": [round(float(v), 3) for v in np.sqrt(np.diag(earth.covariance))],
        }
    return answer


def _format(name: str, answer: dict[str, Any]) -> str:
    if "reason" in answer:
        return f"{name}  {answer['status'].replace('_', ' ')}: {answer['reason']}"
    x, y, z = answer["position"]
    quality = f"{answer['inliers']} inliers, confidence {answer['confidence']:.1%}"
    if "latitude" not in answer:
        return f"{name}  x {x:.2f} y {y:.2f} z {z:.2f} m in {answer['frame_id']}; {quality}"
    across = max(answer["earth_std_m"][:2])
    return (
        f"{name}  {answer['latitude']:.7f} {answer['longitude']:.7f} +- {across:.2f} m, heading "
        f"{answer['heading_deg']:.1f} +- {answer['heading_std_deg']:.1f} deg, "
        f"z {z:.1f} m in {answer['frame_id']}; {quality}"
    )
