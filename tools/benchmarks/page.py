"""Write BENCHMARK.md from the figures of the sections."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from benchmarks.sections import acceptance, global_descriptors, landmarks, maps, place_recognition, robots
from benchmarks.tables import Figures

HEAD = """# Benchmark

Written by `make bench`. Every figure comes from the command beside it. The machine had two x86-64 cores, shared with other
work, and no GPU: read times as ratios within a section. Sections are run one by one, and a figure stays until its section is
run again. Where it is known, a chapter ends with the revision it was measured at. Recall is over all queries: a refused query
counts as not found. A wrong result is a pose that was accepted and is not right.
"""
# a chapter of parts, each of which is a section
DESCRIPTORS = tuple(f"global_descriptors_{part}" for part in global_descriptors.PARTS)
CHAPTERS: list[tuple[str, tuple[str, ...], Callable[[dict[str, Figures]], str]]] = [
    ("Accuracy on photographs", ("redkitchen", "castle", "measured_poses", "merged"), maps.accuracy),
    (
        "Maps from measurements",
        ("drawn_maps_redkitchen", "drawn_maps_castle", "drawn_maps_rooms", "drawn_maps_streets"),
        maps.drawn_maps,
    ),
    ("Map compression", ("compression",), maps.compression),
    ("Map size and similar rooms", ("growth",), maps.growth),
    ("Landmark recognition", ("recognizer",), landmarks.recognizer),
    ("Lighting changes", ("night",), landmarks.night),
    (
        "Which poses are accepted",
        acceptance.SECTIONS,
        acceptance.acceptance,
    ),
    ("Global descriptors", DESCRIPTORS, global_descriptors.global_descriptors),
    ("Place recognition", ("place_recognition",), place_recognition.place_recognition),
    ("Four scenes in one map", ("four_scenes",), landmarks.four_scenes),
    ("Map updates", ("updated",), landmarks.updated),
    ("False accepts", ("negatives", "negatives_with_priors", "merged", "perceptual_aliasing"), maps.false_accepts),
    ("Covariance", ("covariance",), maps.covariance),
    ("Live, over DDS", ("live_redkitchen", "live_simulated"), robots.live),
    ("Tracking and the kidnapped robot", ("tracking", "kidnapped_robot"), robots.sequences),
    ("Leaving the map", ("leaving",), robots.leaving),
    ("Several cameras", ("rigs",), robots.rigs),
    ("Memory", ("soak",), robots.memory),
    ("Simulated and real images", ("statistics",), maps.statistics),
]
_HEADING = "\n## "


def write_page(folder: Path, page: Path) -> None:
    """Write the page from the figures in a folder. A chapter keeps its text while one of its sections has no figures."""
    text = page.read_text() if page.is_file() else ""
    present = {title: body for title, _, body in (chapter.partition("\n\n") for chapter in text.split(_HEADING)[1:])}
    parts = [HEAD]
    for title, names, writer in CHAPTERS:
        figures = {name: json.loads(path.read_text()) for name in names if (path := folder / f"{name}.json").is_file()}
        complete = len(figures) == len(names) or names in (DESCRIPTORS, acceptance.SECTIONS)
        if title in present and not complete:
            missing = " ".join(name for name in names if name not in figures)
            print(f"   {title}: stays as it is, there are no figures of {missing}", flush=True)
            body = present[title]
        else:
            body = writer(figures).rstrip() + _measured_at(figures) if figures else ""
        if body:
            parts.append(f"## {title}\n\n{body.rstrip()}\n")
    page.write_text("\n".join(parts))


def _measured_at(figures: dict[str, Figures]) -> str:
    """The last line of a chapter; empty where the revision of a section is not known."""
    revisions = {section.get("revision") for section in figures.values()}
    if not revisions or None in revisions:
        return ""
    # rows of global descriptors are kept across revisions
    done = "Put together" if figures.keys() <= set(DESCRIPTORS) else "Measured"
    return f"\n\n{done} at {' and '.join(f'`{one}`' for one in sorted(revisions))}."
