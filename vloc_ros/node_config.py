"""Parameters of the nodes themselves; those of the localizer's stages are in core/config.

Apart from the nodes, so that a command can list them where no ROS is installed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from vloc_ros.core.config import Checked, parameter


@dataclass(frozen=True, slots=True)
class PoseRelayConfig(Checked):
    """Telling another localizer or filter where the robot is."""

    initial_pose: str = parameter(
        "never",
        "when to publish ~/initialpose: at the first fix and jumps, after being lost, or with every fix",
        choices=("never", "on_jump", "when_lost", "always"),
    )
    lost_after_s: float = parameter(
        10.0, "for when_lost: the robot counts as lost after so long without a fix", unit="s", low=0.0, high=3600.0
    )
    max_fix_age_s: float = parameter(
        2.0, "the service feed_initial_pose refuses an older fix", unit="s", low=0.01, high=3600.0
    )
    min_position_std_m: float = parameter(
        0.1, "~/initialpose never claims to be more certain than this", unit="m", low=0.001, high=100.0
    )
    min_rotation_std_rad: float = parameter(
        0.05, "~/initialpose never claims to be more certain than this", unit="rad", low=0.001, high=3.2
    )


@dataclass(frozen=True, slots=True)
class DiagnosticsConfig(Checked):
    """What the localizer says on /diagnostics, and when it warns."""

    period_s: float = parameter(1.0, "diagnostics are published so often", unit="s", low=0.05, high=60.0)
    window_s: float = parameter(10.0, "rates, shares and medians are those of so long", unit="s", low=1.0, high=600.0)
    min_rate_hz: float = parameter(0.5, "fewer images are a warning; 0 takes any", unit="Hz", low=0.0, high=1000.0)
    image_timeout_s: float = parameter(
        5.0, "no image for so long is an error; 0 waits for ever", unit="s", low=0.0, high=3600.0
    )
    max_age_s: float = parameter(
        1.0,
        "images that are older when they come, or as far in the future, are a warning; 0 takes any",
        unit="s",
        low=0.0,
        high=1e6,
    )
    unusable_images: int = parameter(
        3,
        "so many images in a row without calibration, odometry or readable pixels are an error, fewer a warning",
        low=1,
        high=1000,
    )
    min_acceptance: float = parameter(
        0.5, "a smaller share of the answered images with a fix is a warning; 0 takes any", low=0.0, high=1.0
    )
    min_inliers: int = parameter(30, "fewer inliers in the median fix are a warning; 0 takes any", low=0, high=10000)
    budget_ms: float = parameter(
        200.0, "a longer median time per image is a warning; 0 takes any", unit="ms", low=0.0, high=1e5
    )
    fix_warn_s: float = parameter(5.0, "no fix for so long is a warning; 0 never is", unit="s", low=0.0, high=1e5)
    fix_error_s: float = parameter(30.0, "no fix for so long is an error; 0 never is", unit="s", low=0.0, high=1e5)
    map_timeout_s: float = parameter(
        10.0, "without a map so long after activation is an error, before it a warning", unit="s", low=0.0, high=3600.0
    )


@dataclass(frozen=True, slots=True)
class LocalizerNodeConfig(Checked):
    """The localizer node itself; the stages' parameters stand beside these."""

    autostart: bool = parameter(True, "the node configures and activates itself")
    map: str = parameter("", "map folder; empty takes the map that map_server announces")
    map_server: str = parameter("map_server", "name of the node to take the map from")
    map_cache: str = parameter("~/.cache/vloc_ros/maps", "folder for maps fetched from the map server")
    recognizer: str = parameter(
        "", "folder of a landmark recogniser that was trained on the map, or on one that it extends; empty for none"
    )
    encoder: str = parameter(
        "", "folder of the place encoder that the map was encoded by (`vloc map encode`); empty for none"
    )
    base_frame: str = parameter("base_link", "frame whose pose is published; empty takes the camera's own")
    base_from_camera: str = parameter(
        "",
        "where the camera's optical frame sits on the base: x y z qx qy qz qw (metres), with ; between those of a rig; "
        "empty asks TF",
    )
    cameras: str = parameter(
        "", "namespaces of the cameras of a rig, with commas between them; empty: one camera on image and camera_info"
    )
    rig_window_s: float = parameter(
        0.02, "images of a rig whose stamps lie within so long are of one moment", unit="s", low=0.0, high=1.0
    )
    rig_wait_s: float = parameter(
        0.05, "so long after the first image of a moment came the others are waited for", unit="s", low=0.0, high=10.0
    )
    odom_frame: str = parameter("odom", "frame of the odometry")
    publish_tf: str = parameter(
        "map_odom", "transform to publish: with odometry, without, or none", choices=("map_odom", "map_base", "none")
    )
    transform_tolerance_s: float = parameter(
        0.1, "map->odom is stamped so much later than its image", unit="s", low=0.0, high=10.0
    )
    transform_timeout_s: float = parameter(
        0.2, "how long to wait for TF and camera_info of an image", unit="s", low=0.0, high=10.0
    )
    transform_rate_hz: float = parameter(
        20.0, "map->odom is repeated so often between images; 0 does not", unit="Hz", low=0.0, high=1000.0
    )
    two_d_mode: bool = parameter(False, "project the pose to the plane: x, y and heading")
    max_image_age_s: float = parameter(
        0.0, "an older image is refused as stale; 0 takes any", unit="s", low=0.0, high=1e6
    )
    initial_pose_max_age_s: float = parameter(
        30.0,
        "where initialpose says is searched first, until a fix or for so long; 0 ignores it",
        unit="s",
        low=0.0,
        high=3600.0,
    )
    carry_last_fix: bool = parameter(True, "the last fix, carried on by odometry, tells where to look first")
    image_transport: str = parameter("raw", "image, or image/compressed", choices=("raw", "compressed"))
    image_rectified: bool = parameter(False, "images are rectified: P of camera_info is their calibration, not K and D")
    image_reliability: str = parameter(
        "best_effort", "QoS of the image; large raw images need reliable", choices=("best_effort", "reliable")
    )
    image_depth: int = parameter(5, "QoS depth of the image; what overflows it has no status", low=1, high=1000)
    status_depth: int = parameter(50, "QoS depth of status and poses, which are reliable", low=1, high=10000)
    relocalize_timeout_s: float = parameter(
        2.0, "the service relocalize waits so long for a fix", unit="s", low=0.01, high=60.0
    )
    feed: PoseRelayConfig = field(default_factory=PoseRelayConfig)
    diagnostics: DiagnosticsConfig = field(default_factory=DiagnosticsConfig)


