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

"""A live evaluation's run: the nodes are started, a bag is played to them, and what they publish is recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from vloc_ros.core.config import LocalizerConfig, parameters_of
from vloc_ros.evaluation.live_processes import Children, free_domain
from vloc_ros.evaluation.live_recording import LiveRecording, PlayedBag, read_recording

_TOLERANCE_S = 0.1
_IMAGE_DEPTH = 50
_END_TIMEOUT_S = 60.0
_START_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Playback:
    """How a bag is played, and to which localizer.

    Attributes:
        bag: a bag folder or an MCAP file.
        map_folder: the map to localize in.
        config: the localizer's parameters.
        models: folder of each learned model, by the node's parameter: `recognizer`, `encoder`,
            `matching_network`.
        rectified: whether P of the camera_info is the images' calibration.
        tf_topic: of the bag's transforms, and of what the nodes publish; static ones are on `<tf_topic>_static`.
        in_sequence: whether the last fix is a prior and jumps are held, as on a robot; else every image by itself.
        limit: plays only so many images; None plays all.
    """

    bag: Path
    map_folder: Path
    config: LocalizerConfig
    models: Mapping[str, Path]
    rectified: bool = False
    tf_topic: str = "/tf"
    in_sequence: bool = False
    limit: int | None = None


def play_bag(playback: Playback, source: PlayedBag, folder: Path) -> LiveRecording:
    """Run the nodes until the bag has been played and every image has a status.

    Args:
        playback: how it is played.
        source: what the bag holds.
        folder: for logs, parameters and recordings; an empty one.

    Raises:
        NodeError: a node ended or failed.
    """
    parameters = write_parameters(playback.config, folder / "parameters.yaml")
    out, log = folder / "recording.jsonl", folder / "played.jsonl"
    with free_domain() as environment, Children(environment, folder) as children:
        children.start("map_server", map=str(playback.map_folder.resolve()))
        expected = len(source.stamps_ns) + source.left_out
        children.start("recorder", remaps=_transform_remaps(playback), out=str(out), expected=expected)
        _start_localizer(children, playback, source, parameters, cache=folder / "cache")
        player = children.start(
            "player",
            bag=str(playback.bag.resolve()),
            wait_for=source.image_topic,
            wait_for_localizer="vloc_localizer",
            wait_timeout_s=_START_TIMEOUT_S,
            limit=playback.limit or 0,
            log=str(log),
        )
        children.wait_for(player)
        children.end_of("recorder", within_s=_END_TIMEOUT_S)
        return read_recording(out, log, tolerance_ns=round(_TOLERANCE_S * 1e9), image_topic=source.image_topic)


def write_parameters(config: LocalizerConfig, path: Path) -> Path:
    """The localizer's parameters as a ROS parameter file; returns its path."""
    values = {parameter.name: parameter.value for parameter in parameters_of(config)}
    path.write_text(yaml.safe_dump({"/**": {"ros__parameters": values}}), encoding="utf-8")
    return path


def _transform_remaps(playback: Playback) -> dict[str, str]:
    return {"/tf": playback.tf_topic, "/tf_static": f"{playback.tf_topic}_static"}


def _start_localizer(
    children: Children, playback: Playback, source: PlayedBag, parameters: Path, *, cache: Path
) -> None:
    """With the bag's topics and frames; images are taken one by one as they were recorded, none dropped."""
    remaps = {"camera_info": source.camera_info_topic, **_transform_remaps(playback)}
    remaps["image/compressed" if source.compressed else "image"] = source.image_topic
    children.start(
        "localizer",
        params_file=parameters,
        remaps=remaps,
        map_cache=str(cache),
        image_transport="compressed" if source.compressed else "raw",
        image_rectified=playback.rectified,
        image_reliability="reliable",
        image_depth=_IMAGE_DEPTH,
        base_frame=source.base_frame,
        odom_frame=source.odom_frame or "odom",
        publish_tf="map_odom" if source.odom_frame else "map_base",
        transform_tolerance_s=_TOLERANCE_S,
        transform_rate_hz=0.0,  # a repeated transform may delay the stamp of the next image's
        carry_last_fix=playback.in_sequence,
        **{"fix_filter.enabled": playback.in_sequence},
        **{name: str(model.resolve()) for name, model in playback.models.items()},
    )
