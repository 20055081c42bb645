"""Recordings: files in the layouts they come in, the user's own folders, and what is said of audio that cannot be used."""

import functools
import http.server
import shutil
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest

soundfile = pytest.importorskip("soundfile")
torchaudio = pytest.importorskip("torchaudio")

from bench import catalog  # noqa: E402 - after the extra's libraries are known to be there
from bench.adapter import Dataset  # noqa: E402
from bench.errors import UserError  # noqa: E402
from bench.spec import RunSpec  # noqa: E402
from modalities.speech import audio, corpora, files  # noqa: E402

ADAPTER = catalog.find("modalities", "speech")
RATE = 16_000


def tone(seconds: float = 1.0, rate: int = RATE, pitch: float = 440.0, channels: int = 1) -> np.ndarray:
    t = np.arange(round(seconds * rate)) / rate
    return np.repeat((0.3 * np.sin(2 * np.pi * pitch * t))[:, None], channels, axis=1)


def write(path: Path, samples: np.ndarray | None = None, rate: int = RATE, **more) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone() if samples is None else samples, rate, **more)
    return path


def tree(root: Path, names: list[str]) -> Path:
    for i, name in enumerate(names):
        write(root / name, tone(pitch=300 + 10 * i))
    return root


def load(data: Path, **more) -> Dataset:
    return ADAPTER.load(RunSpec(modality="speech", data=str(data), **more))


def two_classes(root: Path, each: int = 10) -> Path:
    return tree(root, [f"{c}/{i}.wav" for c in ("no", "yes") for i in range(each)])


# Reading


@pytest.mark.parametrize(
    ("name", "subtype"), [("a.wav", "PCM_16"), ("a.wav", "PCM_24"), ("a.wav", "FLOAT"), ("a.flac", "PCM_16")]
)
def test_every_kind_of_file_gives_the_same_clip(tmp_path, name, subtype):
    clips, said = audio.read_all([write(tmp_path / name, subtype=subtype)])
    assert (clips.shape, clips.dtype) == ((1, RATE), np.int16)
    np.testing.assert_allclose(clips[0], tone()[:, 0] * 32768, atol=1)
    assert said == []


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100])
def test_another_rate_is_resampled_by_torchaudio_and_said_once(tmp_path, rate):
    clips, said = audio.read_all([write(tmp_path / f"{i}.wav", tone(rate=rate), rate, subtype="FLOAT") for i in range(3)])
    assert said == [f"3 of 3 clips were resampled to 16000 Hz (3 from {rate} Hz)."]
    inner = slice(800, -800)  # the ends ring
    np.testing.assert_allclose(clips[0][inner], tone()[inner, 0] * 32768, atol=330)  # 1 % of full scale


def test_channels_are_mixed_down_and_said_once(tmp_path):
    stereo = tone(channels=2) * [1.0, 0.5]
    clips, said = audio.read_all([write(tmp_path / "a.wav", stereo), write(tmp_path / "b.wav")])
    np.testing.assert_allclose(clips[0], tone()[:, 0] * 0.75 * 32768, atol=2)
    assert said == ["1 of 2 clips had several channels, of which the mean is used."]


def test_a_short_clip_stands_in_the_middle_and_of_a_long_one_the_loudest_second():
    short = audio.one_second(np.ones(1001))
    assert len(short) == RATE
    assert abs(int(np.flatnonzero(short).mean()) - RATE // 2) <= 1
    long = np.concatenate([np.full(20_000, 0.1), np.full(RATE, 0.9), np.full(9_000, 0.1)])
    assert np.array_equal(audio.one_second(long), np.full(RATE, 0.9))
    assert np.array_equal(audio.one_second(long[:RATE]), long[:RATE])


def test_silent_long_and_one_sample_clips_are_used_and_said(tmp_path):
    made = [np.zeros((RATE, 1)), tone(2.5), np.full((1, 1), 0.5), tone()]
    clips, said = audio.read_all([write(tmp_path / f"{i}.wav", m) for i, m in enumerate(made)])
    assert not clips[0].any()
    assert np.count_nonzero(clips[2]) == 1
    assert " ".join(said) == (
        "1 of 4 clips were longer than one second; the loudest second of each is used. 1 of 4 clips are silent. "
        "1 of 4 clips last less than 20 ms."
    )


def test_every_file_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "text.wav").write_text("no audio", encoding="utf-8")
    whole = write(tmp_path / "whole.flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(whole[:20])
    write(tmp_path / "empty.wav", np.zeros((0, 1)))
    write(tmp_path / "nan.wav", np.full((100, 1), np.nan), subtype="FLOAT")
    with pytest.raises(UserError) as caught:
        audio.read_all(sorted(p for p in tmp_path.iterdir()))
    said = str(caught.value)
    assert "4 of 5 audio files cannot be used. Remove them, or save them again as WAV or FLAC." in said
    assert "empty.wav: holds no samples" in said
    assert "nan.wav: holds samples that are not numbers" in said
    assert all(name in said for name in ("text.wav", "cut.flac"))
    assert "whole" not in said


def test_many_files_that_cannot_be_used_are_counted(tmp_path):
    for i in range(9):
        (tmp_path / f"{i}.wav").write_bytes(b"RIFF")
    with pytest.raises(UserError, match=r"and 4 more\n9 of 9 audio files"):
        audio.read_all(sorted(tmp_path.iterdir()))


def test_without_soundfile_the_message_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "soundfile", None)
    with pytest.raises(UserError, match=r"needs the library soundfile.*\[speech\].*espeak_words"):
        audio.read_all([Path("a.wav")])


