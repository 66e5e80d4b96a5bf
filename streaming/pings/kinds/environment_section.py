"""Common parts of main and crash pings: sending program, program that the ping is about, system, experiments.

Names are those of the schemas main.4 and crash.4. A missing text is "", so that `or` finds the first one present.
"""

from collections.abc import Mapping

from streaming.pings import validation
from streaming.pings.envelope import OTHER, Envelope, Enveloped
from streaming.pings.kinds.kind import Enrolments, Sender
from streaming.pings.record import Record, Text

# ruff: noqa: N815 (the schemas' names)

MAX_EXPERIMENTS = 100


class Application(Record, frozen=True):
    """The program that sent the ping."""

    name: Text = ""
    version: Text = ""
    displayVersion: Text = ""
    buildId: Text = ""
    channel: Text = ""
    architecture: Text = ""


class BuildInfo(Record, frozen=True):
    """The program that the ping is about: the program that crashed need not be the one that sends the ping."""

    applicationName: Text = ""
    version: Text = ""
    displayVersion: Text = ""
    buildId: Text = ""
    architecture: Text = ""


class OperatingSystem(Record, frozen=True):
    """`environment.system.os`."""

    name: Text = ""
    version: Text = ""


class SystemInfo(Record, frozen=True):
    """`environment.system`."""

    os: OperatingSystem = OperatingSystem()


class Enrolment(Record, frozen=True):
    """The branch of an experiment."""

    branch: Text = ""


class ActiveExperiment(Record, frozen=True):
    """The single experiment of older clients."""

    id: Text = ""
    branch: Text = ""


class Addons(Record, frozen=True):
    """`environment.addons`."""

    activeExperiment: ActiveExperiment = ActiveExperiment()


class Environment(Record, frozen=True):
    """`environment`; experiments are keyed by their id."""

    build: BuildInfo = BuildInfo()
    system: SystemInfo = SystemInfo()
    addons: Addons = Addons()
    experiments: dict[Text, Enrolment | Text] | None = None


class Described(Enveloped, frozen=True):
    """A document with an application and an environment."""

    application: Application = Application()
    environment: Environment = Environment()


def describe(document: Described, envelope: Envelope) -> Sender:
    """The program and system of a document; each value is from the first field that has it."""
    environment, application, uri = document.environment, document.application, document.metadata.uri
    build, os = environment.build, environment.system.os
    name, channel = document.normalized_app_name, document.normalized_channel
    if name == OTHER:
        name = ""
    if channel == OTHER:
        channel = ""
    return Sender(
        name or application.name or build.applicationName or uri.app_name,
        channel or envelope.channel or application.channel or uri.app_update_channel,
        build.version or application.version,
        application.displayVersion,
        build.displayVersion,
        build.buildId or application.buildId,
        build.architecture or application.architecture,
        os.name,
        os.version,
    )


def enrolments(document: Described) -> Enrolments | None:
    """The experiments a client is enrolled in; None when one of them has no known form, or there are too many.

    The experiment of older clients counts too, unless it is also among the others. Without a branch there is no
    enrolment.
    """
    environment = document.environment
    active = environment.addons.activeExperiment
    if environment.experiments is None and not active.id:
        return ()
    branches = {active.id: active.branch} if active.id else {}
    for name, enrolment in (environment.experiments or {}).items():
        branches[name] = enrolment if isinstance(enrolment, str) else enrolment.branch
    return checked(branches)


def checked(branches: Mapping[str, str]) -> Enrolments | None:
    """Enrolments from the branch of each experiment; None when one has no known form, or there are too many."""
    found = tuple([(name, branch) for name, branch in branches.items() if branch])
    if not found:
        return ()
    if len(found) > MAX_EXPERIMENTS:
        return None
    known = all(validation.is_experiment(name) and validation.is_experiment(branch) for name, branch in found)
    return found if known else None
