"""Captions are read as written: compared with the font that they were made from."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from eechips.manifest.pictures.frame_rows import draw_caption


@pytest.mark.parametrize("letter", list("AgjQ0éŁñβЖ"))
def test_letters_look_like_those_of_the_font(letter: str) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    font = ImageFont.truetype(str(path), 12, layout_engine=ImageFont.Layout.BASIC)
    image = Image.new("L", (40, 16), 255)
    ImageDraw.Draw(image).text((0, 12), letter, font=font, fill=0, anchor="ls")
    wanted, found = 255 - np.asarray(image, dtype=float), 255 - draw_caption(letter, 40).astype(float)
    moved = [np.roll(found, (down, right), axis=(0, 1)) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    assert max(np.corrcoef(wanted.ravel(), each.ravel())[0, 1] for each in moved) > 0.6


def test_captions_are_cut_to_the_width() -> None:
    short, long = draw_caption("forest", 200), draw_caption("forest " * 50, 200)
    assert short.shape == long.shape == (16, 200)
    assert (short[:, 60:] == 255).all()
    np.testing.assert_array_equal(long[:, :35], short[:, :35])
    assert draw_caption("forest", 1).shape == (16, 1)


def test_unknown_letters_have_a_replacement() -> None:
    replacement = draw_caption("\N{REPLACEMENT CHARACTER}", 20)
    assert replacement.min() < 100
    for letter in ("森", "\0", "\U0001f600"):
        np.testing.assert_array_equal(draw_caption(letter, 20), replacement)


def test_composed_and_decomposed_letters_are_equal() -> None:
    np.testing.assert_array_equal(draw_caption("A\u030angstro\u0308m", 80), draw_caption("Ångström", 80))


def test_the_font_has_all_letters_of_ascii() -> None:
    font = json.loads((files("eechips.manifest") / "caption_font.json").read_text(encoding="utf-8"))
    assert {chr(code) for code in range(0x20, 0x7F)} <= {*font["letters"]}
    assert len(font["letters"]) == len(font["widths"])