# The user's own folders


def test_a_folder_per_class_gives_a_fifth_of_each_class_to_test(tmp_path):
    d = load(two_classes(tmp_path / "own"))
    assert (d.name, len(d.train), len(d.test), d.classes) == ("own", 16, 4, ("no", "yes"))
    assert np.bincount(d.test.y).tolist() == [2, 2]
    assert d.train.groups is None
    assert "4 of 20 clips are held out (a fifth of each class), drawn by seed 0" in d.notes[0]
    assert load(tmp_path / "own", seed=1).fingerprint != d.fingerprint
    assert load(tmp_path / "own").fingerprint == d.fingerprint


def test_whole_speakers_are_held_out_where_file_names_tell_them(tmp_path):
    names = [f"{c}/s{s}_nohash_{i}.wav" for c in ("no", "yes") for s in range(10) for i in range(2)]
    d = load(tree(tmp_path / "own", names))
    assert set(d.train.groups) | set(d.test.groups) == {f"s{i}" for i in range(10)}
    assert not set(d.train.groups) & set(d.test.groups)
    assert len(d.test) == 8
    assert "whole speakers" in d.notes[0]


def test_train_and_test_folders_are_used_as_they_stand(tmp_path):
    two_classes(tmp_path / "own" / "train")
    tree(tmp_path / "own" / "test", ["no/a.wav", "yes/b.wav", "maybe/c.wav"])
    inside = load(tmp_path / "own")
    apart = load(tmp_path / "own" / "train", test=str(tmp_path / "own" / "test"))
    for d in (inside, apart):
        assert (len(d.train), len(d.test), d.classes) == (20, 3, ("no", "yes", "maybe"))
        assert "No training clip has the class maybe: test clips of it count as wrong." in d.notes
    assert inside.fingerprint == apart.fingerprint


def test_a_speaker_on_both_sides_of_a_given_split_is_told(tmp_path):
    names = [f"{c}/s{s}_nohash_0.wav" for c in ("no", "yes") for s in range(3)]
    d = load(tree(tmp_path / "a", names), test=str(tree(tmp_path / "b", names[1:5])))
    assert "3 speakers are in training and test: the score does not tell how new speakers fare." in d.notes


def test_the_official_list_of_a_speech_commands_folder_is_kept(tmp_path):
    names = [f"{c}/s{s}_nohash_0.wav" for c in ("no", "yes") for s in range(5)]
    tree(tmp_path, [*names, "_background_noise_/hum.wav"])
    (tmp_path / "testing_list.txt").write_text("no/s1_nohash_0.wav\nyes/s1_nohash_0.wav\n", encoding="utf-8")
    d = load(tmp_path)
    assert (len(d.train), len(d.test), d.classes) == (8, 2, ("no", "yes"))
    assert set(d.test.groups) == {"s1"}
    assert d.notes == ("No class: _background_noise_.", "Test rows are those of testing_list.txt.")


def test_other_files_are_ignored_and_told(tmp_path):
    two_classes(tmp_path)
    (tmp_path / "no" / "LICENSE").write_text("x", encoding="utf-8")
    assert "1 files beside the audio files are ignored." in load(tmp_path).notes


