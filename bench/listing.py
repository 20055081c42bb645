"""What `bench list` prints, read from cards and recipes without importing a plug-in."""

from collections.abc import Iterator
from typing import Any

from bench import catalog
from bench.recipes import PROTOCOLS, book
from bench.spec import ALIASES


def lines(what: str) -> Iterator[str]:
    """Lines about modalities and their data sets, methods, recipes, or everything."""
    if what in ("all", "modalities"):
        yield from _modalities()
    if what in ("all", "methods"):
        yield from _methods()
    if what in ("all", "recipes"):
        yield from _recipes()


def _modalities() -> Iterator[str]:
    for name in catalog.names(catalog.MODALITIES):
        card = catalog.card(catalog.MODALITIES, name)
        extra = f" (extra: {card['extra']})" if "extra" in card else ""
        yield f"modality {name}: {card['title']}{extra}"
        yield "  data sets (* comes with the installation; the first is the default)"
        for key, data in sorted(card["datasets"].items(), key=lambda kv: kv[0] != card["default"]):
            mark = "*" if data["embedded"] else " "
            yield f"  {mark} {key:<14} {data['rows']:<18} {data['classes']} classes; {data['source']}; {data['licence']}"
        yield from (f"    {scheme + 'ID':<14} {text}" for scheme, text in card.get("schemes", {}).items())
        if "encoders" in card:
            yield "  encoders"
            yield from (f"    {encoder:<14} {what}" for encoder, what in card["encoders"].items())
        yield "  views"
        yield from (f"    {view:<14} {about['what']}" for view, about in card["views"].items())
        yield ""


def _methods() -> Iterator[str]:
    yield "methods (BASE, mixed as BASE+MIXER)"
    for name in catalog.names(catalog.METHODS):
        card = catalog.card(catalog.METHODS, name)
        mixed = ", ".join(f"{m} (as {base})" if base != name else m for m, base in card["mixers"].items())
        usual = {k: v for k, v in card.get("options", {}).items() if k != "steps"}
        yield f"  {name:<12} {card['what']}"
        yield f"  {'':<12} needs {', '.join(card['needs'])}" + "; ranked with no other" * ("labels" in card["needs"])
        yield f"  {'':<12} label space {card['space']}; mixers {mixed or 'none'}"
        yield f"  {'':<12} settings {', '.join([*card['settings'], *usual]) or 'none'}" + _values(card.get("values", {}))
        yield f"  {'':<12} {card['cite']}"
    yield from (f"  {alias:<12} alias of {method}" for alias, method in ALIASES.items())
    yield "mixers"
    yield from (f"  {name:<10} {card['what']}; {card['cite']}" for name, card in catalog.mixers().items())
    yield "controls"
    yield from (
        f"  {'+'.join((name, *mix)):<17} {card['what']}"
        for name, card in catalog.controls().items()
        for mix in ((), *((m,) for m in card["mixers"]))
    )
    yield "protocols"
    yield from (f"  {name:<10} {text}" for name, text in PROTOCOLS.items())
    yield ""


def _values(values: dict[str, Any]) -> str:
    """What a method's own paper says, whatever the data set's recipe."""
    return "; its own values " + ", ".join(f"{k} {v}" for k, v in values.items()) if values else ""


def _recipes() -> Iterator[str]:
    yield "recipes (hyper-parameters as published)"
    for name, recipe in book()["recipes"].items():
        yield f"  {name}: {recipe['cite']}"
        yield "    " + ", ".join(f"{k} {v}" for k, v in recipe.items() if k not in ("cite", "source"))
    yield "budgets"
    for name, by_modality in book()["budgets"].items():
        for modality, budget in by_modality.items():
            yield f"  {name:<6} {modality:<8} " + ", ".join(f"{k} {v}" for k, v in budget.items())
