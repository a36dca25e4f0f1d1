"""The chapter of BENCHMARK.md about place recognition without training."""

from __future__ import annotations

from statistics import median

from benchmarks.tables import Figures, table


def place_recognition(figures: dict[str, Figures]) -> str:
    """Recall of each index by day and night, what re-ranking changes, and what it costs."""
    rows = figures["place_recognition"]["rows"]
    scored = [
        [name, *_recalls(f), _aupr(f), str(f["bytes_in_a_map"]), f"{f['describe_ms']:.0f}"] for name, f in rows.items()
    ]
    reranked = [
        [name, one["name"], *_change(f, one), f"{one['ms']:.1f}", _metres(one)]
        for name, f in rows.items()
        for one in f["rerankings"]
    ]
    varied = [[name, how, _share(f["scores"]["recall"]["R@1"]), _share(r)] for name, f in rows.items() for how, r in f["variants"].items()]  # fmt: skip
    text = (
        "`make bench SECTIONS=place_recognition`: `vloc place test` on simulated streets and rooms that "
        "`vloc place export --world` wrote, queries of another drive or walk, in streets past other cars. Nothing is "
        "trained; VLAD learns its words of the database. Recall over all queries with Wilson's 95 % interval. A map "
        "stores one byte for each value.\n"
    )
    header = ["index, set, light", "R@1", "R@5", "chance R@1", "AUPR", "bytes", "ms to describe"]
    return "\n".join(
        [
            text,
            table(header, scored),
            "Re-ranking, each by itself; `pose` says where the queries were:\n",
            table(
                ["index, set, light", "re-ranking", "R@1 before", "after", "ms a query", "located, median"], reranked
            ),
            "Handling of queries and scales:\n",
            table(["index, set, light", "option", "R@1 without", "with"], varied),
        ]
    )


def _recalls(f: Figures) -> list[str]:
    scores = f["scores"]
    return [_share(scores["recall"]["R@1"]), _share(scores["recall"]["R@5"]), f"{scores['chance']['R@1']:.1%}"]


def _share(share: Figures) -> str:
    low, high = share["interval_95"]
    return f"{share['share']:.1%} ({low:.1%} to {high:.1%})"


def _aupr(f: Figures) -> str:
    return f"{f['scores']['aupr']:.3f}" if f["scores"]["aupr"] is not None else ""


def _change(f: Figures, one: Figures) -> list[str]:
    before = f"{f['scores']['recall']['R@1']['share']:.1%}"
    return [before, f"{one['scores']['recall']['R@1']['share']:.1%}" if one["scores"] else "refused"]


def _metres(one: Figures) -> str:
    errors = [e for e in one.get("position_errors_m", []) if e is not None]
    if not errors:
        return ""
    return f"{len(errors)} of {len(one['position_errors_m'])}, {median(errors):.2f} m"
