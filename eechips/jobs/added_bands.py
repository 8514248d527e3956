"""Add bands to a run: layers of their own, which show the images that the manifest names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from eechips.jobs.chip_plan import ChipPlan
from eechips.jobs.resolved_sample import LAYERS
from eechips.jobs.sample_layers import SampleLayer, layer_name
from eechips.recipe import Unit

_OF_LAYERS = frozenset({LAYERS, "source", "where", "casts", "dtypes", "types", "provenance"})
"""Fields of a unit that depend on the bands of its files. The others say where its place is, and what it shows."""


def divide_bands(latest: Mapping[str, Any], chosen: Sequence[SampleLayer]) -> tuple[SampleLayer, ...] | None:
    """Return datasets with their first bands, and further bands of each as layers of their own.

    Args:
        latest: parameters of the run that is there, with the layers that its units have.
        chosen: the datasets as the options say, with all bands.

    Returns:
        None if no dataset has more bands than in its first plan, some are left out, or it is unknown which there were.
    """
    declared = {layer.dataset_id: layer for layer in chosen}
    bases: dict[str, SampleLayer] = {}
    seen: dict[str, set[str]] = {}
    layers: list[SampleLayer] = []
    for entry in latest.get(LAYERS) or [latest]:
        identifier, bands = entry.get("dataset"), entry.get("bands")
        layer = declared.get(identifier)
        known = None if layer is None else _bands(replace(layer, bands=tuple(bands) if bands else None))
        if layer is None or known is None or not set(known) <= set(_bands(layer) or ()):
            return None
        seen.setdefault(identifier, set()).update(known)
        name = entry.get("layer") or layer_name(layer)
        if identifier in bases:
            layers.append(_added(layer, bases[identifier], name, tuple(bands or ())))
        else:
            bases[identifier] = replace(layer, name=name, bands=tuple(bands) if bands else None)
            layers.append(bases[identifier])
    for layer in chosen:
        if layer.dataset_id not in bases:
            layers.append(layer)
            continue
        further = tuple(band for band in _bands(layer) or () if band not in seen[layer.dataset_id])
        if further:
            base = bases[layer.dataset_id]
            layers.append(_added(layer, base, f"{base.name}-{further[0]}", further))
    return None if len(layers) == len(chosen) else tuple(layers)


def _bands(layer: SampleLayer) -> tuple[str, ...] | None:
    """Return the bands that a user chose, or else the default ones; None if these are unknown without a request."""
    if layer.bands is not None or layer.selection.computed:
        return layer.bands or ()
    return layer.known_bands or None


def _added(layer: SampleLayer, base: SampleLayer, name: str, bands: tuple[str, ...]) -> SampleLayer:
    """Return the layer of bands that were added; indices and formulas stay with the first ones."""
    grid_band = base.selection.grid_band(base.selection.names[0])
    return replace(layer, name=name, bands=bands, index=(), expression=(), base=base.name, grid_band=grid_band)


def with_bands(plan: ChipPlan, units: Sequence[Unit]) -> Iterator[Unit]:
    """Yield units with further bands of the images that others show.

    Args:
        plan: plan of the further bands.
        units: the others.
    """
    types = plan.types if plan.sample.frames is not None else {}
    own = (
        {name: value for name, value in unit.items() if name not in _OF_LAYERS} | plan.layer_fields | types
        for unit in units
    )
    return plan.with_provenance(own) if plan.sample.options.provenance else own
