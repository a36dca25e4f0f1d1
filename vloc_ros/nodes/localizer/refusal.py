"""Refusal of an image by the node itself, before or after localization."""

from __future__ import annotations

from vloc_ros.core.errors import VlocError


class Refused(VlocError):  # noqa: N818 - a result, not a failure
    """There is no pose for this image.

    Attributes:
        code: code of LocalizationStatus.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
