"""The rules of the house, read from the source: who may import whom, how large things get, what is documented."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "mascli").rglob("*.py"))
}
TREES = {module: ast.parse(path.read_text(encoding="utf-8")) for module, path in SOURCES.items()}

# Imports run downwards only. Rooms on one floor do not know each other.
FLOORS = [
    {"config", "errors", "observer", "records", "typed"},
    {"data", "files", "models"},
    {"importance"},
    {"evaluation", "pages", "plots", "reports", "training"},
    {"workflows"},
    {"cli"},
]
COMMANDS = ["init", "estimate", "train_task", "evaluate", "inspect_file", "merge", "run", "demo"]
TORCH_FREE_ROOMS = ("mascli.cli.", "mascli.pages.", "mascli.plots.", "mascli.reports.", "mascli.config")
TORCH_FREE_ROOMS += ("mascli.workflows.pictures.", "mascli.workflows.reporting.")
TORCH_FREE = [
    "mascli",
    "mascli.config",
    "mascli.data.chosen_classes",
    "mascli.data.decode",
    "mascli.data.fingerprint",
    "mascli.data.folders",
    "mascli.data.order",
    "mascli.data.samples",
    "mascli.errors",
    "mascli.evaluation.classes",
    "mascli.evaluation.metrics",
    "mascli.evaluation.paired",
    "mascli.files.binding",
    "mascli.files.blocks",
    "mascli.files.records_json",
    "mascli.files.tensor_file",
    "mascli.importance.combine",
    "mascli.importance.filters",
    "mascli.importance.layer_names",
    "mascli.importance.statistics",
    "mascli.importance.tally",
    "mascli.importance.top",
    "mascli.models.known_networks",
    "mascli.observer",
    "mascli.records",
    "mascli.typed",
    "mascli.workflows.accuracy_limits",
    "mascli.workflows.average_checks",
    "mascli.workflows.checked_paths",
    "mascli.importance.change",
    "mascli.importance.comparison",
    "mascli.workflows.compare_checks",
    "mascli.workflows.compare_files",
    "mascli.workflows.inspect_file",
    "mascli.workflows.merge",
    "mascli.workflows.preflight",
    "mascli.workflows.report",
    "mascli.workflows.sequences.run_checks",
    "mascli.workflows.sequences.run_result",
    *(f"mascli.{room}.{command}" for room in ("cli", "reports") for command in COMMANDS),
]


def floor(module: str) -> int:
    room = module.split(".")[1]
    numbers = [number for number, rooms in enumerate(FLOORS) if room in rooms]
    assert numbers, f"{room} is on no floor: move it into a room, or add it to FLOORS"
    return numbers[0]


def is_outside(module: str) -> bool:
    """Whether `module` stands above all floors: the package itself and `python -m mascli`."""
    return module in ("mascli", "mascli.__main__")


def imported(nodes: Iterator[ast.AST], module: str) -> Iterator[str]:
    """The modules that the import statements among `nodes` of `module` load."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            assert node.module
            submodules = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in SOURCES else node.module for name in submodules)


def at_import(tree: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run when a module is imported: no function bodies, nothing under TYPE_CHECKING."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from at_import(node)


def packages_of(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts) + 1)]


