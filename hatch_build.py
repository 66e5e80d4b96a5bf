"""Makes the one Vega bundle of all charts when the package is built; `python hatch_build.py` makes it in a checkout."""

import sys
from pathlib import Path
from typing import Any

import vl_convert
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

BUNDLE = "missioncontrol_nb/share/jupyter/labextensions/missioncontrol/static/vega.js"
EXPORTS = "export const embed = vegaEmbed;"


def make_bundle(root: Path) -> Path:
    """Writes the bundle below `root`, unless it is there with the same content, and returns its path."""
    path = root / BUNDLE
    text = vl_convert.javascript_bundle(EXPORTS)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return path


class CustomBuildHook(BuildHookInterface):
    """Called by hatchling before it packs a wheel, an editable install or a source distribution."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Makes the bundle where hatchling looks for it."""
        make_bundle(Path(self.root))


if __name__ == "__main__":
    sys.stdout.write(f"{make_bundle(Path(__file__).parent)}\n")
