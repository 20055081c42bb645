"""Texts: what data sets hold and where they come from, files in their real layout, the hub over HTTP, bad input."""

import csv
import json
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pandas as pd
import pytest

from bench import catalog
from bench.errors import UserError
from bench.home import downloads
from bench.spec import RunSpec

pytest.importorskip("babel", reason="babel is not installed; pip install -e '.[text]'")
datasets = pytest.importorskip("datasets", reason="datasets is not installed; pip install -e '.[text]'")

from modalities.text import hub, languages, wordnet  # noqa: E402
from modalities.text.sources import LOADERS  # noqa: E402
from modalities.text.texts import LONGEST  # noqa: E402

ADAPTER = catalog.find("modalities", "text")
CARD = catalog.card("modalities", "text")


def load(name: str):
    return ADAPTER.load(RunSpec(modality="text", dataset=name))


def frame(rows: int = 40, **columns) -> pd.DataFrame:
    base = {"text": [f"some words, number {i}" for i in range(rows)], "kind": np.resize(["no", "yes"], rows), "id": range(rows)}
    return pd.DataFrame({**base, **columns})


def write(folder: Path, name: str, table: pd.DataFrame) -> str:
    path = folder / name
    if name.endswith("parquet"):
        table.to_parquet(path)
    elif ".jsonl" in name:
        table.to_json(path, orient="records", lines=True, force_ascii=False)
    else:
        table.to_csv(path, index=False, sep="\t" if ".tsv" in name else ",")
    return str(path)


def own(folder: Path, table: pd.DataFrame, test: pd.DataFrame | None = None, name: str = "t.csv", **more):
    files = {"data": write(folder, name, table), "test": None if test is None else write(folder, f"test-{name}", test)}
    return ADAPTER.load(RunSpec(**{"modality": "text", **files, "text_column": "text", "target": "kind", **more}))


# langid and toy


@pytest.fixture(scope="module")
def langid():
    return load("langid")


def test_embedded_sets_are_what_the_card_says(langid):
    for d in (langid, load("toy")):
        said = CARD["datasets"][d.name]
        assert d.fingerprint.startswith(said["fingerprint"])
        assert said["rows"] == f"{len(d.train)} + {len(d.test)}"
        assert said["classes"] == len(d.classes) == len(np.unique(d.train.y)) == len(np.unique(d.test.y))


def test_no_string_of_langid_is_in_two_languages_or_on_both_sides(langid):
    texts = [t.casefold() for s in (langid.train, langid.test) for t in s.x[0]]
    labels = np.concatenate([langid.train.y, langid.test.y])
    spoken: dict[str, set[int]] = {}
    for text, label in zip(texts, labels, strict=True):
        spoken.setdefault(text, set()).add(int(label))
    assert max(map(len, spoken.values())) == 1
    assert not set(langid.train.x[0]) & set(langid.test.x[0])


def test_no_concept_of_langid_is_on_both_sides(langid):
    sides: dict[str, set[str]] = {}
    where = {t: side for side, split in (("train", langid.train), ("test", langid.test)) for t in split.x[0]}
    first: dict[str, str] = {}
    for _, concept, text in languages._names():
        if text in where:
            first.setdefault(text, concept)
    for text, concept in first.items():
        sides.setdefault(concept, set()).add(where[text])
    assert {len(s) for s in sides.values()} == {1}
    assert len(sides) > 1000


def test_langid_is_in_latin_script(langid):
    letters = {c for t in langid.train.x[0] for c in t if c.isalpha()}
    assert {"ß", "ő", "ğ", "ơ"} < letters
    assert not letters & set("αжд日א")
    assert not languages._is_latin("12 (3)")
    assert not languages._is_latin("Ελλάδα x")


def test_langid_without_its_library_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "babel", None)
    with pytest.raises(UserError, match=r"babel, which is not installed.*\[text\].*toy"):
        languages.langid()


# WordNet

LICENCE = "  1 This software and database is being provided to you, the LICENSEE\n"


