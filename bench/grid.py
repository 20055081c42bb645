"""What a command asks for: combinations of settings as RunSpecs, checked before anything heavy is imported."""

import itertools
import tomllib
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from bench import catalog
from bench.errors import UserError, refuse, unknown
from bench.recipes import resolve
from bench.spec import SETTINGS, RunSpec, parse_method, settings_used

LISTS = {
    "modalities": "modality", "datasets": "dataset", "methods": "method", "seeds": "seed", "protocols": "protocol",
    "fractions": "fraction",
}  # fmt: skip
"""Plural keys of a sweep file, and the fields they vary. Any field of RunSpec may also hold a list."""


def read_table(path: Path) -> dict[str, Any]:
    """The keys of a TOML file of settings."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}. It must be a TOML file in UTF-8; see leaderboards/sweeps/.") from error


def replaced(table: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """A file's keys with those given beside it in their place, whether plural or singular."""
    new = {LISTS.get(key, key) for key in given}
    new |= {"pretrain_fraction", "label_fraction"} if "fraction" in new else set()
    new |= {"fraction"} if {"pretrain_fraction", "label_fraction"} & new else set()
    return {**{key: value for key, value in table.items() if LISTS.get(key, key) not in new}, **given}


def single(table: dict[str, Any]) -> list[RunSpec]:
    """The specs of one run, one for each protocol; nothing else may be a list. `fraction` sets both fractions."""
    lists = [key for key, value in table.items() if isinstance(value, list) and LISTS.get(key, key) != "protocol"]
    refuse([f"{key} is a list; one run takes one value. Run every combination with: python -m bench sweep" for key in lists])
    specs = expand(table)
    return list({spec.protocol: spec for spec in specs if spec.dataset == specs[0].dataset}.values())


def expand(table: dict[str, Any]) -> list[RunSpec]:
    """Every combination of a table's lists, in the order of `RunSpec`, seeds outermost.

    `fractions` sets both fractions together (the data axis); `label_fraction = [...]` alone varies the labels.
    """
    known = {f.name for f in fields(RunSpec)} | {"fraction"}
    strange = [key for key in table if LISTS.get(key, key) not in known]
    refuse([*_clashes(table), *(unknown("key", key, known | set(LISTS), where="a sweep") for key in strange)])
    table = {LISTS.get(k, k): v for k, v in table.items()}
    both = table.pop("fraction", None)
    axes = {k: v if isinstance(v, list) else [v] for k, v in table.items()}
    names = [f.name for f in fields(RunSpec)]
    order = sorted(axes, key=lambda k: (k != "seed", names.index(k)))
    cuts = [{}] if both is None else [{"pretrain_fraction": f, "label_fraction": f} for f in _listed(both)]
    specs = [
        RunSpec(**dict(zip(order, values, strict=True)), **cut)
        for values in itertools.product(*(axes[k] for k in order))
        for cut in cuts
    ]
    specs = [spec for spec in specs if _belongs(spec, axes)]
    return [spec.replace(dataset=name) for spec in specs for name in _members(spec)]


def _belongs(spec: RunSpec, axes: dict[str, list[Any]]) -> bool:
    """Of several modalities, each takes the data sets of its own card. Raises `UserError` for what would run nowhere."""
    modalities, names = axes.get("modality", []), axes.get("dataset", [])
    if len(modalities) < 2 or not names:
        return True
    known = {m: set(catalog.card(catalog.MODALITIES, m)["datasets"]) for m in modalities}
    everything = set().union(*known.values())
    refuse([unknown("data set", name, everything, where=", ".join(modalities)) for name in names if name not in everything])
    idle = [m for m in modalities if not known[m] & set(names)]
    refuse([f"modality {m} is named, but none of its data sets: {', '.join(sorted(known[m]))}." for m in idle])
    return spec.dataset in known[spec.modality]


def _clashes(table: dict[str, Any]) -> list[str]:
    """Keys that say the same thing twice, and lists that say nothing."""
    both = [(many, one) for many, one in LISTS.items() if {many, one} <= table.keys()]
    cut = sorted({"pretrain_fraction", "label_fraction"} & table.keys())
    found = [f"{many} and {one} both say which {many} to run. Give one of them." for many, one in both]
    if cut and {"fraction", "fractions"} & table.keys():
        found.append(f"fraction sets both fractions, and {' and '.join(cut)} stands beside it. Give one of them.")
    empty = [key for key, value in table.items() if value == []]
    return found + [f"{key} is an empty list, so there would be nothing to run. Give it a value." for key in empty]


def _members(spec: RunSpec) -> list[str]:
    """The data sets that a name stands for: itself, or the tasks of a suite."""
    if ":" not in spec.dataset:
        return [spec.dataset]
    names: list[str] = catalog.find(catalog.MODALITIES, spec.modality).expand(spec.dataset)
    return names


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def checked(specs: Sequence[RunSpec]) -> list[RunSpec]:
    """The specs of one command, ready to run. Raises `UserError` with the problems of all of them at once."""
    specs, problems = _shared_settings(specs), []
    for spec in specs:
        try:
            resolve(spec)
        except UserError as problem:
            problems.append(str(problem))
    refuse(list(dict.fromkeys(problems)))
    return specs


def _shared_settings(specs: Sequence[RunSpec]) -> list[RunSpec]:
    """Leave a setting out of the specs that do not use it, as long as one of the command's does; else it is an error."""
    try:
        used = [settings_used(spec, parse_method(spec.method)) for spec in specs]
    except UserError:  # `resolve` says so, with whatever else is wrong
        return list(specs)
    somewhere = set().union(*used)
    idle = {n: getattr(s, n) for s in specs for n in SETTINGS if getattr(s, n) is not None and n not in somewhere}
    methods = ", ".join(dict.fromkeys(spec.method for spec in specs))
    refuse([f"{n} is set to {v}, but nothing here uses it ({methods}). Leave it out." for n, v in idle.items()])
    return [
        spec.replace(**{n: None for n in somewhere - uses if getattr(spec, n) is not None})
        for spec, uses in zip(specs, used, strict=True)
    ]
