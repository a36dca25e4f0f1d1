"""The chapters of BENCHMARK.md about robots: live, tracking, several cameras, memory."""

from __future__ import annotations

from benchmarks.tables import Figures, table

_AFTER_FEATURES = ("candidates", "matching", "pose", "verification")


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
        "`vloc evaluate --bag BAG --map MAP --truth-topic /truth --live`: player, map server, localizer and recorder run as "
        "processes; the bag is played at its own rate, without priors. Latency is from publishing an image to receiving its "
        "pose, on the monotonic clock. The last two columns are the largest difference between the live pose and the offline "
        "pose of the same image, and between map→odom · odom→base and the published pose.\n"
    )
    header = ["bag", "rate", "results", "drops", "latency p50 / p95 / p99 ms", "live to offline", "TF to pose"]
    return text + "\n" + table(header, rows)


def sequences(figures: dict[str, Figures]) -> str:
    """Images in sequence: what tracking saves, and the kidnapped robot."""
    writers = {"tracking": _tracking, "kidnapped_robot": _kidnapped_robot}
    head = (
        "The last fix, carried on by odometry, is a prior for the next image. A jump is held until it is confirmed (`vloc "
        "evaluate --sequence`).\n"
    )
    return "\n".join([head, *(write(figures[name]) for name, write in writers.items() if name in figures)])


def _tracking(figures: Figures) -> str:
    """Single images against the same images in sequence, live."""
    header = ["bag", "images", "p50 features + rest, ms", "publish to receive p50 / p95 / p99 ms", "drops", "published"]
    rows = [_tracking_row(f"{bag}, {mode}", f) for bag, modes in figures["bags"].items() for mode, f in modes.items()]
    text = (
        "The same bags live over DDS, as single images (without priors) and in sequence (`make bench SECTIONS=tracking`). "
        "Times are of the stages in the node, and from publishing to receiving.\n"
    )
    return f"{text}\n{table(header, rows)}"


def _kidnapped_robot(f: Figures) -> str:
    """Frames until the pose is right again."""
    header = [
        "world",
        "runs",
        f"recovered within {f['max_frames']} frames",
        "of these, first view accepted as a single image",
        "first view refused as a single image",
        "frames: median / 90 % / most",
        "wrong published",
    ]
    rows = [_kidnapped_row(world) for world in [*f["worlds"], *_over_worlds(f["worlds"])]]
    text = (
        "Kidnapped robot: a localized robot is put down in another place of the same map, which odometry does not notice "
        f"(`make bench SECTIONS=kidnapped_robot`, {f['frame_s']:g} s from frame to frame). Counted are the frames until the "
        "first right pose is published, and the wrong poses (50 cm, 5°) published before. Robots whose first view is refused "
        "as a single image, without a prior, are counted apart: a robot that stands sees nothing else.\n"
    )
    return f"{text}\n{table(header, rows)}"


def leaving(figures: dict[str, Figures]) -> str:
    """Fixes in places that are not mapped."""
    header = ["world", "localized at the start", "frames", "accepted by the localizer", "published by the filter"]
    rows = [
        [w["name"], w["localized_at_start"], str(w["frames"]), str(w["accepted"]), str(w["published"])]
        for w in figures["leaving"]["worlds"]
    ]
    text = (
        "A localized robot then sees places that only look like the mapped one (`make bench SECTIONS=leaving`). Every fix "
        "there is a false accept.\n"
    )
    return f"{text}\n{table(header, rows)}"


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


def _kidnapped_row(world: Figures) -> list[str]:
    recovered = sorted(frames for frames in world["frames"] if frames is not None)
    spread = "-"
    if recovered:
        spread = f"{recovered[len(recovered) // 2]} / {recovered[int(0.9 * len(recovered))]} / {recovered[-1]}"
    return [
        world["name"],
        str(len(world["frames"])),
        str(len(recovered)),
        _recovered(world, refused=False),
        _recovered(world, refused=True),
        spread,
        str(world["wrong"]),
    ]


def _recovered(world: Figures, *, refused: bool) -> str:
    """How many recovered of those whose first view is refused as a single image, or accepted."""
    pairs = zip(world["frames"], world["refused_single_image"], strict=True)
    selected = [frames for frames, single_refused in pairs if single_refused == refused]
    return f"{sum(frames is not None for frames in selected)} of {len(selected)}"


def _over_worlds(worlds: list[Figures]) -> list[Figures]:
    """One row for the robots that drive on, one for those that stand."""
    rows = []
    for then in sorted({world["then"] for world in worlds}):
        these = [world for world in worlds if world["then"] == then]
        pooled = {name: [one for world in these for one in world[name]] for name in ("frames", "refused_single_image")}
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
        "`make bench SECTIONS=rigs`: one camera looks ahead, as those that made the map, and two look aside. They are solved "
        "one by one and together, each moment as a single query. Right is within 25 cm and 2°. The median error counts a "
        "refused query as the largest error.\n"
    )
    return text + "\n" + table(["world", "cameras", "right", "wrong", "median error", "ms"], rows)


def memory(figures: dict[str, Figures]) -> str:
    """Memory of the nodes over a long drive."""
    f = figures["soak"]
    rows = [[name, f"{f['memory_mb'][name]:.0f} MB", f"{mb:+.1f} MB"] for name, mb in f["growth_mb"].items()]
    statuses = ", ".join(f"{name} {count}" for name, count in f["statuses"].items())
    text = (
        f"`make soak`: {f['minutes']:g} minutes of images at {f['rate_hz']:g} Hz. The table has the anonymous resident memory "
        "and its growth from the third minute to the last, which has to stay under 5 MB. Statuses: "
        f"{statuses}.\n"
    )
    return text + "\n" + table(["node", "at the end", "growth"], rows)
