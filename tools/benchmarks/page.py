"""BENCHMARK.md, from the figures that the sections left."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from benchmarks.sections import global_descriptors as places
from benchmarks.sections import landmarks as landmarks
from benchmarks.sections import maps as maps
from benchmarks.sections import robots as robots
from benchmarks.tables import Figures

HEAD = """# Benchmark

Written by `make bench`; every figure comes from the command beside it. Two x86-64 cores of a shared machine, no GPU: read
times as ratios within a section. Sections are run one by one, and a figure stays until its section is run again: where it
is known, a chapter ends with the revision it was measured at. Recall is over all queries, a refused one counts as not
found; wrong is an accepted pose that is not right.
"""
# a chapter of parts, each of a section
PLACES = tuple(f"place_encoders_{part}" for part in ("kitchen", "corridor", "building", "ablations", "cost"))
CHAPTERS: list[tuple[str, tuple[str, ...], Callable[[dict[str, Figures]], str]]] = [
    ("Accuracy on photographs", ("redkitchen", "castle", "images_alone", "merged"), maps.accuracy),
    ("Bytes against recall", ("compression",), maps.compression),
    ("Growing maps", ("growth",), maps.growth),
    ("Recognised landmarks", ("recognizer",), landmarks.recognizer),
    ("Another light", ("night",), landmarks.night),
    ("Place encoders", PLACES, places.place_encoders),
    ("Four scenes in one map", ("four_scenes",), landmarks.four_scenes),
    ("A map that grows", ("updated",), landmarks.updated),
    ("False accepts", ("elsewhere", "elsewhere_with_priors", "merged", "lookalikes"), maps.false_accepts),
    ("Covariance", ("covariance",), maps.covariance),
    ("Live, over DDS", ("live_redkitchen", "live_simulated"), robots.live),
    ("From image to image", ("tracking", "kidnappings"), robots.sequences),
    ("Leaving the map", ("leaving",), robots.leaving),
    ("Several cameras", ("rigs",), robots.rigs),
    ("Memory", ("soak",), robots.memory),
    ("The simulated world beside redkitchen", ("statistics",), maps.statistics),
]
_HEADING = "\n## "


def _measured_at(figures: dict[str, Figures]) -> str:
    """A chapter's last line; nothing where a figure's revision is not known."""
    revisions = {section.get("revision") for section in figures.values()}
    if not revisions or None in revisions:
        return ""
    # rows are kept from revision to revision
    done = "Put together" if figures.keys() <= set(PLACES) else "Measured"
    return f"\n\n{done} at {' and '.join(f'`{one}`' for one in sorted(revisions))}."


def write_page(folder: Path, page: Path) -> None:
    """Write the page from the sections' figures; a chapter stays as it is while a section of it has none."""
    text = page.read_text() if page.is_file() else ""
    there = {title: body for title, _, body in (chapter.partition("\n\n") for chapter in text.split(_HEADING)[1:])}
    parts = [HEAD]
    for title, names, writer in CHAPTERS:
        figures = {name: json.loads(path.read_text()) for name in names if (path := folder / f"{name}.json").is_file()}
        whole = len(figures) == len(names) or names is PLACES
        if title in there and not whole:
            missing = " ".join(name for name in names if name not in figures)
            print(f"   {title}: stays as it is, there are no figures of {missing}", flush=True)
            body = there[title]
        else:
            body = writer(figures).rstrip() + _measured_at(figures) if figures else ""
        if body:
            parts.append(f"## {title}\n\n{body.rstrip()}\n")
    page.write_text("\n".join(parts))
