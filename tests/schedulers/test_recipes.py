"""The page of recipes: no recipe is without a test, and it names the versions that were tried."""

import re
from pathlib import Path

from tests.schedulers.recipes import PAGE, Places, Recipe, sections

HERE = Path(__file__).parent
TESTS = {
    "Cron": "test_cron.py",
    "Systemd": "test_systemd.py",
    "Airflow": "test_airflow.py",
    "Prefect": "test_prefect.py",
    "JupyterLab": "test_jupyterlab.py",
    "GitHub Actions": "test_github.py",
}


def test_each_section_with_a_recipe_has_a_test_that_unpacks_it() -> None:
    assert [heading for heading, found in sections().items() if found] == list(TESTS)
    for heading, test in TESTS.items():
        assert f'recipes("{heading}", ' in (HERE / test).read_text()


def test_page_names_the_versions_that_are_pinned() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name, package in {"Airflow": "apache-airflow", "Prefect": "prefect"}.items():
        [version] = re.findall(rf"^{package}==(\d+\.\d+)", (HERE / f"{name.lower()}.txt").read_text(), re.MULTILINE)
        assert f"{name} {version} " in page


def test_places_are_replaced_as_whole_names(tmp_path: Path) -> None:
    places = Places(tmp_path, Path("/own"))
    text = "/opt/missioncontrol/bin:/usr/bin /srv/missioncontrol/data /opt/missioncontroller /etc/cron.d/missioncontrol"
    put = places.put_into(Recipe("", text)).text
    assert put == f"/own/bin:/usr/bin {places.data} /opt/missioncontroller /etc/cron.d/missioncontrol"