def test_a_folder_that_cannot_be_used_says_why(tmp_path):
    two_classes(tmp_path / "empty class")
    (tmp_path / "empty class" / "maybe").mkdir()
    (tmp_path / "flat").mkdir()
    (tmp_path / "file").write_text("x", encoding="utf-8")
    tree(tmp_path / "few", ["no/a.wav", "yes/b.wav"])
    cases = {
        "empty class": r"maybe: holds no audio file \(.wav, .*Fill it or remove it",
        "flat": r"has 0 folders; one folder of audio files for each class is wanted, at least 2 \(flat/CLASS/FILE.wav\)",
        "file": r"is a file; a folder",
        "absent": r"does not exist; a folder",
        "few": r"of 2 clips, 0 would test and 2 train; at least 2 of each are needed.*--test",
    }
    for name, message in cases.items():
        with pytest.raises(UserError, match=message):
            load(tmp_path / name)
    with pytest.raises(UserError, match=r"--target names a column of a table"):
        load(tmp_path / "few", target="y")


def test_held_out_speakers_reach_a_fifth_and_never_all():
    speakers = np.repeat(np.arange(7), 10).astype(str)
    y = np.arange(70) % 2
    for seed in range(5):
        test = files.held_out(y, speakers, seed)
        assert test.sum() == 20  # two speakers: 10 of 70 is less than a fifth
        assert not set(speakers[test]) & set(speakers[~test])
    both = np.array(["a"] * 2 + ["b"] * 68)
    assert 0 < files.held_out(y, both, 0).sum() < 70


# By name


def test_fsdd_is_split_by_speaker(home, bench_data):
    shutil.copytree(bench_data / "speech" / "fsdd" / "recordings", home / "data" / "fsdd" / "recordings", copy_function=_link)
    d = ADAPTER.load(RunSpec(modality="speech", dataset="fsdd"))
    card = catalog.card("modalities", "speech")["datasets"]["fsdd"]
    assert f"{len(d.train)} + {len(d.test)}" == card["rows"]
    assert set(d.test.groups) == {"theo", "yweweler"}
    assert card["test_groups"] == {"speakers": 2}
    assert len(set(d.train.groups)) == 4
    assert np.bincount(d.test.y).tolist() == [100] * 10
    assert d.fingerprint.startswith(card["fingerprint"])
    assert "3000 of 3000 clips were resampled to 16000 Hz (3000 from 8000 Hz)." in d.notes


def _link(source: str, target: str) -> None:
    Path(target).symlink_to(source)


@pytest.mark.parametrize("below", ["", "recordings"])
def test_a_folder_of_fsdd_is_known_by_its_files(tmp_path, below):
    tree(tmp_path / below, [f"{d}_{s}_{i}.wav" for d in (0, 7) for s in ("theo", "jackson") for i in range(2)])
    d = load(tmp_path)
    assert (len(d.train), len(d.test), len(d.classes)) == (4, 4, 10)
    assert set(d.train.y) == {0, 7}


def test_fsdd_without_its_folder_or_its_speakers_says_what_to_do(home, tmp_path):
    with pytest.raises(UserError, match=rf"fsdd is not at {home}/data/fsdd.*free-spoken-digit-dataset.*espeak_words"):
        ADAPTER.load(RunSpec(modality="speech", dataset="fsdd"))
    tree(tmp_path, ["0_ann_0.wav", "1_ann_0.wav"])
    with pytest.raises(UserError, match=r"the speakers are ann, but theo and yweweler test"):
        load(tmp_path)


def archive(root: Path, words: dict[str, int]) -> Path:
    """Speech Commands' archive with `words` (clips of each): speaker s0 tests, s1 validates."""
    place = root / "speech_commands"
    names = [f"{w}/s{i}_nohash_0.wav" for w, n in words.items() for i in range(n)]
    tree(place, [*names, "_background_noise_/hum.wav"])
    for speaker, name in (("s0", "testing"), ("s1", "validation")):
        listed = [n for n in names if f"/{speaker}_" in n]
        (place / f"{name}_list.txt").write_text("\n".join(listed) + "\n", encoding="utf-8")
    return place


def test_speech_commands_follows_the_official_lists(home, bench_data):
    source = bench_data / "speech" / "SpeechCommands" / "speech_commands_v0.01"
    place = home / "data" / "SpeechCommands" / "speech_commands_v0.02"
    shutil.copytree(source, place, copy_function=_link)
    d = ADAPTER.load(RunSpec(modality="speech", dataset="speech_commands"))
    assert (len(d.train), len(d.test), d.classes) == (540, 240, ("bed", "cat", "happy"))
    assert not set(d.train.groups) & set(d.test.groups)
    tested = (source / "testing_list.txt").read_text(encoding="utf-8").split()
    assert set(d.test.groups) == {Path(t).name.partition("_nohash_")[0] for t in tested}


