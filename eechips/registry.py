"""Find chip formats, pack formats, executors, datasets and cloud masks by name, those of other packages included."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from importlib import metadata
from typing import Generic, TypeVar

from eechips.errors import ConfigurationError, UsageError
from eechips.suggestion import did_you_mean

T = TypeVar("T")


class Registry(Generic[T]):
    """Objects of one kind by name: those of eechips, and those that installed packages declare as entry points.

    A package adds an object under the group of the registry in its own ``pyproject.toml``::

        [project.entry-points."eechips.formats"]
        webp = "my_package.webp"

    Nothing is imported before it is asked for. A name of eechips cannot be replaced.

    Args:
        kind: of the objects, for errors: ``"chip format"``.
        group: of entry points, which starts with ``eechips.``.
        own: the import path of each object of eechips by name: ``"package.module"`` or ``"package.module:attribute"``.
    """

    def __init__(self, kind: str, group: str, own: Mapping[str, str]) -> None:
        self.kind = kind
        self.group = group
        self._own = {name: metadata.EntryPoint(name, path, group) for name, path in own.items()}

    @cached_property
    def _points(self) -> dict[str, metadata.EntryPoint]:
        # Sorted: two packages may declare one name, and every process is to choose the same.
        others = sorted(metadata.entry_points(group=self.group), key=lambda point: (point.name, point.value))
        return {**{point.name: point for point in reversed(others)}, **self._own}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all objects: those of eechips in their order, then those of other packages in alphabetical order."""
        return (*self._own, *sorted(self._points.keys() - self._own.keys()))

    def __contains__(self, name: object) -> bool:
        return name in self._own or name in self._points

    def get(self, name: str) -> T:
        """Load an object.

        Args:
            name: one of :attr:`names`.

        Raises:
            UsageError: if there is none of that name.
            ConfigurationError: if the package that declares it cannot be imported.
        """
        point = self._own.get(name) or self._points.get(name)
        if point is None:
            hint = did_you_mean(name, self.names)
            raise UsageError(f"there is no {self.kind} {name!r}{hint} (choose one of {', '.join(self.names)})")
        try:
            loaded: T = point.load()
        except (ImportError, AttributeError) as error:
            if name in self._own:
                raise
            raise ConfigurationError(
                f"the {self.kind} {name!r} cannot be loaded from {point.value}: {error}. Repair or remove the package"
                " that declares it"
            ) from error
        return loaded
