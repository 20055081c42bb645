"""OpenML: the real library against its cache without a network, and against a server on this machine that speaks its API."""

import hashlib
import shutil
import threading
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench import catalog
from bench.errors import UserError
from bench.spec import RunSpec

openml = pytest.importorskip("openml", reason="openml is not installed; pip install -e '.[tabular]'")

# The library's reader of ARFF splits leaves its file open; Python says so when it collects the file.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
ADAPTER = catalog.find("modalities", "tabular")


def load(name: str):
    return ADAPTER.load(RunSpec(dataset=name))


@pytest.fixture(autouse=True)
def settings(monkeypatch):
    """The library's global settings come back after each test; a failed request is not repeated."""
    monkeypatch.setattr(openml.config, "connection_n_retries", 1)
    monkeypatch.setattr(openml.config, "server", openml.config.server)
    monkeypatch.setattr(openml.config, "_root_cache_directory", openml.config._root_cache_directory)
    monkeypatch.delenv("OPENML_CACHE_DIR", raising=False)


@pytest.fixture
def files(bench_data) -> Path:
    """The stored answers of OpenML: datasets/ID/..., tasks/ID/..."""
    place = bench_data / "tabular" / "openml" / "org" / "openml" / "www"
    if not place.is_dir():
        pytest.skip(f"no stored OpenML files: {place} is absent")
    return place


@pytest.fixture
def cache(files, home) -> Path:
    """A writable copy of those files where bench keeps the library's cache."""
    place = home / "data" / "openml" / "org" / "openml" / "www"
    shutil.copytree(files, place, copy_function=shutil.copyfile)
    for path in place.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return place


@pytest.fixture
def offline(monkeypatch):
    """Nobody answers at this address."""
    monkeypatch.setattr(openml.config, "server", "http://127.0.0.1:9/api/v1/xml")