def test_the_twelve_classes_are_ten_commands_unknown_and_silence(home):
    words = {"yes": 4, "no": 4, "cat": 4, "bed": 4}
    archive(home / "raw", words).rename(_place(home, "v0.01"))
    d = ADAPTER.load(RunSpec(modality="speech", dataset="speech_commands12"))
    assert d.classes == (*corpora.COMMANDS, "unknown", "silence")
    assert len(d.test) == 4
    counts = np.bincount(d.train.y, minlength=12)
    assert (counts[0], counts[1], counts[10], counts[11]) == (2, 2, 4, 1)  # a tenth of 8, rounded
    assert not d.train.x[0][d.train.y == 11].any()
    assert 11 not in d.test.y
    assert set(d.test.groups) == {"s0"}
    assert "s1" not in d.train.groups


def _place(home: Path, version: str) -> Path:
    place = home / "data" / "SpeechCommands" / f"speech_commands_{version}"
    place.parent.mkdir(parents=True)
    return place


def test_speech_commands_is_downloaded_and_unpacked_by_torchaudio(home, tmp_path, monkeypatch):
    """From a server on this machine, in the archive's own form."""
    place, served = archive(tmp_path / "raw", {"yes": 4, "no": 4}), tmp_path / "served"
    served.mkdir()
    with tarfile.open(served / "speech_commands_v0.02.tar.gz", "w:gz") as tar:
        for path in sorted(place.iterdir()):
            tar.add(path, arcname=f"./{path.name}")
    handler = functools.partial(_Quiet, directory=str(served))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(corpora, "BASE", f"http://127.0.0.1:{server.server_port}/")
        d = ADAPTER.load(RunSpec(modality="speech", dataset="speech_commands"))
        server.shutdown()
    assert (len(d.train), len(d.test), d.classes) == (4, 2, ("no", "yes"))
    assert (home / "data" / "speech_commands_v0.02.tar.gz").is_file()
    assert ADAPTER.load(RunSpec(modality="speech", dataset="speech_commands")).fingerprint == d.fingerprint  # server is gone


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_) -> None:
        """Say nothing."""


def test_speech_commands_without_a_network_says_what_to_put_where(home, monkeypatch):
    monkeypatch.setattr(corpora, "BASE", "http://127.0.0.1:9/")  # nobody listens there
    expected = (
        rf"speech_commands_v0.02.tar.gz and put it at {home}/data/speech_commands_v0.02.tar.gz, or unpacked.*espeak_words"
    )
    with pytest.raises(UserError, match=expected):
        ADAPTER.load(RunSpec(modality="speech", dataset="speech_commands"))


def test_every_data_set_of_the_card_has_a_loader_and_a_wrong_name_its_nearest():
    from modalities.speech import LOADERS

    assert set(catalog.card("modalities", "speech")["datasets"]) == set(LOADERS)
    with pytest.raises(UserError, match=r"unknown data set 'fsd'.*Did you mean 'fsdd'\?"):
        ADAPTER.load(RunSpec(modality="speech", dataset="fsd"))


def test_recordings_of_a_folder_are_the_rows_they_were_saved_from_with_their_names(tmp_path):
    data = ADAPTER.load(RunSpec(modality="speech", dataset="toy"))
    for i in (1, 0):
        (tmp_path / "in" / "deeper").mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / "in" / "deeper" / f"{i}.wav", data.test.x[0][i], RATE, subtype="PCM_16")
    (tmp_path / "in" / "notes.txt").write_text("no recording")
    found = ADAPTER.read(str(tmp_path / "in"), data, RunSpec(modality="speech"))
    np.testing.assert_array_equal(found.x[0], data.test.x[0][:2])
    assert (found.names, found.notes) == (["deeper/0.wav", "deeper/1.wav"], ())
    assert ADAPTER.read(str(tmp_path / "in" / "deeper" / "1.wav"), data, RunSpec(modality="speech")).names == ["1.wav"]


def test_a_place_without_recordings_is_refused(tmp_path):
    data = ADAPTER.load(RunSpec(modality="speech", dataset="toy"))
    for place, said in ((tmp_path / "nowhere", "does not exist"), (tmp_path, "holds no audio file")):
        with pytest.raises(UserError, match=said):
            ADAPTER.read(str(place), data, RunSpec(modality="speech"))