def data_noun(places: dict[str, int]) -> str:
    """A file data.noun: lexicographer file -> how many synsets, in the layout of wndb(5WN)."""
    number = {name: i for i, name in wordnet.LEXICOGRAPHER_FILES.items()}
    lines = [LICENCE]
    for name, count in places.items():
        for i in range(count):
            gloss = f'gloss {i} of {name}, with | nothing; "an example of it"; "another"'
            lines.append(f"{len(lines):08d} {number[name]:02d} n 01 word_{i} 0 001 @ 00001740 n 0000 | {gloss}  \n")
    return "".join(lines)


def test_glosses_are_read_from_the_file_of_wordnet(tmp_path, monkeypatch):
    (tmp_path / "data.noun").write_text(data_noun({"act": 900, "animal": 600, "Tops": 51}))
    monkeypatch.setenv("WNSEARCHDIR", str(tmp_path))
    d = load("wordnet_supersense")
    assert d.classes == ("noun.act", "noun.animal")
    assert (len(d.train), len(d.test)) == (1050, 350)
    assert np.bincount(d.test.y).tolist() == [200, 150]
    texts = [*d.train.x[0], *d.test.x[0]]
    assert len(set(texts)) == 1400
    assert all(t.startswith("gloss ") and '"' not in t for t in texts)
    assert str(tmp_path) in d.notes[0]


@pytest.mark.parametrize("zipped", [False, True])
def test_nltks_corpus_is_found(tmp_path, monkeypatch, zipped):
    corpora = tmp_path / "nltk_data" / "corpora"
    corpora.mkdir(parents=True)
    content = data_noun({"act": 500, "food": 500})
    if zipped:
        with zipfile.ZipFile(corpora / "wordnet.zip", "w") as archive:
            archive.writestr("wordnet/data.noun", content)
    else:
        (corpora / "wordnet").mkdir()
        (corpora / "wordnet" / "data.noun").write_text(content)
    monkeypatch.setattr(wordnet, "DEBIAN", tmp_path / "nowhere")
    monkeypatch.setenv("NLTK_DATA", str(tmp_path / "nltk_data"))
    assert len(wordnet.load().train) == 750


def test_without_wordnet_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setattr(wordnet, "places", list)
    with pytest.raises(UserError, match=r"Install Debian's package wordnet-base, or NLTK's corpus.*WNSEARCHDIR.*langid"):
        wordnet.load()


def test_a_file_that_is_no_whole_wordnet_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"1 lexicographer files have 500 glosses or more"):
        wordnet.from_lines(data_noun({"act": 500, "food": 499}).splitlines(), tmp_path)
    (tmp_path / "wordnet.zip").write_bytes(b"PK no zip")
    with pytest.raises(UserError, match="cannot be read as NLTK's corpus"):
        wordnet._zipped(tmp_path / "wordnet.zip")


# Files in place, and the hub


@pytest.mark.parametrize(
    ("name", "rows", "classes"),
    [("banking77", (10003, 3080), 77), ("clinc150", (15000, 4500), 150), ("wordnet_supersense", (12435, 4145), 21)],
)
def test_files_in_place_are_read(bench_data, name, rows, classes):
    if not (bench_data / "text" / name).is_dir():
        pytest.skip(f"{bench_data / 'text' / name} is absent")
    shutil.copytree(bench_data / "text" / name, downloads() / "text" / name)
    d = load(name)
    assert ((len(d.train), len(d.test)), len(d.classes)) == (rows, classes)
    with (bench_data / "text" / name / "test.csv").open(encoding="utf-8") as file:
        first = list(csv.reader(file))[1]
    assert [d.test.x[0][0], d.classes[d.test.y[0]]] == first[:2]


def repository(folder: Path) -> dict[str, Path]:
    """The files of a repository of the hub with two Parquet files, as `push_to_hub` lays them out."""
    kinds = datasets.ClassLabel(names=["World", "Sports"])
    (folder / "data").mkdir(parents=True)
    for part, rows in (("train", 20), ("test", 6)):
        table = {"text": [f"{part} text {i}" for i in range(rows)], "label": [i % 2 for i in range(rows)]}
        features = datasets.Features({"text": datasets.Value("string"), "label": kinds})
        made = datasets.Dataset.from_dict(table, features=features)
        made.to_parquet(str(folder / "data" / f"{part}-00000-of-00001.parquet"))
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/train-*\n"
        "  - split: test\n    path: data/test-*\n---\n"
    )
    return {str(p.relative_to(folder)): p for p in folder.rglob("*") if p.is_file()}


