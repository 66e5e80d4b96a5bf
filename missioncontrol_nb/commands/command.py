"""The class of all commands, which refuses empty values and options that have no effect beside the others."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import click
from click.core import ParameterSource


class Need(NamedTuple):
    """The condition for an option to have an effect. says: in words; is_met: takes all parameter values by name."""

    says: str
    is_met: Callable[[Mapping[str, Any]], bool]


def _reads_topic(given: Mapping[str, Any]) -> bool:
    from streaming.sources.kafka.topic import is_topic

    return is_topic(given["source"])


TOPIC = Need("a SOURCE that is a topic, kafka://...", _reads_topic)
FOLLOW = Need("--follow", lambda given: bool(given["follow"]))
HISTORY = Need("--history", lambda given: given["dataset"] is not None)
LIVE = Need("--live", lambda given: given["to"] is not None)
LIVE_FILES = Need("--live FOLDER", lambda given: given["to"] is not None and "://" not in given["to"])
TEXT = Need("a TEXT", lambda given: given["text"] is not None)
WATCH = Need("--watch", lambda given: bool(given["watch"]))
LIST = Need("--list", lambda given: bool(given["lists"]))
OLD_FLEET = Need("--fleet 2017", lambda given: given["fleet_name"] == "2017")
BAD = Need("--bad", lambda given: given["bad"] is not None)


class Command(click.Command):
    """A command that refuses empty values and options without effect. needs: the conditions by parameter name."""

    def __init__(self, *arguments: Any, needs: Mapping[str, Need] | None = None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.needs = needs or {}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parses the command line. Raises click.UsageError for an empty value or an option without effect."""
        if not ctx.resilient_parsing:
            self._refuse_empty(ctx, args)
        rest = super().parse_args(ctx, args)
        if not ctx.resilient_parsing:
            self._refuse_without_effect(ctx)
        return rest

    def _refuse_empty(self, ctx: click.Context, args: list[str]) -> None:
        """Refuses empty values: an empty path, as from a script's unset variable, would mean the current folder."""
        given, _, _ = self.make_parser(ctx).parse_args(list(args))
        for parameter in self.params:
            values = given.get(parameter.name or "")
            for value in values if isinstance(values, list | tuple) else (values,):
                if isinstance(value, str) and not value.strip():
                    raise click.BadParameter(
                        f"expected a value; got {value!r}. Is a variable empty that should hold it?",
                        ctx=ctx,
                        param=parameter,
                    )

    def _refuse_without_effect(self, ctx: click.Context) -> None:
        for name, need in self.needs.items():
            is_given = ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
            if is_given and not need.is_met(ctx.params):
                [parameter] = [each for each in self.params if each.name == name]
                raise click.UsageError(f"{parameter.opts[0]} has no effect without {need.says}: leave it out", ctx=ctx)
