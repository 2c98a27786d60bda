"""A folder for data that need not outlive the tests: in memory where there is room."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

#: Where Linux keeps files in memory; containers often have very little of it.
_MEMORY: Final = Path("/dev/shm")
_ROOM_BYTES: Final = 4 * 1024**3


@contextmanager
def quick_folder(prefix: str) -> Iterator[Path]:
    """An empty folder that is gone after the block.

    Each test has a database of its own, which is some 300 files: file systems may take ten times
    as long to make and delete them on a disk, with nothing synced.
    """
    roomy = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free >= _ROOM_BYTES
    with TemporaryDirectory(
        prefix=prefix, dir=_MEMORY if roomy else None, ignore_cleanup_errors=True
    ) as folder:
        yield Path(folder)
