"""Parse ``export_to``, the place in Cloud Storage (``gs://bucket/prefix``) for exported files."""

from __future__ import annotations

import re
from dataclasses import dataclass

from eechips.errors import UsageError

# https://cloud.google.com/storage/docs/buckets#naming
_PLACE = re.compile(r"gs://(?P<bucket>[a-z0-9][-_.a-z0-9]{1,220}[a-z0-9])(?:/(?P<prefix>[^\x00-\x1f?#]*))?")


@dataclass(frozen=True, slots=True)
class ExportPlace:
    """A prefix of a bucket of Cloud Storage, for exported files.

    Attributes:
        prefix: prefix of the names of objects, without a slash at the end; it may be empty.
    """

    bucket: str
    prefix: str

    @classmethod
    def parse(cls, url: str) -> ExportPlace:
        """Parse ``gs://bucket/prefix``; raise UsageError if it is something else."""
        match = _PLACE.fullmatch(url)
        parts = (match["prefix"] or "").strip("/").split("/") if match else []
        if match is None or any(part in ("", ".", "..") for part in parts if parts != [""]):
            raise UsageError(f"export_to is a place in Cloud Storage such as gs://bucket/folder, not '{url}'")
        return cls(match["bucket"], "/".join(parts))

    @property
    def url(self) -> str:
        """The place as an address, without a slash at the end."""
        return f"gs://{self.bucket}/{self.prefix}".rstrip("/")