class Api(BaseHTTPRequestHandler):
    """GET and HEAD of `server.answers`: path -> bytes. Paths asked for are kept in `server.asked`."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        body = self.server.answers.get(self.path.partition("?")[0])
        error = b'<oml:error xmlns:oml="http://openml.org/openml"><oml:code>111</oml:code><oml:message>Unknown</oml:message></oml:error>'
        self.send_response(412 if body is None else 200)
        content = error if body is None else body
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Type", "text/xml; charset=utf-8")
        self.send_header("ETag", f'"{hashlib.md5(content).hexdigest()}"')
        self.send_header("Last-Modified", formatdate(0, usegmt=True))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_) -> None:
        """Say nothing."""


SUITE = b"""<oml:study xmlns:oml="http://openml.org/openml"><oml:id>7</oml:id><oml:main_entity_type>task</oml:main_entity_type>
<oml:name>two</oml:name><oml:description>two tasks</oml:description><oml:status>active</oml:status>
<oml:creation_date>2020-01-01</oml:creation_date><oml:creator>1</oml:creator>
<oml:data><oml:data_id>2</oml:data_id></oml:data>
<oml:tasks><oml:task_id>1882</oml:task_id><oml:task_id>990001</oml:task_id></oml:tasks></oml:study>"""


@pytest.fixture
def server(files, home, monkeypatch):
    """The same files at the paths of the REST API; the library's own download code fetches them into an empty cache."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Api) as api:
        base = f"http://127.0.0.1:{api.server_port}"
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setattr(openml.config, "server", f"{base}/api/v1/xml")
        api.asked, api.answers = [], answers(files, base)
        thread = threading.Thread(target=api.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        assert not home.exists()
        yield api
        api.shutdown()
        thread.join()


def answers(files: Path, base: str) -> dict[str, bytes]:
    found = {"/api/v1/xml/study/7": SUITE}
    for number in (2, 990001):
        place = files / "datasets" / str(number)
        arff, parquet = place / "dataset.arff", place / f"dataset_{number}.pq"
        text = (place / "description.xml").read_text(encoding="utf-8")
        text = text.replace("http://www.openml.org/data/download", f"{base}/data/download")
        text = text.replace("<oml:parquet_url>local", f"<oml:parquet_url>{base}/bucket/{parquet.name}")
        found[f"/api/v1/xml/data/{number}"] = text.encode()
        found[f"/api/v1/xml/data/features/{number}"] = (place / "features.xml").read_bytes()
        if arff.exists():
            found["/data/download/1666876/phpFsFYVN"] = arff.read_bytes()
        else:
            found[f"/bucket/{parquet.name}"] = parquet.read_bytes()
    for number in (1882, 990001):
        place = files / "tasks" / str(number)
        text = (place / "task.xml").read_text(encoding="utf-8")
        text = text.replace("http://capa.win.tue.nl", base).replace(
            "<oml:data_splits_url>local", f"<oml:data_splits_url>{base}/splits/{number}"
        )
        found[f"/api/v1/xml/task/{number}"] = text.encode()
        splits = (place / "datasplits.arff").read_bytes()
        found[f"/splits/{number}"] = found[f"/api_splits/get/{number}/Task_{number}_splits.arff"] = splits
    return found


def check_anneal(d, rows: tuple[int, int]) -> None:
    assert (len(d.train), len(d.test)) == rows
    assert d.classes == ("1", "2", "3", "5", "U")
    assert (len(d.meta["numeric"]), len(d.meta["categorical"])) == (6, 32)
    assert "anneal" in d.notes[0]
    ADAPTER.fit(d.train.x, d, RunSpec())(d.test.x)


@pytest.mark.usefixtures("cache")
def test_a_cached_data_set_needs_no_network(monkeypatch, home):
    monkeypatch.setattr("openml._api_calls._send_request", None)
    d = load("openml:2")
    check_anneal(d, (718, 180))
    monkeypatch.setenv("OPENML_CACHE_DIR", str(home / "data" / "openml"))  # the user's own choice of a place is kept
    monkeypatch.setenv("BENCH_HOME", str(home / "elsewhere"))
    assert load("openml:2").fingerprint == d.fingerprint


@pytest.mark.usefixtures("cache")
def test_a_task_uses_its_own_split(files):
    splits = (files / "tasks" / "1882" / "datasplits.arff").read_text().partition("@data")[2].split()
    fields = [line.split(",") for line in splits if line.count(",") == 3]
    everything = load("openml:2")
    for name, fold in (("openml-task:1882", 0), ("openml-task:1882:3", 3)):
        d = load(name)
        check_anneal(d, (808, 90))
        expected = [
            int(row) for kind, row, repeat, of in fields if kind.strip("'") == "TEST" and (int(repeat), int(of)) == (0, fold)
        ]
        assert len(expected) == 90
        carbon = openml.datasets.get_dataset(2, download_data=True).get_data()[0]["carbon"].to_numpy(np.float32)
        np.testing.assert_array_equal(d.test.x[0][:, 0], carbon[expected])
    assert len(everything.train) + len(everything.test) == 898


@pytest.mark.usefixtures("cache")
def test_mixed_columns_keep_their_kinds_and_gaps(bench_data):
    d = load("openml-task:990001:1")
    adult = pd.concat(pd.read_parquet(bench_data / "tabular" / "adult" / f"{part}.parquet") for part in ("train", "test"))
    assert len(d.train) + len(d.test) == len(adult) == 48_842
    assert (len(d.meta["numeric"]), len(d.meta["categorical"])) == (6, 8)
    missing = sum(int((s.x[1] < 0).sum()) for s in (d.train, d.test))
    assert missing == adult.isna().to_numpy().sum() > 0
    assert "Female" in d.meta["categorical"]["sex"]


def test_a_data_set_is_downloaded_once_over_the_api(server):
    check_anneal(load("openml:2"), (718, 180))
    assert {p for p in server.asked if "1666876" in p or p.endswith("/2")} == {
        "/api/v1/xml/data/2",
        "/api/v1/xml/data/features/2",
        "/data/download/1666876/phpFsFYVN",
    }
    server.asked.clear()
    check_anneal(load("openml:2"), (718, 180))
    assert server.asked == []


def test_tasks_of_a_suite_are_downloaded_over_the_api(server):
    names = ADAPTER.expand("openml-suite:7")
    assert names == ["openml-task:1882", "openml-task:990001"]
    check_anneal(load(names[0]), (808, 90))
    d = load(names[1])  # its table comes as Parquet from the object store
    assert (len(d.train), len(d.test)) == (32_561, 16_281)
    assert any(p.startswith("/bucket/") for p in server.asked)
    assert ADAPTER.expand("letter") == ["letter"]


@pytest.mark.parametrize("name", ["openml:77", "openml-task:77"])
def test_an_unknown_number_says_what_the_server_said(server, name):
    with pytest.raises(UserError, match=rf"{name} could not be loaded from http://127.0.0.1:\d+/api/v1/xml: .*Unknown"):
        load(name)
    assert server.asked


@pytest.mark.usefixtures("offline")
def test_without_a_network_the_message_names_the_cache_and_an_embedded_set(home):
    with pytest.raises(
        UserError, match=rf"(?s)Check the number and the network.* lies in {home}/data/openml .*letter needs no download"
    ):
        load("openml:2")
    with pytest.raises(UserError, match="openml-suite:99 could not be loaded"):
        ADAPTER.expand("openml-suite:99")


def test_a_numeric_target_is_refused(server):
    text = server.answers["/api/v1/xml/data/2"].decode()
    found = text.replace("<oml:default_target_attribute>class<", "<oml:default_target_attribute>thick<").encode()
    server.answers["/api/v1/xml/data/2"] = found
    with pytest.raises(UserError, match=r"target 'thick' is a number with \d+ different values.*looks like regression"):
        load("openml:2")
    server.answers["/api/v1/xml/data/990001"] = server.answers["/api/v1/xml/data/990001"].replace(b">class<", b">a,b<")
    with pytest.raises(UserError, match="OpenML names 'a,b' as the target"):
        load("openml:990001")


def test_a_task_that_is_no_classification_and_a_missing_fold_are_refused(server):
    with pytest.raises(UserError, match="the task has folds 0 to 2"):
        load("openml-task:990001:3")
    text = server.answers["/api/v1/xml/task/1882"]
    text = text.replace(b"<oml:task_type_id>1<", b"<oml:task_type_id>2<").replace(
        b"Supervised Classification", b"Supervised Regression"
    )
    server.answers["/api/v1/xml/task/1882"] = text
    with pytest.raises(UserError, match="'Supervised Regression'; a supervised classification task is wanted"):
        load("openml-task:1882")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("openml:anneal", "Write openml:ID, for example openml:2"),
        ("openml-task:1:2:3", "Write openml-task:ID or openml-task:ID:FOLD"),
        ("openml-suite:7", "stands for many data sets"),
    ],
)
def test_a_misspelt_name_shows_the_form(name, message):
    with pytest.raises(UserError, match=message):
        load(name)
    with pytest.raises(UserError, match="Write openml-suite:ID"):
        ADAPTER.expand("openml-suite:all")
