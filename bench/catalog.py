"""The folder is the registry: file names in `modalities/` and `bench/methods/` are the public names.

A plug-in starts with a literal `CARD = {...}`. Cards are read with `ast`, so that listing what exists imports nothing.
"""

import ast
import importlib
import importlib.util
import pkgutil
from functools import cache
from pathlib import Path
from typing import Any

from bench.errors import UserError, unknown

MODALITIES, METHODS = "modalities", "bench.methods"
_CONSTANT = {MODALITIES: ("modality", "ADAPTER"), METHODS: ("method", "METHOD")}


@cache
def names(package: str) -> tuple[str, ...]:
    """Plug-in names of a package, sorted; lists files and imports none of them."""
    spec = importlib.util.find_spec(package)
    places = list(spec.submodule_search_locations or []) if spec else []
    return tuple(sorted(m.name for m in pkgutil.iter_modules(places) if not m.name.startswith("_")))


def find(package: str, name: str) -> Any:
    """The plug-in object (an `Adapter`, or a `Method` class) behind a name. Imports that one file.

    Raises `UserError` for an unknown name, or when a library is missing (the message names the extra to install).
    """
    kind, constant = _CONSTANT[package]
    if name not in names(package):
        raise UserError(unknown(kind, name, names(package), where=package.replace(".", "/") + "/"))
    try:
        module = importlib.import_module(f"{package}.{name}")
    except ModuleNotFoundError as missing:
        extra = card(package, name).get("extra", name)
        raise UserError(
            f"{kind} {name!r} needs the library {missing.name!r}, which is not installed. "
            f"Install it with: pip install -e '.[{extra}]'"
        ) from missing
    return getattr(module, constant)


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
    spec = importlib.util.find_spec(package)
    for place in (spec.submodule_search_locations or []) if spec else []:
        for path in (Path(place) / f"{name}.py", Path(place) / name / "__init__.py"):
            if path.exists():
                return path
    raise UserError(f"{package}.{name} has no source file to read its CARD from")


def _literal(path: Path, constant: str) -> dict[str, Any]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == constant:
            return dict(ast.literal_eval(node.value))
    raise UserError(f"{path.name} has no literal {constant} = {{...}}; every plug-in starts with one")
