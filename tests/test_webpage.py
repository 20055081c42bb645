"""The web page: what it holds, that it asks for nothing, and how it behaves in a real Chromium."""

import itertools
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from test_leaderboard import CARD, board, golden_records, runs

from bench import webpage as webpage_module
from bench.cli import main
from bench.errors import UserError
from bench.publish import publish
from bench.store import Store
from bench.tables import sections
from bench.webpage import webpage
from bench.words import marked, mean_half

NAME = "</script><img src=x onerror=alert(1)>|`&amp;"
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def some_boards() -> dict[str, list[Any]]:
    """Two modalities; the one has several cuts, views and a name full of markup."""
    tables = [*golden_records(), *runs("npair", 0.7, views="none"), *board(dataset=NAME)]
    sounds = [*board(modality="speech", dataset="digits"), *board(modality="speech", dataset="digits", label_fraction=0.1)]
    return {"tabular": tables, "speech": sounds}


def page_of(boards: dict[str, list[Any]]) -> str:
    return webpage(boards, dict.fromkeys(boards, CARD))


def data_in(html: str) -> dict[str, Any]:
    (text,) = re.findall(r'<script type="application/json" id="board">(.*?)</script>', html, flags=re.DOTALL)
    return dict(json.loads(text))


def test_the_page_asks_for_nothing_outside_itself():
    html = page_of(some_boards())
    assert len(html.encode()) < webpage_module.LIMIT == 2_000_000
    assert set(re.findall(r"(?:https?:)?//[\w.]+", html.replace(json.dumps(data_in(html)), ""))) <= {
        "http://www.w3.org"
    }  # SVG's name
    assert not re.findall(r"""(?:src|href)=(?!"data:,"|x )""", html)
    assert "default-src 'none'" in html


def test_names_with_markup_cannot_end_the_data():
    html = page_of(some_boards())
    assert html.count("</script>") == 2
    assert NAME in {place["dataset"] for place in data_in(html)["places"]}


def test_the_numbers_of_the_page_are_those_of_the_records():
    boards = some_boards()
    data = data_in(page_of(boards))
    rows = iter(data["rows"])
    for modality in sorted(boards):
        for section in sections(boards[modality]):
            for table in section.tables:
                for name in table.order:
                    row, found = table.rows[name], next(rows)
                    assert found["method"] == name
                    assert [(seed, run) for seed, _, run in found["seeds"]] == [(r.seed, r.run_id) for r in row.records]
                    assert found["rank"] == table.ranks.get(name)
                    assert found["supervised_text"] == marked(table.difference(name, "supervised"))
                    if row.interval is not None:
                        assert found["score"] == pytest.approx(100 * row.interval.mean, abs=1e-4)
                        assert found["score_text"] == mean_half(row.interval)
    assert next(rows, None) is None


def test_the_order_of_records_does_not_matter():
    boards = some_boards()
    assert page_of({name: records[::-1] for name, records in boards.items()}) == page_of(boards)


def test_a_page_that_would_be_too_large_leaves_out_the_seeds_or_is_refused(monkeypatch):
    whole = page_of(some_boards())
    monkeypatch.setattr(webpage_module, "LIMIT", len(whole.encode()))
    smaller = page_of(some_boards())
    assert len(smaller) < len(whole)
    assert all(row["seeds"] == [] for row in data_in(smaller)["rows"])
    assert [row["seeds_text"] for row in data_in(smaller)["rows"]] == [row["seeds_text"] for row in data_in(whole)["rows"]]
    monkeypatch.setattr(webpage_module, "LIMIT", 1000)
    with pytest.raises(UserError, match="more than 1,000"):
        page_of(some_boards())


def test_the_command_writes_one_file(tmp_path, capsys):
    store = Store(tmp_path / "runs")
    for record in board():
        store.put(record)
    publish(store, tmp_path / "boards")
    for more, code in ((["--html", str(tmp_path / "page.html")], 0), (["--html", str(tmp_path / "x.html"), "--check"], 2)):
        with pytest.raises(SystemExit) as stop:
            main(["leaderboard", "--boards", str(tmp_path / "boards"), *more])
        assert stop.value.code == code
    assert sorted(p.name for p in tmp_path.iterdir()) == ["boards", "page.html", "runs"]
    assert len(data_in((tmp_path / "page.html").read_text())["rows"]) == 8
    assert "Give one of them" in capsys.readouterr().err


