"""Find chip formats, pack formats, executors, datasets and cloud masks by name, those of other packages (entry points)
included.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from importlib import metadata
from typing import Any, Generic, TypeVar

from eechips.errors import ConfigurationError, UsageError
from eechips.text.suggestion import did_you_mean

T = TypeVar("T")


class Registry(Generic[T]):
    """Objects of one kind by name: those of eechips, and those that installed packages declare as entry points.

    A package adds an object under the group of the registry in its own ``pyproject.toml``::

        [project.entry-points."eechips.formats"]
        webp = "my_package.webp"

    An object is imported on first use. A name of eechips cannot be replaced.

    Args:
        kind: kind of the objects, for errors: ``"chip format"``.
        group: group of entry points, which starts with ``eechips.``.
        own: the import path of each object of eechips by name: ``"package.module"`` or ``"package.module:attribute"``.
        instance_of: the class of all objects; None if they are modules or classes, which are not checked.
        class_path: from where packages import that class, for errors: ``"eechips.formats.ChipFormat"``.
    """

    def __init__(
        self, kind: str, group: str, own: Mapping[str, str], instance_of: type[T] | None = None, class_path: str = ""
    ) -> None:
        self.kind = kind
        self.group = group
        self._instance_of, self._class_path = instance_of, class_path
        self._loaded: dict[str, T] = {}
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
        """Return an object, which is loaded the first time.

        Args:
            name: one of :attr:`names`.

        Raises:
            UsageError: if the name is unknown.
            ConfigurationError: if the package that declares it cannot be imported, or declares another kind of object.
        """
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def load(self, point: metadata.EntryPoint) -> Any:
        """Return the object that an entry point declares: what it imports, unless a subclass reads something else.

        Raises:
            ImportError: if its module cannot be imported.
            AttributeError: if its module has no such object.
        """
        return point.load()

    def _load(self, name: str) -> T:
        point = self._own.get(name) or self._points.get(name)
        if point is None:
            hint = did_you_mean(name, self.names)
            raise UsageError(f"there is no {self.kind} {name!r}{hint} (choose one of {', '.join(self.names)})")
        try:
            loaded: Any = self.load(point)
        except (ImportError, AttributeError, UsageError) as error:
            if name in self._own:
                raise
            raise ConfigurationError(
                f"the {self.kind} {name!r} cannot be loaded from {point.value}: {error}. Repair or remove the package"
                " that declares it"
            ) from error
        if self._instance_of is not None and not isinstance(loaded, self._instance_of):
            raise ConfigurationError(
                f"the {self.kind} {name!r} is declared as a {type(loaded).__name__}, not an {self._class_path}. Repair"
                " or remove the package that declares it"
            )
        plugin: T = loaded
        return plugin
