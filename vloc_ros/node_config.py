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

"""Parameters of the nodes themselves; those of the localizer's stages are in core/config.

Apart from the nodes, so that a command can list them where no ROS is installed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from vloc_ros.core.config import MOST_MEGAPIXELS, Checked, KeyframeConfig, parameter


@dataclass(frozen=True, slots=True)
class PoseRelayConfig(Checked):
    """Poses for another localizer or filter."""

    initial_pose: str = parameter(
        "never",
        "when to publish ~/initialpose: at the first fix and at jumps, after being lost, or with every fix",
        choices=("never", "on_jump", "when_lost", "always"),
    )
    lost_after_s: float = parameter(
        10.0, "for when_lost: time without a fix after which the robot is lost", unit="s", low=0.0, high=3600.0
    )
    max_fix_age_s: float = parameter(
        2.0, "maximum age of the fix that the service feed_initial_pose publishes", unit="s", low=0.01, high=3600.0
    )
    min_position_std_m: float = parameter(
        0.1, "minimum standard deviation of the position in ~/initialpose", unit="m", low=0.001, high=100.0
    )
    min_rotation_std_rad: float = parameter(
        0.05, "minimum standard deviation of the rotation in ~/initialpose", unit="rad", low=0.001, high=3.2
    )


@dataclass(frozen=True, slots=True)
class DiagnosticsConfig(Checked):
    """Diagnostics of the localizer, and the thresholds of its warnings and errors."""

    period_s: float = parameter(1.0, "period of /diagnostics", unit="s", low=0.05, high=60.0)
    window_s: float = parameter(10.0, "time window of rates, shares and medians", unit="s", low=1.0, high=600.0)
    min_rate_hz: float = parameter(
        0.5, "minimum image rate, below it a warning; 0 disables", unit="Hz", low=0.0, high=1000.0
    )
    image_timeout_s: float = parameter(
        5.0, "time without an image until an error; 0 disables", unit="s", low=0.0, high=3600.0
    )
    max_age_s: float = parameter(
        1.0,
        "maximum age of an image on arrival, or lead of its stamp, above it a warning; 0 disables",
        unit="s",
        low=0.0,
        high=1e6,
    )
    min_arrival: float = parameter(
        0.8,
        "minimum share of images that arrive, of those that have a camera_info, below it a warning; 0 disables",
        low=0.0,
        high=1.0,
    )
    unusable_images: int = parameter(
        3,
        "images in a row without calibration, TF or readable pixels until an error; fewer are a warning",
        low=1,
        high=1000,
    )
    min_acceptance: float = parameter(
        0.5,
        "minimum share of images with a fix, dropped ones not counted, below it a warning; 0 disables",
        low=0.0,
        high=1.0,
    )
    min_inliers: int = parameter(
        30, "minimum of the median inliers of fixes, below it a warning; 0 disables", low=0, high=10000
    )
    budget_s: float = parameter(
        0.2, "maximum of the median time per image, above it a warning; 0 disables", unit="s", low=0.0, high=100.0
    )
    fix_warn_s: float = parameter(5.0, "time without a fix until a warning; 0 disables", unit="s", low=0.0, high=1e5)
    fix_error_s: float = parameter(30.0, "time without a fix until an error; 0 disables", unit="s", low=0.0, high=1e5)
    map_timeout_s: float = parameter(
        10.0, "time without a map after activation until an error; before it a warning", unit="s", low=0.0, high=3600.0
    )


@dataclass(frozen=True, slots=True)
class FlightConfig(Checked):
    """What images from above are located by besides themselves, in a map with aerial tiles."""

    gravity: str = parameter(
        "odometry",
        "what says which way is down: odom_frame, whose z axis points up, the orientation on the topic imu, or nothing",
        choices=("odometry", "imu", "none"),
    )
    gravity_std_rad: float = parameter(
        0.03, "standard deviation of the direction of gravity", unit="rad", low=0.0001, high=0.5
    )
    altitude: str = parameter(
        "none",
        "what says how high the camera is above the ground: nothing, the topic range, or z in odom_frame",
        choices=("none", "range", "odometry"),
    )
    altitude_std: float = parameter(0.1, "standard deviation of the altitude, as a share of it", low=0.001, high=1.0)
    ground_z_m: float = parameter(
        0.0, "for altitude odometry: z of the ground in odom_frame", unit="m", low=-10000.0, high=10000.0
    )
    max_gap_s: float = parameter(
        0.2, "maximum difference between the stamps of an image and of imu or range", unit="s", low=0.001, high=10.0
    )


@dataclass(frozen=True, slots=True)
class LocalizerNodeConfig(Checked):
    """Parameters of the localizer node itself, apart from those of the stages."""

    autostart: bool = parameter(True, "the node configures and activates itself")
    map: str = parameter("", "map folder; empty uses the map that a map server announces")
    map_server: str = parameter("vloc_map_server", "name of the map server to take the map from")
    map_cache: str = parameter("~/.cache/vloc_ros/maps", "folder for maps fetched from the map server")
    recognizer: str = parameter(
        "", "folder of a landmark recogniser trained on the map, or on one that it extends; empty for none"
    )
    encoder: str = parameter(
        "", "folder of the global descriptor model that the map was encoded with (`vloc map encode`); empty for none"
    )
    matching_network: str = parameter(
        "", "folder of a learned matcher for the map's keypoints, see matcher.last_pass; empty for none"
    )
    base_frame: str = parameter("base_link", "frame whose pose is published; empty uses the frame of the camera")
    base_from_camera: str = parameter(
        "",
        "extrinsics, pose of the camera's optical frame on the base: x y z qx qy qz qw (metres), separated by ; for a "
        "rig; empty uses TF",
    )
    sensor: str = parameter(
        "camera",
        "what the robot is localized by: images, or scans on the topic points in a map with LiDAR places, or both",
        choices=("camera", "lidar", "both"),
    )
    scan_period_s: float = parameter(
        1.0,
        "with sensor both: from the end of a scan to the next while images are localized; else scans are as they come",
        unit="s",
        low=0.0,
        high=3600.0,
    )
    points_compensated: bool = parameter(
        False, "the driver undid the motion during a scan: times of its points do not count; else odometry undoes it"
    )
    cameras: str = parameter(
        "", "namespaces of the cameras of a rig, separated by commas; empty: one camera on image and camera_info"
    )
    rig_window_s: float = parameter(
        0.02, "maximum difference of the stamps of images that are synchronized", unit="s", low=0.0, high=1.0
    )
    rig_wait_s: float = parameter(
        0.05, "maximum wait for the other images of a set after the first one arrived", unit="s", low=0.0, high=10.0
    )
    odom_frame: str = parameter("odom", "frame of the odometry")
    publish_tf: str = parameter(
        "map_odom",
        "transform to publish: map->odom, map->base without odometry, or none",
        choices=("map_odom", "map_base", "none"),
    )
    transform_tolerance_s: float = parameter(
        0.1,
        "map->odom is stamped later than its image by this, and repeated so much ahead of the present",
        unit="s",
        low=0.0,
        high=10.0,
    )
    transform_timeout_s: float = parameter(
        0.2, "maximum wait for TF and camera_info of an image", unit="s", low=0.0, high=10.0
    )
    transform_rate_hz: float = parameter(
        20.0, "rate at which map->odom is repeated between images; 0 disables", unit="Hz", low=0.0, high=1000.0
    )
    transform_max_age_s: float = parameter(
        0.0, "map->odom is repeated for so long without a fix; 0 is for ever", unit="s", low=0.0, high=1e6
    )
    two_d_mode: bool = parameter(False, "project the pose to the plane: x, y and heading")
    max_image_age_s: float = parameter(
        0.0, "maximum age of an image, an older one is refused as STALE; 0 disables", unit="s", low=0.0, high=1e6
    )
    max_image_lead_s: float = parameter(
        1.0,
        "by which an image may be stamped ahead of the node's clock, more is refused as STALE; 0 disables",
        unit="s",
        low=0.0,
        high=1e6,
    )
    initial_pose_max_age_s: float = parameter(
        30.0,
        "maximum age of an initialpose that is used as prior until the next fix; 0 ignores it",
        unit="s",
        low=0.0,
        high=3600.0,
    )
    carry_last_fix: bool = parameter(True, "use the last fix, carried by odometry, as prior")
    image_transport: str = parameter("raw", "subscribe to image, or to image/compressed", choices=("raw", "compressed"))
    image_rectified: bool = parameter(False, "images are rectified: use P of camera_info, not K and D")
    image_reliability: str = parameter(
        "auto",
        "QoS reliability of the image; auto: reliable if all publishers are, else best effort",
        choices=("auto", "best_effort", "reliable"),
    )
    image_depth: int = parameter(10, "QoS depth of the image; images that overflow it have no status", low=1, high=1000)
    status_depth: int = parameter(50, "QoS depth of status and poses, which are reliable", low=1, high=10000)
    relocalize_timeout_s: float = parameter(
        2.0, "maximum wait of the service relocalize for a fix", unit="s", low=0.01, high=60.0
    )
    flight: FlightConfig = field(default_factory=FlightConfig)
    feed: PoseRelayConfig = field(default_factory=PoseRelayConfig)
    diagnostics: DiagnosticsConfig = field(default_factory=DiagnosticsConfig)


@dataclass(frozen=True, slots=True)
class PlaceQueryConfig(Checked):
    """Limits of query_places."""

    max_waiting: int = parameter(4, "queries that wait while one is computed; others are refused", low=0, high=100)
    max_megapixels: float = parameter(
        MOST_MEGAPIXELS, "largest image that is decoded", unit="million pixels", low=0.01, high=1000.0
    )
    max_points: int = parameter(2_000_000, "largest scan that is read, in points", low=1, high=100_000_000)


@dataclass(frozen=True, slots=True)
class MapServerConfig(Checked):
    """Parameters of the map server."""

    autostart: bool = parameter(True, "the node configures and activates itself")
    map: str = parameter("", "map folder to load at the start; empty: wait for load_map")
    maps_folder: str = parameter("", "folder of the maps that load_map can load; empty allows none")
    encoder: str = parameter(
        "", "folder of the model by which query_places describes images, such as MODEL/image; empty for none"
    )
    range_encoder: str = parameter(
        "", "folder of the range model by which query_places describes scans, MODEL/range; empty for none"
    )
    query: PlaceQueryConfig = field(default_factory=PlaceQueryConfig)


@dataclass(frozen=True, slots=True)
class MapperConfig(Checked):
    """Parameters of the mapper."""

    autostart: bool = parameter(True, "the node configures and activates itself")
    record_on_activate: bool = parameter(
        False, "start a recording when the node is activated and none is unfinished; otherwise the service start does"
    )
    recordings_folder: str = parameter("~/vloc_ros/recordings", "folder of the recordings, each a folder in it")
    maps_folder: str = parameter("~/vloc_ros/maps", "folder of the maps that are built, that of the map server")
    map_server: str = parameter(
        "vloc_map_server", "name of the map server that loads a map when it is built; empty for none"
    )
    map_frame: str = parameter("map", "frame of the maps that are built")
    base_frame: str = parameter("base_link", "frame of the robot; empty: TF has the camera in the odometry's frame")
    odom_frame: str = parameter("odom", "frame of the odometry")
    odometry: str = parameter(
        "tf", "odometry from TF, or from the topic odom, nav_msgs/Odometry of base_frame", choices=("tf", "topic")
    )
    base_from_camera: str = parameter(
        "", "extrinsics, pose of the camera's optical frame on the base: x y z qx qy qz qw (metres); empty uses TF"
    )
    transform_timeout_s: float = parameter(
        0.2, "maximum wait for TF, odometry and camera_info of an image", unit="s", low=0.0, high=10.0
    )
    image_transport: str = parameter("raw", "subscribe to image, or to image/compressed", choices=("raw", "compressed"))
    image_rectified: bool = parameter(False, "images are rectified: use P of camera_info, not K and D")
    image_reliability: str = parameter(
        "auto",
        "QoS reliability of the image; auto: reliable if all publishers are, else best effort",
        choices=("auto", "best_effort", "reliable"),
    )
    image_depth: int = parameter(5, "QoS depth of the image", low=1, high=1000)
    image_format: str = parameter(
        "jpeg", "how raw images are stored, png without loss; compressed ones as they are", choices=("jpeg", "png")
    )
    max_disk_mb: int = parameter(5000, "maximum size of all recordings in the folder", unit="MB", low=1, high=10**9)
    min_free_mb: int = parameter(1000, "left free on the disk of the recordings", unit="MB", low=0, high=10**9)
    extractor: str = parameter("rootsift", "keypoints of the maps: rootsift, or a model folder")
    build_options: str = parameter("", "further options of `vloc map build`, as in a shell: --max-keypoints 3000")
    status_period_s: float = parameter(1.0, "period of ~/status", unit="s", low=0.05, high=60.0)
    coverage_cell_m: float = parameter(0.5, "size of the cells of ~/coverage", unit="m", low=0.05, high=100.0)
    keyframes: KeyframeConfig = field(default_factory=KeyframeConfig)


@dataclass(frozen=True, slots=True)
class PlayerConfig(Checked):
    """Parameters of the bag player."""

    bag: str = parameter("", "bag folder or .mcap file")
    rate: float = parameter(1.0, "factor on the rate of the bag", low=0.01, high=100.0)
    clock: bool = parameter(False, "publish /clock from the bag's times")
    wait_for: str = parameter("", "topic that needs a subscriber before the start; empty: do not wait")
    wait_for_localizer: str = parameter(
        "", "localizer that needs a map, and a subscriber to its status, before the start; empty: do not wait"
    )
    wait_timeout_s: float = parameter(30.0, "maximum wait before the start", unit="s", low=0.0, high=3600.0)
    skip: str = parameter("", "topics that are not played, separated by commas")
    limit: int = parameter(0, "number of messages of wait_for after which to stop; 0 plays all", low=0, high=2**31 - 1)
    log: str = parameter("", "file for the monotonic publish time of every stamped message, JSON lines; empty for none")


@dataclass(frozen=True, slots=True)
class RecorderConfig(Checked):
    """Parameters of the recorder of the localizer's output."""

    localizer: str = parameter("vloc_localizer", "name of the localizer node")
    out: str = parameter("", "file to write, JSON lines")
    expected: int = parameter(0, "number of statuses after which to end; 0 records until interrupted", low=0)