# In a real browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, by Playwright. $BENCH_CHROMIUM names one that is not on the path."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed; it is in the extra `test`")
    program = os.environ.get("BENCH_CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if program is None:
        pytest.skip(f"no Chromium: none of {', '.join(CHROMIUMS)} is installed; set BENCH_CHROMIUM to one")
    with playwright.sync_playwright() as running:
        found = running.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("web") / "leaderboard.html"
    path.write_text(page_of(some_boards()), encoding="utf-8")
    return path


@pytest.fixture(params=[(1400, 900), (390, 844)], ids=["wide", "narrow"])
def page(browser, file, request) -> Iterator[Any]:
    """The page, open; at the end, nothing may have been said on the console or asked of a network."""
    width, height = request.param
    shown, said, asked = browser.new_page(viewport={"width": width, "height": height}), [], []
    shown.set_default_timeout(20_000)
    shown.on("console", lambda message: said.append(message.text))
    shown.on("pageerror", lambda error: said.append(str(error)))
    shown.on("request", lambda request: asked.append(request.url))
    shown.goto(file.as_uri())
    yield shown
    assert said == []
    assert {url for url in asked if not url.startswith(("file:", "data:"))} == set()
    shown.close()


def column(page: Any, name: str) -> list[str]:
    """The texts of a column, in the order shown."""
    return [str(text) for text in page.locator(f"#rows .{name}").all_text_contents()]


def choose(page: Any, name: str, value: str) -> None:
    page.select_option(f"#filter-{name}", value)


def state(page: Any) -> dict[str, list[str]]:
    return parse_qs(page.url.partition("#")[2])


@pytest.mark.full
def test_everything_is_shown_first_and_the_numbers_are_those_of_the_data(page, file):
    rows = data_in(file.read_text(encoding="utf-8"))["rows"]
    assert sorted(column(page, "score")) == sorted(row["score_text"] for row in rows)
    assert sorted(column(page, "supervised")) == sorted(row["supervised_text"] for row in rows)
    assert page.inner_text("#count") == f"{len(rows)} of {len(rows)} rows"
    assert page.locator("#curves figure").count() == 2  # those with several fractions


@pytest.mark.full
def test_sorting_changes_the_order_and_says_so(page):
    by_score = page.get_by_role("button", name="score ±")
    by_score.click()
    shown = [float(text.split()[0]) for text in column(page, "score") if text[0].isdigit()]
    assert shown == sorted(shown, reverse=True)
    assert page.locator("#head th[aria-sort=descending]").inner_text().startswith("score")
    by_score.click()
    shown = [float(text.split()[0]) for text in column(page, "score") if text[0].isdigit()]
    assert shown == sorted(shown)
    assert column(page, "score")[-1] in ("missing", "failed")  # what is not known stands last either way
    assert state(page) == {"sort": ["score"]}


@pytest.mark.full
def test_filters_narrow_what_is_shown_and_each_other(page):
    choose(page, "modality", "speech")
    assert set(column(page, "data")) == {"speech/digits"}
    assert page.locator("#filter-dataset option").all_text_contents() == ["all", "digits"]
    choose(page, "cut", "10 % of labels")
    assert set(column(page, "cut")) == {"10 % of labels"}
    assert "No curve" in page.inner_text("#curves")
    page.fill("#filter-q", "imix")
    assert set(column(page, "method")) == {"npair+imix"}
    assert page.inner_text("#count").startswith("1 of ")
    assert state(page) == {"modality": ["speech"], "cut": ["10 % of labels"], "q": ["imix"]}
    page.click("#reset")
    assert len(column(page, "method")) > 30
    assert state(page) == {}


@pytest.mark.full
def test_the_fragment_restores_the_view_and_goes_back(page, file):
    page.goto(f"{file.as_uri()}#modality=tabular&views=none&sort=-cost&method=npair")
    assert set(column(page, "views")) == {"none"}
    assert page.locator("#rows tr.marked .method").all_text_contents() == ["npair"]
    assert page.locator("#head th[aria-sort=descending]").inner_text().startswith("seconds")
    page.goto(f"{file.as_uri()}#dataset=no-such&sort=nonsense")
    assert page.inner_text("#count").startswith("0 of ")
    assert page.input_value("#filter-dataset") == "no-such"


@pytest.mark.full
def test_a_row_tells_its_interval_and_seeds_to_mouse_and_keyboard(page):
    choose(page, "modality", "speech")
    row = page.locator("#rows tr", has=page.get_by_role("rowheader", name="npair+imix", exact=True)).first
    row.hover()
    told = page.inner_text("#detail")
    place = r"npair\+imix on speech/digits, views domain, 10+ % of labels, small, linear@1"
    assert re.match(place + r": 83\.0 ± 0\.\d, from 82\.", told)
    assert len(re.findall(r"\d: 8\d\.\d \([0-9a-f]{16}\)", told)) == 5
    page.locator("#rows tr").last.focus()
    assert page.inner_text("#detail") != told


@pytest.mark.full
def test_the_keyboard_reaches_filters_heads_and_rows_and_highlights_a_method(page):
    choose(page, "modality", "speech")
    page.focus("#filter-modality")
    focused = []
    for _ in range(24):
        page.keyboard.press("Tab")
        focused.append(page.evaluate("document.activeElement.closest('#head th, #rows tr, #filters') && "
                                     "document.activeElement.closest('#head th, #rows tr, #filters').nodeName"))  # fmt: skip
    assert [kind for kind, _ in itertools.groupby(filter(None, focused))] == ["FORM", "TH", "TR"]
    page.locator("#rows tr").nth(1).focus()
    method = column(page, "method")[1]
    page.keyboard.press("Enter")
    assert state(page)["method"] == [method]
    assert page.locator("#curves g.strong").first.get_attribute("data-method") == method
    assert page.locator("#curves g.faded").count() == page.locator("#curves g[data-method]").count() - 1
    assert page.evaluate("document.activeElement.nodeName") == "TR"
    chip = page.get_by_role("button", name=method, exact=True, pressed=True)
    chip.click()
    assert page.locator("#curves g.faded").count() == 0


@pytest.mark.full
def test_names_with_markup_stay_text(page):
    page.click("text=Show everything")
    assert page.locator("img").count() == 0
    assert f"tabular/{NAME}" in column(page, "data")
    choose(page, "dataset", NAME)
    assert set(column(page, "data")) == {f"tabular/{NAME}"}
    page.reload()
    assert set(column(page, "data")) == {f"tabular/{NAME}"}


@pytest.mark.full
def test_the_page_itself_never_scrolls_sideways_and_what_is_pressed_is_large_enough(page):
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    # WCAG 2.2, 2.5.8: 24 by 24 CSS pixels
    for box in (one.bounding_box() for one in page.locator("select, input, button, #rows tr").all()[:40]):
        assert min(box["width"], box["height"]) >= 24
    named = "all => all.every(e => e.labels?.length || e.textContent.trim())"
    assert page.locator("button, select, input").evaluate_all(named)
