"""Leaderboard: committed records -> markdown pages and figures. `write` makes them, `check` says which are stale."""

import tomllib
from collections.abc import Mapping
from pathlib import Path

from bench import catalog
from bench.errors import UserError
from bench.figures import draw, hash_in, plotted_hash
from bench.overview import overview
from bench.pages import MARK, figure_name, page
from bench.publish import load, modalities
from bench.store import write as write_file
from bench.tables import Section, sections


def build(boards: Path) -> tuple[dict[str, str], dict[str, Section]]:
    """Every page by its path below `boards`, and what every figure plots."""
    names = modalities(boards)
    records = {modality: load(boards, modality) for modality in names}
    pages = {"README.md": overview(records)}
    figures: dict[str, Section] = {}
    for modality in names:
        card = catalog.card(catalog.MODALITIES, modality)
        pages[f"{modality}.md"] = page(records[modality], modality, card, _sweeps(boards, modality))
        named = ((figure_name(section, modality), section) for section in sections(records[modality]))
        figures |= {name: section for name, section in named if name}
    return pages, figures


def write(boards: Path) -> list[str]:
    """Bring pages and figures up to date; returns the paths, below `boards`, that were written or removed."""
    pages, figures = build(boards)
    stale = _stale(boards, pages, figures)
    for name in stale:
        content = pages[name] if name in pages else draw(figures[name]) if name in figures else None
        if content is None:
            (boards / name).unlink()
        else:
            write_file(boards / name, lambda file, content=content: file.write(content.encode()))  # type: ignore[misc]
    return stale


def check(boards: Path) -> list[str]:
    """Paths, below `boards`, that are not what the records say: pages by bytes, figures by the hash of their data."""
    return _stale(boards, *build(boards))


def _stale(boards: Path, pages: Mapping[str, str], figures: Mapping[str, Section]) -> list[str]:
    stale = {name for name, content in pages.items() if _read(boards / name) != content}
    stale |= {name for name, section in figures.items() if hash_in(_read(boards / name)) != plotted_hash(section)}
    stale |= {f"figures/{path.name}" for path in (boards / "figures").glob("*.svg")} - set(figures)
    stale |= {path.name for path in boards.glob("*.md") if path.name not in pages and _read(path).startswith(MARK)}
    return sorted(stale)


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except (FileNotFoundError, UnicodeDecodeError):
        return ""


def _sweeps(boards: Path, modality: str) -> list[str]:
    """Names of the sweep files that fill the board of a modality."""
    named = []
    for path in sorted((boards / "sweeps").glob("*.toml")):
        try:
            said = tomllib.loads(path.read_text(encoding="utf-8")).get("modality", "tabular")
        except ValueError as wrong:
            raise UserError(f"{path} is not TOML: {wrong}. Mend it, or move it out of sweeps/.") from wrong
        if modality in ([said] if isinstance(said, str) else said):
            named.append(path.name)
    return named
