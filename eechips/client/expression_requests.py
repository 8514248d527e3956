"""Make requests for expressions that are JSON already: the client (``ee``) need not be initialised."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from eechips.client.chip_parameters import file_format
from eechips.client.http_messages import HttpRequest
from eechips.client.template_requests import TemplateRequests
from eechips.recipe import Chip
from eechips.recipe.template import Template
from eechips.version import __version__

if TYPE_CHECKING:
    import ee
    from typing_extensions import Never


@dataclass(frozen=True, slots=True, eq=False)
class ExpressionChip(Chip):
    """A chip whose image is an expression as requests have it. Its bands are those of the image, in their order.

    Attributes:
        expression: ``{"result": key, "values": {key: node}}``.
        image: none; the expression replaces it.
    """

    image: ee.Image | Template = field(default_factory=lambda: Template(_no_client))
    expression: Mapping[str, Any] = field(default_factory=dict)


class ExpressionRequests(TemplateRequests):
    """Requests for expressions. Threads may share it.

    Args:
        project: whose quota is used.
        workload_tag: sent with each computation.
    """

    def __init__(self, endpoint: str, project: str, workload_tag: str) -> None:
        super().__init__(_no_client)
        self._base, self._project, self._tag = f"{endpoint}/v1/projects/{project}", project, workload_tag

    def fill(self, chip: Chip) -> HttpRequest:
        """Return the request for an :class:`ExpressionChip` with a grid: ``image:computePixels``."""
        assert isinstance(chip, ExpressionChip)
        assert chip.grid is not None
        body = {"fileFormat": file_format(chip), "grid": chip.grid.to_pixel_grid()}
        return self._request("image:computePixels", chip.expression, body)

    def compute(self, expression: Mapping[str, Any]) -> HttpRequest:
        """Return the request for a value: ``value:compute``."""
        return self._request("value:compute", expression, {})

    def _request(self, method: str, expression: Mapping[str, Any], body: Mapping[str, Any]) -> HttpRequest:
        headers = {
            "content-type": "application/json",
            "user-agent": f"eechips/{__version__}",
            "X-Goog-User-Project": self._project,
        }
        text = json.dumps({"expression": expression, **body, "workloadTag": self._tag})
        return HttpRequest("POST", f"{self._base}/{method}", text, headers)


def _no_client(*_: object) -> Never:
    raise AssertionError("requests for expressions are made without the client")
