"""The recipes of docs/scheduling.md, taken out of the page as they stand, with its places replaced by a test's own."""

import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "scheduling.md"
_HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Recipe:
    """A block of code of the page."""

    language: str
    text: str

    @property
    def name(self) -> str:
        """The file that the block is, such as /etc/cron.d/missioncontrol: its first line says so. Empty: none."""
        found = re.match(r"# (\S+)\n", self.text)
        return found[1] if found else ""


@dataclass(frozen=True)
class Places:
    """Where a test has what the page has in /opt, /srv, /var and /etc."""

    folder: Path
    environment: Path = Path(sys.prefix)
    scheduler: Path | None = None

    @property
    def data(self) -> Path:
        """The dataset."""
        return self.folder / "srv" / "data"

    @property
    def reports(self) -> Path:
        """Where reports are published."""
        return self.folder / "srv" / "reports"

    @property
    def home(self) -> Path:
        """The home folder of the user missioncontrol."""
        return self.folder / "home"

    @property
    def secrets(self) -> Path:
        """The folder of secrets."""
        return self.folder / "etc"

    def make(self) -> "Places":
        """Makes the folders that a person would have made."""
        for each in (self.folder / "srv", self.home, self.secrets):
            each.mkdir(parents=True, exist_ok=True)
        return self

    def put_into(self, recipe: Recipe) -> Recipe:
        """The recipe with these places."""
        text = recipe.text
        for place, own in {
            "/opt/missioncontrol": self.environment,
            "/srv/missioncontrol": self.folder / "srv",
            "/var/lib/missioncontrol": self.home,
            "/etc/missioncontrol": self.secrets,
            "/opt/airflow": self.scheduler,
            "/opt/prefect": self.scheduler,
        }.items():
            text = re.sub(rf"{re.escape(place)}(?=[/\s:]|$)", str(own), text)
        return replace(recipe, text=text)


def sections() -> dict[str, list[Recipe]]:
    """The recipes by the heading above them."""
    _, *parts = _HEADING.split(PAGE.read_text(encoding="utf-8"))
    return {
        heading: [Recipe(*found) for found in _BLOCK.findall(text)]
        for heading, text in zip(parts[::2], parts[1::2], strict=True)
    }


def recipes(heading: str, places: Places) -> list[Recipe]:
    """All recipes below a heading, in their order, so that a test that unpacks them misses none."""
    return [places.put_into(recipe) for recipe in sections()[heading]]
