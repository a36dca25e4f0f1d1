"""Why a transform cannot be had; the names and the meaning are tf2's."""


class TransformException(Exception):  # noqa: N818 - tf2's own name
    """Base of all of them."""


class LookupException(TransformException):
    """A frame was never heard of, or the frames form a loop."""


class ConnectivityException(TransformException):
    """Both frames are known, but no chain of transforms joins them."""


class ExtrapolationException(TransformException):
    """The frames are joined, but not at the time asked for."""


class InvalidArgumentException(TransformException):
    """A frame name is empty or begins with a slash."""
