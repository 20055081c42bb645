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
from bench.leaderboard import write_html
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
    tables += [*runs("$x^2$", 0.7), *runs("<b>npair</b>", 0.7)]
    sounds = [*board(modality="speech", dataset="digits"), *board(modality="speech", dataset="digits", label_fraction=0.1)]
    return {"tabular": tables, "speech": sounds}


def of_fractions(count: int) -> Iterator[Any]:
    """A board with that many tables."""
    return itertools.chain(*(board(label_fraction=(i + 1) / count) for i in range(count)))


def page_of(boards: dict[str, list[Any]]) -> str:
    return webpage(boards, dict.fromkeys(boards, CARD))


def data_in(html: str) -> dict[str, Any]:
    (text,) = re.findall(r'<script type="application/json" id="board">(.*?)</script>', html, flags=re.DOTALL)
    return dict(json.loads(text))


def rows_in(html: str) -> Iterator[dict[str, Any]]:
    """The rows, unpacked as the script does it."""
    data = data_in(html)
    texts, values = data["columns"]
    for cells in data["rows"]:
        row = dict(zip(texts, map(data["texts"].__getitem__, cells), strict=False))
        yield row | dict.fromkeys(values) | dict(zip(values, cells[len(texts) :], strict=False))


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
    rows = rows_in(page_of(boards))
    for modality in sorted(boards):
        for section in sections(boards[modality]):
            for table in section.tables:
                for name in table.order:
                    row, found = table.rows[name], next(rows)
                    assert found["method"] == name
                    runs = re.findall(r"(\d+): [\d.]+ \((\w+)\)", found["seeds"] or "")
                    assert runs == [(str(r.seed), r.run_id) for r in row.records]
                    assert found["division"] == row.division or not row.records
                    assert found["rank"] == table.ranks.get(name)
                    assert found["supervised"] == marked(table.difference(name, "supervised"))
                    if row.interval is not None:
                        assert found["score"] == pytest.approx(100 * row.interval.mean, abs=0.005)
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
    without = [row | {"seeds": None} for row in rows_in(whole)]
    assert [*rows_in(smaller)] == without != [*rows_in(whole)]
    monkeypatch.setattr(webpage_module, "LIMIT", 1000)
    with pytest.raises(UserError, match="more than 1,000"):
        page_of(some_boards())


def test_a_row_costs_few_bytes_and_a_missing_one_fewer():
    """A board of 100,000 records has some 20,000 rows; 2 MB are 100 bytes for each."""
    few = {"label_fraction": 0.1, "n_labels": 1600}
    records = [r for i in range(20) for r in [*board(dataset=f"set{i}", **few), *board(dataset=f"set{i}", n_labels=16000)]]
    full = data_in(page_of({"tabular": records}))
    assert len(full["rows"]) == 320
    size = len(json.dumps([full["rows"], full["texts"]], separators=(",", ":"), ensure_ascii=False).encode())
    seeds = sum(len(row["seeds"] or "") for row in rows_in(page_of({"tabular": records})))
    assert (size - seeds) / 320 < 80
    lacking = page_of({"tabular": [r for r in board() if r.method != "raw"]})
    (absent,) = [row for row in data_in(lacking)["rows"] if len(row) < 15]
    assert len(json.dumps(absent)) < 60


def test_the_page_says_which_division_a_row_is_of_also_where_it_is_missing():
    records = [*board(), *board(label_fraction=0.1), *runs("supcon", 0.99, division="labels")]
    found = {(row["method"], row["score_text"] != "missing"): row for row in rows_in(page_of({"tabular": records}))}
    assert found["supcon", True]["division"] == found["supcon", False]["division"] == "labels"
    assert {row["division"] for (method, _), row in found.items() if method != "supcon"} == {"from scratch"}


def test_what_the_refusal_of_a_large_page_says_works(tmp_path, monkeypatch):
    records = {"tabular": list(of_fractions(8)), "speech": [*runs("npair", 0.8, modality="speech", dataset="digits")]}
    store = Store(tmp_path / "runs")
    for record in itertools.chain(*records.values()):
        store.put(record)
    publish(store, tmp_path / "boards")
    monkeypatch.setattr(webpage_module, "LIMIT", len(page_of({"speech": records["speech"]}).encode()) + 1)
    with pytest.raises(UserError, match=r"\*\.jsonl into DIR/records/, and run python -m bench leaderboard --boards"):
        page_of(records)
    (tmp_path / "DIR" / "records").mkdir(parents=True)
    shutil.copy(tmp_path / "boards" / "records" / "speech.jsonl", tmp_path / "DIR" / "records")
    with pytest.raises(SystemExit) as stop:
        main(["leaderboard", "--boards", str(tmp_path / "DIR"), "--html", str(tmp_path / "page.html")])
    assert stop.value.code == 0


