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

"""Serve a page of a map: drop a photograph, see the ranked places, the matches and the fix with its uncertainty.

  vloc serve MAP --camera camera.yaml           to open http://127.0.0.1:8000 in a browser
  vloc serve MAP --focal-px 1172 --size 2000x1125    photographs without distortion
  vloc serve MAP --port 8080                    requests give the focal length of their images

Photographs of another size than that of --camera or --size are refused, unless the page gives their focal length.

MAP has aerial tiles (`vloc map aerial build`) or landmarks (`vloc map build`); of both, the tiles answer unless
--landmarks is given. The page loads nothing from other hosts. The API is described at /openapi.json. Only this machine
reaches the server: with --host, whoever reaches that address may send photographs, without a password.
"""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from vloc_ros.cli.camera_options import add_camera_or_focal_px, check_focal_px
from vloc_ros.cli.dependencies import require

if TYPE_CHECKING:
    from vloc_ros.core.geometry.camera import Camera
    from vloc_ros.server.queries import MapService

_MOST_REQUESTS = 16


def register(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("map", type=Path, metavar="MAP", help="map folder")
    add_camera_or_focal_px(parser, required=False, text=", of all photographs")
    parser.add_argument("--size", metavar="WxH", help="of the photographs that --focal-px is of, in pixels")
    parser.add_argument("--scene", default="", metavar="FRAME", help="of a map of several scenes, which to serve")
    parser.add_argument("--landmarks", action="store_true", help="of a map with tiles and landmarks, use the landmarks")
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="default: %(default)s, this machine")
    parser.add_argument("--port", type=int, default=8000, metavar="N", help="default: %(default)s")


def run(args: argparse.Namespace) -> int:
    """Serve until interrupted."""
    require("vloc serve", "fastapi")
    require("vloc serve", "uvicorn")
    import uvicorn

    from vloc_ros.core.errors import InputError
    from vloc_ros.footprint import limit_blas_threads
    from vloc_ros.server.app import LOOPBACK, make_app

    try:
        address = ipaddress.IPv4Address(args.host)
    except ValueError:
        raise InputError(f"--host is {args.host!r}, expected an IPv4 address such as 127.0.0.1 or 0.0.0.0") from None
    calibration = _read_calibration(args)
    if not 0 < args.port < 65536:
        raise InputError(f"--port is {args.port}, expected 1 to 65535")
    limit_blas_threads()
    # of an address that others reach, any name may stand in a request
    hosts = (*LOOPBACK, args.host) if address.is_loopback else ("*",)
    with _listen(args.host, args.port) as listening:
        app = make_app(_open_service(args, calibration), hosts=hosts)
        # uploads wait in memory for their turn
        config = uvicorn.Config(app, log_level="warning", server_header=False, limit_concurrency=_MOST_REQUESTS)
        print(f"serving {args.map}: open {_address(address, args.port)} in a browser; Ctrl-C ends", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listening])
    return 0


def _listen(host: str, port: int) -> socket.socket:
    from vloc_ros.core.errors import InputError

    try:
        return socket.create_server((host, port))
    except OSError as error:
        raise InputError(
            f"--host {host} --port {port}: cannot be listened on ({error.strerror}), expected an address of this "
            "machine and a free port; give another --port, or end what uses it"
        ) from None


def _address(address: ipaddress.IPv4Address, port: int) -> str:
    """What a browser is given; of all addresses of this machine, the one that it has itself."""
    host = "127.0.0.1" if address.is_unspecified else str(address)
    return f"http://{host}:{port}" + (", from elsewhere by this machine's address," if address.is_unspecified else "")


def _read_calibration(args: argparse.Namespace) -> Camera | None:
    """The camera of all photographs: of --camera, or of --focal-px, which is of one size; None of neither."""
    from vloc_ros.core.errors import InputError
    from vloc_ros.core.geometry.camera import Camera
    from vloc_ros.storage.cameras import read_camera

    check_focal_px(args)
    if (args.focal_px is None) != (args.size is None):
        raise InputError(
            "found one of --focal-px and --size, expected both or none: a focal length in pixels is of photographs of "
            "one size; give both, or leave them out, and give the focal length with each photograph"
        )
    if args.focal_px is None:
        return read_camera(args.camera) if args.camera else None
    try:
        width, height = map(int, args.size.split("x"))
        return Camera("SIMPLE_PINHOLE", width, height, (args.focal_px, width / 2, height / 2))
    except ValueError:
        raise InputError(f"--size is {args.size!r}, expected WIDTHxHEIGHT such as 2000x1125") from None


def _open_service(args: argparse.Namespace, calibration: Camera | None) -> MapService:
    from vloc_ros.assembly import build_localizer
    from vloc_ros.core.config import LocalizerConfig
    from vloc_ros.core.localization.tile_places import find_tile_index
    from vloc_ros.server.aerial import AerialService
    from vloc_ros.server.landmarks import LandmarkService
    from vloc_ros.storage.maps import read_map

    landmark_map = read_map(args.map).part(args.scene)
    if find_tile_index(landmark_map) is not None and not args.landmarks:
        return AerialService(landmark_map, calibration)
    landmark_map.require_landmarks()
    return LandmarkService(build_localizer(LocalizerConfig(), landmark_map), calibration)
