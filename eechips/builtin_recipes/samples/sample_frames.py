"""Parse and check the options of ``eechips sample`` that make time series (``frames``, ``every``, ``min_clear``,
``rank_by``, ``near``): several frames of a place instead of one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from eechips.builtin_recipes.recipe_options import divide_number
from eechips.errors import UsageError
from eechips.planning.imagery.band_formula import parse_formula
from eechips.planning.imagery.frame_choice import (
    CHOICES,
    Candidate,
    Choice,
    TimeWindow,
    choose_frames,
    choose_of_windows,
)
from eechips.planning.imagery.image_masking import CloudMask, parse_mask
from eechips.planning.imagery.image_reducers import QUALITY_PREFIX, check_reducer
from eechips.planning.imagery.periods import format_moment, parse_day, parse_moment, parse_step, parse_window
from eechips.planning.imagery.point_images import Moments
from eechips.text.suggestion import describe_choices

if TYPE_CHECKING:
    from eechips.builtin_recipes.samples.sample_layers import SampleLayer
    from eechips.builtin_recipes.samples.sample_options import SampleOptions

_MOST_FRAMES = 10_000  # of a place: 27 years of days
STACK_SUFFIX = "-stack"
"""End of the values of ``format`` that join all frames of a dataset to one file, as in tif-stack."""


@dataclass(frozen=True, kw_only=True)
class FrameSettings:
    """The frames of each place.

    Attributes:
        periods: the interval of each frame; empty if frames are chosen from the whole time.
        reducer: reduces the images of a period to one; None to choose one image.
        rank_by: formula whose mean over clear pixels is the score that images are chosen by; None for the clear share.
        mask: tells clear pixels; None if the dataset has no quality band: then valid pixels are clear.
        needs_all: whether a place with fewer suitable images is empty; otherwise its missing frames are masked.
        near: maximum time in milliseconds between a frame and the image of a further dataset, by layer.
        is_stacked: whether all frames of a dataset are one file.
    """

    count: int
    periods: tuple[TimeWindow, ...] = ()
    choice: Choice = "clearest"
    reducer: str | None = None
    min_clear: float = 0.0
    rank_by: str | None = None
    mask: CloudMask | None = None
    needs_all: bool = False
    near: dict[str, int] = field(default_factory=dict, hash=False)
    is_stacked: bool = False

    @property
    def results(self) -> dict[str, Any]:
        """The parameters that determine the pixels of the frames, as JSON."""
        parameters: dict[str, Any] = {"count": self.count, "needs_all": self.needs_all}
        if self.is_stacked:
            parameters["stack"] = True
        if self.periods:
            parameters["periods"] = [[window.start, window.end] for window in self.periods]
        if self.reducer is not None:
            return {**parameters, "reducer": self.reducer}
        parameters |= {"choose": self.choice, "min_clear": self.min_clear}
        parameters["clear_by"] = None if self.mask is None else self.mask.text
        if self.rank_by is not None:
            parameters["rank_by"] = self.rank_by
        return {**parameters, "near": dict(sorted(self.near.items()))} if self.near else parameters

    def choose(self, candidates: Sequence[Candidate], window: TimeWindow, moment: int | None) -> list[Candidate | None]:
        """Choose the frames of a place from its images; None for missing frames."""
        if self.periods:
            return choose_of_windows(candidates, self.periods, self.min_clear)
        return choose_frames(candidates, self.count, window, self.choice, moment=moment, min_clear=self.min_clear)

    def is_short(self, frames: Sequence[dict[str, Any]]) -> bool:
        """Return whether frames are missing, and the place is empty without them."""
        return self.reducer is None and self.needs_all and any("image" not in frame for frame in frames)

    def key(self, layer: str, number: int) -> str:
        """Return the name of a frame's file: ``t00``, or ``S2-t00`` if there are several datasets."""
        width = max(2, len(str(self.count - 1)))
        return f"{layer}-t{number:0{width}d}" if layer else f"t{number:0{width}d}"


def parse_frames(options: SampleOptions, layers: Sequence[SampleLayer]) -> FrameSettings | None:
    """Parse the options of frames; None if a chip shows one moment.

    Raises:
        UsageError: if one is out of range, or contradicts another.
    """
    if options.frames is None and options.every is None:
        _check_unused(options)
        return None
    if options.frames is not None and options.every is not None:
        raise UsageError("`frames` and `every` exclude each other: a number of frames, or one for each period")
    if options.provenance:
        raise UsageError("`provenance` is for chips of one moment: the manifest has the image of every frame anyway")
    if not layers[0].is_dated or layers[0].known_kind == "image":
        raise UsageError(f"{layers[0].dataset} has one moment: `frames` and `every` need a collection of images")
    min_clear, clear_by = (0.0, None) if options.min_clear is None else divide_number("`min_clear`", options.min_clear)
    if not 0.0 <= min_clear <= 1.0:
        raise UsageError(f"`min_clear` is a share from 0 to 1, not {min_clear:g}")
    count, word = (0, None) if options.frames is None else divide_number("`frames`", options.frames)
    if count != int(count):
        raise UsageError(f"`frames` must be a whole number, not {options.frames}")
    periods = _periods(options, int(count))
    count, choice = len(periods) or int(count), _choice(options, int(count), word)
    shared: dict[str, Any] = {"count": count, "periods": periods, "choice": choice}
    shared["needs_all"] = options.on_empty != "keep"
    shared["is_stacked"] = is_stacked(options.format)
    if options.reducer is not None:
        return FrameSettings(**shared, reducer=_reducer(options))
    near = _near([text for text in options.nearness if ":" in text], layers)
    rank_by = _ranking(options.rank_by, choice)
    return FrameSettings(**shared, min_clear=min_clear, rank_by=rank_by, mask=_mask(clear_by, layers[0]), near=near)


