"""A lap of a robot through the simulated world, as the frames of a new bag."""

from __future__ import annotations

import cv2

from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.datasets.recordings import RecordingFrame, SourceRecording, space_stamps
from vloc_ros.simulation.render import render
from vloc_ros.simulation.scene import World
from vloc_ros.simulation.trajectories import drive
from vloc_ros.simulation.world import make_world

_CAMERA = Camera("OPENCV", 640, 480, (525.0, 525.0, 322.0, 238.0, -0.12, 0.03, 0.0005, -0.0003))
_JPEG_QUALITY = 95


def record_simulated_lap(
    kind: str,
    *,
    frames: int,
    seed: int = 0,
    lap_seed: int = 0,
    camera: Camera | None = None,
    base_from_camera: Pose | None = None,
    rate_hz: float | None = None,
) -> SourceRecording:
    """A lap of a wheeled robot through a simulated world.

    Args:
        kind: of the world: room, corridor, yard or apartment.
        frames: number of images.
        seed: of the world.
        lap_seed: of the path.
        camera: its calibration; None takes one of 640x480 pixels.
        base_from_camera: its extrinsics; None takes those of the simulated robot.
        rate_hz: images per second; None is 10 Hz.

    Raises:
        InputError: the kind of world is unknown, or there are too few frames.
    """
    world = make_world(kind, seed)
    camera = camera or _CAMERA
    lap = drive(world, frames, lap_seed)
    base_from_camera = base_from_camera or lap.base_from_camera
    recorded = [
        _frame_of_world(world, camera, index, int(stamp), map_from_base @ base_from_camera)
        for index, (stamp, map_from_base) in enumerate(
            zip(space_stamps(frames, rate_hz), lap.map_from_base, strict=True)
        )
    ]
    return SourceRecording(camera, base_from_camera, recorded)


def _frame_of_world(world: World, camera: Camera, index: int, stamp_ns: int, map_from_camera: Pose) -> RecordingFrame:
    def pixels() -> Array:
        return render(world, camera, map_from_camera, seed=index)

    def encoded() -> bytes:
        done, data = cv2.imencode(".jpg", pixels(), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        assert done
        return bytes(data)

    return RecordingFrame(f"frame {index} of {world.name}", stamp_ns, map_from_camera, pixels, encoded)
