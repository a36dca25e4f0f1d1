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

"""Complete images are read unchanged; damaged ones are refused instead of half-decoded."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from vloc_ros.core.errors import InputError
from vloc_ros.storage.images import (
    count_images_passed_over,
    list_images,
    read_image,
    read_image_size,
    read_opaque_image,
)

_COLOUR = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)


def _encoded(suffix: str, image: np.ndarray = _COLOUR, *options: int) -> bytes:
    return cv2.imencode(suffix, image, list(options))[1].tobytes()


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_colour_and_grey(tmp_path: Path, suffix: str) -> None:
    grey = _COLOUR[:, :, 0]
    for name, image in (("colour", _COLOUR), ("grey", grey)):
        path = tmp_path / (name + suffix)
        path.write_bytes(_encoded(suffix, image))
        read = read_image(path)
        assert read.shape == image.shape
        assert read.dtype == np.uint8
        if suffix == ".png":
            np.testing.assert_array_equal(read, image)


def test_sixteen_bits_and_transparency_become_eight_bit_grey_or_bgr(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(_encoded(".png", np.full((4, 5), 0x8000, np.uint16)))
    (tmp_path / "b.png").write_bytes(_encoded(".png", np.full((4, 5, 4), 200, np.uint8)))
    assert (read_image(tmp_path / "a.png") == 128).all()
    assert read_image(tmp_path / "b.png").shape == (4, 5, 3)


def test_transparent_pixels_are_told_from_opaque_ones(tmp_path: Path) -> None:
    alpha = np.zeros((60, 80, 1), np.uint8)
    alpha[:, :30] = 255
    contents = {
        "rgba.png": (".png", np.dstack([_COLOUR, alpha])),
        "a.jpg": (".jpg", _COLOUR),
        "grey.png": (".png", _COLOUR[..., 0]),
    }
    for name, (suffix, image) in contents.items():
        (tmp_path / name).write_bytes(_encoded(suffix, image))
        pixels, opaque = read_opaque_image(tmp_path / name)
        assert pixels.shape == _COLOUR.shape
        assert opaque.sum() == (60 * 30 if name == "rgba.png" else 60 * 80)
    np.testing.assert_array_equal(read_opaque_image(tmp_path / "rgba.png")[0], _COLOUR)
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:300])
    with pytest.raises(InputError, match=r"a\.jpg: the image is cut short"):
        read_opaque_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_two_bytes_a_pixel_hold_as_many_bits_as_they_show(tmp_path: Path, bits: int) -> None:
    """Of a camera of 10 bits, which would be black among 16."""
    for name, picture in (("grey", _COLOUR[:, :, 0]), ("colour", _COLOUR)):
        picture = np.maximum(picture, 1)
        picture[0, 0] = 255
        wide = np.round(picture * ((2**bits - 1) / 255)).astype(np.uint16)
        (tmp_path / f"{name}.png").write_bytes(_encoded(".png", wide))
        np.testing.assert_array_equal(read_image(tmp_path / f"{name}.png"), picture)


def test_a_black_image_of_two_bytes_a_pixel_stays_black(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(_encoded(".png", np.zeros((4, 5), np.uint16)))
    assert not read_image(tmp_path / "a.png").any()


def test_exif_does_not_turn_the_pixels(tmp_path: Path) -> None:
    """A calibration holds for the pixels as the sensor gave them."""
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0)  # orientation: turn by 90 degrees
    exif = b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 1) + entry + bytes(4)
    data = _encoded(".jpg")
    turned = data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]
    assert cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR).shape == (80, 60, 3)
    (tmp_path / "a.jpg").write_bytes(turned)
    assert read_image(tmp_path / "a.jpg").shape == (60, 80, 3)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("progressive", [0, 1])
def test_every_truncation_is_refused(tmp_path: Path, suffix: str, progressive: int) -> None:
    data = _encoded(suffix, _COLOUR, *([cv2.IMWRITE_JPEG_PROGRESSIVE, progressive] if suffix == ".jpg" else []))
    path = tmp_path / f"cut{suffix}"
    for size in (*range(0, len(data) - 1, 97), len(data) - 2, len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(InputError, match=rf"cut{suffix}: "):
            read_image(path)


def test_a_thumbnail_does_not_hide_a_truncation(tmp_path: Path) -> None:
    data, thumbnail = _encoded(".jpg"), _encoded(".jpg", _COLOUR[:8, :8])
    segment = b"Exif\0\0" + thumbnail
    whole = data[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + data[2:]
    (tmp_path / "whole.jpg").write_bytes(whole)
    assert read_image(tmp_path / "whole.jpg").shape == (60, 80, 3)
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2 + len(segment)])
    with pytest.raises(InputError, match="cut short"):
        read_image(tmp_path / "cut.jpg")


def test_bytes_after_the_end_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "padded.jpg").write_bytes(_encoded(".jpg") + bytes(100))
    assert read_image(tmp_path / "padded.jpg").shape == (60, 80, 3)


def test_a_flipped_byte_in_a_png(tmp_path: Path) -> None:
    data = bytearray(_encoded(".png"))
    data[len(data) // 2] ^= 1
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(InputError, match="damaged"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("content", [b"", b"hello", b"GIF89a" + bytes(50), b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.png: "):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_the_header_states_the_size(suffix: str) -> None:
    data = _encoded(suffix)
    assert read_image_size(data) == _COLOUR.shape[1::-1]
    assert read_image_size(data[: len(data) // 2 + 400]) == _COLOUR.shape[1::-1], "the pixels were needed"


def test_segments_before_the_size_and_fill_bytes_are_passed_over() -> None:
    data = _encoded(".jpg")
    exif = b"\xff\xe1" + (1002).to_bytes(2, "big") + b"\xff\xc0" * 500
    assert read_image_size(data[:2] + exif + b"\xff\xff" + data[2:]) == _COLOUR.shape[1::-1]


# decoders pass over markers without a length and read the size behind them; a reader that takes what follows for their
# length would be led to another size further on
_SMALL = b"\xff\xc0\x00\x11\x08\x00\x08\x00\x08"
_LARGE = b"\xff\xc0\x00\x11\x08\xff\xff\xff\xff"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GIF89a" + bytes(50),
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        _encoded(".jpg")[:100],
        _encoded(".png")[:20],
        b"\xff\xd8\xff\xe0\0\0" + bytes(50),
        b"\xff\xd8" + b"\xff\xff" * 20,
        *(b"\xff\xd8\xff" + bytes([lone]) + _LARGE + bytes(65472 - len(_LARGE)) + _SMALL for lone in (0, 1, 208, 217)),
    ],
)
def test_what_states_no_size(data: bytes) -> None:
    with pytest.raises(InputError, match=r"no JPEG or PNG image|does not state its size"):
        read_image_size(data)


def test_missing_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.png: cannot be read \(No such file"):
        read_image(tmp_path / "none.png")
    with pytest.raises(InputError, match=r"cannot be read \(Is a directory"):
        read_image(tmp_path)


def test_listing_in_name_order(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "c.jpeg", ".hidden.png", "notes.txt", "10.png", "9.png"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [p.name for p in list_images(tmp_path)] == ["10.png", "9.png", "a.JPG", "b.png", "c.jpeg"]


def test_folders_without_images(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match="holds no image among 1 entries"):
        list_images(tmp_path)
    with pytest.raises(InputError, match="cannot be listed"):
        list_images(tmp_path / "none")
    with pytest.raises(InputError, match=r"notes\.txt: is a file, expected a folder of images; name the one that"):
        list_images(tmp_path / "notes.txt")


def test_what_is_passed_over_is_counted(tmp_path: Path) -> None:
    (tmp_path / "left").mkdir()
    for name in ("a.png", "b.TIF", "c.tif", "left/1.jpg", "left/2.png", "notes.txt"):
        (tmp_path / name).touch()
    assert count_images_passed_over(tmp_path) == {str(tmp_path / "left"): 2, "*.tif": 2}
    (tmp_path / "tif").mkdir()
    (tmp_path / "tif" / "a.tif").touch()
    with pytest.raises(InputError, match=r"it holds 1 \*\.tif files: convert them to \.png"):
        list_images(tmp_path / "tif")


def test_images_one_level_further_down_are_pointed_to(tmp_path: Path) -> None:
    for folder, count in (("left", 2), ("right", 1), ("notes", 0)):
        (tmp_path / folder).mkdir()
        for number in range(count):
            (tmp_path / folder / f"{number}.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"no image among 3 entries, .*/left holds 2, and further folders: name one"):
        list_images(tmp_path)
    for path in (tmp_path / "right").iterdir():
        path.unlink()
    with pytest.raises(InputError, match=r"/left holds 2: name that folder"):
        list_images(tmp_path)
