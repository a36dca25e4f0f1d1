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

"""Measure what BENCHMARK.md and the pages of docs/benchmark state. `make soak` measures memory.

    make bench                               the quick sections, together less than half an hour
    make bench SECTIONS="redkitchen castle"  these sections; the others keep their figures
    make bench SECTIONS=growth FORCE=1       measured again, although there are figures of this revision
    python tools/bench.py castle --out DIR   figures to a folder of your own, to try something out

Each section writes its figures to docs/benchmark/SECTION.json, with the revision, the day, and whether the machine was
quiet; then the pages are filled from these files (`make figures`). A run measures one revision, the last commit that
changed the code: it is refused where changes are not committed, and ends where the code changes meanwhile. Sections
that have figures of this revision are kept, so that an interrupted run goes on. What is made on the way (maps, models,
simulated images) lies in out/bench/REVISION and is used again at that revision only.

Rows of global descriptors and of trained place recognition take hours: they are kept in docs/benchmark/rows across
revisions, each with its own, unless their settings changed or `FORCE=1` is given. Sections on real data are skipped,
with a message, where ../shared/data is missing; sections on trained models where `make training` was not run.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import fill_figures
from benchmarks import (
    acceptance,
    aerial_fixes,
    aerial_size,
    camera_in_lidar,
    compression,
    cross_modal,
    cross_view,
    drawn_maps,
    engines,
    global_descriptors,
    growth,
    landmarks,
    last_pass,
    learned_keypoints,
    lidar,
    lidar_size,
    live,
    localization_time,
    map_building_time,
    million_descriptors,
    place_recognition,
    place_training,
    priors,
    provenance,
    real,
    recordings,
    rigs,
    scenes,
    sequences,
    simulated,
    street_views,
    two_view,
)
from benchmarks.provenance import ROOT, Rows, Section, Watch, keep_figures, revision

WORK = ROOT / "out" / "bench"
SECTIONS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "redkitchen": real.redkitchen,
    "castle": real.castle,
    "measured_poses": real.measured_poses,
    "drawn_maps_redkitchen": partial(drawn_maps.real_maps, scene="redkitchen"),
    "drawn_maps_castle": partial(drawn_maps.real_maps, scene="castle"),
    "drawn_maps_rooms": partial(drawn_maps.simulated_maps, kind="room"),
    "drawn_maps_streets": partial(drawn_maps.simulated_maps, kind="street"),
    "images_alone": real.images_alone,
    "recordings": recordings.recordings,
    "map_building_time": map_building_time.map_building_time,
    "merged": real.merged,
    "compression": compression.compression,
    "negatives": real.negatives,
    "negatives_with_priors": priors.negatives,
    "growth": growth.growth,
    "recognizer": landmarks.recognizer,
    "night": landmarks.night,
    "acceptance_rootsift": partial(acceptance.photographs, extractor="rootsift"),
    "acceptance_xfeat": partial(acceptance.photographs, extractor="xfeat"),
    "acceptance_worlds": acceptance.worlds,
    "learned_keypoints": learned_keypoints.learned_keypoints,
    "localization_time": localization_time.localization_time,
    "four_scenes": scenes.four_scenes,
    "updated": landmarks.updated,
    "perceptual_aliasing": simulated.perceptual_aliasing,
    "covariance": simulated.covariance,
    "statistics": simulated.statistics,
    "rigs": rigs.rigs,
    "kidnapped_robot": sequences.kidnapped_robot,
    "leaving": sequences.leaving,
    "live_redkitchen": live.redkitchen,
    "live_simulated": live.simulated,
    "live_rates": live.rates,
    "tracking": live.tracking,
    "global_descriptors_kitchen": global_descriptors.kitchen,
    "global_descriptors_corridor": global_descriptors.corridor,
    "global_descriptors_building": global_descriptors.building,
    "global_descriptors_ablations": global_descriptors.ablations,
    "global_descriptors_cost": global_descriptors.cost,
    "place_recognition": place_recognition.place_recognition,
    "place_training": place_training.place_training,
    "cross_view": cross_view.cross_view,
    "street_views": street_views.street_views,
    "aerial_fixes": aerial_fixes.aerial_fixes,
    "aerial_size": aerial_size.aerial_size,
    "million_descriptors": million_descriptors.million_descriptors,
    "lidar": lidar.lidar,
    "lidar_size": lidar_size.lidar_size,
    "camera_in_lidar": camera_in_lidar.camera_in_lidar,
    "cross_modal": cross_modal.cross_modal,
    "engines": engines.engines,
    "last_pass_xfeat": partial(last_pass.last_pass, extractor="xfeat"),
    "last_pass_aliked": partial(last_pass.last_pass, extractor="aliked-n16"),
    "two_view": two_view.two_view,
}
# measured by `make bench` alone: less than half an hour on two cores
QUICK = (
    *("redkitchen", "castle", "merged", "compression", "negatives", "negatives_with_priors", "four_scenes"),
    *("live_redkitchen", "live_simulated", "tracking"),
)


def main(words: list[str] | None = None) -> int:
    """Measure sections, then fill the pages; 0 where all could be measured or skipped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"some of {' '.join(SECTIONS)}")
    parser.add_argument("--force", action="store_true", help="measure again what has figures of this revision")
    parser.add_argument("--out", type=Path, help="folder for the figures; no page is filled")
    args = parser.parse_args(words)
    if unknown := [name for name in args.sections if name not in SECTIONS]:
        parser.error(f"no section {unknown[0]!r}, expected some of {' '.join(SECTIONS)}")
    if args.out:
        provenance.FIGURES = args.out.absolute()
    at = revision()
    if at and at.endswith("-dirty") and not args.out:
        parser.error(f"the code differs from {at.removesuffix('-dirty')}: commit it, or try it out with --out DIR")
    done = measure(args.sections or QUICK, at, _working_folder(at), force=args.force)
    if not args.out:
        print("\n".join(f"   filled: {name}" for name in fill_figures.fill_pages(ROOT)), flush=True)
    return 0 if done else 1


def measure(names: Sequence[str], at: str | None, work: Path, *, force: bool) -> bool:
    """Measure sections at one revision; False where the code changed meanwhile."""
    load = os.getloadavg()[0]
    for name in names:
        print(f"== {name}", flush=True)
        if force:
            Rows.forget(name)
        elif _revision_of(name) == at and at and not at.endswith("-dirty"):
            print(f"   kept: measured at {at}; FORCE=1 measures it again", flush=True)
            continue
        watch = Watch(load_before=load)
        try:
            figures = SECTIONS[name](work)
        except real.MissingError as missing:
            print(f"   skipped: {missing}", flush=True)
            continue
        measured = watch.stop()
        if (now := revision()) != at:
            print(f"bench: the code changed from {at} to {now} meanwhile, {name} is not kept", file=sys.stderr)
            return False
        keep_figures(name, figures, measured)
    return True


def _revision_of(name: str) -> str | None:
    """The revision that the figures of a section are of."""
    path = provenance.FIGURES / f"{name}.json"
    return Section.read(path).measured.revision if path.is_file() else None


def _working_folder(at: str | None) -> Path:
    """The folder for what is made on the way. Of changed code it is emptied first."""
    folder = WORK / (at or "no-revision")
    if not at or at.endswith("-dirty"):
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


if __name__ == "__main__":
    sys.exit(main())
