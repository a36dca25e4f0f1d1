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
    x: float = Field(description="in the plan")
    y: float
    side_m: float = Field(description="of a square of ground; 0 of a keyframe")
    yaw_deg: float = Field(
        description="of a square's x axis, or of a keyframe's view, counter-clockwise from the plan's first axis"
    )


class Axis(BaseModel):
    """An axis of the plan: a coordinate in the plan is the component of a position in the map frame along it."""

    name: str = Field(description="such as x or -z, within 20 degrees; empty where no axis of the map frame is near")
    is_exact: bool = Field(description="whether it is that axis")
    direction: tuple[float, float, float] = Field(description="a unit vector in the map frame")


class MapOverview(BaseModel):
    """What a page draws before there is a photograph."""

    name: str
    kind: str = Field(description="aerial or landmarks")
    frame_id: str
    metric: bool = Field(description="whether lengths are metres; else the map's scale is unknown")
    needs_camera: bool = Field(description="whether a request has to give focal_px: the server has no calibration")
    axes: tuple[Axis, Axis] = Field(description="of the plan, the map seen from above: to the right, and upwards in it")
    places: list[PlaceShape]
    points: list[tuple[float, float]] = Field(description="some keypoints or map points, in the plan")
    extent: tuple[tuple[float, float], tuple[float, float]] = Field(
        description="lower and upper corner of the plan, without points far from all others"
    )
    latitude: float | None = None
    longitude: float | None = None


class RankedPlace(BaseModel):
    """A place that resembles the photograph."""

    place: int = Field(description="its number in the overview")
    name: str
    similarity: float = Field(description="cosine of the global descriptors")
    weight: float = Field(description="share of all places, a softmax of the similarities; not calibrated")


class Match(BaseModel):
    """An inlier: a pixel of the photograph, and where it lies in the plan."""

    u: float
    v: float
    x: float
    y: float


class Fix(BaseModel):
    """An accepted pose of the camera, in the map frame and in the plan."""

    x: float = Field(description="position in the map frame")
    y: float
    z: float
    orientation: tuple[float, float, float, float] = Field(
        description="of the optical frame (z along the view, y down the image) in the map frame, quaternion x y z w"
    )
    position_std_m: tuple[float, float, float]
    at: tuple[float, float] = Field(description="the position in the plan")
    ahead: tuple[float, float] = Field(
        description="unit vector of the direction of view, or of the upper edge of an image from above, seen in the "
        "plan: the shorter, the steeper the view"
    )
    yaw_deg: float = Field(description="that direction, counter-clockwise from the plan's first axis")
    yaw_std_deg: float
    pitch_deg: float = Field(description="that direction, upwards from level")
    ellipse: list[tuple[float, float]] = Field(
        description="outline of the region of 95 % of the position in the plan, nominally: by its covariance"
    )
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
