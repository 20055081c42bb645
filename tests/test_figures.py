"""Figures: what their legends say, in how many pieces forest plots come, and that how they are drawn changes no byte."""

import pickle
import re

import pytest
from records import make_record
from test_leaderboard import COST, FIGURE, FOREST, board, drawings, runs

from bench import figures, leaderboard, workers
from bench.ablation import ROWS, crossed, forests, grids
from bench.errors import UserError
from bench.figures import Costs, Curve, Forest, draw, draw_all, plotted_hash
from bench.publish import publish
from bench.store import Store
from bench.tables import sections


def texts(svg: str) -> list[str]:
    """What a figure writes."""
    return re.findall(r">([^<>]+)</(?:text|tspan)>", svg)


def of_two_fractions(**over):
    return [*board(**over), *board(label_fraction=0.1, n_labels=160, **over)]


def test_a_legend_marks_the_rows_of_other_divisions_and_leaves_the_others_as_they_are():
    extra = [*runs("supcon", 0.99, division="labels"), *runs("directclr", 0.6, division="not as published")]
    plain, marked = drawings(of_two_fractions()), drawings([*of_two_fractions(), *extra])
    assert [type(d) for d in marked] == [Curve, Costs, Forest]
    for before, after in zip(plain[:2], marked[:2], strict=True):
        new = set(texts(draw(after))) - set(texts(draw(before)))
        assert {"supcon (labels)", "directclr", "(not as published)"} <= new
        assert not any("(" in name and "views" not in name for name in texts(draw(before)))
    names = [name for name, _ in marked[0].plotted()[2]]
    assert names.count("supcon (labels)") == 1
    assert "supcon" not in names  # so that a change of division makes the figure stale


def test_a_method_of_several_divisions_is_marked_with_each():
    found = [*runs("byol", 0.5, division="collapsed"), *runs("byol", 0.4, label_fraction=0.1)]
    assert figures.division_of("byol", sections([*of_two_fractions(), *found])[0]) == "collapsed"


@pytest.mark.parametrize("name", ["$x^2$", "a_$b", r"\\$"])
def test_names_of_methods_are_never_mathematics(name):
    records = [*of_two_fractions(), *runs(name, 0.7)]
    for drawing in drawings(records)[:2]:
        assert name in texts(draw(drawing))


def test_a_cut_without_any_finished_run_is_an_empty_panel():
    records = [*board(), *board(label_fraction=0.01), make_record(label_fraction=0.1, views="domain", status="failed")]
    _, costs, _ = drawings(records)
    assert [(fraction, len(points)) for fraction, points in costs.panels] == [(0.01, 8), (0.1, 0), (1.0, 8)]
    assert "10 % of the labels" in texts(draw(costs))


def test_intervals_end_where_the_plotted_numbers_say():
    """Whiskers are drawn apart from the points: their ends, read back, are mean ± half-width on the scale of the means."""
    curve = Curve(sections([*runs("npair", 0.5), *runs("npair", 0.7, label_fraction=0.1)])[0])
    upright = r'<path d="M ([\d.]+) ([\d.]+)\nL \1 ([\d.]+)\n" clip-path="[^"]+" style="fill: none; stroke: #0072b2'
    paths = re.findall(upright, draw(curve))
    (_, low, high), (_, low2, high2) = [map(float, path) for path in paths]
    ((_, first, half), (_, second, half2)) = curve.lines[0].points
    scale = (low + high - low2 - high2) / 2 / (second - first)  # points on paper for a score of 1
    assert abs(scale) * 2 * half == pytest.approx(abs(low - high), rel=1e-3)
    assert abs(scale) * 2 * half2 == pytest.approx(abs(low2 - high2), rel=1e-3)


def test_a_drawing_holds_what_it_shows_and_none_of_its_records():
    for drawing in drawings(of_two_fractions()):
        assert len(pickle.dumps(drawing)) < 10_000
        assert plotted_hash(pickle.loads(pickle.dumps(drawing))) == plotted_hash(drawing)


