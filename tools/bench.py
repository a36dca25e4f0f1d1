"""Measure what BENCHMARK.md states, and write it; memory is measured by `make soak`.

    make bench                               all but those that take hours each (more than one in all)
    make bench SECTIONS="redkitchen castle"    some; the others keep their last figures
    make bench SECTIONS="place_encoders_kitchen"    one of those that take hours, and are measured when named only:
                                             place_encoders_kitchen, _corridor, _building, _ablations, _cost

Each section leaves its figures in docs/figures/SECTION.json, with the revision they were measured at, and the page is
written from those: to measure some sections and keep the others, commit both. A section of place encoders that was cut
off goes on where it stopped when it is asked for again, on another machine too: its rows are kept there. Sections on
real data are skipped, and said to be, where ../shared/data is missing, those on recognisers and place encoders where
`make training` was not run.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import (
    compression,
    global_descriptors,
    growth,
    landmarks,
    live,
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
    "images_alone": real.images_alone,
    "merged": real.merged,
    "compression": compression.compression,
    "elsewhere": real.negatives,
    "elsewhere_with_priors": priors.negatives,
    "growth": growth.growth,
    "recognizer": landmarks.recognizer,
    "night": landmarks.night,
    "four_scenes": scenes.four_scenes,
    "updated": landmarks.updated,
    "lookalikes": simulated.perceptual_aliasing,
    "covariance": simulated.covariance,
    "statistics": simulated.statistics,
    "rigs": rigs.rigs,
    "kidnappings": sequences.kidnapped_robot,
    "leaving": sequences.leaving,
    "live_redkitchen": live.redkitchen,
    "live_simulated": live.simulated,
    "tracking": live.tracking,
    "place_encoders_kitchen": global_descriptors.kitchen,
    "place_encoders_corridor": global_descriptors.corridor,
    "place_encoders_building": global_descriptors.building,
    "place_encoders_ablations": global_descriptors.ablations,
    "place_encoders_cost": global_descriptors.cost,
}
# those take hours
ON_REQUEST = tuple(name for name in SECTIONS if name.startswith("place_encoders_"))


def main(names: list[str]) -> int:
    """Run the named sections, when none is named all but those that take hours; then write the page."""
    unknown = [name for name in names if name not in SECTIONS]
    if unknown:
        print(f"bench: no section {unknown[0]!r}, expected some of {' '.join(SECTIONS)}", file=sys.stderr)
        return 2
    OUT.mkdir(parents=True, exist_ok=True)
    for name in names or [name for name in SECTIONS if name not in ON_REQUEST]:
        print(f"== {name}", flush=True)
        start, of = time.monotonic(), revision()
        try:
            figures = SECTIONS[name](OUT)
        except real.MissingError as missing:
            print(f"   skipped: {missing}", flush=True)
            continue
        figures["section_s"] = round(time.monotonic() - start, 1)
        keep_figures(name, figures, of=of)
    write_page(FIGURES, ROOT / "BENCHMARK.md")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
