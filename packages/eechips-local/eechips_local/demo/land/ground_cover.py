"""Compute what covers the ground of a rectangle on a date: fields, trees, shrubs, rock, roads, houses, water and snow.

Relief, climate and settlement meet here: for a rectangle of the plane ``ground`` says how much of each cell is tree,
field, road, water, and how bright the light is on it. All sensors of the demo planet look at this same ground, so they
agree.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from functools import lru_cache

import numpy as np

from eechips_local.demo.land import crop_calendar, farmland, texture
from eechips_local.demo.land.farmland import Field32
from eechips_local.demo.land.ground_layers import Ground, GroundLayer
from eechips_local.demo.land.natural_cover import rockiness, snow_share, tree_density, treeline
from eechips_local.demo.land.terrain import nodes, terrain
from eechips_local.demo.painting import mercator, noise
from eechips_local.demo.painting.mercator import Floats, Rect
from eechips_local.demo.painting.upsampling import Upsampler

_F = np.float32
# Half widths of streams in units: with no water in the land, and what full water adds; how far their trees reach.
_STREAMS = ((5.0, 21.0, 70.0), (0.6, 5.5, 34.0), (0.2, 1.8, 16.0), (-0.1, 1.0, 9.0))
_ROAD_OFFSET = (95.0, 52.0)
# Light on open ground, and in the shadow of a tree.
_SHADED = np.array([1.0, 0.46], dtype=np.float32)
_SHADED.setflags(write=False)
# Cells of rectangles that are cached: sixteen of the first size, nine of the second, one of the third. A cell takes
# some 150 bytes; a chip of 256 pixels has 130,000 cells, a block of an image that is read in blocks up to 160,000.
_TINY, _SMALL, _LARGE = 25_000, 170_000, 350_000


def ground(rect: Rect, when: date, snow_line: float = 330.0) -> Ground:
    """Return the ground in a rectangle.

    Args:
        rect: rectangle of pitch 1 or more.
        when: date; decides what grows on the fields, and how green it is.
        snow_line: see ``snow_share``.
    """
    # Images of a place on several dates differ in what grows on the fields, and in snow.
    known = _lasting(rect)
    layers = dict(known.ground.layers)
    if "crop" in layers:
        layers["crop"] = replace(layers["crop"], mix=known.painter.crop_mix(when))
    snow = known.painter.snow(snow_line)
    if snow is not None:
        layers["snow"] = snow
    return replace(known.ground, layers=layers)


@dataclass(frozen=True)
class _Lasting:
    """What stays from date to date.

    Attributes:
        ground: without the greenness of crops, and without snow.
        painter: paints both.
    """

    ground: Ground
    painter: _Painter


def _lasting(rect: Rect) -> _Lasting:
    """Return what stays in a rectangle, cached for other dates unless it is too large."""
    cells = rect.width * rect.height
    if cells > _LARGE:
        return _Painter(rect).paint()
    if cells <= _TINY:
        return _tiny(rect)
    return _small(rect) if cells <= _SMALL else _large(rect)


@lru_cache(maxsize=16)
def _tiny(rect: Rect) -> _Lasting:
    """Paint what stays; a region has many tiles, each of which comes again on every date."""
    return _Painter(rect).paint()


@lru_cache(maxsize=9)
def _small(rect: Rect) -> _Lasting:
    return _Painter(rect).paint()


@lru_cache(maxsize=1)
def _large(rect: Rect) -> _Lasting:
    return _Painter(rect).paint()


class _Painter:
    """Lays the layers of one rectangle; it is used once."""

    def __init__(self, rect: Rect) -> None:
        self.rect = rect
        self.land = terrain(nodes(rect))
        self.up = Upsampler(rect, self.land.rect)
        self.fine = rect.pitch <= 2
        self.grain = self._texture("grain")
        self.mottle = self._texture("mottle")
        self.layers: dict[str, GroundLayer] = {}
        self.traces = np.zeros((1, 1), dtype=np.float32)
        self.blocks = farmland.blocks(rect) if rect.pitch <= farmland.COARSEST else None

    def paint(self) -> _Lasting:
        """Lay all layers that do not depend on the date."""
        land, up = self.land, self.up
        wet = float(land.character("wet").max())
        density, rock = tree_density(land), rockiness(land)
        open_green = up(np.clip(land.character("green") * (1.0 + 0.5 * land.patches[1]) + self._lush(), 0.0, 1.0))
        open_green *= _F(1.0) + self.mottle * _F(0.55)
        open_tone = up(1.0 + 0.16 * land.patches[1] + 0.22 * land.patches[2])
        open_tone += self.mottle * _F(0.30)
        self.light = up(land.light)
        self.light *= _F(1.0) + self.grain * _F(0.20)
        channels = self._streams(wet)
        self._shrubs(density)
        self._fields(channels)
        if rock.max() > 0.0:
            bare = up(rock)
            stones = self._texture("rock")
            # Outcrops have sharp edges; rubble lies between them.
            edge = (bare - _F(0.5)) * _F(2.4) + (self.mottle * _F(1.5) + stones * _F(0.9)) * (bare > 0.0) + _F(0.5)
            share = np.clip(np.minimum(edge, bare * _F(2.2)), 0.0, 1.0)
            tone = _F(0.95) + stones * _F(1.0) + self.mottle * _F(0.3) + self.grain * _F(0.55)
            self._lay("rock", GroundLayer(share, "rock", "red rock", up(land.character("red")), tone))
        self._banks(channels)
        self._valley_roads(channels)
        self._trees(density, channels)
        self._settlements()
        self._water(channels)
        houses = None
        if self.blocks is not None and self.blocks.houses.any():
            houses = self.blocks.spread(self.blocks.houses)
        ground = Ground(self.rect, land, open_green, open_tone, self.layers, self.light, houses, self.blocks)
        for values in (open_green, open_tone, self.light, *(layer.share for layer in self.layers.values())):
            values.setflags(write=False)
        return _Lasting(ground, self)

    def snow(self, line: float) -> GroundLayer | None:
        """Return the layer of snow, if there is any; see ``snow_share``."""
        snow = snow_share(self.land, line)
        if snow.max() <= 0.0:
            return None
        share = self.up(snow)
        share = np.clip(share * _F(1.9) - _F(0.45) + (self.mottle + self.grain * _F(0.6)) * (share > 0.0), 0.0, 1.0)
        return GroundLayer(share, "snow") if share.any() else None

    def crop_mix(self, when: date) -> Field32:
        """Return how green the fields are on a date, 0 to 1."""
        if self.blocks is None:
            usual = crop_calendar.mean_green(mercator.latitude_of(self.land.rect.y)[:, None], when)
            return self.up(np.broadcast_to(usual, self.land.height.shape))
        green = self.blocks.spread(crop_calendar.standing(self.blocks, when).green)
        green *= _F(1.0) + self.mottle * _F(0.30) + self.traces * _F(0.10)
        mix: Field32 = np.clip(green, 0.0, 1.0)
        return mix

    def _texture(self, name: texture.Name) -> Field32:
        """Return a texture as numbers about zero, roughly ±0.5; nothing where it is finer than the cells."""
        if self.rect.pitch > 64:
            return np.zeros((1, 1), dtype=np.float32)
        levels = texture.part(name, self.rect).astype(np.float32)
        levels -= _F(128.0)
        levels *= _F(1.0 / 255.0)
        return levels

    def _lay(self, name: str, layer: GroundLayer) -> None:
        if layer.share.any():
            self.layers[name] = layer

    def _lush(self) -> Floats:
        """Lay the grass of open land: greener beside water and in the mountains."""
        land = self.land
        near = np.zeros(land.height.shape)
        for (base, more, reach), stream in zip(_STREAMS, land.streams, strict=True):
            width = np.maximum(0.0, base + more * land.character("wet")) * 4.0 + reach * 1.6
            near = np.maximum(near, 1.0 - np.abs(stream) / width)
        high = np.clip((land.height - 2300.0) * (1.0 / 2600.0), 0.0, 0.3)
        return np.clip(near, 0.0, 1.0) * (0.16 + 0.3 * land.character("wet")) + high * land.character("wet")

    def _streams(self, wet: float) -> list[tuple[int, Field32, Field32]]:
        """Return (order, distance, half width) of the streams that come near the rectangle."""
        streams = []
        scope = float(self.rect.pitch)
        for order, (base, more, reach) in enumerate(_STREAMS):
            if noise.fading(16 - 2 * order, scope) <= 0.0 or base + more * wet <= 0.0:
                continue
            stream = self.land.streams[order]
            far = np.abs(stream).min() > base + more * wet + reach + 110.0 + scope
            if far and ((stream > 0.0).all() or (stream < 0.0).all()):
                continue
            half = base + more * self.land.character("wet")
            if order:
                # Side streams dwindle towards the divide.
                half = half * np.clip(1.35 - (2.2 + 0.5 * order) * self.land.rise, 0.0, 1.0)
            streams.append((order, self.up(stream), self.up(half)))
        return streams

    def _covered(self, distance: Field32, half: Field32 | float) -> Field32:
        """Return the share of each cell within a half width of a line."""
        edge = _F(0.5 * self.rect.pitch)
        width = np.maximum(half, _F(0.0))
        share = np.minimum(width, distance + edge) - np.maximum(-width, distance - edge)
        result: Field32 = np.clip(share * _F(1.0 / self.rect.pitch), 0.0, 1.0)
        return result

    def _shrubs(self, density: Floats) -> None:
        land = self.land
        wanted = land.character("shrub") * (1.0 - 0.8 * density) * (1.0 + 0.9 * land.patches[1] + 0.5 * land.patches[2])
        wanted = np.where((wanted < 0.02) | (land.height > treeline(land) + 150.0), 0.0, np.minimum(wanted, 1.0))
        if not wanted.any():
            return
        share = self.up(wanted)
        if self.rect.pitch == 1:
            ranks = texture.part("bush", self.rect)
            # A shrub darkens the cells it only touches: two steps of rank make soft edges.
            share = (ranks < share * _F(200.0)).astype(np.float32) * _F(0.78)
        else:
            share *= _F(0.24) + self.grain * _F(0.3)
        self._lay("shrub", GroundLayer(share, "shrub", tone=_F(0.85) + self.grain * _F(0.3)))

    def _fields(self, channels: list[tuple[int, Field32, Field32]]) -> None:
        land, rect = self.land, self.rect
        crop = land.character("crop")
        if self.blocks is None:
            self._lay("crop", GroundLayer(self.up(crop * self._arable()), "stubble", "crop"))
            return
        blocks = self.blocks
        if not (blocks.tilled.any() or blocks.circle.any()):
            return
        share = blocks.spread(blocks.tilled)
        tone = blocks.spread(blocks.tone)
        along = blocks.spread(blocks.along)
        columns, rows = farmland.streaks(rect)
        traces = along * columns[None, :] + (_F(1.0) - along) * rows[:, None]
        if blocks.circle.any():
            inside, square = farmland.circles(rect)
            circle = blocks.spread(blocks.circle) * inside
            share = np.maximum(share, circle)
            if self.fine:
                ring = np.sqrt(square) * _F(512.0)
                table = (noise.random(np.arange(512), 0, 533) - 0.5).astype(np.float32)
                traces = np.where(circle > 0.0, table[ring.astype(np.int64)], traces)
        if self.fine:
            edges = farmland.headlands(rect)
            share[:, edges[0]] = 0.0
            share[edges[1]] = 0.0
        share *= self.up(self._arable()) > _F(0.5)
        for order, distance, half in channels:
            share *= np.abs(distance) > half + _F(0.5 * _STREAMS[order][2])
        tone *= _F(1.0) + traces * _F(0.10) + self.grain * _F(0.06) + self.mottle * _F(0.10)
        self.traces = traces
        self._lay("crop", GroundLayer(share, "stubble", "crop", tone=tone))

    def _arable(self) -> Floats:
        """Return 1 on gentle slopes, 0 on steep ones and in lakes, by node."""
        slope = self.land.slope
        return noise.smoothstep(0.14, 0.06, slope) * (self.land.lake < -0.03) * (self.land.character("coast") > 0.0)

    def _banks(self, channels: list[tuple[int, Field32, Field32]]) -> None:
        """Lay sand and gravel beside streams; in dry land over the whole stream bed."""
        total: Field32 | None = None
        for order, distance, half in channels:
            if order > 2:
                continue
            wide = half * _F(1.45) + (self.mottle * _F(9.0) + _F(1.5)) * _F((1.0, 0.6, 0.25)[order])
            share = self._covered(np.abs(distance), wide)
            total = share if total is None else np.maximum(total, share)
        if total is not None:
            self._lay("sand", GroundLayer(total * _F(0.85), "sand", tone=_F(0.92) + self.grain * _F(0.35)))

    def _valley_roads(self, channels: list[tuple[int, Field32, Field32]]) -> None:
        """Lay roads along the larger streams."""
        for order, distance, _ in channels:
            if order < 2:
                share = self._covered(np.abs(distance - _F(_ROAD_OFFSET[order])), 3.6 - 1.3 * order)
                share *= self.up(noise.smoothstep(0.02, 0.10, self.land.rise) if order else 1.0 + 0.0 * self.land.rise)
                self._lay(f"road {order}", GroundLayer(share, "gravel" if order else "asphalt"))

    def _trees(self, density: Floats, channels: list[tuple[int, Field32, Field32]]) -> None:
        needle_nodes = self.land.character("needle")
        wanted = self.up(density)
        wanted += self.mottle * np.clip(wanted * _F(1.6), _F(-np.inf), _F(0.42))
        oaks: Field32 | None = None
        for order, distance, half in channels:
            reach = _F(_STREAMS[order][2] * 0.55)
            strip = _F(1.0) - np.clip(np.abs(distance) - half, _F(0.0), _F(np.inf)) / (reach + half)
            strip = np.clip(strip, 0.0, 1.0) * np.clip((half + _F(0.6)) * _F(0.22), 0.0, 0.75) * (half > 0.0)
            strip *= _F(1.0) + self.mottle * _F(1.6)
            oaks = strip if oaks is None else np.maximum(oaks, strip)
        leafy = self.up((1.0 - needle_nodes) * density)
        leafy += self.mottle * np.clip(leafy * _F(1.6), _F(-np.inf), _F(0.3))
        leafy = leafy if oaks is None else np.maximum(leafy, oaks)
        for name in ("crop", "road 0", "road 1"):
            if name in self.layers:
                clear = _F(1.0) - self.layers[name].share
                wanted *= clear
                leafy *= clear
        if self.blocks is not None and self.blocks.houses.any():
            yards = self.blocks.spread(np.where(self.blocks.houses > 0.0, 0.30, 0.0))
            leafy = np.maximum(leafy, yards)
        self._stand("conifer", "pine", "pine_tone", wanted * self.up(needle_nodes))
        self._stand("broadleaf", "oak", "oak_tone", leafy)

    def _stand(self, name: str, ranks: texture.Name, tones: texture.Name, wanted: Field32) -> None:
        """Lay trees of one kind: single crowns and their shadows in fine cells, a share of the cell in coarse ones."""
        if wanted.max() <= 0.0:
            return
        if self.rect.pitch == 1:
            threshold = wanted * _F(254.0)
            crowned = texture.part(ranks, self.rect) < threshold
            shadow = texture.part(f"{ranks}_shadow", self.rect) < threshold  # type: ignore[arg-type]
            self.light *= _SHADED.take((shadow > crowned).view(np.uint8))
            share = crowned.astype(np.float32)
            tone = _F(1.0) + self._texture(tones) * _F(1.5)
        else:
            # Shares of the ground under crowns, and of open ground in their shade, measured on the textures.
            under, shaded = (0.75, 0.72) if ranks == "pine" else (0.67, 0.50)
            soft = self._texture(ranks) * _F(0.6) if self.fine else self.mottle * _F(0.2)
            share = np.clip(wanted - soft * (wanted > 0.0), 0.0, 1.0) * _F(under)
            self.light *= _F(1.0) - (_F(1.0) - share) * np.clip(wanted, 0.0, 1.0) * _F(0.54 * shaded)
            tone = _F(1.02) + self.grain * _F(0.35)
        self._lay(name, GroundLayer(share, name, tone=tone))

    def _settlements(self) -> None:
        if self.blocks is None:
            return
        blocks = self.blocks
        share = farmland.roads(self.rect) if self.rect.pitch <= 64 else None
        if share is not None:
            self._lay(
                "road",
                GroundLayer(
                    share * (self.up(self.land.lake) < _F(0.0)), "gravel", tone=_F(0.95) + self.grain * _F(0.2)
                ),
            )
        if not blocks.houses.any():
            return
        if self.rect.pitch > 8:
            houses = blocks.spread(blocks.houses)
            self._lay("street", GroundLayer(houses * _F(0.32), "asphalt"))
            self._lay("roof", GroundLayer(houses * _F(0.18), "roof"))
            return
        street, roof, tone = farmland.town(self.rect, blocks)
        self._lay("street", GroundLayer(street, "asphalt", tone=_F(1.0) + self.grain * _F(0.2)))
        self._lay("roof", GroundLayer(roof, "roof", tone=tone))

    def _water(self, channels: list[tuple[int, Field32, Field32]]) -> None:
        total: Field32 | None = None
        for order, distance, half in channels:
            ragged = half + self.mottle * _F(2.0 + 3.0 * (order == 0)) - _F(1.0)
            share = self._covered(np.abs(distance), ragged * (half > _F(0.3)))
            total = share if total is None else np.maximum(total, share)
        # A lake's shore moves by a few cells with the mottle of the ground.
        steep = max(40.0, 900.0 / self.rect.pitch)
        if self.land.lake.max() > -0.02:
            depth = self.up(self.land.lake)
            depth += self.mottle * _F(0.004)
            share = np.clip(depth * _F(steep) + _F(0.5), 0.0, 1.0)
            total = share if total is None else np.maximum(total, share)
        shore = max(8.0, float(self.rect.pitch))
        if self.land.character("coast").min() < shore:
            sea = self.up(self.land.character("coast") * (-1.0 / shore))
            share = np.clip(sea + _F(0.5), 0.0, 1.0)
            total = share if total is None else np.maximum(total, share)
        if total is not None:
            self._lay("water", GroundLayer(total, "water", tone=_F(1.0) + self.grain * _F(0.12)))
