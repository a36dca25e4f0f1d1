"""BENCHMARK.md, from the figures that the sections left."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from benchmarks import chapters_of_landmarks as landmarks
from benchmarks import chapters_of_maps as maps
from benchmarks import chapters_of_places as places
from benchmarks import chapters_of_robots as robots
from benchmarks.tables import Figures

HEAD = """# Benchmark

Written by `make bench`; every figure comes from the command beside it. Two x86-64 cores of a shared machine, no GPU: read
times as ratios within a section. Sections are run one by one, and a figure stays until its section is run again, so not
all are of the same version. Recall is over all queries, a refused one counts as wrong.
"""
CHAPTERS: list[tuple[tuple[str, ...], Callable[[dict[str, Figures]], str]]] = [
    (("redkitchen", "castle", "images_alone", "merged"), maps.accuracy),
    (("compression",), maps.compression),
    (("growth",), maps.growth),
    (("recognizer",), landmarks.recognizer),
    (("night",), landmarks.night),
    (
        tuple(f"place_encoders_{part}" for part in ("kitchen", "corridor", "building", "ablations", "cost")),
        places.place_encoders,
    ),
    (("four_scenes",), landmarks.four_scenes),
    (("updated",), landmarks.updated),
    (("elsewhere", "elsewhere_with_priors", "merged", "lookalikes"), maps.false_accepts),
    (("covariance",), maps.covariance),
    (("live_redkitchen", "live_simulated"), robots.live),
    (("tracking", "kidnappings", "leaving"), robots.sequences),
    (("rigs",), robots.rigs),
    (("soak",), robots.memory),
    (("statistics",), maps.statistics),
]


def write_page(folder: Path, page: Path) -> None:
    """Write the page from all sections that have figures."""
    parts = [HEAD]
    for names, writer in CHAPTERS:
        figures = {name: json.loads(path.read_text()) for name in names if (path := folder / f"{name}.json").is_file()}
        if figures:
            parts.append(writer(figures))
    page.write_text("\n".join(parts))
