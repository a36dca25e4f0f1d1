"""The chapters of BENCHMARK.md about robots: live, in sequence, with several cameras, for long."""

from __future__ import annotations

from benchmarks.tables import Figures, table

_AFTER_FEATURES = ("proposals", "matching", "pose", "verification")


def live(figures: dict[str, Figures]) -> str:
    """Through the real nodes, over DDS, at the bag's own rate."""
    rows = []
    for name in ("live_redkitchen", "live_simulated"):
        if name in figures:
            f = figures[name]
            latency = f["live"]["publish_to_receive_ms"]
            rows.append([
                name.removeprefix("live_"), f"{f['live']['rate_hz']:.1f} Hz", f"{f['live']['answered']}/{f['live']['images']}",
                str(f["live"]["dropped"]), f"{latency['p50']:.0f} / {latency['p95']:.0f} / {latency['p99']:.0f}",
                f"{f['live']['max_difference']:.1e}", f"{f['live']['max_tf_difference']:.1e}",
            ])  # fmt: skip
    text = (
        "`vloc evaluate --bag BAG --map MAP --truth-topic /truth --live`: player, map server, localizer "
        "and recorder as processes, the bag at its own rate, priors off. Latency is from publishing the image to receiving "
        "its pose, on the monotonic clock. The last two columns: the largest difference between a live pose and the "
        "offline one for the same image, and between map→odom · odom→base and the published pose.\n"
    )
    header = ["bag", "rate", "answered", "drops", "latency p50 / p95 / p99 ms", "live to offline", "TF to pose"]
    return text + "\n" + table(header, rows)


def sequences(figures: dict[str, Figures]) -> str:
    """Images in a row: what tracking saves, and kidnapping."""
    writers = {"tracking": _tracking, "kidnappings": _kidnappings}
    head = (
        "The last fix, carried on by odometry, tells where to look, and a jump is held until it is "
        "confirmed (`vloc evaluate --sequence`).\n"
    )
    return "\n".join([head, *(write(figures[name]) for name, write in writers.items() if name in figures)])


def _tracking(figures: Figures) -> str:
    """By itself against in a row, live."""
    return "\n".join(
        [
            "The same bags live over DDS, every image by itself (priors off) and in a row "
            "(`make bench SECTIONS=tracking`). Times are of the stages in the node, and from publish to receive.\n",
            table(
                [
                    "bag",
                    "images",
                    "p50 features + rest, ms",
                    "publish to receive p50 / p95 / p99 ms",
                    "drops",
                    "published",
                ],
                [
                    _tracking_row(f"{bag}, {mode}", f)
                    for bag, modes in figures["bags"].items()
                    for mode, f in modes.items()
                ],
            ),
        ]
    )


def _kidnappings(f: Figures) -> str:
    """How long until the pose is right again."""
    return "\n".join(
        [
            "A robot that knows where it is is put down elsewhere in the same map, which odometry does not notice "
            f"(`make bench SECTIONS=kidnappings`, {f['frame_s']:g} s from frame to frame): frames until the first right "
            "pose is published, and wrong ones (50 cm, 5°) published before. Those whose first view is refused by itself, without "
            "anything believed, are counted apart: a robot that stands sees nothing else.\n",
            table(
                [
                    "world",
                    "kidnappings",
                    f"back within {f['most']} frames",
                    "of these with a first view accepted by itself",
                    "with one refused by itself",
                    "frames: median / 90 % / most",
                    "wrong published",
                ],
                [_kidnapping_row(world) for world in [*f["worlds"], *_over_worlds(f["worlds"])]],
            ),
        ]
    )


def leaving(figures: dict[str, Figures]) -> str:
    """What is believed of places that are not mapped."""
    f = figures["leaving"]
    return "\n".join(
        [
            "A robot that knows where it is sees places that only look like the mapped one "
            "(`make bench SECTIONS=leaving`): every fix is a false one.\n",
            table(
                ["world", "known at the start", "frames", "accepted by the localizer", "published by the filter"],
                [
                    [w["name"], w["starts_known"], str(w["frames"]), str(w["accepted"]), str(w["published"])]
                    for w in f["worlds"]
                ],
            ),
        ]
    )


def _tracking_row(name: str, f: Figures) -> list[str]:
    received, stages = f["live"]["publish_to_receive_ms"], f["latency_ms"]
    return [
        name,
        str(f["live"]["images"]),
        f"{stages['features']['p50']:.0f} + {sum(stages[s]['p50'] for s in _AFTER_FEATURES):.0f}",
        f"{received['p50']:.0f} / {received['p95']:.0f} / {received['p99']:.0f}",
        str(f["live"]["dropped"]),
        str(f["accepted"]),
    ]


def _kidnapping_row(world: Figures) -> list[str]:
    back = sorted(frames for frames in world["frames"] if frames is not None)
    spread = f"{back[len(back) // 2]} / {back[int(0.9 * len(back))]} / {back[-1]}" if back else "-"
    return [
        world["name"],
        str(len(world["frames"])),
        str(len(back)),
        _back_of(world, refused=False),
        _back_of(world, refused=True),
        spread,
        str(world["wrong"]),
    ]


def _back_of(world: Figures, *, refused: bool) -> str:
    """How many came back of those whose first view is refused by itself, or is not."""
    pairs = zip(world["frames"], world["refused_alone"], strict=True)
    these = [frames for frames, alone in pairs if alone == refused]
    return f"{sum(frames is not None for frames in these)} of {len(these)}"


def _over_worlds(worlds: list[Figures]) -> list[Figures]:
    """One row for the robots that drive on, one for those that stand."""
    rows = []
    for then in sorted({world["then"] for world in worlds}):
        these = [world for world in worlds if world["then"] == then]
        pooled = {name: [one for world in these for one in world[name]] for name in ("frames", "refused_alone")}
        rows.append({"name": f"all, {then}", "wrong": sum(world["wrong"] for world in these), **pooled})
    return rows


def rigs(figures: dict[str, Figures]) -> str:
    """One camera against several."""
    worlds = figures["rigs"]["worlds"]
    rows = []
    for world in worlds:
        for names, f in world["cameras"].items():
            right, metres = f"{f['right']}/{f['queries']}", f["median_translation_m"]
            error = "-" if metres is None else f"{metres * 1000:.1f} mm"
            rows.append([world["name"], names, right, str(f["false_accepts"]), error, f"{f['total_ms']:.0f}"])
    text = (
        "`make bench SECTIONS=rigs`: a camera that looks ahead, as those that made the map, and "
        "two that look aside; each alone, and solved together. Every moment by itself. Right is within 25 cm and 2°; the median counts "
        "what was refused as the largest.\n"
    )
    return text + "\n" + table(["world", "cameras", "right", "wrong", "median error", "ms"], rows)


def memory(figures: dict[str, Figures]) -> str:
    """Of the nodes over a long drive."""
    f = figures["soak"]
    rows = [[name, f"{f['memory_mb'][name]:.0f} MB", f"{mb:+.1f} MB"] for name, mb in f["growth_mb"].items()]
    seen = ", ".join(f"{name} {count}" for name, count in f["statuses"].items())
    text = (
        f"`make soak`: {f['minutes']:g} minutes of images at {f['rate_hz']:g} Hz, anonymous resident memory, its "
        f"growth from the third minute to the last, which is to stay under 5 MB. Statuses: {seen}.\n"
    )
    return text + "\n" + table(["node", "at the end", "growth"], rows)
