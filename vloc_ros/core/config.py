"""Every parameter of the localizer: default, range, unit and description in one place.

The ROS parameters, `vloc config` and the YAML files are all derived from these dataclasses. Radians inside.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import Field, dataclass, field, fields, is_dataclass
from typing import Any, TypeVar

from vloc_ros.core.errors import ConfigError

T = TypeVar("T", bound="Checked")


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
    if choices and value not in choices:
        raise ConfigError(f"parameter {item.name} is {value!r}, expected one of {', '.join(choices)}")
    return value


@dataclass(frozen=True, slots=True)
class ExtractorConfig(Checked):
    """Keypoints. Fixed when a map is built, and stored with it."""

    name: str = parameter("rootsift", "keypoint extractor", choices=("rootsift",))
    max_keypoints: int = parameter(1500, "keypoints per image, strongest first", low=50, high=20000)
    contrast_threshold: float = parameter(0.02, "SIFT contrast threshold; lower finds more", low=0.001, high=0.2)


@dataclass(frozen=True, slots=True)
class CandidateConfig(Checked):
    """Where to look in the map."""

    whole_map_max_points: int = parameter(
        2_000_000, "largest map, in points, that is searched as a whole", low=0, high=10_000_000
    )
    places: str = parameter(
        "auto",
        "place index to ask where a map is too large to be searched as a whole: by a learned encoder (`vloc map "
        "encode`), or by VLAD, which every built map has; auto takes the encoder where one is given",
        choices=("auto", "student", "vlad", "none"),
    )
    places_top_k: int = parameter(20, "keyframes taken from the place index", low=1, high=1000)
    landmarks: str = parameter(
        "auto",
        "how large maps are asked for places by landmarks: recognised by a trained model, or voted for by the nearest "
        "points of the map; auto takes the model where one is given",
        choices=("auto", "recognized", "voted", "none"),
    )
    landmarks_min_points: int = parameter(
        30000, "a smaller map is searched as a whole first, which is faster there", low=0, high=10_000_000
    )
    landmark_places: int = parameter(5, "places that landmarks point to, at most", low=1, high=100)
    rival_likeness: float = parameter(
        0.5, "places this likely, over the likeliest, are compared with it", low=0.0, high=1.0
    )
    prior_max_position_std_m: float = parameter(
        5.0, "a prior less certain than this is ignored", unit="m", low=0.0, high=1000.0
    )
    prior_max_points: int = parameter(
        10000, "a prior from which more points than this may be seen is ignored", low=0, high=10_000_000
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
    max_distance_in_window: float = parameter(
        0.5, "descriptor distance of a match where a prior says where to look, at most", low=0.01, high=2.0
    )
    search_breadth: int = parameter(
        16,
        "lists of points, 4096 at most, that a keypoint is looked for in; more is slower and finds more",
        low=1,
        high=4096,
    )


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
    min_inliers: int = parameter(25, "inliers needed to accept", low=4, high=10000)
    min_inlier_ratio: float = parameter(0.1, "inliers over matches needed to accept", low=0.0, high=1.0)
    min_support: float = parameter(
        0.08, "inliers over the map points that should be seen from there, at least", low=0.0, high=1.0
    )
    min_coverage: float = parameter(
        0.4, "part of the image regions with expected points that hold an inlier, at least", low=0.0, high=1.0
    )
    min_explained: float = parameter(
        0.33, "part of the keypoints that lie in image regions with an inlier, at least", low=0.0, high=1.0
    )
    min_spread: float = parameter(
        0.25, "area of the inliers' convex hull over the area of the image, at least", low=0.0, high=1.0
    )
    min_found_again: float = parameter(
        0.5,
        "where few keypoints are matched distinctly, as at night: part of the image that must be found again from the "
        "pose that they tell",
        low=0.0,
        high=1.0,
    )
    min_lead: float = parameter(
        0.08,
        "by how much more the image must look like what an answer expects than like what another one expects",
        low=0.0,
        high=1.0,
    )
    max_position_std_m: float = parameter(
        1.0, "standard deviation of the position, at most", unit="m", low=0.001, high=1000.0
    )


@dataclass(frozen=True, slots=True)
class FixFilterConfig(Checked):
    """When a fix that odometry does not carry is believed."""

    enabled: bool = parameter(True, "hold a fix that disagrees with the last one until others confirm it")
    confirmations: int = parameter(3, "fixes in a row that must agree before a jump is believed", low=2, high=1000)
    confirmations_standing: int = parameter(
        10, "the same while the robot stands and sees the same again", low=1, high=1000
    )
    first_confirmations: int = parameter(2, "fixes in a row that must agree at the start", low=1, high=1000)
    moved_m: float = parameter(0.05, "a robot that moved by this sees something else", unit="m", low=0.0, high=10.0)
    moved_rad: float = parameter(0.05, "or turned by this", unit="rad", low=0.0, high=3.15)
    tolerance_m: float = parameter(
        0.03, "standard deviation of what time stamps and the map add to a step", unit="m", low=0.0, high=10.0
    )
    tolerance_rad: float = parameter(0.02, "the same of the rotation", unit="rad", low=0.0, high=3.15)
    odometry_position_drift: float = parameter(0.05, "standard deviation of odometry per metre", low=0.0, high=10.0)
    odometry_turn_drift: float = parameter(0.05, "standard deviation of odometry per radian", low=0.0, high=10.0)
    odometry_heading_drift: float = parameter(
        0.02, "standard deviation of the heading of odometry per metre", unit="rad/m", low=0.0, high=3.15
    )
    max_speed_m_s: float = parameter(
        1.0,
        "the fastest that the robot goes; odometry five times as fast was set anew",
        unit="m/s",
        low=0.0,
        high=100.0,
    )
    max_turn_rate_rad_s: float = parameter(1.0, "the fastest that it turns", unit="rad/s", low=0.0, high=100.0)


@dataclass(frozen=True, slots=True)
class TrackingConfig(Checked):
    """What is saved when it is known where to look."""

    image_scale: float = parameter(
        0.5, "with a prior the image is first looked at in this scale, in full only when that fails", low=0.1, high=1.0
    )
    min_image_width_px: int = parameter(320, "the image is not made smaller than this", unit="px", low=16, high=100000)


@dataclass(frozen=True, slots=True)
class LocalizerConfig(Checked):
    """All stages of a localizer, and what it makes of images in a row. The extractor is the map's own."""

    proposals: CandidateConfig = field(default_factory=CandidateConfig)
    matcher: MatcherConfig = field(default_factory=MatcherConfig)
    pose: PoseConfig = field(default_factory=PoseConfig)
    verification: VerificationConfig = field(default_factory=VerificationConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    fix_filter: FixFilterConfig = field(default_factory=FixFilterConfig)


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
        ConfigError: a name is unknown, a value has the wrong type or lies outside its range.
    """
    declared = {item.name: item for item in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(declared))
    if unknown:
        raise ConfigError(f"unknown parameter {prefix}{unknown[0]}, expected one of {', '.join(declared)}")
    arguments: dict[str, Any] = {}
    for name, value in values.items():
        item = declared[name]
        if item.metadata:
            arguments[name] = value
        elif isinstance(value, Mapping):
            nested: Any = item.default_factory
            arguments[name] = config_from_mapping(nested, value, f"{prefix}{name}.")
        else:
            raise ConfigError(f"parameter {prefix}{name} is {value!r}, expected a group of parameters")
    return kind(**arguments)
