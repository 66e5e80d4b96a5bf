"""The parameters of a report, checked by name, type and value before anything is read."""

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta
from difflib import get_close_matches
from itertools import takewhile
from typing import Any

from missioncontrol_nb import arguments
from missioncontrol_nb.formatting import age_in_words, moment_with_year
from missioncontrol_nb.loading.dataset import Dataset
from missioncontrol_nb.releases.calendar import Calendar
from missioncontrol_nb.releases.sources import calendar_beside, load_calendar
from streaming import contract
from streaming.dataset.opening import no_dataset
from streaming.errors import MissionControlError, unknown_name

ALL = "all"
INJECTED = "# Parameters"  # the first line of the cell that papermill adds after the one with the defaults
_LIKE = 0.8  # difflib's similarity from which on a name is taken for a misspelt parameter
_EXAMPLES = {"as_of": "2017-10-02T13:00Z", "channel": "release", "dataset": "s3://bucket/data", "product": "Firefox"}


@dataclass(frozen=True)
class Parameters:
    """What a report is of, as its notebook is given it. All are text, so that a command line can give them.

    dataset: folder or URL. channel: one, several with commas between them, or "all". as_of: a time in ISO 8601, UTC;
    empty: as of the newest data. previous: folder or URL of the alarms.json of the report before, whose alarms are
    known; empty: none are. releases: a release calendar; empty: that in the dataset, else the snapshot.
    """

    dataset: str = "fleet"
    product: str = contract.FIREFOX.name
    channel: str = "release"
    as_of: str = ""
    previous: str = ""
    releases: str = ""

    def __post_init__(self) -> None:
        for each in fields(self):
            _check_text(each.name, getattr(self, each.name))
        arguments.place("dataset", self.dataset)
        if not self.product.strip() or not self._named():
            raise MissionControlError(
                f"expected a product and a channel; got {self.product!r} and {self.channel!r}. Is a variable empty?"
            )
        self.moment()

    def moment(self) -> datetime | None:
        """The time that as_of names; None for the newest data."""
        return arguments.as_utc("as_of", self.as_of) if self.as_of.strip() else None

    def channels_of(self, product: contract.Product) -> tuple[str, ...]:
        """The channels that are named, in the product's order. Raises MissionControlError for an unknown one."""
        named = self._named()
        if named == [ALL]:
            return product.channel_names
        for name in named:
            arguments.choice("channel", name, (*product.channel_names, ALL))
        return tuple(name for name in product.channel_names if name in named or ALL in named)

    def _named(self) -> list[str]:
        return [name.strip() for name in self.channel.split(",") if name.strip()]


@dataclass(frozen=True)
class Subject:
    """What a report is of: an open dataset, one of its products, channels, and a moment (UTC).

    stale_by: how much older than the moment that was asked for the newest data are, in whole hours, from two days on in
    whole days, so that it is the same when the report is made again; 0 where that is less than an hour.
    """

    dataset: Dataset
    product: contract.Product
    channels: tuple[str, ...]
    as_of: datetime
    stale_by: timedelta = timedelta()


def subject_of(parameters: Parameters) -> Subject:
    """Opens the dataset and looks up what the parameters name; takes milliseconds.

    as_of is the last end of a window before the time that was asked for, and not after the newest data. Raises
    MissionControlError for unknown names, where there is no dataset, and where it has no window by then.
    """
    dataset = Dataset(parameters.dataset)
    if not dataset.tables():
        raise no_dataset(dataset.url)
    product = dataset.products.named(arguments.text("product", parameters.product))
    channels = parameters.channels_of(product)
    up_to, asked = dataset.data_up_to(), parameters.moment()
    if up_to is None:
        raise MissionControlError(f"no commit of {dataset.url!r} says up to when it has data: count its pings anew")
    if asked is not None and asked > datetime.now(UTC):
        raise MissionControlError(f"expected as_of as a moment that is over; {parameters.as_of!r} lies in the future")
    as_of = _window_end(min(asked or up_to, up_to))
    first = min(dataset.files_by_day(), default=None)
    if first is None or as_of.date() < first or (as_of.date() == first and not _has_window(dataset, first, as_of)):
        raise MissionControlError(
            f"as_of {as_of:%Y-%m-%dT%H:%MZ} lies before the first data of {dataset.url!r}, {first}"
        )
    return Subject(dataset, product, channels, as_of, _stale_by((asked or datetime.now(UTC)) - as_of))