@dataclass(frozen=True, slots=True)
class MapServerConfig(Checked):
    """The map server."""

    autostart: bool = parameter(True, "the node configures and activates itself")
    map: str = parameter("", "map folder to load at the start; empty waits for load_map")
    maps_folder: str = parameter("", "folder of the maps that load_map may load; empty allows none")


@dataclass(frozen=True, slots=True)
class PlayerConfig(Checked):
    """The player of bags."""

    bag: str = parameter("", "bag folder or .mcap file")
    rate: float = parameter(1.0, "times the bag's own rate", low=0.01, high=100.0)
    clock: bool = parameter(False, "publish /clock from the bag's times")
    wait_for: str = parameter("", "topic that needs a subscriber before the start; empty waits for none")
    wait_for_localizer: str = parameter(
        "", "localizer that has to have a map, and somebody to listen to its status, before the start; empty for none"
    )
    wait_timeout_s: float = parameter(30.0, "give up waiting after so long", unit="s", low=0.0, high=3600.0)
    skip: str = parameter("", "topics that are not played, with commas between them")
    limit: int = parameter(0, "stop after so many messages of wait_for; 0 plays all", low=0, high=2**31 - 1)
    log: str = parameter("", "file for the monotonic publish time of every stamped message, JSON lines; empty for none")


@dataclass(frozen=True, slots=True)
class RecorderConfig(Checked):
    """The recorder of what the localizer publishes."""

    localizer: str = parameter("localizer", "name of the localizer node")
    out: str = parameter("", "file to write, JSON lines")
    expected: int = parameter(0, "end after a status for so many images; 0 goes on until interrupted", low=0)