def test_a_copy_of_a_repository_of_the_hub_is_read(home, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    repository(home / "data" / "text" / "ag_news")
    d = load("ag_news")
    assert (len(d.train), len(d.test), d.classes) == (20, 6, ("Sports", "World"))
    assert d.train.x[0][0] == "train text 0"
    assert d.classes[d.train.y[0]] == "World"


class Hub(BaseHTTPRequestHandler):
    """The part of the hub's API that `datasets` uses, for one repository."""

    def do_GET(self) -> None:
        files, sha = self.server.files, "a" * 40
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append(path)
        if path.startswith("/api/datasets/fancyzhx/ag_news"):
            rest = path.removeprefix("/api/datasets/fancyzhx/ag_news")
            folder = rest.partition("/tree/")[2].partition("/")[2]
            inside = [n for n in files if n.startswith(f"{folder}/" if folder else "")]
            listing = [
                {"type": "file", "path": n, "size": files[n].stat().st_size, "oid": "b" * 40}
                for n in inside
                if str(Path(n).parent) == (folder or ".")
            ]
            deeper = {str(Path(n).parent) for n in inside} - {folder, "."}
            listing += [{"type": "directory", "path": n, "oid": "c" * 40} for n in sorted(deeper)]
            siblings = [{"rfilename": n} for n in files]
            about = {"id": "fancyzhx/ag_news", "sha": sha, "siblings": siblings, "tags": [], "private": False, "downloads": 0}
            return self.answer(listing if "/tree/" in rest else about)
        for name, file in files.items():
            if path.startswith("/datasets/fancyzhx/ag_news/resolve/") and path.endswith(f"/{name}"):
                return self.answer(file.read_bytes(), {"X-Repo-Commit": sha, "ETag": f'"{name.encode().hex()}"'})
        return self.answer({"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"}, 404)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.do_GET()

    def answer(self, content, headers=(), status=200) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), "Content-Type": "application/json", **dict(headers)}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def server(tmp_path):
    made = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    made.files, made.asked = repository(tmp_path / "repository"), []
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def elsewhere(code: str, **surroundings: str) -> subprocess.CompletedProcess:
    """Python in a fresh process: the hub's address is read when its library is imported."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    words = [sys.executable, "-c", code]
    root = Path(hub.__file__).parents[2]
    return subprocess.run(words, cwd=root, env={**kept, **surroundings}, capture_output=True, text=True)


LOAD = """
from modalities.text import hub
try:
    d = hub.load("ag_news")
    print(len(d.train), len(d.test), d.classes, d.train.x[0][0])
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.full
def test_a_data_set_is_downloaded_over_http_and_then_works_without(server, tmp_path):
    address = f"http://127.0.0.1:{server.server_port}"
    surroundings = {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "hf"), "BENCH_HOME": str(tmp_path / "home")}
    done = elsewhere(LOAD, **surroundings)
    assert done.stdout == "20 6 ('Sports', 'World') train text 0\n", done.stdout + done.stderr + "\n".join(server.asked)
    server.files = {}
    again = elsewhere(LOAD, **surroundings, HF_HUB_OFFLINE="1")
    assert again.stdout == done.stdout, again.stderr


@pytest.mark.full
def test_without_a_network_the_message_says_what_to_download_and_where_to_put_it(tmp_path):
    surroundings = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf"), "BENCH_HOME": str(tmp_path / "home")}
    said = elsewhere(LOAD, **surroundings).stdout
    assert said.startswith("UserError ag_news could not be loaded from fancyzhx/ag_news")
    assert "hf download --repo-type dataset fancyzhx/ag_news" in said
    assert f"to {tmp_path}/home/data/text/ag_news; or use the embedded data set langid" in said


def test_every_set_of_the_hub_is_in_the_card():
    assert set(LOADERS) == set(CARD["datasets"])
    assert set(hub.SOURCES) < set(LOADERS)


