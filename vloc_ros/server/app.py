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

"""The web application of a map: a page to drop photographs on, and the JSON API that it uses."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib import resources
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.middleware.trustedhost import TrustedHostMiddleware

from vloc_ros.core.errors import VlocError
from vloc_ros.server.answers import Answer, MapOverview, Refusal
from vloc_ros.server.queries import KnownOfView, MapService
from vloc_ros.server.uploads import MOST_BYTES, UploadTooLargeError, decode_upload, read_bounded

LOOPBACK = ("127.0.0.1", "localhost")
# everything that is served, by name: no path comes from a request
_FILES = {
    "": ("index.html", "text/html; charset=utf-8"),
    "page.js": ("page.js", "text/javascript; charset=utf-8"),
    "page.css": ("page.css", "text/css; charset=utf-8"),
    "leaflet.js": ("leaflet.js", "text/javascript; charset=utf-8"),
    "leaflet.css": ("leaflet.css", "text/css; charset=utf-8"),
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; style-src 'self' 'unsafe-inline'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_FOCAL = "focal length in pixels, of an image without distortion; without it what the server was started with holds"
_ALTITUDE = "metres above the ground, of an aerial map"
_IMAGE = {"schema": {"type": "string", "format": "binary"}}
_BODY = {"requestBody": {"required": True, "content": {"image/jpeg": _IMAGE, "image/png": _IMAGE}}}


def make_app(service: MapService, *, hosts: Sequence[str] = LOOPBACK) -> FastAPI:
    """The application.

    Args:
        service: of the map.
        hosts: names that a request may address the server by; others are refused, so that no page of another site
            reaches it by a name of its own.
    """
    app = FastAPI(title="vloc", description=__doc__.splitlines()[0], docs_url=None, redoc_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))
    busy = asyncio.Lock()  # one photograph at a time: each takes all that the machine has
    overview = service.describe()

    @app.middleware("http")
    async def add_headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await call_next(request)
        response.headers.update(_HEADERS)
        return response

    @app.exception_handler(VlocError)
    def refuse(_: Request, error: VlocError) -> JSONResponse:
        status = 413 if isinstance(error, UploadTooLargeError) else 422
        return JSONResponse({"error": str(error)}, status)

    @app.exception_handler(RequestValidationError)
    def refuse_parameters(_: Request, error: RequestValidationError) -> JSONResponse:
        return JSONResponse({"error": "; ".join(_explain(one) for one in error.errors())}, 422)

    for name, (file, kind) in _FILES.items():
        content = (resources.files("vloc_ros.server") / "static" / file).read_bytes()
        app.get(f"/{name}", include_in_schema=False)(_answer_with(content, kind))

    @app.get("/api/map")
    def describe_map() -> MapOverview:
        """Places and a plan of the map."""
        return overview

    @app.post("/api/locate", openapi_extra=_BODY, responses={413: {"model": Refusal}, 422: {"model": Refusal}})
    async def locate(
        request: Request,
        focal_px: Annotated[float | None, Query(gt=0, le=1e6, allow_inf_nan=False, description=_FOCAL)] = None,
        altitude_m: Annotated[float | None, Query(gt=0, le=1e5, allow_inf_nan=False, description=_ALTITUDE)] = None,
        nadir: Annotated[bool, Query(description="whether the camera looked straight down, of an aerial map")] = False,
    ) -> Answer:
        """Where a photograph was taken; the body is a JPEG or PNG image."""
        stated = request.headers.get("content-length")
        data = await read_bounded(request.stream(), stated=stated, most=MOST_BYTES)
        known = KnownOfView(focal_px, altitude_m, nadir)
        async with busy:
            return await run_in_threadpool(lambda: service.locate(decode_upload(data), known))

    return app


def _explain(wrong: Mapping[str, Any]) -> str:
    """A parameter of a request that is none: what was found, and what was expected."""
    expected = str(wrong["msg"]).removeprefix("Input should be ")
    return f"{wrong['loc'][-1]} is {wrong['input']!r}, expected {expected}; correct it, or leave it out"


def _answer_with(content: bytes, kind: str) -> Callable[[], Response]:
    return lambda: Response(content, media_type=kind)
