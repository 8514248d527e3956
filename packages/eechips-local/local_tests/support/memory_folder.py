"""Temporary folders in memory: runs and stores write their files through to a disk, and tests would wait for it."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

MEMORY = Path("/dev/shm")
"""A file system in memory, where Linux has one: https://www.kernel.org/doc/html/latest/filesystems/tmpfs.html"""
LEAST_FREE = 8 << 30


def use_memory_folder() -> None:
    """Put the temporary folders of this process, and of those that it starts, there if they have room.

    A folder that the user has chosen by ``TMPDIR`` stays. Containers often have 64 MB there.
    """
    if "TMPDIR" in os.environ or not MEMORY.is_dir() or shutil.disk_usage(MEMORY).free < LEAST_FREE:
        return
    os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)
