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

"""Every parameter of the localizer: default, range, unit and description in one place.

The ROS parameters, `vloc config` and the YAML files are all derived from these dataclasses. Radians inside.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields, is_dataclass
from typing import Any, NoReturn, TypeVar

from vloc_ros.core.errors import ConfigError
from vloc_ros.core.parameter_names import RENAMED_VALUES, explain_renamed_parameter, explain_unknown_parameter
from vloc_ros.core.spelling import nearest_name

T = TypeVar("T", bound="Checked")

ENGINES = ("onnx", "tensorrt", "tensorrt_rtx")
PRECISIONS = ("fp32", "fp16", "bf16", "int8")
# ONNX Runtime's names
EXECUTION_PROVIDERS = (
    "CPUExecutionProvider",
    "CUDAExecutionProvider",
    "TensorrtExecutionProvider",
    "OpenVINOExecutionProvider",
)


# largest image that is decoded where no calibration says its size; a file of a few bytes can state any
MOST_MEGAPIXELS = 64.0
_SIZE = re.compile(r"[1-9][0-9]{1,3}x[1-9][0-9]{1,3}")


def parameter(
    default: Any,
    description: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """A dataclass field that knows its description, unit, range (inclusive) or choices."""
    metadata = {"description": description, "unit": unit, "low": low, "high": high, "choices": choices}
    return field(default=default, metadata=metadata)


class Checked:
    """Base of the configuration dataclasses: validates every field against its declaration.

    Raises:
        ConfigError: a value has the wrong type or lies outside its range.
    """

    __slots__ = ()

    def __post_init__(self) -> None:
        for item in fields(self):  # type: ignore[arg-type]
            if item.metadata:
                value = _checked(item, getattr(self, item.name))
                object.__setattr__(self, item.name, value)


def _checked(item: Field[Any], value: Any) -> Any:
    expected = type(item.default)
    if expected is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not expected:
        raise ConfigError(f"parameter {item.name} is {value!r}, expected a {expected.__name__}")
    low, high, choices = item.metadata["low"], item.metadata["high"], item.metadata["choices"]
    too_low = low is not None and not value >= low
    too_high = high is not None and not value <= high
    if too_low or too_high:
        unit = f" {item.metadata['unit']}" if item.metadata["unit"] else ""
        raise ConfigError(f"parameter {item.name} is {value}, expected {low} to {high}{unit}")
    if choices and (now := RENAMED_VALUES.get((item.name, value))):
        raise ConfigError(f"parameter {item.name} is {value!r}, which is now {now!r}")
    if choices and value not in choices:
        raise ConfigError(f"parameter {item.name} is {value!r}, expected one of {', '.join(choices)}")
    return value


@dataclass(frozen=True, slots=True)
class CandidateConfig(Checked):
    """Where in the map a query is searched for."""

    whole_map_max_points: int = parameter(
        2_000_000, "largest map, in points, that is searched as a whole", low=0, high=10_000_000
    )
    retrieval: str = parameter(
        "auto",
        "retrieval where the map is too large to be searched as a whole: model takes the index of a learned global "
        "descriptor (`vloc map encode`), vlad the index that every built map has, auto the model where one is given",
        choices=("auto", "model", "vlad", "none"),
    )
    retrieval_top_k: int = parameter(20, "keyframes retrieved", low=1, high=1000)
    landmarks: str = parameter(
        "auto",
        "landmarks that show where to search a large map: recognized by a trained model, or voted for by the nearest "
        "map points; auto takes the model where one is given",
        choices=("auto", "recognized", "voted", "none"),
    )
    landmarks_min_points: int = parameter(
        30000, "a map with fewer points is searched as a whole first, which is faster", low=0, high=10_000_000
    )
    landmark_regions: int = parameter(5, "regions of the map that landmarks point to, at most", low=1, high=100)
    competitor_similarity: float = parameter(
        0.5, "regions this similar, relative to the most similar, are re-ranked together", low=0.0, high=1.0
    )
    prior_max_position_std_m: float = parameter(
        5.0, "a prior less certain than this is ignored", unit="m", low=0.0, high=1000.0
    )
    prior_max_points: int = parameter(
        10000,
        "of more points that may be visible from a prior, those of the most keyframes are matched; 0 ignores priors",
        low=0,
        high=10_000_000,
    )


@dataclass(frozen=True, slots=True)
class MatcherConfig(Checked):
    """Which keypoint shows which map point."""

    ratio: float = parameter(
        0.9, "nearest distance over the nearest to another part of the map, at most", low=0.1, high=1.0
    )
    same_place_radius_m: float = parameter(
        0.05, "neighbours nearer than this to the best one do not compete with it", unit="m", low=0.0, high=100.0
    )
    search_breadth: int = parameter(
        16,
        "inverted lists searched for a keypoint, of 4096 at most, half of them for a sample of the keypoints; more are "
        "slower and find more",
        low=1,
        high=4096,
    )
    last_pass: str = parameter(
        "on_request",
        "when a learned matcher, where one is given, tries an image that nearest neighbours did not localize: always, "
        "or on request alone, of the service relocalize and of the commands",
        choices=("never", "on_request", "always"),
    )
    last_pass_keyframes: int = parameter(3, "keyframes that it matches the image with, at most", low=1, high=100)
    last_pass_s: float = parameter(1.5, "after this time it begins with no other one", unit="s", low=0.01, high=600.0)


@dataclass(frozen=True, slots=True)
class PoseConfig(Checked):
    """LO-RANSAC and refinement."""

    max_error_px: float = parameter(8.0, "reprojection error of an inlier, at most", unit="px", low=0.5, high=100.0)
    max_iterations: int = parameter(5000, "RANSAC iterations, at most", low=10, high=1_000_000)
    confidence: float = parameter(0.9999, "RANSAC stops at this success probability", low=0.5, high=1.0)
    seed: int = parameter(0, "seed of the sampling; equal input gives equal output", low=0, high=2**31 - 1)


@dataclass(frozen=True, slots=True)
class VerificationConfig(Checked):
    """When a pose is accepted."""

    min_matches: int = parameter(12, "matches needed before a pose is estimated", low=4, high=10000)
    false_accept_rate: float = parameter(
        0.0,
        "share of the images of other places that may be accepted; 0 for the smallest that measured negatives support",
        low=0.0,
        high=0.5,
    )
    negative_share: float = parameter(
        0.5,
        "share of wrong hypotheses that the published confidence assumes; the fix filter weighs fixes by it",
        low=0.001,
        high=0.999,
    )
    max_position_std_m: float = parameter(
        1.0, "standard deviation of the position, at most", unit="m", low=0.001, high=1000.0
    )


@dataclass(frozen=True, slots=True)
class KeyframeConfig(Checked):
    """Selection of keyframes while the robot drives."""

    min_translation_m: float = parameter(
        0.15, "motion of the camera from one keyframe to the next", unit="m", low=0.0, high=100.0
    )
    min_rotation_rad: float = parameter(
        0.15, "rotation of the camera to the next keyframe; either is enough", unit="rad", low=0.0, high=3.2
    )
    max_excess_blur: float = parameter(
        0.1, "an image more blurred than the median of the latest ones by this is left out; 1 takes all", low=0.0,
        high=1.0,
    )  # fmt: skip
    max_speed_m_s: float = parameter(
        5.0, "odometry faster than this has jumped, which ends the recording", unit="m/s", low=0.1, high=200.0
    )


@dataclass(frozen=True, slots=True)
class FixFilterConfig(Checked):
    """Gating of fixes by odometry."""

    enabled: bool = parameter(True, "hold a fix that contradicts the last one until others confirm it")
    confirmations: int = parameter(3, "consecutive fixes that must agree before a jump is accepted", low=2, high=1000)
    confirmations_standing: int = parameter(
        10, "the same while the robot stands still and its view does not change", low=1, high=1000
    )
    first_confirmations: int = parameter(2, "consecutive fixes that must agree at the start", low=1, high=1000)
    moved_m: float = parameter(0.05, "translation that changes the view", unit="m", low=0.0, high=10.0)
    moved_rad: float = parameter(0.05, "rotation that changes the view", unit="rad", low=0.0, high=3.15)
    tolerance_m: float = parameter(
        0.03, "standard deviation that time stamps and the map add to a step", unit="m", low=0.0, high=10.0
    )
    tolerance_rad: float = parameter(0.02, "the same of the rotation", unit="rad", low=0.0, high=3.15)
    odometry_position_drift: float = parameter(0.05, "standard deviation of odometry per metre", low=0.0, high=10.0)
    odometry_turn_drift: float = parameter(0.05, "standard deviation of odometry per radian", low=0.0, high=10.0)
    odometry_heading_drift: float = parameter(
        0.02, "standard deviation of the heading of odometry per metre", unit="rad/m", low=0.0, high=3.15
    )
    max_speed_m_s: float = parameter(
        1.0,
        "highest speed of the robot; odometry five times as fast counts as a reset",
        unit="m/s",
        low=0.0,
        high=100.0,
    )
    max_turn_rate_rad_s: float = parameter(1.0, "highest turn rate", unit="rad/s", low=0.0, high=100.0)


@dataclass(frozen=True, slots=True)
class CloudConfig(Checked):
    """Scans against the LiDAR places of a map."""

    retrieval_top_k: int = parameter(
        40, "places retrieved by the scan's descriptor, before they are compared from above", low=1, high=1000
    )
    places: int = parameter(4, "of these, how many the scan is aligned with at least", low=1, high=100)
    most_places: int = parameter(12, "the same at most, where many resemble it alike", low=1, high=1000)
    global_places: int = parameter(
        1, "with how many it is aligned without an initial guess where no alignment convinces", low=0, high=100
    )
    prior_places: int = parameter(
        2, "with a prior, the nearest places, which the scan is aligned with too; 0 ignores priors", low=0, high=100
    )
    false_accept_rate: float = parameter(
        0.0,
        "share of the scans of other places that may be accepted; 0 for the smallest that measured negatives support",
        low=0.0,
        high=0.5,
    )
    threads: int = parameter(
        1, "threads of the alignment; where other programs need the cores too, more are slower", low=1, high=256
    )


@dataclass(frozen=True, slots=True)
class MovingCameraConfig(Checked):
    """Clouds of a camera's last images against the LiDAR places of a map without landmarks."""

    reach_m: float = parameter(
        1.0, "horizontal distance from the camera to the next LiDAR place at most", unit="m", low=0.1, high=50.0
    )
    reach_up_m: float = parameter(
        0.5, "vertical distance from the camera to the next LiDAR place at most", unit="m", low=0.0, high=50.0
    )
    least_clouds: int = parameter(
        2, "clouds that share no images which a pose needs at least; a single one fits many places", low=1, high=4
    )
    max_gap_s: float = parameter(
        2.0,
        "time without an image, or without odometry, that drops all before",
        unit="s",
        low=0.05,
        high=60.0,
    )
    max_image_width_px: int = parameter(
        640, "wider images are reduced to it before they are kept, 20 at most", unit="px", low=160, high=4096
    )
    odometry_z_is_up: bool = parameter(
        False, "the z axis of odom_frame points up, also where the camera's motion looks as if it did not"
    )
    scale_std: float = parameter(
        0.01, "standard deviation of the relative error of odometry's distances", low=0.0, high=0.5
    )
    yaw_std_rad: float = parameter(
        0.0017, "standard deviation of odometry's yaw after one metre", unit="rad", low=0.0, high=0.5
    )
    focal_std: float = parameter(
        0.003, "standard deviation of the relative error of the focal length", low=0.0, high=0.5
    )
    extrinsics_std_rad: float = parameter(
        0.0035,
        "standard deviation of the rotation between the camera and odometry, about each axis",
        unit="rad",
        low=0.0,
        high=0.5,
    )


