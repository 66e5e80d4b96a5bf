"""Validation and normalisation of the arguments of the library's functions, with one function for each kind."""

import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import MAXYEAR, MINYEAR, UTC, date, datetime, time
from decimal import Decimal
from numbers import Real
from typing import TYPE_CHECKING, Any, TypeVar

from streaming.errors import MissionControlError, require_location, unknown_name
from streaming.pings import validation

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

Time = str | date | datetime | None
Values = str | Iterable[str] | None
Kind = TypeVar("Kind")

TOO_MANY = 2.0**63  # the smallest count that a column of 64-bit integers cannot hold
LONGEST_PLACE = 4096  # maximum length of a Linux path, in bytes
_LONGEST_SHOWN = 60  # maximum length of a value in a message, in characters


def names(argument: str, values: Any) -> tuple[str, ...]:
    """One name, or several in a list, tuple, set, array, Index or Series, as a tuple without duplicates.

    A set is sorted, because it has no order. Raises MissionControlError for values that are not text, and for text
    that UTF-8 cannot encode.
    """
    if isinstance(values, str):
        return (utf8(argument, values),)
    is_one_row = isinstance(values, Iterable) and getattr(values, "ndim", 1) == 1
    if not is_one_row or isinstance(values, (bytes, Mapping)):
        raise _no_names(argument, values)
    several = tuple(values)
    for value in several:
        if not isinstance(value, str):
            raise _no_names(argument, value)
    texts = [utf8(argument, value) for value in several]
    return tuple(dict.fromkeys(sorted(texts) if isinstance(values, (set, frozenset)) else texts))


def _no_names(argument: str, value: Any) -> MissionControlError:
    return MissionControlError(f"{argument} takes text or several texts, like '56.0', not {brief(value)}")