def loaded_by(module: str) -> dict[str, str]:
    """Every module that importing `module` loads -> the one that imports it."""
    loaded: dict[str, str] = {}
    waiting = [(name, module) for name in packages_of(module)]
    while waiting:
        name, by = waiting.pop()
        if name in loaded:
            continue
        loaded[name] = by
        if name in TREES:
            found = imported(at_import(TREES[name]), name)
            waiting += [(package, name) for other in found for package in packages_of(other)]
    return loaded


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def public_definitions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """Functions and classes of a module, and methods of its classes, that others may use."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for node in tree.body:
        if isinstance(node, kinds) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from (item for item in node.body if isinstance(item, kinds) and not item.name.startswith("_"))


def upward_imports(module: str, tree: ast.AST) -> list[str]:
    """The imports of `module`, lazy ones too, of a higher floor or of another room on its own."""
    inside = {name for name in imported(ast.walk(tree), module) if name.split(".")[0] == "mascli"}
    room = module.split(".")[1]
    return sorted(
        name
        for name in inside
        if is_outside(name) is False and name.split(".")[1] != room
        if floor(name) > floor(module) or (floor(name) == floor(module) and floor(module) > 0)
    )


@pytest.mark.parametrize("module", [module for module in SOURCES if not is_outside(module)])
def test_components_take_plain_values_and_no_configuration(module: str) -> None:
    if module.split(".")[1] not in ("config", "cli", "workflows"):
        assert not [name for name in imported(ast.walk(TREES[module]), module) if name.startswith("mascli.config")]


def test_every_module_has_a_floor() -> None:
    rooms = {module.split(".")[1] for module in SOURCES if not is_outside(module)}
    assert rooms <= set().union(*FLOORS)


@pytest.mark.parametrize("module", [module for module in SOURCES if not is_outside(module)])
def test_imports_run_downwards(module: str) -> None:
    assert upward_imports(module, TREES[module]) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("mascli.data.x", "from mascli.importance import statistics"),
        ("mascli.data.x", "def f():\n    import mascli.files"),
        ("mascli.reports.x", "from mascli import training"),
        ("mascli.records", "from mascli.data.order import seeded_order"),
    ],
)
def test_an_upward_import_is_found(module: str, source: str) -> None:
    assert upward_imports(module, ast.parse(source)) != []


@pytest.mark.parametrize(
    "module", sorted({*TORCH_FREE, *(name for name in SOURCES if name.startswith(TORCH_FREE_ROOMS))})
)
def test_rooms_without_torch_do_not_load_it(module: str) -> None:
    assert module in SOURCES
    heavy = {"torch", "torchvision", "timm", "safetensors.torch", "matplotlib"}
    assert {name: by for name, by in loaded_by(module).items() if name in heavy} == {}


def test_a_room_with_torch_is_told_apart() -> None:
    assert loaded_by("mascli.data.loader")["torch"] == "mascli.data.loader"


@pytest.mark.parametrize("module", SOURCES)
def test_size(module: str) -> None:
    assert len(SOURCES[module].read_text(encoding="utf-8").splitlines()) <= 400
    lengths = {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in functions(TREES[module])}
    assert {name: length for name, length in lengths.items() if length > 80} == {}


@pytest.mark.parametrize("module", SOURCES)
def test_what_is_public_has_a_docstring(module: str) -> None:
    tree = TREES[module]
    missing = [node.name for node in public_definitions(tree) if not ast.get_docstring(node)]
    assert missing == []
    assert ast.get_docstring(tree) or not tree.body


@pytest.mark.parametrize("module", [module for module in SOURCES if any(functions(TREES[module]))])
def test_annotations_are_not_evaluated(module: str) -> None:
    assert "from __future__ import annotations" in SOURCES[module].read_text(encoding="utf-8")


@pytest.mark.parametrize("module", SOURCES)
def test_names_say_what_is_inside(module: str) -> None:
    assert not {"utils", "util", "helpers", "common", "misc"} & set(module.split("."))


def test_no_file_knows_the_machine_it_was_written_on() -> None:
    machine_path = re.compile(r"(?<![\w.~])/(home|root|work|Users|mnt)/\w|\b(TODO|FIXME|XXX)\b")
    texts = [*ROOT.glob("*.md"), *ROOT.glob("*.toml"), ROOT / ".ci" / "run", ROOT / "scripts" / "check"]
    for room in ("mascli", "tests", "docs", "benchmarks", "sample_configs"):
        texts += [path for end in ("py", "md", "yaml") for path in (ROOT / room).rglob(f"*.{end}")]
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in texts
        if path != Path(__file__)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if machine_path.search(line)
    ]
    assert found == []
