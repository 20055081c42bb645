"""The folder is the registry: file names in `modalities/` and `bench/methods/` are the public names.

Other packages add modalities by an entry point of the group `bench.modalities`: `name = "package.module"`. A plug-in starts
with a literal `CARD = {...}`. Cards are read with `ast`, so that listing what exists imports nothing.
"""

import ast
import importlib
import importlib.util
import pkgutil
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from bench.errors import UserError, unknown

MODALITIES, METHODS = "modalities", "bench.methods"
_CONSTANT = {MODALITIES: ("modality", "ADAPTER"), METHODS: ("method", "METHOD")}


@cache
def _modules(package: str) -> dict[str, str]:
    """Plug-in name -> module: the files of a package, then what other packages register. Imports none of them."""
    spec = importlib.util.find_spec(package)
    places = list(spec.submodule_search_locations or []) if spec else []
    ours = {m.name: f"{package}.{m.name}" for m in pkgutil.iter_modules(places) if not m.name.startswith("_")}
    theirs = {e.name: e.value for e in entry_points(group=package if package.startswith("bench.") else f"bench.{package}")}
    return {**theirs, **ours}


def names(package: str) -> tuple[str, ...]:
    """Plug-in names, sorted."""
    return tuple(sorted(_modules(package)))


def find(package: str, name: str) -> Any:
    """The plug-in object (an `Adapter`, or a `Method` class) behind a name. Imports that one file.

    Raises `UserError` for an unknown name, or when a library is missing (the message names the extra to install).
    """
    kind, constant = _CONSTANT[package]
    if name not in names(package):
        raise UserError(unknown(kind, name, names(package), where=package.replace(".", "/") + "/"))
    about = card(package, name)
    missing = [library for library in about.get("libraries", ()) if importlib.util.find_spec(library) is None]
    if missing:
        raise UserError(_not_installed(kind, name, missing[0], about))
    try:
        module = importlib.import_module(_modules(package)[name])
    except ModuleNotFoundError as error:
        raise UserError(_not_installed(kind, name, str(error.name), about)) from error
    return getattr(module, constant)


def _not_installed(kind: str, name: str, library: str, about: dict[str, Any]) -> str:
    return (
        f"{kind} {name!r} needs the library {library!r}, which is not installed. "
        f"Install it with: pip install -e '.[{about.get('extra', name)}]'"
    )


@cache
def card(package: str, name: str) -> dict[str, Any]:
    """The literal `CARD` of a plug-in, read without importing it."""
    if name not in names(package):
        raise UserError(unknown(_CONSTANT[package][0], name, names(package), where=package.replace(".", "/") + "/"))
    return _literal(_source(package, name), "CARD")


@cache
def mixers() -> dict[str, dict[str, Any]]:
    """The literal `CARDS` of the mixers in `mixing.py`, by name."""
    return _literal(Path(__file__).with_name("mixing.py"), "CARDS")


@cache
def controls() -> dict[str, dict[str, Any]]:
    """The literal `CARDS` of the controls in `baseline.py`, by name."""
    return _literal(Path(__file__).with_name("baseline.py"), "CARDS")


def _source(package: str, name: str) -> Path:
    module = _modules(package)[name]
    parent, _, last = module.rpartition(".")
    spec = importlib.util.find_spec(parent or module)  # finding a submodule itself would import its parents
    places = list(spec.submodule_search_locations or []) if spec else []
    files = [Path(place) / last / "__init__.py" for place in places] + [Path(place) / f"{last}.py" for place in places]
    files += [Path(spec.origin)] if spec and spec.origin and not parent else []
    for path in files:
        if path.exists():
            return path
    raise UserError(f"{module} has no source file to read its CARD from")


def _literal(path: Path, constant: str) -> dict[str, Any]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == constant:
            return dict(ast.literal_eval(node.value))
    raise UserError(f"{path.name} has no literal {constant} = {{...}}; every plug-in starts with one")