@dataclass(frozen=True, slots=True)
class TileConfig(Checked):
    """Views from above against the aerial tiles of a map."""

    enabled: bool = parameter(
        True, "views are searched among the map's aerial tiles where its landmarks have no answer"
    )
    retrieval_top_k: int = parameter(8, "tiles retrieved by the view's descriptor", low=1, high=1000)
    max_error_px: float = parameter(
        6.0, "largest distance on the ground of an inlier, in pixels of the tile", unit="px", low=0.5, high=50.0
    )
    false_accept_rate: float = parameter(
        0.0,
        "share of the views of other places that may be accepted; 0 for the smallest that measured negatives support",
        low=0.0,
        high=0.5,
    )


@dataclass(frozen=True, slots=True)
class TrackingConfig(Checked):
    """What a prior saves."""

    image_scale: float = parameter(
        0.5,
        "with a prior the image is tried at this scale first, and in full where that fails; networks take 0.7 at least",
        low=0.1,
        high=1.0,
    )
    min_image_width_px: int = parameter(320, "the image is not made smaller than this", unit="px", low=16, high=100000)


@dataclass(frozen=True, slots=True)
class InferenceConfig(Checked):
    """What learned models run on, all of a localizer alike.

    Raises:
        ConfigError: a value lies outside its range, or ONNX Runtime is given a precision: there it is the model's own.
    """

    engine: str = parameter(
        "onnx",
        "what runs the models: ONNX Runtime, or an engine that `vloc model build` made by TensorRT or TensorRT-RTX; "
        "one that cannot run is refused, never replaced by another",
        choices=ENGINES,
    )
    precision: str = parameter(
        "fp32", "of the engine by TensorRT; for ONNX Runtime it is that of the model itself", choices=PRECISIONS
    )
    provider: str = parameter(
        "CPUExecutionProvider",
        "execution provider of ONNX Runtime; one that is not there is refused, `vloc doctor` lists those that are",
        choices=EXECUTION_PROVIDERS,
    )
    threads: int = parameter(0, "threads of one model on the CPU; 0 for one per core", low=0, high=1024)
    engine_wait_s: float = parameter(
        600.0, "for an engine that `vloc model build` is making when it is needed", unit="s", low=0, high=86400
    )
    while_building: str = parameter(
        "wait",
        "what the localizer node does while an engine is not built: wait stays unconfigured, onnx runs the models in "
        "float32 on ONNX Runtime, says so on /diagnostics, and takes the engine as soon as it is there",
        choices=("wait", "onnx"),
    )
    warm_up_sizes: str = parameter(
        "640x480",
        "sizes of the images to come, WIDTHxHEIGHT with commas between; the localizer node localizes noise of each "
        "when it is configured, so that libraries and engines are loaded before the first image; one that is reduced "
        "to the map's resolution runs in another shape, whose first run may take longer",
    )

    @property
    def image_sizes(self) -> list[tuple[int, int]]:
        """Width and height of the images to come.

        Raises:
            ConfigError: `warm_up_sizes` has another form.
        """
        words = self.warm_up_sizes.split(",")
        if not all(_SIZE.fullmatch(word) for word in words):
            raise ConfigError(
                f"inference.warm_up_sizes is {self.warm_up_sizes!r}, expected sizes such as 640x480 or 640x480,1280x720"
            )
        width_and_height = [word.split("x") for word in words]
        return [(int(width), int(height)) for width, height in width_and_height]

    def __post_init__(self) -> None:
        Checked.__post_init__(self)
        _ = self.image_sizes
        if self.engine == "onnx" and self.precision != "fp32":
            raise ConfigError(
                f"inference.precision is {self.precision} with inference.engine onnx, expected fp32: ONNX Runtime "
                "keeps to the types of the model; name a model that `vloc model build --engine onnx` wrote, or choose "
                "tensorrt or tensorrt_rtx"
            )