def test_withdrawn_runs_are_told_with_their_reason(boards_with_a_withdrawn_run, tmp_path):
    boards, gone = boards_with_a_withdrawn_run
    write_html(boards, tmp_path / "page.html")
    data = data_in((tmp_path / "page.html").read_text())
    assert data["withdrawn"] == [[gone.run_id, "npair", "tabular/letter", "3", "a <disk> was full"]]
    (row,) = [row for row in rows_in((tmp_path / "page.html").read_text()) if row["method"] == "npair"]
    assert (row["n"], gone.run_id in row["seeds"]) == (4, False)


@pytest.fixture
def boards_with_a_withdrawn_run(tmp_path):
    store, gone = Store(tmp_path / "runs"), next(r for r in board() if r.method == "npair" and r.seed == 3)
    for record in board():
        store.put(record)
    publish(store, tmp_path / "boards")
    (tmp_path / "boards" / "withdrawn.toml").write_text(f'"{gone.run_id}" = "a <disk> was full"\n')
    return tmp_path / "boards", gone


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
    return parse_qs(page.url.partition("#")[2], keep_blank_values=True)


@pytest.mark.full
def test_what_is_trained_from_scratch_is_shown_first_and_the_rest_after_a_click(page, file):
    rows = [*rows_in(file.read_text(encoding="utf-8"))]
    first = [row for row in rows if row["division"] == "from scratch"]
    assert len(first) == len(rows) - 2
    assert sorted(column(page, "score")) == sorted(row["score_text"] for row in first)
    assert sorted(column(page, "supervised")) == sorted(row["supervised"] for row in first)
    assert page.inner_text("#count") == f"{len(first)} of {len(rows)} rows"
    assert page.locator("#curves figure").count() == 2  # those with several fractions
    assert not [name for name in column(page, "method") if "(" in name]
    assert page.inner_text("#others") == "Show 2 rows of other divisions, which are not ranked: pretrained"
    page.click("#others")
    assert sorted(column(page, "score")) == sorted(row["score_text"] for row in rows)
    assert [name for name in column(page, "method") if "(" in name] == ["mocon+imix (pretrained)"] * 2
    assert page.get_by_role("button", name="mocon+imix (pretrained)", exact=True).count() == 1
    assert state(page) == {"division": [""]}
    page.reload()
    assert len(column(page, "score")) == len(rows)
    choose(page, "division", "pretrained")
    assert column(page, "method") == ["mocon+imix (pretrained)"] * 2
    page.locator("#rows tr").first.hover()
    assert "Not ranked, of the division pretrained." in page.inner_text("#detail")
    page.click("#reset")
    assert len(column(page, "score")) == len(first)


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
    assert page.inner_text("#count").endswith(" rows: speech/digits, views domain")
    assert (column(page, "data"), column(page, "views")) == ([], [])  # they would say the same in every row
    assert page.locator("#filter-dataset option").all_text_contents() == ["all", "digits"]
    choose(page, "cut", "10 % of labels")
    assert column(page, "cut") == []
    assert page.inner_text("#count").endswith(", 10 % of labels")
    assert "No curve" in page.inner_text("#curves")
    page.fill("#filter-q", "imix")
    assert set(column(page, "method")) == {"npair+imix"}
    assert page.inner_text("#count").startswith("1 of ")
    assert state(page) == {"modality": ["speech"], "cut": ["10 % of labels"], "q": ["imix"]}
    page.click("#reset")
    assert len(column(page, "method")) > 30
    assert state(page) == {}
    assert set(column(page, "data")) > {"speech/digits"}
    assert page.locator("#head th:visible").count() == 13


@pytest.mark.full
def test_a_chosen_data_set_leaves_every_other_modality_a_click_away(page):
    choose(page, "dataset", "digits")
    choose(page, "cut", "10 % of labels")
    assert page.locator("#filter-modality option").all_text_contents() == ["all", "speech", "tabular"]
    choose(page, "modality", "tabular")
    assert state(page) == {"modality": ["tabular"], "cut": ["10 % of labels"]}  # what has no rows now is let go, the rest stays
    assert set(column(page, "data")) == {"tabular/letter", "tabular/a<b>|c"}