@pytest.mark.full
def test_worker_processes_draw_the_same_bytes(monkeypatch):
    some = drawings(of_two_fractions())
    alone = [*map(draw, some)]
    monkeypatch.setattr(workers, "cores", lambda: 2)
    monkeypatch.setattr(figures, "FEW", 1)
    assert [*draw_all(some)] == alone


def test_few_figures_or_one_core_start_no_process(monkeypatch):
    monkeypatch.setattr(figures, "ProcessPoolExecutor", None)
    monkeypatch.setattr(workers, "cores", lambda: 64)
    some = drawings(of_two_fractions())
    assert len([*draw_all(some)]) == len(some) < 2 * figures.FEW
    monkeypatch.setattr(workers, "cores", lambda: 1)
    monkeypatch.setattr(figures, "draw", lambda _: "drawn")
    assert [*draw_all(some * 10)] == ["drawn"] * 10 * len(some)


def test_a_figure_whose_data_did_not_change_is_not_drawn_again(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(leaderboard, "draw_all", lambda some: (drawn.append(d) or "<svg/>" + plotted(d) for d in some))
    store = Store(tmp_path / "runs")
    for record in [*of_two_fractions(), *board(dataset="adult")]:
        store.put(record)
    publish(store, tmp_path / "boards")
    written = leaderboard.write(tmp_path / "boards")
    assert {FIGURE, COST, FOREST} < set(written)
    assert len(drawn) == 4
    drawn.clear()
    for record in runs("simclr", 0.5, dataset="adult"):
        store.put(record)
    publish(store, tmp_path / "boards")
    leaderboard.write(tmp_path / "boards")
    assert [d.title() for d in drawn] == ["quality against cost, adult: linear@1, views domain, budget small"]


def plotted(drawing) -> str:
    return f"plotted data sha256:{plotted_hash(drawing)}"


def many(sets: int, bases: int) -> list:
    """Effects of i-Mix on some bases at two fractions of some data sets: three rows a base."""
    names = [f"b{i}" for i in range(bases)]
    cells = [(d, base + mixer, f) for d in range(sets) for base in names for mixer in ("", "+imix") for f in (0.1, 1.0)]
    return [r for d, method, f in cells for r in runs(method, 0.7, seeds=[0, 1], dataset=f"set{d}", label_fraction=f)]


def test_a_forest_plot_of_many_data_sets_is_one_figure_for_each_in_sheets_of_bounded_height():
    few, more = grids(sections(many(2, 3))), grids(sections(many(3, ROWS // 3 // 3 + 1)))
    assert [*forests("tabular", few)] == ["set0"]
    assert [*forests("tabular", few)["set0"]] == ["figures/ablation-tabular.svg"]
    found = forests("tabular", more)
    assert [*found] == ["set0", "set1", "set2"]
    assert [*found["set1"]] == ["figures/ablation-tabular-set1.svg"]
    (large,) = forests("tabular", grids(sections(many(1, ROWS // 3 + 1)))).values()
    assert [*large] == ["figures/ablation-tabular-set0.svg", "figures/ablation-tabular-set0-part2.svg"]
    first, second = large.values()
    assert first.title() == "tabular/set0: i-Mix minus its base, part 1 of 2"
    assert len(first.groups) == ROWS // 3
    assert len(second.groups) == 1
    assert first.size()[1] < 0.25 * ROWS + 1
    text = crossed({"tabular": more})
    for dataset, of_set in found.items():
        (path,) = of_set
        assert f"]({path})\n\n**{dataset}, `b0`" in text


@pytest.mark.parametrize("name", ["TYPO", "."])
@pytest.mark.parametrize("what", [leaderboard.write, leaderboard.check, lambda boards: leaderboard.write_html(boards, boards)])
def test_a_folder_that_holds_no_boards_is_refused_and_nothing_is_written(tmp_path, name, what):
    (tmp_path / "README.md").write_text("of something else")
    with pytest.raises(UserError, match=r"is no folder of boards: .*records is absent\. Name one that is with --boards"):
        what(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    assert (tmp_path / "README.md").read_text() == "of something else"