@dataclass(frozen=True, slots=True)
class LocalizerConfig(Checked):
    """All stages of a localizer, and the gating of images in a row. The extractor is the map's own."""

    candidates: CandidateConfig = field(default_factory=CandidateConfig)
    matcher: MatcherConfig = field(default_factory=MatcherConfig)
    pose: PoseConfig = field(default_factory=PoseConfig)
    verification: VerificationConfig = field(default_factory=VerificationConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    clouds: CloudConfig = field(default_factory=CloudConfig)
    moving_camera: MovingCameraConfig = field(default_factory=MovingCameraConfig)
    tiles: TileConfig = field(default_factory=TileConfig)
    fix_filter: FixFilterConfig = field(default_factory=FixFilterConfig)
    inference: InferenceConfig = field(default_factory=InferenceConfig)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One leaf of a configuration: its dotted name, value and declaration."""

    name: str
    value: Any
    description: str
    unit: str
    low: float | None
    high: float | None
    choices: tuple[str, ...]


def parameters_of(config: Any, prefix: str = "") -> Iterator[Parameter]:
    """Every leaf of a configuration dataclass, depth first, names joined by dots."""
    for item in fields(config):
        value = getattr(config, item.name)
        if is_dataclass(value):
            yield from parameters_of(value, f"{prefix}{item.name}.")
        else:
            yield Parameter(f"{prefix}{item.name}", value, **item.metadata)


def config_from_mapping(kind: type[T], values: Mapping[str, Any], prefix: str = "") -> T:
    """A configuration from nested mappings, as YAML gives them; what is not named keeps its default.

    Raises:
        ConfigError: a name is unknown or was renamed, a value has the wrong type or lies outside its range.
    """
    _check_names(kind, values, prefix, list(_names_of(kind, prefix)))
    return _build(kind, values, prefix)


def _build(kind: type[T], values: Mapping[str, Any], prefix: str) -> T:
    declared = {item.name: item for item in fields(kind)}  # type: ignore[arg-type]
    arguments: dict[str, Any] = {}
    for name, value in values.items():
        item = declared[name]
        if item.metadata:
            arguments[name] = value
        elif isinstance(value, Mapping):
            nested: Any = item.default_factory
            arguments[name] = _build(nested, value, f"{prefix}{name}.")
        else:
            raise ConfigError(f"parameter {prefix}{name} is {value!r}, expected a group of parameters")
    return kind(**arguments)


def _names_of(kind: Any, prefix: str) -> Iterator[str]:
    """The dotted names of all parameters of a configuration class."""
    for item in fields(kind):
        if item.metadata:
            yield f"{prefix}{item.name}"
        else:
            yield from _names_of(item.default_factory, f"{prefix}{item.name}.")


def _check_names(kind: Any, values: Mapping[str, Any], prefix: str, names: Sequence[str]) -> None:
    """Raise ConfigError for a name that is not declared; `names` are those of the whole configuration."""
    declared = {item.name: item for item in fields(kind)}
    for name in sorted(set(values) - set(declared)):
        _refuse_unknown(f"{prefix}{name}", values[name], names, beside=declared)
    for name, value in values.items():
        if not declared[name].metadata and isinstance(value, Mapping):
            _check_names(declared[name].default_factory, value, f"{prefix}{name}.", names)


def _refuse_unknown(name: str, value: Any, names: Sequence[str], *, beside: Iterable[str]) -> NoReturn:
    """Raise ConfigError for a parameter or a group of them."""
    leaves = [f"{name}.{leaf}" for leaf in value] if isinstance(value, Mapping) else []
    for former in (*leaves, name):
        if explanation := explain_renamed_parameter(former):
            raise ConfigError(explanation)
    meant = next((leaf for leaf in leaves or [name] if nearest_name(leaf, names)), None)
    raise ConfigError(explain_unknown_parameter(meant, names) if meant else explain_unknown_parameter(name, beside))
