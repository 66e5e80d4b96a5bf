"""Arguments of the library's functions: each kind of argument is checked, and put into one form, in one place here."""

import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any, TypeVar

from streaming import forms
from streaming.errors import MissionControlError, require_place, unknown_name

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

Time = str | date | datetime | None
Values = str | Iterable[str] | None
Kind = TypeVar("Kind")

TOO_MANY = 2.0**63  # for a column of 64-bit integers


def names(argument: str, values: Any) -> tuple[str, ...]:
    """One name, or several in a list, tuple, set, array, Index or Series, as a tuple in which each stands once.

    A set is sorted, for it has no order. Raises MissionControlError for what holds anything but text.
    """
    if isinstance(values, str):
        return (str(values),)
    is_one_row = isinstance(values, Iterable) and getattr(values, "ndim", 1) == 1
    if not is_one_row or isinstance(values, (bytes, Mapping)):
        raise _no_names(argument, values)
    several = tuple(values)
    for value in several:
        if not isinstance(value, str):
            raise _no_names(argument, value)
    texts = [str(value) for value in several]
    return tuple(dict.fromkeys(sorted(texts) if isinstance(values, (set, frozenset)) else texts))


def _no_names(argument: str, value: Any) -> MissionControlError:
    return MissionControlError(f"{argument} takes text or several texts, like '56.0', not {brief(value)}")


def choice(kind: str, value: Any, known: Iterable[str]) -> str:
    """One of the known names. Raises MissionControlError, with the near names, for anything else."""
    known = tuple(known)
    if not isinstance(value, str) or value not in known:
        raise unknown_name(kind, value if isinstance(value, str) else brief(value), known)
    return str(value)


def text(argument: str, value: Any) -> str:
    """Text that is not empty. Raises MissionControlError for anything else."""
    if not isinstance(value, str) or not value:
        raise MissionControlError(f"{argument} takes text, not {brief(value)}")
    return str(value)


def place(argument: str, value: Any) -> str:
    """A path or URL, given as text or as a Path, as text. Raises MissionControlError for anything else."""
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(path, str):
        raise MissionControlError(f"{argument} takes a path or URL, as text or a Path, not {brief(value)}")
    return require_place(path, f"a path or a URL as {argument}")


def instance(argument: str, value: Any, kind: type[Kind], example: str) -> Kind:
    """A value of a class. Raises MissionControlError, with an example of one, for anything else."""
    if not isinstance(value, kind):
        raise MissionControlError(f"{argument} takes {example}, not {brief(value)}")
    return value


def flag(argument: str, value: Any) -> bool:
    """True or False. Raises MissionControlError for anything else."""
    return instance(argument, value, bool, "True or False")


# Times.


def as_utc(argument: str, moment: Any) -> datetime | None:
    """A time in UTC, which is what one without an offset is in. Raises MissionControlError for what is no time."""
    if moment is None:
        return None
    given = moment
    if isinstance(moment, str):
        moment = forms.moment(moment.strip())
    elif isinstance(moment, date) and not isinstance(moment, datetime):
        moment = datetime.combine(moment, time())
    elif type(moment).__name__ == "datetime64":  # numpy's, which is not imported for this
        import pandas as pd

        moment = pd.Timestamp(moment)
    if not isinstance(moment, datetime) or moment != moment:  # NaT is a datetime that equals nothing
        raise _no_time(argument, given)
    try:
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except OverflowError as error:
        raise _no_time(argument, given) from error


def _no_time(argument: str, moment: Any) -> MissionControlError:
    return MissionControlError(
        f"{argument} takes an ISO time like '2017-10-07T14:00' (UTC) or a datetime, not {brief(moment)}"
    )


def times(argument: str, moments: Any) -> "pd.DatetimeIndex":
    """One time or several, each as as_utc takes them. Raises MissionControlError for what is no time."""
    import numpy as np
    import pandas as pd

    if getattr(getattr(moments, "dtype", None), "kind", None) == "M":  # pandas or numpy holds times: the quick way
        index = pd.DatetimeIndex(pd.to_datetime(np.atleast_1d(moments), utc=True))
        if index.isna().any():
            raise _no_time(argument, pd.NaT)
        return index
    is_one = isinstance(moments, (str, date)) or not isinstance(moments, Iterable)
    each = [moments] if is_one else list(moments)
    return pd.DatetimeIndex([_time(argument, moment) for moment in each], tz=UTC)


def _time(argument: str, moment: Any) -> datetime:
    utc = as_utc(argument, moment)
    if utc is None:
        raise _no_time(argument, moment)
    return utc


# Numbers.


def numbers(argument: str, values: Any) -> "npt.NDArray[np.float64]":
    """Numbers of 0 or more, none of them missing or infinite, as an array of their shape.

    Raises MissionControlError for others, and for text and truth values, which numpy would turn into numbers.
    """
    import numpy as np

    expected = f"expected numbers of 0 or more as {argument}"
    try:
        array = np.asarray(values)
    except ValueError as error:  # lists of several lengths
        raise MissionControlError(f"{expected}; got {brief(values)}") from error
    if array.dtype.kind not in "iuf":
        strange = [
            each
            for each in array.flat
            if isinstance(each, (bool, np.bool_, str, bytes)) or not hasattr(each, "__float__")
        ]
        if array.dtype.kind != "O" or strange:
            raise MissionControlError(f"{expected}; got {brief(strange[0] if strange else values)}")
    try:
        array = array.astype(float)
    except (TypeError, ValueError, OverflowError) as error:
        raise MissionControlError(f"{expected}; got {brief(values)}") from error
    bad = ~(np.isfinite(array) & (array >= 0))
    if bad.any():
        raise MissionControlError(f"{expected}; got {float(array[bad][0])!r}")
    return array


def counts(argument: str, values: Any) -> "npt.NDArray[np.float64]":
    """Whole numbers of 0 or more. Raises MissionControlError for others: half an event has no Poisson interval."""
    array = numbers(argument, values)
    bad = (array % 1 != 0) | (array >= TOO_MANY)
    if bad.any():
        raise MissionControlError(f"expected whole numbers as {argument}; got {float(array[bad][0])!r}")
    return array


def check_shapes(arrays: Mapping[str, "npt.NDArray[np.float64]"]) -> None:
    """Raises MissionControlError for arrays that cannot be broadcast to one shape."""
    import numpy as np

    try:
        np.broadcast_shapes(*(array.shape for array in arrays.values()))
    except ValueError as error:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise MissionControlError(f"expected one number or as many each; got arrays of the shapes {shapes}") from error


# Frames.


def frame(argument: str, value: Any, columns: Sequence[str] = ()) -> "pd.DataFrame":
    """A pandas frame that has some columns, and each column once. Raises MissionControlError for anything else."""
    import pandas as pd

    checked = instance(argument, value, pd.DataFrame, "a pandas DataFrame")
    for column in columns:
        if column not in checked.columns:
            raise unknown_name("column", column, map(str, checked.columns))
    if not checked.columns.is_unique:
        twice = checked.columns[checked.columns.duplicated()][0]
        raise MissionControlError(f"expected columns of different names in {argument}; two are named {twice!r}")
    return checked


def brief(value: Any) -> str:
    """What a message says of a value: its repr where that is short, else its class."""
    shown = repr(value)
    return shown if len(shown) <= 60 and "\n" not in shown else f"a {type(value).__name__}"
