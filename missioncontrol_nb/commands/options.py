"""Options that several commands share."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _use_endpoint(_: click.Context, __: click.Parameter, url: str | None) -> None:
    if url is not None:
        from streaming.storage.s3 import use_endpoint

        use_endpoint(url)


def _read_config(_: click.Context, __: click.Parameter, path: str | None) -> dict[str, str]:
    if path is None:
        return {}
    from streaming.settings_file import read_config

    return read_config(path, "--kafka-config")


def _read_spark_config(_: click.Context, __: click.Parameter, path: str | None) -> dict[str, str]:
    if path is None:
        return {}
    from streaming.settings_file import read_spark_config

    return read_spark_config(path)


def check_time(_: click.Context, parameter: click.Parameter, text: str | None) -> str | None:
    """An option's callback: its text, which is a time. Raises MissionControlError, with the option's name, else."""
    from missioncontrol_nb.arguments import as_utc

    as_utc(parameter.opts[0], text or None)
    return text


# Applies to the whole process, so the value is not passed to the command.
endpoint_url = click.option(
    "--endpoint-url", metavar="URL", expose_value=False, callback=_use_endpoint,
    help="Where s3:// is, unless it is Amazon's.  [default: AWS_ENDPOINT_URL]",
)  # fmt: skip
kafka_config = click.option(
    "--kafka-config", metavar="FILE", callback=_read_config,
    help="Lines of name = value for Kafka's client, such as security.protocol = SASL_SSL: whatever librdkafka takes.",
)  # fmt: skip
once_days = click.option(
    "--once-days", type=click.IntRange(0, 3650), default=60, show_default=True, metavar="DAYS",
    help="How far back to look for another ping of the same crash (same event or dump), which then is passed over; 0: "
    "count every crash ping.",
)  # fmt: skip


def cluster(command: _Command) -> _Command:
    """Adds --master, --environment and --spark-config, which let Spark count, and say where."""
    config = click.option(
        "--spark-config", metavar="FILE", callback=_read_spark_config,
        help="Lines of name = value for Spark, such as spark.cores.max = 8.",
    )  # fmt: skip
    environment = click.option(
        "--environment", metavar="FILE|URL",
        help="What a cluster's workers run in, from missioncontrol environment.  [default: this Python, there as here]",
    )  # fmt: skip
    master = click.option(
        "--master", metavar="URL",
        help="Let Spark count, there: spark://HOST:PORT, k8s://..., yarn or local[*].  [default: no Spark: processes "
        "of this machine count, one a core]",
    )  # fmt: skip
    return master(environment(config(command)))


def stands_in(command: _Command) -> _Command:
    """Adds --channel and --country, the values for pings without an envelope."""
    country = click.option("--country", help="For pings that do not say theirs: a code such as DE.")
    channel = click.option("--channel", help="For pings that do not say theirs: release, beta, aurora, nightly or esr.")
    return channel(country(command))


def judged(command: _Command) -> _Command:
    """Adds what judge and replay read: --dataset, --product, --channel, --os-name, --releases and --all-builds."""
    for option in (
        click.option("--all-builds", is_flag=True, help="Not only builds that the calendar knows as official."),
        click.option(
            "--releases", metavar="FILE|FOLDER|URL",
            help="The release calendar.  [default: releases.json in the dataset, else the snapshot]",
        ),
        click.option("--os-name", help="Only this system, as pings name it: Windows_NT, Darwin, Linux or Android."),
        click.option("--channel", help="Only this channel: release, beta, aurora, nightly or esr."),
        click.option("--product", default="Firefox", show_default=True, help="One that the dataset knows."),
        click.option("--dataset", required=True, metavar="URL", help="Folder or s3:// URL of the dataset."),
    ):  # fmt: skip
        command = option(command)
    return command
