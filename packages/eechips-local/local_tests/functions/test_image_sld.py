"""Images in the styles of guides/image_visualization."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from eechips_local.protocol.request_errors import InvalidError
from local_tests.support.graphs import invoke
from local_tests.support.images import UTM, asset, evaluate, read, stored

VALUES = np.tile(np.array([0, 100, 120, 200, 299, 300, 400, 1000], dtype=np.int16), (48, 8))


def style(kind: str, extra: str = "") -> str:
    return (
        f'<RasterSymbolizer><ColorMap type="{kind}" extended="false">'
        '<ColorMapEntry color="#0000ff" quantity="100" label="low"/>'
        '<ColorMapEntry color="#00ff00" quantity="200" label="middle"/>'
        f'<ColorMapEntry color="#ff0000" quantity="300" label="high"{extra}/></ColorMap></RasterSymbolizer>'
    )


def shown(xml: str, values: Any = VALUES) -> list[Any]:
    """Colours of the first eight pixels as hexadecimal codes, None where masked."""
    image = evaluate(invoke("Image.sldStyle", input=stored(), sldXml=xml), asset(values))
    assert [band.name for band in image.bands] == ["vis-red", "vis-green", "vis-blue"]
    pixels = read(image, UTM)
    codes = ["".join(f"{p.values[0, x]:02x}" for p in pixels) for x in range(8)]
    return [code if pixels[0].valid[0, x] else None for x, code in enumerate(codes)]


def test_intervals_end_below_their_quantity() -> None:
    expected = ["0000ff", "00ff00", "00ff00", "ff0000", "ff0000", None, None, None]
    assert shown(style("intervals")) == expected


def test_ramps_go_from_colour_to_colour() -> None:
    assert shown(style("ramp")) == [
        "0000ff", "0000ff", "0033cc", "00ff00", "fc0300", "ff0000", "ff0000", "ff0000",
    ]  # fmt: skip


def test_values_stand_for_themselves() -> None:
    assert shown(style("values", ' opacity="0"')) == [None, "0000ff", None, "00ff00", None, None, None, None]


def test_channels() -> None:
    xml = (
        '<?xml version="1.0"?><sld:StyledLayerDescriptor xmlns:sld="http://www.opengis.net/sld"><sld:RasterSymbolizer>'
        "<sld:ChannelSelection><sld:RedChannel><sld:SourceChannelName>B2</sld:SourceChannelName></sld:RedChannel>"
        "<sld:GreenChannel><sld:SourceChannelName>1</sld:SourceChannelName></sld:GreenChannel>"
        "<sld:BlueChannel><sld:SourceChannelName>B2</sld:SourceChannelName></sld:BlueChannel>"
        "</sld:ChannelSelection></sld:RasterSymbolizer></sld:StyledLayerDescriptor>"
    )
    found = shown(xml, np.stack([VALUES, VALUES // 2]))
    assert found[:4] == ["000000", "326432", "3c783c", "64c864"]
    assert found[-1] == "ffffff"


@pytest.mark.parametrize(
    "xml",
    [
        "",
        "<RasterSymbolizer>",
        "<a/>",
        "<a><RasterSymbolizer/><RasterSymbolizer/></a>",
        "<!DOCTYPE a [<!ENTITY b 'c'>]><RasterSymbolizer>&b;</RasterSymbolizer>",
        style("heatmap"),
        "<RasterSymbolizer><ColorMap/></RasterSymbolizer>",
        style("ramp").replace("100", "x"),
        style("ramp").replace("#0000ff", "no color"),
        style("ramp").replace('"300"', '"50"'),
        "<RasterSymbolizer><ContrastEnhancement><Histogram/></ContrastEnhancement></RasterSymbolizer>",
    ],
)
def test_refused(xml: str) -> None:
    with pytest.raises(InvalidError):
        shown(xml)
