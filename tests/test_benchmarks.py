"""The frame of `python -m benchmarks`: turns, verdicts, and a page that is what was kept. No test measures time."""

import importlib
import json
import pkgutil

import pytest

import benchmarks
from bench.figures import draw, hash_in, plotted_hash
from benchmarks import GROUPS, page
from benchmarks.curve import Curve, Growth
from benchmarks.row import Row, number
from benchmarks.timing import Spread, ratio, turns

PLUMBING = {"__main__", "curve", "page", "parts", "pictures", "processes", "row", "small", "timing"}


def test_every_module_that_measures_is_a_group():
    assert {module.name for module in pkgutil.iter_modules(benchmarks.__path__)} == {*GROUPS, *PLUMBING}


@pytest.mark.parametrize("name", GROUPS)
def test_every_group_says_what_it_measures_and_imports_without_the_peers(name):
    group = importlib.import_module(f"benchmarks.{name}")
    assert callable(group.rows)
    assert len(group.__doc__.splitlines()) > 2
    assert getattr(group, "CORES", 1) in (1, 2)


def test_sides_take_turns_and_a_round_before_the_others_warms_them_up():
    called = []
    times = turns({"a": lambda: called.append("a"), "b": lambda: called.append("b")}, 2, {"a": 1, "b": 2})
    assert "".join(called) == "abb" * 3
    assert {name: len(spent) for name, spent in times.items()} == {"a": 2, "b": 2}


def test_a_ratio_compares_the_sides_of_one_round():
    assert ratio([2.0, 30.0, 5.0], [1.0, 10.0, 1.0]) == Spread(3.0, 2.0, 5.0)


@pytest.mark.parametrize(
    ("reach", "judged", "verdict"),
    [("", "median", ""), (">= 3", "median", "met"), (">= 3.1", "median", "missed"), ("<= 3", "median", "met"),
     ("<= 2.9", "median", "missed"), (">= 4", "high", "met"), (">= 2", "low", "missed")],
)  # fmt: skip
def test_the_verdict_is_about_the_median_or_the_end_that_is_judged(reach, judged, verdict):
    assert Row("what", Spread(3.0, 1.0, 4.0), "x", reach, judged=judged).verdict == verdict


def test_numbers_have_three_digits_that_count():
    assert [number(v) for v in (0.012345, 1.2345, 12.345, 123.45, 12345.6)] == ["0.0123", "1.23", "12.3", "123", "12,346"]


def test_a_row_survives_being_kept():
    row = Row("what", Spread(1.5, 1.0, 2.0), "x", ">= 1", "a note", judged="low")
    assert Row.unpacked(json.loads(json.dumps(row.packed()))) == row
    assert row.cells() == ("what", "1.5 (1 to 2) ×", "≥ 1 (low) ×", "met")


def test_the_committed_page_and_its_figures_are_what_was_kept():
    found = page.kept()
    assert {path.stem for path in page.FOLDER.glob("*.json")} == set(found)
    assert page.PAGE.read_text(encoding="utf-8") == page.render(found)
    for name, drawing in page.drawings(found).items():
        assert hash_in((page.FOLDER / name).read_text(encoding="utf-8")) == plotted_hash(drawing)


def test_the_page_begins_with_the_goals_that_are_missed():
    found = Spread(3.0, 2.0, 4.0)
    rows = [Row("a", found, "x", ">= 2"), Row("b", found, "%", "<= 2"), Row("c", found, "s")]
    group = {"title": "Things: what they cost", "rows": [row.packed() for row in rows]}
    assert page.goals({"things": group}) == [
        "1 of 2 goals are met; missed:", "",
        "| group | what | measured | to reach |", "|---|---|---|---|", "| Things | b | 3 (2 to 4) % | ≤ 2 % |", "",
    ]  # fmt: skip
    assert page.goals({"things": {**group, "rows": [rows[0].packed()]}}) == ["1 of 1 goals are met.", ""]


def test_a_curve_has_the_slope_of_its_upper_half():
    line = Curve("batch", "ms", "squares", [(float(n), float(n * n)) for n in (1, 2, 4, 8)], 2.0)
    assert line.slope() == pytest.approx(2.0)
    assert Curve.unpacked(json.loads(json.dumps(line.packed()))) == line
    bent = Curve("batch", "ms", "first flat", [(1.0, 5.0), (2.0, 5.0), (4.0, 5.0), (8.0, 10.0), (16.0, 20.0)], 1.0)
    assert bent.slope() == pytest.approx(1.0)


def test_a_figure_has_a_panel_for_every_cost_and_quantity():
    points = [(1.0, 1.0), (2.0, 2.0), (4.0, 4.0), (8.0, 8.0)]
    told = [("batch", "ms", "a"), ("batch", "ms", "b"), ("batch", "MiB", "a"), ("rows", "ms", "a"), ("rows", "s", "a")]
    figure = Growth("growth", [Curve(*each, points, 1.0) for each in told])
    assert figure.panels == [("batch", "ms"), ("batch", "MiB"), ("rows", "ms"), ("rows", "s")]
    svg = draw(figure)
    assert hash_in(svg) == plotted_hash(figure)
    assert all(f">{word}<" in svg for word in ("batch", "rows", "ms", "MiB", "s", "a", "b"))
