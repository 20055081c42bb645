"""Leaderboard: committed records -> markdown pages and figures. `write` makes them, `check` says which are stale."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from bench import catalog
from bench.ablation import crossed, forests, grids
from bench.errors import UserError, refuse
from bench.figures import Drawing, draw_all, hash_in, plotted_hash
from bench.overview import front
from bench.pages import figures, page
from bench.publish import load, modalities, withdrawn
from bench.record import Record
from bench.store import write as write_file
from bench.tables import sections
from bench.webpage import webpage
from bench.words import MARK


@dataclass(frozen=True)
class Board:
    """The committed records of one modality: those that count, and those withdrawn, with the reason."""

    records: list[Record]
    withdrawn: list[tuple[Record, str]]


def boards_of(folder: Path) -> dict[str, Board]:
    """Every board below a folder, by modality. Raises `UserError` without a folder of records, and where a withdrawn run is on
    no board."""
    if not (folder / "records").is_dir():
        raise UserError(
            f"{folder} is no folder of boards: {folder / 'records'} is absent. Name one that is with --boards, or begin one "
            f"with: python -m bench publish --boards {folder}"
        )
    reasons, found = withdrawn(folder), {}
    for modality in modalities(folder):
        records = load(folder, modality)
        gone = [(r, reasons[r.run_id]) for r in records if r.run_id in reasons]
        found[modality] = Board([r for r in records if r.run_id not in reasons], gone)
    strange = reasons.keys() - {r.run_id for board in found.values() for r, _ in board.withdrawn}
    refuse([f"{folder / 'withdrawn.toml'} names run {run_id}, which is on no board." for run_id in sorted(strange)])
    return found


def build(boards: Path) -> tuple[dict[str, str], dict[str, Drawing]]:
    """Every page by its path below `boards`, and every figure."""
    found = boards_of(boards)
    cut = {modality: sections(board.records) for modality, board in sorted(found.items())}
    crossings = {modality: grids(of_modality) for modality, of_modality in cut.items()}
    pages = {"README.md": front(cut), "ablation.md": crossed(crossings)}
    drawn: dict[str, Drawing] = {}
    for modality, board in found.items():
        card = catalog.card(catalog.MODALITIES, modality)
        known: dict[str, Any] = {"withdrawn": board.withdrawn, "found": cut[modality]}
        pages[f"{modality}.md"] = page(board.records, modality, card, _sweeps(boards, modality), **known)
        for section in cut[modality]:
            drawn |= figures(section, modality)
        for of_set in forests(modality, crossings[modality]).values():
            drawn |= of_set
    return pages, drawn


def write(boards: Path) -> list[str]:
    """Bring pages and figures up to date; returns the paths, below `boards`, that were written or removed."""
    pages, drawn = build(boards)
    stale = _stale(boards, pages, drawn)
    changed = [name for name in stale if name in drawn]
    svgs = zip(changed, draw_all([drawn[name] for name in changed]), strict=True)
    for name, content in chain(((name, pages[name]) for name in stale if name in pages), svgs):
        write_file(boards / name, lambda file, content=content: file.write(content.encode()))  # type: ignore[misc]
    for name in set(stale) - pages.keys() - drawn.keys():
        (boards / name).unlink()
    return stale


def write_html(boards: Path, path: Path) -> None:
    """Write all boards as one web page."""
    found = boards_of(boards)
    cards = {modality: catalog.card(catalog.MODALITIES, modality) for modality in found}
    gone = [run for board in found.values() for run in board.withdrawn]
    content = webpage({modality: board.records for modality, board in found.items()}, cards, withdrawn=gone).encode()
    write_file(path, lambda file: file.write(content))


def check(boards: Path) -> list[str]:
    """Paths, below `boards`, that are not what the records say: pages by bytes, figures by the hash of their data."""
    return _stale(boards, *build(boards))


def _stale(boards: Path, pages: Mapping[str, str], drawn: Mapping[str, Drawing]) -> list[str]:
    stale = {name for name, content in pages.items() if _read(boards / name) != content}
    stale |= {name for name, drawing in drawn.items() if hash_in(_read(boards / name)) != plotted_hash(drawing)}
    stale |= {f"figures/{path.name}" for path in (boards / "figures").glob("*.svg")} - set(drawn)
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
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except ValueError as wrong:
            raise UserError(f"{path} is not TOML: {wrong}. Mend it, or move it out of sweeps/.") from wrong
        said = table.get("modalities", table.get("modality", "tabular"))
        if modality in ([said] if isinstance(said, str) else said):
            named.append(path.name)
    return named