def test_a_class_can_be_left_out_and_columns_are_found_by_name(home):
    folder = home / "data" / "text" / "clinc150"
    folder.mkdir(parents=True)
    table = pd.DataFrame({"utterance": [f"u {i}" for i in range(9)], "intent": ["a", "b", "oos"] * 3})
    for part in ("train", "test"):
        table.to_csv(folder / f"{part}.csv", index=False)
    d = load("clinc150")
    assert (len(d.train), d.classes) == (6, ("a", "b"))
    table.rename(columns={"intent": "z"}).to_csv(folder / "train.csv", index=False)
    with pytest.raises(UserError, match=r"train.csv has no column of classes.*but there are utterance, z"):
        load("clinc150")


def test_names_that_do_not_exist_are_refused():
    with pytest.raises(UserError, match=r"unknown data set 'langd'.*Did you mean 'langid'\?"):
        load("langd")
    with pytest.raises(UserError, match=r"names no data set of the hub. Write hf:OWNER/NAME"):
        load("hf:")


# Your own texts


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.tsv", "t.jsonl", "t.jsonl.gz", "t.parquet"])
def test_a_file_is_read_by_its_ending(tmp_path, name):
    texts = [f'{w}; "quoted", NA, ünï {i}' for i, w in enumerate(np.resize(["null", "a", "1"], 40))]
    d = own(tmp_path, frame(text=texts), name=name)
    assert (d.name, len(d.train), len(d.test), d.classes) == ("t", 32, 8, ("no", "yes"))
    assert sorted([*d.train.x[0], *d.test.x[0]]) == sorted(texts)
    assert "8 of 40 rows are held out, drawn by seed 0" in d.notes[0]
    assert own(tmp_path, frame(text=texts), name=name, seed=1).fingerprint != d.fingerprint


def test_texts_that_read_as_missing_values_or_numbers_stay_texts(tmp_path):
    texts = np.resize(["NA", "null", "007", "1e5", " x"], 40)
    assert set(own(tmp_path, frame(text=texts)).train.x[0]) == set(texts)


def test_a_test_file_keeps_its_rows_and_new_classes_come_last(tmp_path):
    d = own(tmp_path, frame(), frame(10, kind=["aa", *["no", "yes", "no"] * 3]))
    assert (len(d.train), len(d.test), d.classes) == (40, 10, ("no", "yes", "aa"))
    assert "No training row has the class 'aa'" in " ".join(d.notes)
    assert "10 of 10 test texts are also among the training texts" in " ".join(d.notes)


def test_the_column_of_texts_needs_no_name_where_there_is_no_doubt(tmp_path):
    assert len(own(tmp_path, frame(), text_column=None).train) == 32
    assert len(own(tmp_path, frame()[["text", "kind"]].rename(columns={"text": "u"}), text_column=None).train) == 32


def test_classes_of_numbers_are_sorted_as_numbers(tmp_path):
    for name in ("t.csv", "t.jsonl", "t.parquet"):
        assert own(tmp_path, frame(kind=np.resize([10, 9, 8], 40)), name=name).classes == ("8", "9", "10")


def test_a_text_of_a_million_characters_is_cut_and_that_is_said(tmp_path):
    d = own(tmp_path, frame(text=["a" * 1_000_000, *["b c"] * 39]), name="t.parquet")
    assert max(map(len, [*d.train.x[0], *d.test.x[0]])) == LONGEST
    assert "1 text is longer than 100000 characters and cut there." in d.notes


