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

"""Move a map into another frame, such as a nav2 map's.

  vloc map align MAP --gravity --out MAP2            turn z up and keep the heading
  vloc map align MAP --pairs FILE --out MAP2         rows `mx my mz tx ty tz`: a point in the map and in the target
  vloc map align MAP --trajectory TUM --out MAP2     rows of target_from_camera, as for `map build`

`#` starts a comment in both files. A map whose lengths are metres keeps its scale unless --scale is given; one of
unknown scale takes the target's, which is in metres. Rows that contradict the others are left out of the fit; the
table shows how far off the worst one is. --gravity estimates the vertical from the keyframes' cameras, which must be
held level on the whole. A datum (`vloc map georeference`) moves along where the new frame is level, of the same scale
and has its origin near; otherwise the map loses it, and a note says so.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vloc_ros.core.geometry.pose import Array
    from vloc_ros.core.geometry.similarity import Similarity
    from vloc_ros.mapping.maps.alignment_targets import AlignmentTarget


def register(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("map", type=Path, metavar="MAP", help="map folder, from `vloc map build`")
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--gravity", action="store_true", help="turn z up")
    target.add_argument("--pairs", type=Path, metavar="FILE", help="points in the map and in the target frame")
    target.add_argument("--trajectory", type=Path, metavar="TUM", help="keyframe poses in the target frame")
    parser.add_argument("--scale", action="store_true", help="change the scale of a map that is in metres too")
    parser.add_argument("--frame-id", metavar="NAME", help="ROS frame of the result; default: the map's own")
    parser.add_argument("--out", type=Path, required=True, metavar="MAP2", help="map folder to write, not MAP itself")


def run(args: argparse.Namespace) -> int:
    """Align the map and write it."""
    from vloc_ros.cli.outputs import map_at, name_at
    from vloc_ros.cli.source_options import note
    from vloc_ros.core.errors import InputError
    from vloc_ros.mapping.maps.alignment_targets import align_map
    from vloc_ros.storage.maps import map_hash, read_map, write_map

    check_options(args)
    out, landmark_map = map_at(args.out), read_map(args.map)
    if len(landmark_map.scenes) > 1:
        raise InputError(
            f"{args.map}: has {len(landmark_map.scenes)} scenes, expected one; align maps, then merge them"
        )
    aligned = align_map(
        landmark_map,
        _target(args),
        source_hash=map_hash(args.map),
        change_scale=args.scale,
        frame_id=args.frame_id,
    )
    named = replace(aligned.landmark_map, name=name_at(args.out, landmark_map.name, source=args.map))
    digest = write_map(named, args.out)
    if aligned.datum_dropped:
        note(f"the map has no datum any more: {aligned.datum_dropped}")
    print(format_alignment(aligned.target_from_map, aligned.residuals, "m" if named.metric else "units of the map"))
    print(f"map {digest[:12]} in frame {named.scene().frame_id} {out}")
    return 0


def check_options(args: argparse.Namespace) -> None:
    """Combinations that argparse cannot rule out."""
    from vloc_ros.core.errors import InputError

    if args.out.resolve() == args.map.resolve():
        raise InputError(f"--out is {args.out}, the map itself; name another folder, a map is not changed in place")
    if args.frame_id is not None and not args.frame_id.strip("/ "):
        raise InputError(f"--frame-id is {args.frame_id!r}, expected the name of a ROS frame such as map")
    if args.gravity and args.scale:
        raise InputError("--scale goes with --pairs or --trajectory, found --gravity, which gives no scale")


def _target(args: argparse.Namespace) -> AlignmentTarget:
    from vloc_ros.mapping.maps.alignment_targets import GravityTarget, PairsTarget, TrajectoryTarget

    if args.gravity:
        return GravityTarget()
    return PairsTarget(args.pairs) if args.pairs else TrajectoryTarget(args.trajectory)


def format_alignment(target_from_map: Similarity, residuals: Array | None, unit: str) -> str:
    """Lines of aligned text: the similarity, and the residuals where there are any."""
    import numpy as np

    from vloc_ros.core.geometry.pose import Pose

    turn_deg = np.degrees(np.linalg.norm(Pose(target_from_map.rotation, np.zeros(3)).rotation_vector))
    shift = " ".join(f"{value:.3f}" for value in target_from_map.translation)
    rows = [("scale", f"{target_from_map.scale:.6g}"), ("turn", f"{turn_deg:.2f} deg"), ("shift", f"{shift} {unit}")]
    if residuals is not None:
        worst = int(residuals.argmax())
        rows += [
            ("pairs", f"{len(residuals)}"),
            ("rms", f"{np.sqrt((residuals**2).mean()):.4f} {unit}"),
            ("median", f"{np.median(residuals):.4f} {unit}"),
            ("max", f"{residuals[worst]:.4f} {unit} (row {worst + 1})"),
        ]
    return "\n".join(f"{name:<8}{value}" for name, value in rows)