@pytest.mark.full
def test_the_fragment_restores_the_view_and_goes_back(page, file):
    page.goto(f"{file.as_uri()}#modality=tabular&views=none&sort=-cost&method=npair")
    assert "views none" in page.inner_text("#count")
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
        focused.append(page.evaluate("document.activeElement.closest('#head th, #rows tr, #filters, #methods')?.nodeName"))
    assert [(kind, len([*some])) for kind, some in itertools.groupby(filter(None, focused))][1:3] == [("TH", 11), ("TR", 1)]
    assert focused[-1] == "DIV"  # the rows are one stop, and the curves' methods follow
    page.locator("#rows tr").first.focus()
    page.keyboard.press("ArrowDown")
    method = column(page, "method")[1]
    page.keyboard.press("Enter")
    assert state(page)["method"] == [method]
    assert page.locator("#curves g.strong").first.get_attribute("data-method") == method
    assert page.locator("#curves g.faded").count() == page.locator("#curves g[data-method]").count() - 1
    assert page.evaluate("document.activeElement.nodeName") == "TR"
    for key, place in (("End", -1), ("ArrowDown", -1), ("Home", 0), ("ArrowUp", 0), ("PageDown", 10)):
        page.keyboard.press(key)
        line = page.locator("#rows tr").nth(place)
        assert line.evaluate("line => line === document.activeElement && line.tabIndex === 0")
    assert page.locator("#rows tr[tabindex='0']").count() == 1
    chip = page.get_by_role("button", name=method, exact=True, pressed=True)
    chip.click()
    assert page.locator("#curves g.faded").count() == 0


@pytest.mark.full
def test_the_first_tab_stops_lead_past_the_table(page):
    for target in ("results", "curves-title"):
        page.keyboard.press("Tab")
        link = page.locator(":focus")
        assert link.evaluate("e => e.className") == "skip"
        assert link.evaluate("e => e.getBoundingClientRect().left") >= 0  # it shows itself
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == target
        link = page.locator(".skip").first.focus()
    assert state(page) == {}


@pytest.mark.full
def test_a_long_table_is_shown_in_parts(browser, tmp_path):
    path = tmp_path / "long.html"
    path.write_text(page_of({"tabular": list(of_fractions(50))}), encoding="utf-8")
    page = browser.new_page()
    page.goto(path.as_uri())
    assert page.locator("#rows tr").count() == 300
    assert page.inner_text("#count").startswith("400 of 400 rows")
    assert page.inner_text("#more") == "100 rows more: show 100 of them"
    page.click("#more")
    assert page.locator("#rows tr").count() == 400
    assert page.locator("#more").is_hidden()
    page.close()


@pytest.mark.full
def test_withdrawn_runs_stand_below_with_their_reason(boards_with_a_withdrawn_run, page, tmp_path):
    boards, gone = boards_with_a_withdrawn_run
    assert page.locator("#withdrawn").is_hidden()  # where there is none
    write_html(boards, tmp_path / "page.html")
    page.goto((tmp_path / "page.html").as_uri())
    assert page.locator("#gone td").all_text_contents() == [gone.run_id, "npair", "tabular/letter", "3", "a <disk> was full"]


@pytest.mark.full
def test_names_with_markup_stay_text(page):
    assert page.locator("img").count() == 0
    assert f"tabular/{NAME}" in column(page, "data")
    assert {"$x^2$", "<b>npair</b>"} <= set(column(page, "method"))
    choose(page, "dataset", NAME)
    assert f" rows: tabular/{NAME}, " in page.inner_text("#count")
    page.reload()
    assert f" rows: tabular/{NAME}, " in page.inner_text("#count")


@pytest.mark.full
def test_the_page_itself_never_scrolls_sideways_and_what_is_pressed_is_large_enough(page):
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    box = page.locator("#results")
    assert box.evaluate("box => box.clientHeight <= 0.75 * innerHeight && box.scrollHeight > box.clientHeight")
    box.evaluate("box => box.scrollTo(10000, 500)")
    left = "e => e.getBoundingClientRect().left"
    for kept in ("#head th", "#rows th"):  # names stay where they are
        assert page.locator(kept).first.evaluate(left) == box.evaluate(left) + 1
    top = "e => e.getBoundingClientRect().top"
    assert page.locator("#head th").last.evaluate(top) == box.evaluate(top) + 1
    # WCAG 2.2, 2.5.8: 24 by 24 CSS pixels
    for box in (one.bounding_box() for one in page.locator("select, input, button, #rows tr").all()[:40]):
        assert min(box["width"], box["height"]) >= 24
    named = "all => all.every(e => e.labels?.length || e.textContent.trim())"
    assert page.locator("button, select, input").evaluate_all(named)
