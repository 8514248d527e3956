"""Random functions of images: where their success is known from images that are alike, it is that of a walk."""

from __future__ import annotations

import random
from typing import Any

import pytest

from eechips_local.evaluation.asset_model import ImageAsset, Query
from eechips_local.evaluation.body_effects import OF_BANDS
from eechips_local.evaluation.signatures import Argument, load_signatures
from eechips_local.functions import load_functions
from local_tests.functions.test_alike_images import BOTH, ONE, AlikeArchive, value_of
from local_tests.functions.test_collection_searches import DAY, ENDS, GIVEN, INDEX, LOADED, TIME, mapped
from local_tests.support.graphs import Ready, invoke

NAMES = sorted(load_signatures().keys() & load_functions().keys())
NUMBERS, TEXTS = ([name for name in NAMES if name.startswith(f"{kind}.")] for kind in ("Number", "String"))
DATES = ("Date.difference", "Date.get", "Date.getFraction", "Date.getRelative", "Date.millis")
IMAGES = sorted(OF_BANDS & set(NAMES))
DEPTH = 3


class Body:
    """A function that is made by chance: calls within calls, whose arguments are mostly of the right types."""

    def __init__(self, seed: int, image: Ready) -> None:
        self.chance = random.Random(seed)
        self.image = image

    def made(self) -> Ready:
        kind = self.chance.randrange(5)
        if kind == 4:
            return self.image_value(DEPTH)
        if kind == 3:
            return invoke("Image.addBands", dstImg=self.image, srcImg=self.image_value(DEPTH - 1))
        value = (self.number, self.date, self.text)[kind](DEPTH)
        return invoke("Element.set", object=self.image, key=self.chance.choice(["x", "cloud"]), value=value)

    def own(self, name: str) -> Ready:
        return invoke("Element.get", object=self.image, property=name)

    def number(self, depth: int) -> Any:
        if depth <= 0 or self.chance.random() < 0.3:
            return self.chance.choice(
                [0, 1, 2.5, -1, 1000, *(2 * [self.own("cloud")]), self.own(TIME), self.own(INDEX)]
            )
        return self.call(self.chance.choice(DATES if self.chance.random() < 0.3 else NUMBERS), depth)

    def date(self, depth: int) -> Any:
        if depth > 0 and self.chance.random() < 0.6:
            return self.call(self.chance.choice(["Date.advance", "Date.update"]), depth)
        value = self.number(depth - 1) if self.chance.random() < 0.2 else self.own(TIME)
        return self.chance.choice([invoke("Image.date", image=self.image), invoke("Date", value=value)])

    def text(self, depth: int) -> Any:
        if depth > 0 and self.chance.random() < 0.6:
            return self.call(self.chance.choice([*TEXTS, "Number.format", "Date.format"]), depth)
        return self.chance.choice([self.own(INDEX), "abc"])

    def image_value(self, depth: int) -> Any:
        if depth > 0 and self.chance.random() < 0.65:
            return self.call(self.chance.choice(IMAGES), depth)
        number = invoke("Image.constant", value=self.number(depth - 1))
        chosen = invoke("Image.select", input=self.image, bandSelectors=self.chance.choice([["a"], [0], ["a", "b"]]))
        return self.chance.choice([self.image, chosen, number])

    def call(self, name: str, depth: int) -> Ready:
        arguments = load_signatures()[name].arguments
        given_ = [argument for argument in arguments if not argument.optional or self.chance.random() < 0.4]
        values = {argument.name: self.argument(argument, depth - 1, name) for argument in given_}
        return invoke(name, **{key: value for key, value in values.items() if value is not None})

    def argument(self, argument: Argument, depth: int, name: str) -> Any:
        known = {"unit": ["day", "month"], "inUnit": ["month", "year"], "pattern": ["%d", "%.2f"], "format": ["YYYY"]}
        if argument.name in known:
            return self.chance.choice(known[argument.name])
        if argument.type.startswith("Image<"):
            return self.image_value(depth)
        if argument.type in ("Number", "Float", "Integer", "Long", "Object"):
            return self.chance.choice([0, 1, 5]) if name.startswith("Image.") else self.number(depth)
        if argument.type == "Date":
            return self.date(depth)
        if argument.type == "String" and argument.name != "timeZone":
            return self.text(depth)
        if argument.type == "Reducer":
            return invoke(f"Reducer.{self.chance.choice(['mean', 'bitwiseAnd', 'mode'])}")
        return self.chance.choice([["a"], ["a", "b"], [1, 2]]) if argument.type.startswith("List") else None


class Chosen(AlikeArchive):
    """One whose example of a kind is the last image, the one before it, and so on."""

    last = 0

    def examples(self, query: Query) -> list[ImageAsset]:
        images = list(self.images(Query()))
        return list({len(image.bands): image for image in images[-self.last :] + images[: -self.last]}.values())


@pytest.mark.slow
@pytest.mark.parametrize("end", ["size", "times"])
def test_random_functions_end_as_in_a_walk_whichever_image_is_the_example(end: str) -> None:
    for seed in range(400):
        chance = random.Random(seed)
        days, clouds = (0, 1, 15, 30, 31, 59, 90, 364), (0, 1, -5, 3, 12, 60, 1 << 40)
        rows = [(chance.choice(days) * DAY, chance.choice(clouds), 0) for _ in range(chance.randint(2, 5))]
        archive = Chosen(rows, chance.choice([lambda _: BOTH, lambda number: BOTH if number % 2 else ONE]))
        steps = [mapped(lambda image: Body(seed, image).made()), ENDS[end]]  # noqa: B023
        walked = value_of(archive, GIVEN, *steps)
        for archive.last in range(len(rows) if isinstance(walked, str) else 1):
            assert value_of(archive, LOADED, *steps) == walked, seed
