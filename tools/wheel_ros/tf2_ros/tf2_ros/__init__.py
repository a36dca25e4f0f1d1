"""Stand-in for tf2_ros in the wheel environment: the part of its API that vloc_ros's nodes call.

No registry holds tf2_ros, so an environment whose ROS 2 comes from wheels has none. A robot uses its own; this one is
never installed beside it, and one conformance suite runs on whichever is there.
"""

from tf2_ros.buffer import Buffer
from tf2_ros.errors import (
    ConnectivityException,
    ExtrapolationException,
    InvalidArgumentException,
    LookupException,
    TransformException,
)
from tf2_ros.topics import StaticTransformBroadcaster, TransformBroadcaster, TransformListener

IS_STAND_IN = True

__all__ = [
    "IS_STAND_IN",
    "Buffer",
    "ConnectivityException",
    "ExtrapolationException",
    "InvalidArgumentException",
    "LookupException",
    "StaticTransformBroadcaster",
    "TransformBroadcaster",
    "TransformException",
    "TransformListener",
]
