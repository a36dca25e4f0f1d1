"""Errors of transform lookups, with the names and the meaning of tf2's."""


class TransformException(Exception):  # noqa: N818 - tf2's own name
    """Base of all of them."""


class LookupException(TransformException):
    """A frame is unknown, or the frames form a loop."""


class ConnectivityException(TransformException):
    """Both frames are known, but no chain of transforms joins them."""


class ExtrapolationException(TransformException):
    """The frames are joined, but not at the requested time."""


class InvalidArgumentException(TransformException):
    """A frame name is empty or begins with a slash."""
