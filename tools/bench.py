"""Measure what BENCHMARK.md states, and write the page. `make soak` measures memory.

    make bench                               all sections but those that take hours each (more than one hour in all)
    make bench SECTIONS="redkitchen castle"  these sections; the others keep their last figures
    make bench SECTIONS="global_descriptors_kitchen"
                                             a section that takes hours, which is measured only when it is named:
                                             global_descriptors_kitchen, _corridor, _building, _ablations, _cost,
                                             drawn_maps_redkitchen, _castle, _rooms, _streets,
                                             place_recognition

Each section writes its figures to docs/figures/SECTION.json, with the revision they were measured at. The page is
written from these files. To measure some sections and keep the others, commit both. An interrupted section on global
descriptors resumes when it is run again, on another machine too: its rows are kept in docs/figures/rows. Sections on
real data are skipped, with a message, where ../shared/data is missing; sections on trained models where `make training`
was not run.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import (
    acceptance,
    compression,
    drawn_maps,
    global_descriptors,
    growth,
    landmarks,
    live,
    place_recognition,
    priors,
    real,
    rigs,
    scenes,
    sequences,
    simulated,
)
from benchmarks.page import write_page
from benchmarks.provenance import FIGURES, keep_figures, revision

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "out" / "bench"
SECTIONS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "redkitchen": real.redkitchen,
    "castle": real.castle,
    "measured_poses": real.measured_poses,
    "drawn_maps_redkitchen": partial(drawn_maps.real_maps, scene="redkitchen"),
    "drawn_maps_castle": partial(drawn_maps.real_maps, scene="castle"),
    "drawn_maps_rooms": partial(drawn_maps.simulated_maps, kind="room"),
    "drawn_maps_streets": partial(drawn_maps.simulated_maps, kind="street"),
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
    "tracking": live.tracking,
    "global_descriptors_kitchen": global_descriptors.kitchen,
    "global_descriptors_corridor": global_descriptors.corridor,
    "global_descriptors_building": global_descriptors.building,
    "global_descriptors_ablations": global_descriptors.ablations,
    "global_descriptors_cost": global_descriptors.cost,
    "place_recognition": place_recognition.place_recognition,
}
# each takes hours
ON_REQUEST = tuple(name for name in SECTIONS if name.startswith(("global_descriptors_", "drawn_maps_", "place_")))


def main(names: list[str]) -> int:
    """Run the named sections (by default all but those that take hours), then write the page."""
    unknown = [name for name in names if name not in SECTIONS]
    if unknown:
        print(f"bench: no section {unknown[0]!r}, expected some of {' '.join(SECTIONS)}", file=sys.stderr)
        return 2
    OUT.mkdir(parents=True, exist_ok=True)
    for name in names or [name for name in SECTIONS if name not in ON_REQUEST]:
        print(f"== {name}", flush=True)
        start, measured_at = time.monotonic(), revision()
        try:
            figures = SECTIONS[name](OUT)
        except real.MissingError as missing:
            print(f"   skipped: {missing}", flush=True)
            continue
        figures["section_s"] = round(time.monotonic() - start, 1)
        keep_figures(name, figures, measured_at=measured_at)
    write_page(FIGURES, ROOT / "BENCHMARK.md")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