def utf8(argument: str, text: str) -> str:
    """The text unchanged. Raises MissionControlError for a lone surrogate, which no file or query can hold."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise MissionControlError(f"{argument} takes text that UTF-8 can hold, not {brief(text)}") from error
    return str(text)


def choice(kind: str, value: Any, known: Iterable[str]) -> str:
    """One of the known names. Raises MissionControlError, with similar names, for anything else."""
    known = tuple(known)
    if not isinstance(value, str) or value not in known:
        raise unknown_name(kind, value if isinstance(value, str) else brief(value), known)
    return str(value)


def text(argument: str, value: Any) -> str:
    """Text that is not empty. Raises MissionControlError for anything else, and for text that UTF-8 cannot encode."""
    if not isinstance(value, str) or not value:
        raise MissionControlError(f"{argument} takes text, not {brief(value)}")
    return utf8(argument, value)


def place(argument: str, value: Any) -> str:
    """A path or URL, given as text or as a Path, as text.

    Raises MissionControlError for anything else, and for more than LONGEST_PLACE bytes. A file name that is not UTF-8
    is accepted in the form that Python gives it (surrogateescape).
    """
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(path, str):
        raise MissionControlError(f"{argument} takes a path or URL, as text or a Path, not {brief(value)}")
    try:
        length = len(path.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError as error:
        raise MissionControlError(f"{argument} takes text that UTF-8 can hold, not {brief(path)}") from error
    if length > LONGEST_PLACE:
        raise MissionControlError(
            f"{argument} takes a path or URL of {LONGEST_PLACE:,} bytes at most, not one of {length:,}"
        )
    return require_location(path, f"a path or a URL as {argument}")


def instance(argument: str, value: Any, kind: type[Kind], example: str) -> Kind:
    """The value if it is an instance of kind. Raises MissionControlError, with the example, for anything else."""
    if not isinstance(value, kind):
        raise MissionControlError(f"{argument} takes {example}, not {brief(value)}")
    return value


def flag(argument: str, value: Any) -> bool:
    """True or False. Raises MissionControlError for anything else."""
    return instance(argument, value, bool, "True or False")


# Times.


def as_utc(argument: str, moment: Any) -> datetime | None:
    """A time in UTC with microseconds, whatever its class; a time without an offset is taken as UTC.

    Raises MissionControlError for anything that is not a time in the years 1 to 9999, UTC.
    """
    if moment is None:
        return None
    try:
        utc = _in_utc(moment)
    except (ValueError, OverflowError) as error:  # a year that datetime does not support
        raise _no_time(argument, moment) from error
    if utc is None:
        raise _no_time(argument, moment)
    return utc


def _in_utc(moment: Any) -> datetime | None:
    """A time in UTC, None for other values. Raises ValueError or OverflowError for a year that datetime lacks."""
    if isinstance(moment, str):
        moment = validation.moment(moment.strip())
    elif isinstance(moment, date) and not isinstance(moment, datetime):
        moment = datetime.combine(moment, time())
    elif type(moment).__name__ == "datetime64":  # recognised by name, so that numpy is not imported
        import pandas as pd

        moment = pd.Timestamp(moment)
    if not isinstance(moment, datetime) or moment != moment:  # NaT is a datetime that is not equal to itself
        return None
    if hasattr(moment, "to_pydatetime"):  # a pandas Timestamp, whose arithmetic has a narrower range
        moment = moment.to_pydatetime(warn=False)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _no_time(argument: str, moment: Any) -> MissionControlError:
    or_datetime = "" if argument.startswith("--") else " or a datetime"  # an option of a command is text
    return MissionControlError(
        f"{argument} takes an ISO time like '2017-10-07T14:00' (UTC){or_datetime}, not {brief(moment)}"
    )


def times(argument: str, moments: Any) -> "pd.DatetimeIndex":
    """One time or several, in any form that as_utc accepts, as an index in UTC and microseconds.

    Raises MissionControlError for anything that is not a time in the years 1 to 9999, including masked values.
    """
    import numpy as np
    import pandas as pd

    if getattr(getattr(moments, "dtype", None), "kind", None) == "M":  # fast path: pandas or numpy times
        return _index_of(argument, moments)
    is_one = isinstance(moments, (str, date)) or not isinstance(moments, Iterable) or getattr(moments, "ndim", 1) == 0
    each = [_time(argument, moment).replace(tzinfo=None) for moment in ([moments] if is_one else moments)]
    return pd.DatetimeIndex(np.array(each, "datetime64[us]")).tz_localize(UTC)


def _index_of(argument: str, moments: Any) -> "pd.DatetimeIndex":
    """The same as times(), for times that are held by numpy or pandas."""
    import numpy as np
    import pandas as pd

    if np.ma.is_masked(moments):
        raise _no_time(argument, np.ma.masked)
    held = np.atleast_1d(np.asarray(moments)) if isinstance(moments, (np.ndarray, np.generic)) else moments
    if held.ndim != 1:
        raise _no_time(argument, moments)
    try:
        index = pd.DatetimeIndex(held)
        index = (index.tz_convert(UTC) if index.tz else index.tz_localize(UTC)).as_unit("us")
    except (TypeError, ValueError, OverflowError) as error:  # NaT without a unit, or a year that overflows 64 bits
        raise _no_time(argument, moments) from error
    if index.isna().any():
        raise _no_time(argument, pd.NaT)
    if len(index) and not (index.year.min() >= MINYEAR and index.year.max() <= MAXYEAR):
        raise _no_time(argument, moments)
    return index


def _time(argument: str, moment: Any) -> datetime:
    utc = as_utc(argument, moment)
    if utc is None:
        raise _no_time(argument, moment)
    return utc


# Numbers.


def numbers(argument: str, values: Any, *, may_be_infinite: bool = False) -> "npt.NDArray[np.float64]":
    """Numbers of 0 or more, none of them missing or infinite, as an array of the same shape.

    may_be_infinite: whether infinity is accepted. Raises MissionControlError for other numbers, for masked values,
    which count as missing, and for text, booleans and times, which numpy would convert to numbers.
    """
    import numpy as np

    expected = f"expected numbers of 0 or more as {argument}"
    if _has_masked(values):
        raise MissionControlError(f"{expected}; got one that is masked, and so missing")
    try:
        array = np.asarray(values)
    except ValueError as error:  # nested lists of different lengths
        raise MissionControlError(f"{expected}; got {brief(values)}") from error
    if array.dtype.kind not in "iuf":
        strange = [each for each in array.flat if not _is_number(each)]
        if array.dtype.kind != "O" or strange:
            raise MissionControlError(f"{expected}; got {brief(strange[0] if strange else values)}")
    try:
        with np.errstate(over="ignore"):  # a longer float that overflows becomes infinite
            array = array.astype(float)
    except (TypeError, ValueError, OverflowError) as error:
        raise MissionControlError(f"{expected}; got {brief(values)}") from error
    bad = ~((np.isfinite(array) | may_be_infinite) & (array >= 0))
    if bad.any():
        raise MissionControlError(f"{expected}; got {float(array[bad][0])!r}")
    return array


def _has_masked(values: Any) -> bool:
    """Whether any value of a masked array or a list is masked: numpy would use the value behind the mask."""
    import numpy as np

    return np.ma.is_masked(values) or (
        isinstance(values, (list, tuple)) and any(value is np.ma.masked for value in values)
    )


def _is_number(value: Any) -> bool:
    """Whether an object is a real number. numpy.timedelta64 is excluded, which numpy classes as an integer."""
    import numpy as np

    return isinstance(value, (Real, Decimal)) and not isinstance(value, (bool, np.bool_, np.timedelta64))


def counts(argument: str, values: Any) -> "npt.NDArray[np.float64]":
    """Whole numbers of 0 or more. Raises MissionControlError for others, which have no Poisson interval."""
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
    """A pandas DataFrame with the given columns and unique names. Raises MissionControlError for anything else."""
    import pandas as pd

    checked = instance(argument, value, pd.DataFrame, "a pandas DataFrame")
    if checked.columns.nlevels > 1:
        raise MissionControlError(f"expected columns with one name each in {argument}; got a MultiIndex of names")
    for column in columns:
        if column not in checked.columns:
            raise unknown_name("column", column, map(str, checked.columns))
    if not checked.columns.is_unique:
        twice = checked.columns[checked.columns.duplicated()][0]
        raise MissionControlError(f"expected columns of different names in {argument}; two are named {twice!r}")
    return checked


def column_of_times(argument: str, column: "pd.Series") -> "pd.Series":
    """A frame's column as times in UTC. Raises MissionControlError for cells that are missing or not times."""
    import pandas as pd

    return pd.Series(times(argument, column), index=column.index)


