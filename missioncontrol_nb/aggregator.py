"""Control from Python of the job of `missioncontrol aggregate --follow`: start, monitor and stop it."""

import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from missioncontrol_nb import arguments
from missioncontrol_nb.aggregator_process import AggregatorProcess
from streaming.errors import MissionControlError

if TYPE_CHECKING:
    import click


class Aggregator(AggregatorProcess):
    """Runs `missioncontrol aggregate --follow` for a source and a dataset in a child process.

    source, dataset: paths or URLs. options: the command's options with Python names: `trigger=0.5`, `recount=True`,
    `checkpoint="state"`, several values of one option as a list. None omits an option, and False omits a flag.
    Raises MissionControlError for an option that the command does not have, and for an invalid value.

    >>> with Aggregator("pings/", "data/") as aggregator:  # doctest: +SKIP
    ...     print(aggregator.progress)
    """

    def __init__(self, source: str | Path, dataset: str | Path, **options: object) -> None:
        dataset_location = arguments.place("dataset", dataset)
        given = _as_arguments(options)
        super().__init__(arguments.place("source", source), dataset_location, given)


def _as_arguments(options: dict[str, object]) -> list[str]:
    """`{"trigger": 0.5, "recount": True}` as `--trigger=0.5 --recount`."""
    known = _options()
    given: list[str] = []
    for name, value in options.items():
        option = known[arguments.choice("option", name, known)]
        if value is None:
            continue
        if option.is_flag:
            given += [option.opts[0]] if arguments.flag(name, value) else option.secondary_opts[:1]
            continue
        for each in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(each, bool) or not isinstance(each, (str, int, float, os.PathLike, datetime)) or each == "":
                raise MissionControlError(f"{name} takes text, a number or a path, not {arguments.brief(each)}")
            given.append(f"{option.opts[0]}={each.isoformat() if isinstance(each, datetime) else each}")
    return given


def _options() -> dict[str, "click.Option"]:
    """The command's options by Python name, without dataset, follow and help, which are not given as options here."""
    import click

    from missioncontrol_nb.commands.aggregate import command

    options = [each for each in command.params if isinstance(each, click.Option)]
    named = {each.opts[0].removeprefix("--").replace("-", "_"): each for each in options}
    return {name: each for name, each in named.items() if name not in ("dataset", "follow", "help")}
