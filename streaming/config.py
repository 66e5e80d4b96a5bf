"""Files of settings for what we start or call: Kafka's client, Spark."""

import configparser
from pathlib import Path

from streaming.errors import MissionControlError


def read_config(path: str | Path, option: str) -> dict[str, str]:
    """The settings in a file of `name = value` lines, as Kafka's own tools take it; `#` begins a comment.

    option: which named the file. Raises MissionControlError where it cannot be read.
    """
    parser = configparser.ConfigParser(
        delimiters=("=",), comment_prefixes=("#", "!"), interpolation=None, default_section="", strict=False
    )
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read_string("[all]\n" + Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise MissionControlError(f"cannot read {option} {str(path)!r}: {error.strerror}") from error
    except (configparser.Error, UnicodeDecodeError) as error:
        said = " ".join(str(error).split())
        raise MissionControlError(f"expected lines of name = value in {option} {str(path)!r}; {said}") from error
    return dict(parser["all"])


def read_spark_config(path: str | Path) -> dict[str, str]:
    """The settings in a file for Spark. Raises MissionControlError where it cannot be read or a name is not Spark's."""
    config = read_config(path, "--spark-config")
    foreign = [name for name in config if not name.startswith("spark.")]
    if foreign:
        raise MissionControlError(
            f"expected names that begin with spark. in --spark-config {str(path)!r}; got {foreign[0]!r}"
        )
    return config
