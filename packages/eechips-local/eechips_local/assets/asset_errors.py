"""Define every error that the asset store raises on purpose.

::

    AssetError
    ├── InvalidAssetIdError     an id that Earth Engine would not take, or that would leave the folder
    ├── UnknownAssetError       no asset of that id
    ├── AssetExistsError        the id, or one above it, is taken
    ├── AssetChangeError        an asset that cannot be changed as asked
    ├── QuotaExceededError      more assets, or bytes of them, than the root may hold
    ├── IngestError             a file that cannot become an asset as asked
    │   ├── UnreadableFileError     missing, or neither a raster nor a vector file that GDAL can read
    │   ├── MissingCrsError         no coordinate reference system, or no georeferencing
    │   └── EmptyTableError         a vector file without features
    ├── InvalidStoreError       the folder is not an asset store, or a document in it cannot be understood
    │   └── UnsafeHrefError         a reference that is remote, absolute or leads outside the folder
    └── AssetWriteError         the store could not be written: disk full, no permission

Messages say what happened, to which file or id, and what to do.
"""

from __future__ import annotations


class AssetError(Exception):
    """Base class of every error that the asset store raises on purpose."""


class InvalidAssetIdError(AssetError):
    """An id that Earth Engine would not take, or that would leave the folder."""


class UnknownAssetError(AssetError):
    """No asset of that id."""


class AssetExistsError(AssetError):
    """The id, or one above it, is taken."""


class AssetChangeError(AssetError):
    """An asset that cannot be changed as asked."""


class QuotaExceededError(AssetError):
    """More assets, or bytes of them, than the root may hold."""


class IngestError(AssetError):
    """A file that cannot become an asset as asked."""


class UnreadableFileError(IngestError):
    """Missing, or neither a raster nor a vector file that GDAL can read."""


class MissingCrsError(IngestError):
    """A file without a coordinate reference system, or without georeferencing."""


class EmptyTableError(IngestError):
    """A vector file without features."""


class InvalidStoreError(AssetError):
    """The folder is not an asset store, or a document in it cannot be understood."""


class UnsafeHrefError(InvalidStoreError):
    """A reference that is remote, absolute or leads outside the folder."""


class AssetWriteError(AssetError):
    """The store could not be written: disk full, no permission."""
