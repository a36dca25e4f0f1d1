"""Why the node itself, before or after the localizer, has no pose for an image."""

from __future__ import annotations

from vloc_ros.core.errors import VlocError


class Refused(VlocError):  # noqa: N818 - a verdict, not a failure
    """No pose for this image.

    Attributes:
        code: of LocalizationStatus.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