def column_of_text(argument: str, column: "pd.Series") -> "pd.Series":
    """A frame's column of text. Raises MissionControlError for cells that are missing or not text."""
    for value in column.array if column.dtype == object else column.unique():
        instance(argument, value, str, "text in each cell")
    return column


def column_of_numbers(argument: str, column: "pd.Series") -> "pd.Series":
    """A frame's column as floats, NaN for missing cells. Raises MissionControlError for infinity and non-numbers."""
    import numpy as np

    given = column.dropna()
    if getattr(column.dtype, "kind", "O") not in "iuf":
        strange = [each for each in given.array if column.dtype != object or not _is_number(each)]
        if strange:
            raise MissionControlError(f"expected numbers as {argument}; got {brief(strange[0])}")
    array = np.full(len(column), np.nan)
    with np.errstate(over="ignore"):  # a longer float that overflows becomes infinite
        array[column.notna()] = given.astype(float)
    if np.isinf(array).any():
        raise MissionControlError(f"expected finite numbers as {argument}; got {float(array[np.isinf(array)][0])!r}")
    return column.__class__(array, index=column.index)


def brief(value: Any) -> str:
    """A value as messages show it: its repr if that is short, otherwise its class."""
    try:
        shown = repr(value)
    except (ValueError, ArithmeticError):  # integers of more than 4,300 digits, frames with a signalling NaN
        shown = ""
    return shown if 0 < len(shown) <= _LONGEST_SHOWN and "\n" not in shown else f"a {type(value).__name__}"
