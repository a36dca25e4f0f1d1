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

"""What the JSON API says: the overview of a map, and the answer to a photograph."""

from __future__ import annotations

from pydantic import BaseModel, Field


class PlaceShape(BaseModel):
    """A place of the map: a square of ground, or a keyframe's position."""

    name: str
    x: float = Field(description="metres in the scene")
    y: float
    side_m: float = Field(description="of a square of ground; 0 of a keyframe")
    yaw_deg: float = Field(description="of its x axis, counter-clockwise from the scene's")


class MapOverview(BaseModel):
    """What a page draws before there is a photograph."""

    name: str
    kind: str = Field(description="aerial or landmarks")
    frame_id: str
    metric: bool = Field(description="whether lengths are metres; else the map's scale is unknown")
    needs_camera: bool = Field(description="whether a request has to give focal_px: the server has no calibration")
    places: list[PlaceShape]
    points: list[tuple[float, float]] = Field(description="a plan: some keypoints or map points, seen from above")
    latitude: float | None = None
    longitude: float | None = None


class RankedPlace(BaseModel):
    """A place that resembles the photograph."""

    place: int = Field(description="its number in the overview")
    name: str
    similarity: float = Field(description="cosine of the global descriptors")
    weight: float = Field(description="share of all places, a softmax of the similarities; not calibrated")


class Match(BaseModel):
    """An inlier: a pixel of the photograph, and where it lies in the map."""

    u: float
    v: float
    x: float
    y: float


class Fix(BaseModel):
    """An accepted pose, in the scene that is drawn."""

    x: float
    y: float
    z: float
    yaw_deg: float = Field(description="direction of view, or of the upper edge of an image from above, from x")
    ellipse: list[tuple[float, float]] = Field(
        description="outline of the region of 95 % of the position, nominally: by its covariance"
    )
    position_std_m: tuple[float, float, float]
    latitude: float | None = None
    longitude: float | None = None
    earth_std_m: tuple[float, float] | None = Field(
        default=None, description="of latitude and longitude, metres to the east and north; the datum's is added"
    )
    heading_deg: float | None = Field(default=None, description="that direction, clockwise from true north")
    heading_std_deg: float | None = Field(default=None, description="of the heading; the datum's is added")


class Answer(BaseModel):
    """The answer to a photograph."""

    status: str = Field(description="ok, or why there is no pose")
    reason: str
    confidence: float = Field(description="by the table that decides; that of aerial maps is provisional")
    inliers: int
    width: int
    height: int
    places: list[RankedPlace] = Field(description="best first")
    weights: list[float] = Field(description="of every place of the overview, in its order")
    matches: list[Match] = Field(description="of the accepted pose; at most some hundreds")
    fix: Fix | None


class Refusal(BaseModel):
    """An error: what was found, what was expected, what to do."""

    error: str