def is_stacked(format_name: str | None) -> bool:
    """Return whether a value of ``format`` joins all frames of a dataset to one file."""
    return format_name is not None and format_name.strip().lower().endswith(STACK_SUFFIX)


def frame_window(options: SampleOptions, label_date: str | None) -> TimeWindow:
    """Return the interval of a place's frames: between the dates, or around the place's own date."""
    if label_date is not None:
        return TimeWindow(*label_moments(options, label_date)[1:])
    assert options.start is not None
    assert options.end is not None
    return TimeWindow(parse_moment(options.start), parse_moment(options.end))


def label_moments(options: SampleOptions, label_date: str) -> Moments:
    """Return a place's date, and the interval of its images (end exclusive), in milliseconds since 1970."""
    assert options.window is not None
    moment, reach = parse_moment(label_date), round(parse_window(options.window).total_seconds() * 1000)
    return moment, moment - reach, moment + reach + 1


def window_fields(window: TimeWindow) -> dict[str, str]:
    """Return the start and the end of a period as a part of a unit."""
    return {"start": format_moment(window.start), "end": format_moment(window.end)}


def _check_unused(options: SampleOptions) -> None:
    """Check that no option of frames is given without frames."""
    for name in ("min_clear", "rank_by"):
        if getattr(options, name) is not None:
            raise UsageError(f"`{name}` is for several frames: give `frames` or `every`")
    if named := [text for text in options.nearness if ":" in text]:
        raise UsageError(f"near='{named[0]}' is for several frames: give `frames` or `every`")
    if is_stacked(options.format):
        raise UsageError(f"format={options.format!r} is for several frames: give `frames` or `every`")


def _periods(options: SampleOptions, count: int) -> tuple[TimeWindow, ...]:
    """Return the intervals of the frames; none if ``count`` frames have one in common."""
    if options.date is None and (options.start is None or options.end is None):
        raise UsageError("`frames` and `every` need `start` and `end`, or dates of places with `near`")
    if options.every is not None:
        if options.date is not None:
            raise UsageError("`every` divides the time between `start` and `end`: with dates of places, give `frames`")
        assert options.start is not None
        assert options.end is not None
        assert options.step is not None
        periods = parse_step(options.step).periods(parse_day(options.start), parse_day(options.end))
        return tuple(TimeWindow(parse_moment(str(period.start)), parse_moment(str(period.end))) for period in periods)
    if not 1 <= count <= _MOST_FRAMES:
        raise UsageError(f"`frames` must be 1 to {_MOST_FRAMES:,}, not {options.frames}")
    return ()


def _choice(options: SampleOptions, count: int, word: str | None) -> Choice:
    choice = next((known_choice for known_choice in CHOICES if known_choice == (word or "clearest")), None)
    if choice is None:
        raise UsageError(f"frames='{options.frames}': the choice is one of {', '.join(CHOICES)}")
    if choice in ("nearest", "before-after") and options.date is None:
        raise UsageError(f"frames='{options.frames}' needs the date of each place: columns='date=NAME'")
    if choice == "before-after" and count % 2:
        raise UsageError(f"frames='{options.frames}' needs an even number of frames")
    return choice


def _reducer(options: SampleOptions) -> str:
    assert options.reducer is not None
    check_reducer(options.reducer)
    if options.reducer.startswith(QUALITY_PREFIX):
        raise UsageError(f"{options.reducer} is for `eechips composites`; a frame without a reducer is the clearest")
    for name in ("min_clear", "rank_by", "near"):
        if getattr(options, name) not in (None, ()):
            raise UsageError(f"`{name}` chooses single images: it excludes every='{options.every}'")
    return options.reducer


def _ranking(text: str | None, choice: Choice) -> str | None:
    """Return the formula of the score, checked as far as it can be without the dataset."""
    if text is None:
        return None
    if choice == "nearest":
        raise UsageError("`rank_by` chooses images by their pixels, and `frames` nearest by their time: leave out one")
    return parse_formula(text).text.strip()


def _mask(name: str | None, first: SampleLayer) -> CloudMask | None:
    """Return the mask that tells clear pixels: the dataset's default, or the one that is named."""
    if name is not None:
        return parse_mask(name, first.dataset_id)
    try:
        return first.mask or parse_mask("auto", first.dataset_id)
    except UsageError:  # no mask is known for the dataset: valid pixels are clear
        return None


def _near(nearness: Sequence[str], layers: Sequence[SampleLayer]) -> dict[str, int]:
    """Return the maximum time to the first dataset's image, by layer, in milliseconds."""
    names = {layer.name.lower(): layer.name for layer in layers[1:] if layer.is_dated and layer.known_kind != "image"}
    limits: dict[str, int] = {}
    for text in nearness:
        name, _, time = text.rpartition(":")
        layer = names.get(name.strip().lower())
        if layer is None:
            raise UsageError(
                f"near='{text}': write NAME:TIME, as in S1:6d; {describe_choices(name, [*names.values()])}"
            )
        limits[layer] = round(parse_window(time).total_seconds() * 1000)
    check_near(limits, [layer.name for layer in layers[1:] if layer.name in names.values() and layer.known])
    return limits


def check_near(limits: Collection[str], collections: Sequence[str]) -> None:
    """Check that all further collections say how far in time their images may be from a frame.

    Args:
        limits: layers that do.
        collections: further layers of images at several times; a single image is the same in all frames.

    Raises:
        UsageError: if one does not.
    """
    lacking = [name for name in collections if name not in limits]
    if lacking:
        raise UsageError(
            f"`near` must say how far in time images of {' and '.join(lacking)} may be from the frame,"
            f" as in near='{lacking[0]}:6d'"
        )