def _stale_by(age: timedelta) -> timedelta:
    hour, day = timedelta(hours=1), timedelta(days=1)
    return age // hour * hour if age < 2 * day else age // day * day


def _has_window(dataset: Dataset, since: date, until: datetime) -> bool:
    return not dataset.load(since, until, measures=(), by="application", every=None).empty


def stale_words(stale_by: timedelta, as_of: datetime) -> str:
    """That a report's data are old, in a sentence; empty where they are not. Arguments as in `Subject`."""
    if not stale_by:
        return ""
    asked = moment_with_year(as_of + stale_by)
    return (
        f"Data are {age_in_words(stale_by)} old: by {asked}, nothing newer than {moment_with_year(as_of)} had arrived."
    )


def calendar_of(parameters: Parameters, subject: Subject) -> Calendar:
    """The release calendar of a report. Raises MissionControlError where it cannot be read."""
    if subject.product.calendar is None:
        return Calendar((), subject.product)
    return load_calendar(parameters.releases.strip() or calendar_beside(subject.dataset.url))


def _window_end(moment: datetime) -> datetime:
    """The last end of a window that is not after a moment."""
    since_midnight = timedelta(hours=moment.hour, minutes=moment.minute, seconds=moment.second)
    since_midnight += timedelta(microseconds=moment.microsecond)
    return moment - since_midnight % contract.WINDOW


def parameters_of(namespace: Mapping[str, Any]) -> Parameters:
    """The parameters that a notebook's cells have defined. namespace: the notebook's globals().

    Raises MissionControlError for a parameter that papermill or a scheduler was given and no report has, of which
    papermill itself only warns; and for one of another type, such as a version that papermill took for a number.
    """
    known = [each.name for each in fields(Parameters)]
    for name in _injected_names(namespace.get("In", ()), known):
        if name not in known:
            raise unknown_name("parameter", name, known)
    missing = [name for name in known if name not in namespace]
    if missing:
        raise MissionControlError(f"expected the parameter {missing[0]!r}; run the cell that is tagged 'parameters'")
    return Parameters(**{name: namespace[name] for name in known})


def _injected_names(inputs: Iterable[Any], known: Sequence[str]) -> Iterator[str]:
    """The names that an added cell defines. inputs: the sources of the cells that have run, as IPython keeps them.

    papermill's cell has a mark, jupyter-scheduler's has none: it stands before the report is read, has nothing but
    assignments of constants, and one of a parameter or of a name like one. A person who explores may define whatever
    they like.
    """
    for source in takewhile(lambda each: parameters_of.__name__ not in each, map(str, inputs)):
        try:
            statements = ast.parse(source).body
        except SyntaxError:  # IPython's own, such as %timeit
            continue
        assigned = [each for each in statements if isinstance(each, ast.Assign)]
        names = [each.targets[0].id for each in assigned if isinstance(each.targets[0], ast.Name)]
        has_constants_alone = len(names) == len(statements) and all(_is_constant(each.value) for each in assigned)
        is_like_parameters = any(get_close_matches(name, known, cutoff=_LIKE) for name in names)
        if source.startswith(INJECTED) or (has_constants_alone and is_like_parameters):
            yield from names


def _is_constant(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except ValueError:
        return False
    return True


def _check_text(name: str, value: Any) -> None:
    if isinstance(value, str):
        return
    example = f", such as {_EXAMPLES[name]!r}" if name in _EXAMPLES else ""
    hint = ""
    if isinstance(value, int | float):
        hint = f": papermill's -p takes what looks like a number for one, so use -r {name} {value}"
    raise MissionControlError(
        f"{name} takes text{example}, not {arguments.brief(value)} ({type(value).__name__}){hint}"
    )
