"""Seen ids: which ids earlier micro-batches had, and when each was received, in sorted files of a checkpoint.

A micro-batch notes its ids under its number. A repeated micro-batch ignores the ids of its own number, so it decides
the same for all tables. An id with its time takes 24 bytes. Files are memory-mapped, not read: a task searches them and
holds only its own micro-batch in memory. Files of the same slice of time are merged.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from streaming.storage.durability import make_folder, sync_folder

FILES_A_SLICE = 8  # the newest slice with more files, and an older one with more than a quarter of them, is merged
_OLDER_SIZE_RATIO = 8  # in older slices, a file this many times as large as all newer ones is not merged with them
LATE_US = 24 * 3600 * 1_000_000  # how late a ping of a file may be read: ids are kept for so much longer
FIRST_NUMBER = 1 << 32  # of the job's micro-batch 0; lower numbers are used for ids from before the first one
Ids = np.ndarray[Any, np.dtype[np.uint64]]  # two rows: the first and the second half of each hash
Times = np.ndarray[Any, np.dtype[np.int64]]  # times of receipt, microseconds since 1970
Flags = np.ndarray[Any, np.dtype[np.bool_]]


def ids_of(hashes: list[bytes]) -> Ids:
    """Hashes of 16 bytes, as numbers."""
    return np.frombuffer(b"".join(hashes), ">u8").astype(np.uint64).reshape(-1, 2).T


def are_repeated(ids: Ids, times: Times, order: "np.ndarray[Any, np.dtype[np.int64]]", window_us: int) -> Flags:
    """Which ids come after the same id in their micro-batch and were received at most window_us after it.

    order: numbers that order ids that were received at the same time.
    """
    sorting = np.lexsort((order, times, ids[1], ids[0]))
    ids, times = ids[:, sorting], times[sorting]
    is_same = (ids[:, 1:] == ids[:, :-1]).all(axis=0)  # as the one before
    repeated = np.zeros(len(times), bool)
    repeated[sorting[1:]] = is_same & (times[1:] - times[:-1] <= window_us)
    return repeated


@dataclass(frozen=True)
class _IdsFile:
    """Ids of the micro-batches from first to last.

    slice_: when the newest id was received or, if that was in the future, noted, in slices of time since 1970.
    """

    path: Path
    first: int
    last: int
    slice_: int

    @classmethod
    def at(cls, path: Path) -> "_IdsFile":
        """The file at a path."""
        slice_, first, last = map(int, path.stem.split("-"))
        return cls(path, first, last, slice_)


class SeenIds:
    """When ids were received in earlier micro-batches.

    number: of the current micro-batch; since_us: older ids may be removed; slice_us: the length of a slice of time.
    Times are in microseconds, since 1970 where they are moments.
    """

    def __init__(self, folder: Path, number: int, since_us: int, slice_us: int) -> None:
        self._folder, self._number, self._slice_us = folder, number, slice_us
        make_folder(folder)
        self._files = []
        for file in _complete_files(folder, number):
            if (file.slice_ + 1) * slice_us > since_us:
                self._files.append(file)
            else:
                file.path.unlink(missing_ok=True)
        self._merge()

    def hold(self, ids: Ids, times: Times, window_us: int) -> Flags:
        """Which of some ids were received at most window_us before or after a time."""
        return _hold(self._files, ids, times - window_us, times + window_us)

    def add(self, ids: Ids, times: Times, now_us: int | None = None) -> None:
        """Notes ids of the micro-batch itself. Called once.

        now_us: what the caller's clock says, where times come from clocks that may be ahead; since_us of all
        micro-batches must then lie before it.
        """
        if ids.shape[1]:
            newest = int(times.max()) if now_us is None else min(int(times.max()), now_us)
            file = _IdsFile(self._folder, self._number, self._number, newest // self._slice_us)
            self._write(np.vstack([ids, times.astype(np.uint64)]), file)

    def _write(self, rows: Ids, file: _IdsFile) -> _IdsFile:
        """Writes ids, one a column, and their times in a third row; the same id and time only once."""
        path = self._folder / f"{file.slice_}-{file.first}-{file.last}.npy"
        unfinished = path.with_suffix(".tmp")
        rows = rows[:, np.lexsort((rows[2], rows[1], rows[0]))]
        is_last = np.append((rows[:, 1:] != rows[:, :-1]).any(axis=0), True)
        with unfinished.open("wb") as output:
            np.save(output, rows[:, is_last])
            output.flush()
            os.fsync(output.fileno())
        unfinished.replace(path)
        sync_folder(self._folder)  # a table that relies on the ids may survive a power cut, so they must too
        return _IdsFile(path, file.first, file.last, file.slice_)

    def _merge(self) -> None:
        """Merges files of slices with many files. All are of finished micro-batches, which are not repeated.

        Of the newest slice, only newer files that are together as large as the one before them: so each id is written
        anew only as often as the size of its file doubles. Of an older slice, which mostly gets no more ids, nearly
        all: but one that still gets ids must not be written anew at each micro-batch.
        """
        newest = max((file.slice_ for file in self._files), default=0)
        for slice_ in {file.slice_ for file in self._files}:
            files = sorted((file for file in self._files if file.slice_ == slice_), key=lambda file: file.first)
            if len(files) <= (FILES_A_SLICE if slice_ == newest else FILES_A_SLICE // 4):
                continue
            merging = _newest_of_a_size(files, 1 if slice_ == newest else _OLDER_SIZE_RATIO)
            if len(merging) > 1:
                rows = np.concatenate([np.load(file.path, mmap_mode="r") for file in merging], axis=1)
                first, last = min(file.first for file in merging), max(file.last for file in merging)
                merged = self._write(rows, _IdsFile(self._folder, first, last, slice_))
                self._files = [file for file in self._files if file not in merging] + [merged]
                for file in merging:
                    file.path.unlink(missing_ok=True)


def hold_between(folder: Path, ids: Ids, since_us: Times, until_us: Times) -> Flags:
    """Which ids a job has noted in a folder as received from one time to another, both included; for other processes.

    since_us, until_us: for each id, microseconds since 1970. The job may go on meanwhile.
    """
    while True:
        try:
            return _hold(_complete_files(folder), ids, since_us, until_us)
        except FileNotFoundError:  # merged into another file since the folder was listed
            continue


def _hold(files: Sequence[_IdsFile], ids: Ids, since_us: Times, until_us: Times) -> Flags:
    held = np.zeros(ids.shape[1], bool)
    order = np.argsort(ids[0])  # neighbours are in the same pages of a file
    ids, since_us, until_us = ids[:, order], since_us[order], until_us[order]
    for file in files:
        held[order] |= _is_among(ids, since_us, until_us, np.load(file.path, mmap_mode="r"))
    return held


def _newest_of_a_size(files: Sequence[_IdsFile], ratio: int) -> Sequence[_IdsFile]:
    """The newest of some files, back to where a file is more than `ratio` times as large as all newer ones together."""
    sizes = [file.path.stat().st_size for file in files]
    first = len(files) - 1
    while first and sizes[first - 1] <= ratio * sum(sizes[first:]):
        first -= 1
    return files[first:]


def _complete_files(folder: Path, before: int | None = None) -> list[_IdsFile]:
    """The files of micro-batches before one, without files that were merged into another and not yet removed."""
    files = [_IdsFile.at(path) for path in folder.glob("*.npy")]
    files = [file for file in files if before is None or file.last < before]
    merged = [file for file in files if file.first < file.last]
    return [
        file
        for file in files
        if not any(
            other is not file and other.slice_ == file.slice_ and other.first <= file.first and file.last <= other.last
            for other in merged
        )
    ]


def _is_among(ids: Ids, since_us: Times, until_us: Times, known: Ids) -> Flags:
    """Whether a sorted file has each id with a time from since_us to until_us."""
    highs, lows, times = known
    found = np.zeros(ids.shape[1], bool)
    first = np.searchsorted(highs, ids[0])
    asked = np.flatnonzero(first < len(highs))
    asked = asked[highs[first[asked]] == ids[0, asked]]
    if not len(asked):
        return found
    first, end = first[asked], np.searchsorted(highs, ids[0, asked], side="right")
    low, since_us, until_us = ids[1, asked], since_us[asked], until_us[asked]
    last = end
    while (first < last).any():  # among ids with the same first half, mostly one
        middle = np.minimum((first + last) // 2, len(highs) - 1)
        is_open = first < last
        is_below = (lows[middle] < low) | ((lows[middle] == low) & (times[middle].astype(np.int64) < since_us))
        first = np.where(is_open & is_below, middle + 1, first)
        last = np.where(is_open & ~is_below, middle, last)
    at = np.minimum(first, len(highs) - 1)
    found[asked] = (first < end) & (lows[at] == low) & (times[at].astype(np.int64) <= until_us)
    return found