BAD = {
    "empty texts": (frame(text=["", " \t", *["x"] * 38]), {}, r"empty text"),
    "no class": (frame(kind=["", *["no", "yes", "no"] * 13]), {"name": "t.csv"}, r"1 (training|test) row has .* no class"),
    "missing class": (frame(kind=[None, *["no", "yes", "no"] * 13]), {"name": "t.parquet"}, r"row has .* no class"),
    "missing text": (frame(text=[None, *["x"] * 39]), {"name": "t.jsonl"}, r"1 (training|test) row has .* an empty text"),
    "numbers": (frame(), {"name": "t.parquet", "text_column": "id"}, r"no text but int values.*--text-column"),
    "one class": (frame(kind="no"), {}, r"1 class among the training rows; at least 2 are needed"),
    "identifier": (
        frame(kind=[f"c{i * 2 // 3}" for i in range(40)]),
        {"name": "t.csv", "test": frame()},
        r"27 different values in 40 rows. That looks like an identifier",
    ),
    "too few": (frame(4), {}, r"of 4 rows, a fifth of each class leaves 0 to test on.*--test"),
    "unknown text column": (frame(), {"text_column": "txt"}, r"unknown column 'txt'.* id, kind, text. Did you mean 'text'\?"),
    "unknown target": (frame(), {"target": "kin"}, r"unknown column 'kin'.*Did you mean 'kind'\?"),
    "no target": (frame(), {"target": None}, r"which column holds the class\? Name it with --target; .* text, kind, id"),
    "no text": (frame().rename(columns={"text": "a"}), {"text_column": None}, r"holds the texts\? Name it with --text-column"),
}


@pytest.mark.parametrize("case", BAD)
def test_texts_that_cannot_be_used_say_why(tmp_path, case):
    table, more, message = BAD[case]
    with pytest.raises(UserError, match=message):
        own(tmp_path, table, **more)


def test_a_test_file_without_the_columns_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"unknown column 'text'.*Both files need the same columns"):
        own(tmp_path, frame(), frame(10).rename(columns={"text": "body"}))


def test_a_file_that_cannot_be_read_says_why(tmp_path):
    files = {
        "latin.csv": ("text,kind\ncafé,no\n".encode("latin-1"), r"byte 13 is not UTF-8.*iconv"),
        "latin.jsonl": ('{"text": "café", "kind": "a"}\n'.encode("latin-1"), r"is not UTF-8.*iconv"),
        "empty.csv": (b"", "cannot be read as a table"),
        "header.csv": (b"text,kind\n", "the table has 0 rows and 2 columns"),
        "not.parquet": (b"plain", "cannot be read as a table"),
        "not.csv.gz": (b"plain", "cannot be read as a table"),
        "broken.jsonl": (b'{"text": \n', "cannot be read as a table"),
        "notes.docx": (b"PK", "do not know this kind of file"),
    }
    for name, (content, message) in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=message) as caught:
            ADAPTER.load(RunSpec(modality="text", data=str(tmp_path / name), target="kind"))
        assert name in str(caught.value)
    with pytest.raises(UserError, match="there is no such file"):
        ADAPTER.load(RunSpec(modality="text", data=str(tmp_path / "gone.csv"), target="kind"))


# -- rows without classes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl", "rows.parquet"])
def test_texts_of_a_file_are_the_rows_they_were_saved_from(tmp_path, name):
    data = load("langid")
    texts = data.test.x[0][:20]
    path = write(tmp_path, name, pd.DataFrame({"words": texts, "number": range(20)}))
    found = ADAPTER.read(path, data, RunSpec(modality="text", text_column="words"))
    assert (found.x[0].tolist(), found.x[0].dtype, found.names) == (texts.tolist(), object, None)


def test_the_column_of_texts_is_the_one_of_training_or_the_only_one_or_text(tmp_path):
    spec = RunSpec(modality="text", text_column="words")
    for columns in ({"words": ["a", "b"], "text": ["c", "d"]}, {"other": ["a", "b"]}, {"x": ["c", "d"], "text": ["a", "b"]}):
        path = write(tmp_path, "rows.csv", pd.DataFrame(columns))
        assert ADAPTER.read(path, load("toy"), spec).x[0].tolist() == ["a", "b"]
    path = write(tmp_path, "rows.csv", pd.DataFrame({"x": ["a", "b"], "y": ["c", "d"]}))
    with pytest.raises(UserError, match="which of the columns x, y holds the texts"):
        ADAPTER.read(path, load("toy"), spec)
    path = write(tmp_path, "rows.csv", pd.DataFrame({"text": ["a", " "]}))
    with pytest.raises(UserError, match=r"1 given row has \(row 2, counted from 1\) an empty text"):
        ADAPTER.read(path, load("toy"), spec)
