"""Records of datasets and of their quality bands: data about Earth Engine's catalog, and how to look it up.

Nothing here sends a request; what the server knows of an asset is read by :mod:`eechips.planning.asset_metadata`. The
records of datasets are TOML files in the folder ``records``, one for each, from the Earth Engine data catalog
(https://github.com/google/earthengine-catalog holds its sources); each has the day on which its page was read. Other
packages add records through the entry points ``eechips.datasets`` and ``eechips.cloud_masks``; see
:mod:`eechips.registry`.
"""

from __future__ import annotations

from eechips.datasets.catalogue import DATASETS as DATASETS
from eechips.datasets.catalogue import ECOREGIONS as ECOREGIONS
from eechips.datasets.catalogue import find_dataset as find_dataset
from eechips.datasets.catalogue import is_record_file as is_record_file
from eechips.datasets.catalogue import list_datasets as list_datasets
from eechips.datasets.catalogue import read_dataset as read_dataset
from eechips.datasets.catalogue import search_datasets as search_datasets
from eechips.datasets.catalogue import suggest_datasets as suggest_datasets
from eechips.datasets.dataset import Dataset as Dataset
from eechips.datasets.dataset import DatasetBand as DatasetBand
from eechips.datasets.dataset import Kind as Kind
from eechips.datasets.dataset import Quantization as Quantization
