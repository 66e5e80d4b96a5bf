"""A report's parameters are checked by name, type and value before anything is read."""

from datetime import UTC, datetime

import pytest
from papermill.translators import PythonTranslator

from missioncontrol_nb.report.parameters import Parameters, parameters_of, subject_of
from streaming import contract
from streaming.errors import MissionControlError
from tests.unit.small_dataset import write

GIVEN = {"dataset": "fleet", "product": "Firefox", "channel": "release", "as_of": "", "previous": "", "releases": ""}


def test_parameters_are_those_of_the_notebook():
    found = parameters_of(GIVEN | {"In": ["", "dataset = 'fleet'"], "some_variable": 3})
    assert found == Parameters("fleet", "Firefox", "release", "", "", "")


def test_misspelt_parameter_of_papermill_is_an_error_that_names_the_near_one():
    injected = PythonTranslator.codify({"dataset": "s3://b/d", "chanel": "beta"})
    cells = ["", "channel: str = 'release'", injected]
    with pytest.raises(MissionControlError, match=r"unknown parameter 'chanel'; did you mean channel?"):
        parameters_of(GIVEN | {"chanel": "beta", "In": cells})


@pytest.mark.parametrize("cell", ["chanel = 'beta'", "channel = 'beta'\ncolour = 'red'"])
def test_misspelt_parameter_of_another_scheduler_is_one_too(cell):
    """jupyter-scheduler adds a cell without a mark."""
    with pytest.raises(MissionControlError, match="unknown parameter 'c"):
        parameters_of(GIVEN | {"In": ["", "channel: str = 'release'", cell, "report.parameters_of(globals())"]})


@pytest.mark.parametrize(
    "cells",
    [
        ["report.parameters_of(globals())", "chanel = 'beta'"],
        ["quarter = 3", "chanel = find_channel()", "chanel = 'beta'\nprint(chanel)", "%timeit 1"],
    ],
)
def test_variables_of_a_person_who_explores_are_no_parameters(cells):
    assert parameters_of(GIVEN | {"chanel": "beta", "In": ["", *cells]}).channel == "release"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("channel", 57.0, r"channel takes text, such as 'release', not 57.0 \(float\): .* use -r channel 57.0"),
        ("as_of", 2017, r"as_of takes text, such as '2017-10-02T13:00Z', not 2017 \(int\)"),
        ("dataset", None, r"dataset takes text, such as 's3://bucket/data', not None \(NoneType\)$"),
        ("releases", ["a"], r"releases takes text, not \['a'\] \(list\)$"),
        ("as_of", "yesterday", "as_of takes an ISO time like"),
        ("dataset", " ", "a path or a URL as dataset"),
        ("channel", "", "expected a product and a channel"),
        ("channel", " , ", "expected a product and a channel; got 'Firefox' and ' , '"),
    ],
)
def test_value_of_another_type_or_form_is_an_error(name, value, said):
    with pytest.raises(MissionControlError, match=said):
        parameters_of(GIVEN | {name: value})


def test_missing_parameter_is_an_error():
    with pytest.raises(MissionControlError, match="'previous'; run the cell that is tagged 'parameters'"):
        parameters_of({name: value for name, value in GIVEN.items() if name != "previous"})


@pytest.mark.parametrize(
    ("channel", "found"),
    [("release", ("release",)), ("beta, release", ("release", "beta")), ("all", contract.FIREFOX.channel_names)],
)
def test_channels_are_in_the_products_order(channel, found):
    assert Parameters(channel=channel).channels_of(contract.FIREFOX) == found


def test_unknown_channel_is_an_error_that_names_the_near_one():
    with pytest.raises(MissionControlError, match=r"unknown channel 'nightli'; did you mean nightly?"):
        Parameters(channel="release,nightli").channels_of(contract.FIREFOX)


@pytest.fixture
def dataset(tmp_path):
    write(tmp_path, "window usage_hours\n05T12:55 10\n05T13:05 10", "05T13:08:30")
    return str(tmp_path)


@pytest.mark.parametrize(
    ("as_of", "minute"), [("", 5), ("2017-10-05T13:04:59Z", 0), ("2017-10-05T13:05Z", 5), ("2018-01-01", 5)]
)
def test_report_is_as_of_the_end_of_a_window(dataset, as_of, minute):
    subject = subject_of(Parameters(dataset=dataset, as_of=as_of))
    assert subject.as_of == datetime(2017, 10, 5, 13, minute, tzinfo=UTC)
    assert subject.channels == ("release",)


@pytest.mark.parametrize("as_of", ["2017-10-04T13:00Z", "2017-10-05T00:00Z", "2017-10-05T12:55Z"])
def test_moment_before_the_first_data_is_an_error(dataset, as_of):
    with pytest.raises(MissionControlError, match=rf"{as_of} lies before the first data of .*, 2017-10-05"):
        subject_of(Parameters(dataset=dataset, as_of=as_of))


def test_missing_dataset_and_unknown_product_are_errors(tmp_path, dataset):
    with pytest.raises(MissionControlError):
        subject_of(Parameters(dataset=str(tmp_path / "nothing")))
    with pytest.raises(MissionControlError, match="Firefx"):
        subject_of(Parameters(dataset=dataset, product="Firefx"))
