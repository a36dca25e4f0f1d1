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

"""Answers to QueryPlaces: what of the map an image, a scan or a descriptor resembles."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from vloc_msgs.srv import QueryPlaces
from vloc_ros.bags.point_clouds import point_cloud_of
from vloc_ros.core.errors import InputError, MapError, ModelError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.localization.place_query import (
    FoundPlace,
    check_descriptors,
    find_keyframe_indices,
    find_range_index,
    query_keyframes,
    query_places,
    query_tiles,
)
from vloc_ros.core.localization.tile_places import find_tile_index, require_tile_index
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.query import Query
from vloc_ros.core.retrieval.encoders import GlobalDescriptorEncoder, RangeEncoder
from vloc_ros.inference.global_descriptors import KIND, read_global_descriptor
from vloc_ros.inference.models import read_model
from vloc_ros.inference.range_descriptors import check_spaces, read_range_descriptor, read_space
from vloc_ros.node_config import MapServerConfig, PlaceQueryConfig
from vloc_ros.nodes.map_server.refusal import QueryRefused
from vloc_ros.nodes.map_server.tile_queries import TileQueries
from vloc_ros.nodes.rclpy_support.conversion import image_of, image_size_of

_REQUEST, _CODES = QueryPlaces.Request, QueryPlaces.Response
_IMAGES = (_REQUEST.IMAGE, _REQUEST.COMPRESSED_IMAGE)
_QUERIES = (*_IMAGES, _REQUEST.POINTS, _REQUEST.DESCRIPTOR)
_KINDS = {
    _REQUEST.ALL: (_REQUEST.LIDAR_PLACES, _REQUEST.KEYFRAMES),
    _REQUEST.LIDAR_PLACES: (_REQUEST.LIDAR_PLACES,),
    _REQUEST.KEYFRAMES: (_REQUEST.KEYFRAMES,),
    _REQUEST.AERIAL_TILES: (_REQUEST.AERIAL_TILES,),
}


@dataclass(frozen=True, slots=True, eq=False)
class PlaceEncoders:
    """The models of a map server, none of which it needs to have.

    Attributes:
        images: of images.
        scans: of scans, in one descriptor space with `images` where both are there.
        space: that the image model shares with one of scans; empty where it shares none.
    """

    images: GlobalDescriptorEncoder | None = None
    scans: RangeEncoder | None = None
    space: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class _Descriptors:
    """What was made of a query.

    Attributes:
        rows: (V, D), V > 0, of length 1.
        space: that they are in, for LiDAR places; empty where it is of no known one.
        encoder: hash of the image model that they compare with, for keyframes; empty where that is not known.
    """

    rows: Array
    space: str
    encoder: str


def read_place_encoders(config: MapServerConfig) -> PlaceEncoders:
    """Read the models that a map server is configured with.

    Raises:
        ModelError: one cannot be used, or the two were not trained together.
    """
    of_images, of_scans = (Path(name).expanduser() if name else None for name in (config.encoder, config.range_encoder))
    if of_images and of_scans:
        space = check_spaces(of_images, of_scans)
    else:
        space = _read_space_if_any(of_images) if of_images else ""
    return PlaceEncoders(
        read_global_descriptor(of_images) if of_images else None,
        read_range_descriptor(of_scans) if of_scans else None,
        space,
    )


def check_query_size(config: PlaceQueryConfig, request: Any) -> None:
    """Refuse what is too large, by the size that it states: nothing is decoded, and nothing of the kind waits.

    Raises:
        QueryRefused: it is, or states no size.
    """
    if request.query == _REQUEST.IMAGE:
        _check_image_size(config, request.image)
    elif request.query == _REQUEST.COMPRESSED_IMAGE:
        _check_image_size(config, request.compressed_image)
    elif request.query == _REQUEST.POINTS:
        count, most = request.points.width * request.points.height, config.max_points
        if count > most:
            raise QueryRefused(
                _CODES.BAD_POINTS,
                f"a point cloud has {count} points, expected at most {most} (query.max_points); down-sample it",
            )
    elif (count := len(request.descriptor)) > _REQUEST.MAX_DESCRIPTOR:
        raise QueryRefused(
            _CODES.BAD_DESCRIPTOR,
            f"a descriptor has {count} values, expected at most {_REQUEST.MAX_DESCRIPTOR}; send that of one view",
        )


def _check_image_size(config: PlaceQueryConfig, message: Any) -> None:
    try:
        width, height = image_size_of(message)
    except InputError as error:
        raise QueryRefused(_CODES.BAD_IMAGE, str(error)) from error
    if width * height > config.max_megapixels * 1e6:
        raise QueryRefused(
            _CODES.BAD_IMAGE,
            f"an image has {width}x{height} pixels, expected at most {config.max_megapixels:g} million "
            "(query.max_megapixels); reduce it",
        )


def retrieve_places(encoders: PlaceEncoders, tiles: TileQueries, request: Any) -> tuple[list[FoundPlace], str]:
    """The places that the query of a QueryPlaces.Request resembles, and what was not searched and why.

    LiDAR places come before keyframes and these before aerial tiles, each best first. `tiles` are of the map that is
    searched.

    Raises:
        QueryRefused: there is no answer.
    """
    landmark_map = tiles.map
    kinds, count = _choose_kinds(landmark_map, request), request.count or _REQUEST.DEFAULT_COUNT
    # before a model runs: a map without places has no answer, whatever the models
    missing = {kind: reason for kind in kinds if (reason := _describe_missing(kind, landmark_map))}
    if len(missing) == len(kinds):
        raise QueryRefused(_CODES.NO_INDEX, "; ".join(missing.values()))
    found, refusals = list[FoundPlace](), [QueryRefused(_CODES.NO_INDEX, reason) for reason in missing.values()]
    describe = cache(partial(_describe_or_refuse, encoders, request))  # a model is run once, if at all
    for kind in (one for one in kinds if one not in missing):
        try:
            if kind == _REQUEST.AERIAL_TILES:
                found += _search_tiles(tiles, request, count)
            else:
                found += _search(kind, describe(), landmark_map, count)
        except QueryRefused as refusal:
            refusals.append(refusal)
    reasons = "; ".join(dict.fromkeys(map(str, refusals)))
    if len(refusals) == len(kinds):
        # places whose descriptors do not fit the query's are closer to an answer than places without any
        raise QueryRefused(min(refusals, key=lambda one: one.code == _CODES.NO_INDEX).code, reasons)
    return found, reasons


def _choose_kinds(landmark_map: LandmarkMap, request: Any) -> tuple[int, ...]:
    """The kinds of places that a request is for, once it is valid; of all, tiles only where the map has some."""
    if request.query not in _QUERIES:
        raise QueryRefused(
            _CODES.BAD_REQUEST,
            f"query is {request.query}, expected IMAGE (0), COMPRESSED_IMAGE (1), POINTS (2) or DESCRIPTOR (3)",
        )
    kinds = _KINDS.get(request.places)
    if kinds is None:
        raise QueryRefused(
            _CODES.BAD_REQUEST,
            f"places is {request.places}, expected ALL (0), LIDAR_PLACES (1), KEYFRAMES (2) or AERIAL_TILES (3)",
        )
    if request.count > _REQUEST.MAX_COUNT:
        raise QueryRefused(_CODES.BAD_REQUEST, f"count is {request.count}, expected at most {_REQUEST.MAX_COUNT}")
    if request.places == _REQUEST.ALL and find_tile_index(landmark_map) is not None:
        return (*kinds, _REQUEST.AERIAL_TILES)
    return kinds


def _describe_missing(kind: int, landmark_map: LandmarkMap) -> str:
    """Why the map has no places of a kind; empty where it has some."""
    try:
        if kind == _REQUEST.LIDAR_PLACES:
            find_range_index(landmark_map)
        elif kind == _REQUEST.AERIAL_TILES:
            require_tile_index(landmark_map)
        else:
            find_keyframe_indices(landmark_map)
    except MapError as error:
        return str(error)
    return ""


def _search(
    kind: int, described: _Descriptors | QueryRefused, landmark_map: LandmarkMap, count: int
) -> list[FoundPlace]:
    """The places of one kind; an error of the search has the code of the service."""
    if isinstance(described, QueryRefused):
        raise described
    by_lidar = kind == _REQUEST.LIDAR_PLACES
    if not (described.space if by_lidar else described.encoder):
        what = "model of scans, so LiDAR places" if by_lidar else "image model that is known here, so keyframes"
        raise QueryRefused(
            _CODES.NO_MODEL,
            f"the model of the query shares its descriptor space with no {what} cannot be compared; set the parameter "
            "encoder to MODEL/image of `python -m training.cross_modal.train`",
        )
    try:
        if by_lidar:
            return query_places(landmark_map, described.rows, space=described.space, count=count)
        return query_keyframes(landmark_map, described.rows, encoder=described.encoder, count=count)
    except MapError as error:
        raise QueryRefused(_CODES.NO_INDEX, str(error)) from error
    except ModelError as error:
        raise QueryRefused(_CODES.OTHER_ENCODER, str(error)) from error


def _search_tiles(tiles: TileQueries, request: Any, count: int) -> list[FoundPlace]:
    """The aerial tiles that an image, or a descriptor of their encoder, resembles."""
    if request.query == _REQUEST.POINTS:
        raise QueryRefused(_CODES.NO_MODEL, "a scan is not compared with aerial tiles; send an image from above")
    try:
        if request.query in _IMAGES:
            return tiles.retrieve(request, _read_image(request), count)
        return query_tiles(tiles.map, _read_descriptor(request), encoder=request.encoder, count=count)
    except MapError as error:
        raise QueryRefused(_CODES.NO_INDEX, str(error)) from error
    except ModelError as error:
        raise QueryRefused(_CODES.OTHER_ENCODER, str(error)) from error


def _describe_or_refuse(encoders: PlaceEncoders, request: Any) -> _Descriptors | QueryRefused:
    """The descriptors of a query, or why there are none."""
    try:
        return _describe(encoders, request)
    except QueryRefused as refusal:
        return refusal


def _describe(encoders: PlaceEncoders, request: Any) -> _Descriptors:
    """The descriptors of a query."""
    try:
        if request.query in _IMAGES:
            return _describe_image(encoders, request)
        if request.query == _REQUEST.POINTS:
            return _describe_scan(encoders, request.points)
    except QueryRefused:
        raise
    except Exception as error:  # the engines' exceptions have no common base, and none ends the map server
        raise QueryRefused(_CODES.MODEL_FAILED, f"the model failed: {error}") from error
    return _take_descriptor(encoders, request)


def _describe_image(encoders: PlaceEncoders, request: Any) -> _Descriptors:
    if encoders.images is None:
        raise QueryRefused(
            _CODES.NO_MODEL, "the map server has no model of images; set its parameter encoder, and restart it"
        )
    rows = encoders.images.encode([_read_image(request)])
    check_descriptors(rows)
    return _Descriptors(rows, encoders.space, encoders.images.hash)


def _read_image(request: Any) -> Array:
    try:
        return image_of(request.image if request.query == _REQUEST.IMAGE else request.compressed_image)
    except InputError as error:
        raise QueryRefused(_CODES.BAD_IMAGE, str(error)) from error


def _describe_scan(encoders: PlaceEncoders, message: Any) -> _Descriptors:
    if encoders.scans is None:
        raise QueryRefused(
            _CODES.NO_MODEL, "the map server has no model of scans; set its parameter range_encoder, and restart it"
        )
    try:
        cloud = point_cloud_of(message, with_times=False)
    except InputError as error:
        raise QueryRefused(_CODES.BAD_POINTS, str(error)) from error
    rows = encoders.scans.encode_query(Query((), cloud=cloud))
    if not len(rows):
        raise QueryRefused(
            _CODES.BAD_POINTS,
            f"a point cloud of {len(cloud)} points shows nothing at any heading of the range model, expected a scan "
            "from its sensor; does the z axis of its frame point up?",
        )
    check_descriptors(rows)
    return _Descriptors(rows, encoders.scans.hash, _hash_of_images(encoders))


def _take_descriptor(encoders: PlaceEncoders, request: Any) -> _Descriptors:
    """A descriptor as it is, of the encoder that the request names."""
    rows = _read_descriptor(request)
    known = {encoders.space, _hash_of_images(encoders)} - {""}
    if request.encoder in known:
        return _Descriptors(rows, encoders.space, _hash_of_images(encoders))
    return _Descriptors(rows, request.encoder, request.encoder)


def _read_descriptor(request: Any) -> Array:
    """(1, D) the descriptor of a request that names its encoder."""
    rows = np.asarray(request.descriptor, np.float32)[None]
    try:
        check_descriptors(rows)
    except InputError as error:
        raise QueryRefused(_CODES.BAD_DESCRIPTOR, str(error)) from error
    if not request.encoder:
        raise QueryRefused(
            _CODES.BAD_REQUEST,
            "encoder is empty, expected the name of the descriptor space or the hash of the model; `vloc map info "
            "--json` has those of the map",
        )
    return rows


def _hash_of_images(encoders: PlaceEncoders) -> str:
    return encoders.images.hash if encoders.images is not None else ""


def _read_space_if_any(folder: Path) -> str:
    """The descriptor space of an image model; empty where it shares none with scans."""
    model = read_model(folder, kind=KIND)
    training = model.manifest.get("training")
    return read_space(model) if isinstance(training, dict) and "space" in training else ""
