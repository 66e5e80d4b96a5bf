"""The architecture as a drawing: a room imports only from itself and from floors below it; no circle of modules."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]

# Rooms of one line never import each other. `missioncontrol_nb` alone is what `import missioncontrol_nb` shows.
HOUSE = """
    missioncontrol_nb       missioncontrol_nb.cli
    missioncontrol_nb.aggregator
    missioncontrol_nb.commands
    missioncontrol_nb.status            missioncontrol_nb.demo              missioncontrol_nb.report
    missioncontrol_nb.watching          missioncontrol_nb.receiver
    missioncontrol_nb.dashboard
    missioncontrol_nb.charts            missioncontrol_nb.judgement
    missioncontrol_nb.monitor           missioncontrol_nb.simulator         missioncontrol_nb.incidents
    missioncontrol_nb.loading           missioncontrol_nb.aggregator_process
    missioncontrol_nb.releases          missioncontrol_nb.statistics        missioncontrol_nb.slice_search
    missioncontrol_nb.alarm_words
    missioncontrol_nb.arguments         missioncontrol_nb.formatting        missioncontrol_nb.terminal
    missioncontrol_nb.failures          missioncontrol_nb.delay_law

    streaming.job
    streaming.embedded
    streaming.sources       streaming.dataset
    streaming.aggregation
    streaming.pings         streaming.spark
    streaming.storage
    streaming.contract      streaming.settings_file     streaming.child_process
    streaming.errors        streaming
"""
FLOORS = [line.split() for line in reversed(HOUSE.split("\n")) if line.strip()]
FLOOR_OF = {room: number for number, floor in enumerate(FLOORS) for room in floor}
PACKAGES = ("streaming", "missioncontrol_nb")


def module_name(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def modules_below(*folders: str) -> dict[str, Path]:
    """The files of modules by name."""
    files = [file for folder in folders for file in sorted((ROOT / folder).rglob("*.py"))]
    return {module_name(file): file for file in files}


def imports_of(file: Path, modules: dict[str, Path], *, when_run: bool = False) -> Iterator[str]:
    """The modules that a file imports, anywhere in it. when_run: without those that are for type checkers alone."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for_types = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING"
        for node in ast.walk(branch)
    }
    for node in ast.walk(tree):
        if when_run and id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield from [full] if full in modules else [node.module] if node.module in modules else []


def room_of(module: str) -> str:
    """The room that a module belongs to: the longest name of HOUSE that its own begins with."""
    parts = module.split(".")
    names = [".".join(parts[:length]) for length in range(len(parts), 1, -1)]
    return next((name for name in names if name in FLOOR_OF), parts[0] if len(parts) == 1 else module)


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Ways through the graph that come back to where they began; one for each group of modules that have some."""
    found: list[list[str]] = []
    done: set[str] = set()

    def visit(module: str, way: list[str]) -> None:
        if module in way:
            found.append([*way[way.index(module) :], module])
        elif module not in done:
            for imported in sorted(graph.get(module, ())):
                visit(imported, [*way, module])
            done.add(module)

    for module in sorted(graph):
        visit(module, [])
    return found


def test_each_module_has_a_room() -> None:
    assert [module for module in modules_below(*PACKAGES) if room_of(module) not in FLOOR_OF] == []


def test_rooms_import_only_rooms_below_them() -> None:
    modules = modules_below(*PACKAGES)
    upward = {
        f"{module} imports {imported}"
        for module, file in modules.items()
        for imported in imports_of(file, modules)
        if room_of(imported) != room_of(module) and FLOOR_OF[room_of(imported)] >= FLOOR_OF[room_of(module)]
    }
    assert upward == set()


def test_no_module_imports_itself_through_others() -> None:
    modules = modules_below(*PACKAGES, "tests", "benchmarks")
    graph: dict[str, set[str]] = defaultdict(set)
    for module, file in modules.items():
        graph[module] |= set(imports_of(file, modules, when_run=True)) - {module}
    assert circles(graph) == []


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == [["b", "c", "b"]]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


_NAME = re.compile(r"(?<![\w/.-])(?:streaming|missioncontrol_nb)(?:\.[A-Za-z_]\w*)+")
_IMPORT = re.compile(r"from ((?:streaming|missioncontrol_nb)[\w.]*) import (\w+(?:, \w+)*)")
_FILE = re.compile(r"(?:streaming|missioncontrol_nb)/[\w/]+\.(?:py|js|css|json|md|txt)")
# What set-up makes, and what docs/extending.md tells to make.
NOT_HERE = (
    "missioncontrol_nb/share/jupyter/labextensions/missioncontrol/static/vega.js",
    "streaming/pings/kinds/acme_session.py",
)


def test_code_in_texts_and_pages_of_the_docs_name_what_is_there() -> None:
    """Imports in programs that are texts, names in docstrings, paths in pages: nothing else would notice a move."""
    modules = modules_below(*PACKAGES)
    bound = {module: set(re.findall(r"\w+", file.read_text(encoding="utf-8"))) for module, file in modules.items()}

    def is_there(name: str) -> bool:
        parts = name.split(".")
        found = max((end for end in range(1, len(parts) + 1) if ".".join(parts[:end]) in modules), default=0)
        rest = parts[found:]
        return not rest or rest[0] in bound[".".join(parts[:found])] | {"__file__"}

    texts = [file for pattern in ("*.py", "*.md", "*.ipynb") for file in ROOT.rglob(pattern)]
    texts = [file for file in texts if not {".venv", ".cache", "build"}.intersection(file.parts)]
    wrong = []
    for file in (*texts, ROOT / "Makefile", ROOT / "pyproject.toml"):
        text = file.read_text(encoding="utf-8")
        names = {name for name in _NAME.findall(text) if not name.endswith((".py", ".md"))}
        names |= {f"{module}.{name}" for module, said in _IMPORT.findall(text) for name in said.split(", ")}
        wrong += [f"{file.name}: {name}" for name in names if not is_there(name)]
        wrong += [f"{file.name}: {path}" for path in _FILE.findall(text) if not (ROOT / path).exists()]
    assert [each for each in wrong if not each.endswith(NOT_HERE)] == []
