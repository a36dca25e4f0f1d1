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

"""Tables about place recognition, without training and trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean, median

from benchmarks.provenance import Figures
from benchmarks.tables.table import Table, TableSource

_SECTION, _TRAINED = "place_recognition", "place_training"


def indices(figures: Mapping[str, Figures]) -> Table:
    """Recall of each index by day and night, and what it costs."""
    rows = []
    for name, found in figures[_SECTION]["rows"].items():
        scores = found["scores"]
        aupr = "" if scores["aupr"] is None else f"{scores['aupr']:.3f}"
        shares = [_share(scores["recall"][one]) for one in ("R@1", "R@5")]
        cost = [str(found["bytes_in_a_map"]), f"{found['describe_ms']:.0f}"]
        rows.append([name, *shares, f"{scores['chance']['R@1']:.1%}", aupr, *cost])
    return Table(["index, set, light", "R@1", "R@5", "chance R@1", "AUPR", "bytes", "ms to describe"], rows)


def reranked(figures: Mapping[str, Figures]) -> Table:
    """What each re-ranking changes by itself; that by a pose says where the queries were."""
    rows = []
    for name, found in figures[_SECTION]["rows"].items():
        before = f"{found['scores']['recall']['R@1']['share']:.1%}"
        for one in found["rerankings"]:
            after = f"{one['scores']['recall']['R@1']['share']:.1%}" if one["scores"] else "refused"
            rows.append([name, one["name"], before, after, f"{one['ms']:.1f}", _metres(one)])
    return Table(["index, set, light", "re-ranking", "R@1 before", "after", "ms a query", "located, median"], rows)


def variants(figures: Mapping[str, Figures]) -> Table:
    """How queries are handled, and scales."""
    rows = [
        [name, how, _share(found["scores"]["recall"]["R@1"]), _share(share)]
        for name, found in figures[_SECTION]["rows"].items()
        for how, share in found["variants"].items()
    ]
    return Table(["index, set, light", "option", "R@1 without", "with"], rows)


def trained(figures: Mapping[str, Figures]) -> Table:
    """Each training: mean over its seeds, and the range; bytes and times of a descriptor."""
    by_title = dict[str, list[Figures]]()
    for name, found in figures[_TRAINED]["rows"].items():
        by_title.setdefault(name.partition(", seed ")[0], []).append(found)
    rows = []
    for title, found in by_title.items():
        shares = [_mean(found, light, n) for light in ("day", "night") for n in ("R@1", "R@5")]
        cost = found[0].get("cost", {})
        size = [f"{cost['parameters']:.2f} M", f"{cost['gmac']:.2f}"] if cost else ["", ""]
        seconds = f"{mean(one['train_cpu_s'] for one in found):.0f}" if cost else ""
        described = f"{median(one['day']['describe_ms'] for one in found):.0f}"
        cost_cells = [*size, str(found[0]["day"]["bytes_in_a_map"]), described, seconds]
        rows.append([title, str(len(found)), *shares, *cost_cells])
    header = ["what is different", "seeds", "R@1 day", "R@5 day", "R@1 night", "R@5 night"]
    return Table([*header, "parameters", "GMAC", "bytes", "ms to describe", "CPU s of training"], rows)


def _mean(found: Sequence[Figures], light: str, n: str) -> str:
    """The mean of a recall over seeds, and its range; of one seed, Wilson's interval."""
    shares = [one[light]["scores"]["recall"][n] for one in found]
    if len(shares) == 1:
        return _share(shares[0])
    values = [share["share"] for share in shares]
    return f"{mean(values):.1%}, {min(values):.1%} to {max(values):.1%}"


def _share(share: Figures) -> str:
    low, high = share["interval_95"]
    return f"{share['share']:.1%} ({low:.1%} to {high:.1%})"


def _metres(one: Figures) -> str:
    errors = [error for error in one.get("position_errors_m", []) if error is not None]
    return f"{len(errors)} of {len(one['position_errors_m'])}, {median(errors):.2f} m" if errors else ""


TABLES = {
    "place_indices": TableSource((_SECTION,), indices),
    "place_rerankings": TableSource((_SECTION,), reranked),
    "place_variants": TableSource((_SECTION,), variants),
    "place_trainings": TableSource((_TRAINED,), trained),
}
