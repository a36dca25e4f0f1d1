"""What a map is aligned to: gravity, point pairs, or a trajectory of its keyframes."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.geometry.similarity import Similarity
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.mapping.maps.alignment import gravity_alignment
from vloc_ros.storage.text import read_text
from vloc_ros.storage.trajectories import read_tum

_PAIR_COLUMNS = 6


def takes_scale(args: argparse.Namespace, landmark_map: LandmarkMap) -> bool:
    """Whether the target decides the scale."""
    return not args.gravity and (args.scale or not landmark_map.metric)


def alignment_of(args: argparse.Namespace, landmark_map: LandmarkMap) -> tuple[Similarity, Array | None]:
    """target_from_map, and how far apart each pair remains; None where there are no pairs."""
    if args.gravity:
        return gravity_alignment(landmark_map), None
    with_scale = takes_scale(args, landmark_map)
    if args.pairs:
        source, target = read_pairs(args.pairs)
        with naming(args.pairs):
            found = Similarity.fit(source, target, with_scale=with_scale)
        return found, found.residuals(source, target)
    map_from_cameras, target_from_cameras = read_keyframe_poses(args.trajectory, landmark_map)
    with naming(args.trajectory):
        found = Similarity.fit_poses(map_from_cameras, target_from_cameras, with_scale=with_scale)
    ends = [np.stack([pose.translation for pose in poses]) for poses in (map_from_cameras, target_from_cameras)]
    return found, found.residuals(*ends)


def read_pairs(path: Path) -> tuple[Array, Array]:
    """(N, 3) points in the map and (N, 3) the same in the target frame.

    Raises:
        InputError: the file cannot be read, or a row is not six finite numbers; the message names the line.
    """
    rows = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        words = line.split("#", 1)[0].replace(",", " ").split()
        if not words:
            continue
        try:
            row = np.array([float(word) for word in words])
        except ValueError as error:
            raise InputError(f"{path}, line {number}: {error}, expected numbers mx my mz tx ty tz") from None
        if row.shape != (_PAIR_COLUMNS,) or not np.isfinite(row).all():
            found = f"{len(row)} columns" if len(row) != _PAIR_COLUMNS else "a value that is not finite"
            raise InputError(f"{path}, line {number}: {found}, expected six numbers mx my mz tx ty tz")
        rows.append(row)
    pairs = np.array(rows).reshape(-1, _PAIR_COLUMNS)
    return pairs[:, :3], pairs[:, 3:]


def read_keyframe_poses(path: Path, landmark_map: LandmarkMap) -> tuple[list[Pose], list[Pose]]:
    """map_from_camera and target_from_camera of the keyframes, in name order.

    Raises:
        InputError: the file is no trajectory, or does not have one row per keyframe.
    """
    keyframes = landmark_map.keyframes
    trajectory = read_tum(path)
    if len(trajectory) != len(keyframes):
        raise InputError(
            f"{path} holds {len(trajectory)} poses, the map has {len(keyframes)} keyframes; expected one row per "
            "keyframe in name order (`vloc map info MAP --json` lists the names)"
        )
    order = sorted(range(len(keyframes)), key=lambda k: keyframes.names[k])
    return [keyframes.pose(k) for k in order], list(trajectory.poses)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors within say which file they are about."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def with_provenance(
    aligned: LandmarkMap, args: argparse.Namespace, target_from_map: Similarity, source_hash: str
) -> LandmarkMap:
    """The map with a note of what was done to it."""
    step = {
        "to": "gravity" if args.gravity else "pairs" if args.pairs else "trajectory",
        "from_map": source_hash,
        "scale": target_from_map.scale,
    }
    steps = [*aligned.provenance.get("alignments", []), step]
    return replace(aligned, provenance={**aligned.provenance, "alignments": steps})


def table(target_from_map: Similarity, residuals: Array | None, unit: str) -> str:
    """Lines of aligned text: the similarity, and the residuals where there are any."""
    turn_deg = np.degrees(np.linalg.norm(Pose(target_from_map.rotation, np.zeros(3)).rotation_vector))
    moved_by = " ".join(f"{value:.3f}" for value in target_from_map.translation)
    rows = [("scale", f"{target_from_map.scale:.6g}"), ("turn", f"{turn_deg:.2f} deg"), ("shift", f"{moved_by} {unit}")]
    if residuals is not None:
        worst = int(residuals.argmax())
        rows += [
            ("pairs", f"{len(residuals)}"),
            ("rms", f"{np.sqrt((residuals**2).mean()):.4f} {unit}"),
            ("median", f"{np.median(residuals):.4f} {unit}"),
            ("max", f"{residuals[worst]:.4f} {unit} (row {worst + 1})"),
        ]
    return "\n".join(f"{name:<8}{value}" for name, value in rows)
