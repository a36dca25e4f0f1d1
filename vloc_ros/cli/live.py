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

"""Live evaluation: a bag is played through DDS to the ROS 2 nodes at its own rate, and what they publish is scored.

The nodes run as processes in a ROS domain of their own. Every published pose is compared with TF map -> odom composed
with the odometry. It is also compared with the offline result for the same image, unless --sequence is given: without
it, the node localizes every image by itself, as the offline localizer does. A learned matcher takes part in both where
matcher.last_pass is always.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vloc_ros.cli.evaluation_inputs import frame_of_truth, read_bag
from vloc_ros.cli.evaluation_outputs import (
    check_map,
    outputs_of,
    print_outcome,
    write_recording,
    write_report,
    write_scores,
)
from vloc_ros.cli.evaluation_scoring import lacks_alignment, score
from vloc_ros.cli.localize_batch import localize_with_progress
from vloc_ros.cli.localizer_options import config_from, localizer_from

if TYPE_CHECKING:
    from vloc_ros.core.localization.localizer import Localizer
    from vloc_ros.datasets.bag_queries import BagQueries
    from vloc_ros.evaluation.live_recording import LiveRecording
    from vloc_ros.evaluation.scored_run import ScoredRun
    from vloc_ros.storage.results import ResultRecord


def evaluate_live(args: argparse.Namespace) -> int:
    """Play, record, compare with the offline localizer, and report; 1 when a check fails."""
    from vloc_ros.core.errors import MapError
    from vloc_ros.evaluation.live_scores import (
        add_live_scores,
        format_checks,
        list_handled,
        list_statuses,
        make_records,
    )
    from vloc_ros.storage.results import write_results

    outputs, localizer = outputs_of(args), localizer_from(args)
    check_map(args, localizer.map)
    if not localizer.map.metric:
        raise MapError(
            f"{args.map}: its scale is unknown, expected metres for ROS; align it first with `vloc map align`"
        )
    source = read_bag(args)
    frame_id = frame_of_truth(args, localizer, source.truth)
    offline = _localize_offline(args, localizer, source)
    recording = _play(args, source)
    handled, records = list_handled(list_statuses(recording, source)), make_records(recording, source)
    records, truth = [records[i] for i in handled], source.truth and [source.truth[i] for i in handled]
    scored = score(args, localizer, records, truth, frame_id)
    add_live_scores(scored.scores, recording, source, offline, in_sequence=args.sequence)
    scored.scores.update(left_out=source.left_out)
    if args.out:
        write_results(args.out, records, truth, metric=localizer.map.metric)
    if args.json:
        write_scores(args.json, scored.scores)
    if args.report or args.rerun:
        _write_pages(args, localizer, recording, source, offline, scored, frame_id)
    print_outcome(scored.scores, outputs)
    print("\n".join(format_checks(scored.scores["live"])))
    return 0 if scored.scores["live"]["passed"] and not lacks_alignment(args, scored) else 1


def _localize_offline(args: argparse.Namespace, localizer: Localizer, source: BagQueries) -> list[ResultRecord]:
    """The results that the nodes' are compared with: nobody requests theirs, so none is searched for longer.

    Raises:
        InputError: an image cannot be used.
    """
    from vloc_ros.core.errors import InputError

    offline = localize_with_progress(localizer, source.queries, on_request=False)
    if unusable := [record.image for record in offline if not record.usable]:
        raise InputError(
            f"{args.bag}: {len(unusable)} images cannot be used ({unusable[0]}), expected images that the nodes can "
            "localize; evaluate it without --live"
        )
    return offline


def _play(args: argparse.Namespace, source: BagQueries) -> LiveRecording:
    """What the nodes publish while the bag is played to them."""
    from vloc_ros.evaluation.live_playback import Playback, play_bag

    playback = Playback(
        args.bag,
        args.map,
        config=config_from(args),
        models=resolve_models(args),
        rectified=args.rectified,
        tf_topic=args.tf_topic or "/tf",
        in_sequence=args.sequence,
        limit=args.limit,
    )
    print(f"playing {args.bag} live, {len(source.stamps_ns) + source.left_out} images", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="vloc_live_") as folder:
        return play_bag(playback, source, Path(folder))


def _write_pages(
    args: argparse.Namespace,
    localizer: Localizer,
    recording: LiveRecording,
    source: BagQueries,
    offline: Sequence[ResultRecord],
    scored: ScoredRun,
    frame_id: str,
) -> None:
    """The report and the recording, of the images that the localizer handled."""
    from vloc_ros.evaluation.live_scores import carry_to_camera, list_handled, list_statuses

    handled = list_handled(list_statuses(recording, source))
    shown, truth = carry_to_camera(recording, source, offline)
    queries, shown = [source.queries[i] for i in handled], [shown[i] for i in handled]
    truth = truth and [truth[i] for i in handled]
    if args.report:
        write_report(args, localizer, queries, shown, truth, scored, frame_id=frame_id)
    if args.rerun:
        write_recording(args, localizer, queries, shown, truth, scored)


def resolve_models(args: argparse.Namespace) -> dict[str, Path]:
    """Folders of the offline localizer's models, by the node's parameters for them."""
    given = {"recognizer": args.recognizer, "encoder": args.encoder, "matching_network": args.matcher}
    return {name: folder.resolve() for name, folder in given.items() if folder}
