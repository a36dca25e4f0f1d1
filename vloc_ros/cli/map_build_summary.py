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

"""What `vloc map build` says of the map that it has built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vloc_ros.core.map.landmark_map import LandmarkMap

_MOST_NAMED = 5
# the rotations and the positions of poses that are measured together agree better
_MOST_TURNED_DEG = 0.5
# by what the provenance of a map calls them
_CORRECTIONS = (
    (
        "distance_from_given_poses",
        "its cameras lie",
        " from the given poses; the covariance holds how the map lies in their frame",
    ),
    (
        "distance_from_positions",
        "its cameras lie",
        " from the measured positions; the covariance holds how the map lies in their frame",
    ),
    ("drift_of_odometry", "the images correct odometry by", ", where it agrees best with them"),
)


def _covariance(landmark_map: LandmarkMap, gap_m: float) -> str:
    """How many left-out images are localized, most of them in a good map, and the calibration on these."""
    from vloc_ros.mapping.maps.calibration import MIN_SAMPLES, count_localized
    from vloc_ros.mapping.maps.checked_build import LIKELY_CAUSES, USUALLY_LOCALIZED

    calibration, images = landmark_map.scene().calibration, len(landmark_map.keyframes)
    uncalibrated = "covariance NOT calibrated, a typical scale is used"
    if gap_m <= 0:
        return f"{uncalibrated}: switched off by calibration_gap_m=0"
    if images < MIN_SAMPLES:
        return f"{uncalibrated}: {images} images are too few to leave any out, {MIN_SAMPLES} are needed"
    left_out = count_localized(landmark_map.keyframes.translations, gap_m)
    if not calibration.samples:
        return f"{uncalibrated}: fewer than {MIN_SAMPLES} of {left_out} left-out images were localized; {LIKELY_CAUSES}"
    localized = f"{calibration.samples} of {left_out} left-out images localized again"
    line = f"{localized}; covariance calibrated on them (scale {calibration.scale:.2f})"
    return line if calibration.samples >= USUALLY_LOCALIZED * left_out else f"{line}: these are FEW; {LIKELY_CAUSES}"


def _accounted(landmark_map: LandmarkMap, images: int) -> str:
    """What became of every image."""
    from vloc_ros.core.map.keyframes import MIN_POINTS_SEEN

    few = int(landmark_map.keyframes.see_few_points.sum())
    left_out = landmark_map.provenance.get("images_left_out", [])
    parts = [f"{len(landmark_map.keyframes) - few} of {images} images see enough of the map to be localized in it"]
    if few:
        parts.append(f"{few} see fewer than {MIN_POINTS_SEEN} points, so that no image confirms their poses")
    if left_out:
        named = ", ".join(left_out[:_MOST_NAMED]) + (", ..." if len(left_out) > _MOST_NAMED else "")
        parts.append(f"{len(left_out)} left out, since they share too little with the others: {named}")
    return "; ".join(parts)


def _refined(calibration: Mapping[str, Any]) -> str:
    """What became of a calibration."""
    given, refined = calibration["given"], calibration["refined"]
    text = (
        f"calibration refined: focal length {given[0]:.1f} → {refined[0]:.1f} ± {calibration['focal_std_px']:.1f} px, "
        f"principal point ± {calibration['centre_std_px']:.1f} px; pixels move by up to "
        f"{calibration['largest_shift_px']:.1f} px"
    )
    if calibration["converged"]:
        return text
    return f"{text}; NOT converged, the last step was {calibration['last_shift_px']:.1f} px: refine it once more"


def summarize(landmark_map: LandmarkMap, images: int, gap_m: float) -> str:
    """Lines of text on a map of so many images, whose calibration left out segments of `gap_m`."""
    from vloc_ros.core.geometry.camera import unreached_text

    lines = [
        f"{len(landmark_map.points)} points in {len(landmark_map.landmarks)} landmarks",
        _accounted(landmark_map, images),
        _covariance(landmark_map, gap_m),
    ]
    for what, begins, ends in _CORRECTIONS:
        median_m = landmark_map.provenance.get(f"median_{what}_m")
        if median_m is not None:
            most_m = landmark_map.provenance[f"largest_{what}_m"]
            unit, factor = ("cm", 100.0) if landmark_map.metric else ("map units", 1.0)
            lines.append(f"{begins} {factor * median_m:.3g} {unit} (median; at most {factor * most_m:.3g}){ends}")
    turned_deg = landmark_map.provenance.get("common_turn_from_given_poses_deg", 0.0)
    if turned_deg > _MOST_TURNED_DEG:
        lines.append(
            f"all cameras are TURNED by {turned_deg:.1f} deg against the given poses: by the images, the rotations of "
            "these do not fit their positions; check the extrinsics of the camera (base_link to its optical frame)"
        )
    offset_s = landmark_map.provenance.get("time_offset_s")
    if offset_s is not None:
        when = "later" if offset_s > 0 else "earlier"
        lines.append(f"the poses are stamped {1000 * abs(offset_s):.0f} ms {when} than the images")
    lines += [_refined(one) for one in landmark_map.provenance.get("refined_calibrations", [])]
    lines += [text for text in map(unreached_text, set(landmark_map.keyframes.cameras)) if text]
    if not landmark_map.metric:
        lines.append("the scale is unknown: lengths are not metres; `vloc map align` gives the map scale and frame")
    return "\n".join(lines)
