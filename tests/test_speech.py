"""Speech: what log-mels are and are fitted on, what a view may change, what the encoder keeps, what eSpeak NG renders."""

import math

import numpy as np
import pytest
import torch

torchaudio = pytest.importorskip("torchaudio")
pytest.importorskip("soundfile")
pytest.importorskip("espeakng_loader")

from bench import catalog  # noqa: E402 - after the extra's libraries are known to be there
from bench.adapter import Dataset, Split, select, take  # noqa: E402
from bench.errors import UserError  # noqa: E402
from bench.recipes import resolve  # noqa: E402
from bench.spec import RunSpec  # noqa: E402
from modalities.speech import embedded, espeak, mels, mfcc, views, waves  # noqa: E402

ADAPTER = catalog.find("modalities", "speech")
SPEC = resolve(RunSpec(modality="speech", dataset="toy", budget="smoke"))
VIEWS = ("domain", "agnostic", "none", "waveform")


@pytest.fixture(scope="module")
def toy() -> Dataset:
    return ADAPTER.load(SPEC)


@pytest.fixture(scope="module")
def fitted(toy):
    return ADAPTER.fit(toy.train.x, toy, SPEC)


@pytest.fixture(scope="module")
def batch(toy, fitted):
    return fitted(take(toy.train.x, np.arange(12)))


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def spec(views: str) -> RunSpec:
    return resolve(RunSpec(modality="speech", dataset="toy", budget="smoke", views=views))


def noise(n: int, seed: int = 0) -> torch.Tensor:
    return (torch.randn(n, mels.RATE, generator=rng(seed)) * 3000).to(torch.int16)


# Log-mels


@pytest.mark.parametrize("features", ["mel32", "mel64"])
def test_log_mels_are_torchaudios(features, toy):
    """Differences come from float32 sums in another order: within 1e-5 of a feature, which is some decibels."""
    settings, clips = mels.MELS[features], torch.cat((noise(11), torch.from_numpy(toy.train.x[0][:50])))
    power = torchaudio.transforms.MelSpectrogram(
        mels.RATE, settings.window, hop_length=settings.hop, n_mels=settings.mels, norm="slaney", mel_scale="slaney"
    )(mels.waves(clips))
    expected = torch.stack([torchaudio.functional.amplitude_to_DB(p, 10.0, 1e-10, 0.0, mels.DEEPEST) for p in power])
    expected -= expected.amax(dim=(1, 2), keepdim=True)
    transform = mels.fit((clips.numpy(),), features, waveforms=False)
    (found,) = transform((clips.numpy(),))
    assert found.shape == (61, settings.mels, settings.frames)
    torch.testing.assert_close(found, transform.standardise(expected), atol=1e-5, rtol=0)


def test_the_papers_log_mel_is_a_square():
    assert (mels.MELS["mel32"].mels, mels.MELS["mel32"].frames) == (32, 32)


def test_every_mel_band_hears_something():
    for settings in mels.MELS.values():
        assert mels.filters(settings, torch.device("cpu")).amax(dim=0).min() > 0


def test_a_louder_clip_has_the_same_log_mel():
    clips = noise(2)
    torch.testing.assert_close(mels.log_mel(clips, mels.MELS["mel32"]), mels.log_mel(clips * 2, mels.MELS["mel32"]))


def test_log_mels_do_not_depend_on_the_size_of_chunks(monkeypatch):
    clips = noise(10)
    whole = mels.log_mel(clips, mels.MELS["mel32"])
    monkeypatch.setattr(mels, "_CHUNK", 3)
    torch.testing.assert_close(mels.log_mel(clips, mels.MELS["mel32"]), whole, atol=1e-4, rtol=0)


def test_training_bands_have_mean_zero_and_spread_one(toy, fitted):
    (x,) = fitted(toy.train.x)
    assert x.dtype == torch.float32
    assert x.mean(dim=(0, 2)).abs().max() < 1e-4
    torch.testing.assert_close(x.std(dim=(0, 2), correction=0), torch.ones(32), atol=1e-3, rtol=0)


def test_test_rows_cannot_change_a_statistic(toy, fitted):
    loud = Dataset("toy", toy.train, Split((toy.test.x[0] // 3 + 7,), toy.test.y), toy.classes)
    other = ADAPTER.fit(loud.train.x, loud, SPEC)
    assert torch.equal(other.mean, fitted.mean)
    assert torch.equal(other.std, fitted.std)
    fewer = ADAPTER.fit(take(toy.train.x, np.arange(50)), toy, SPEC)
    assert not torch.equal(fewer.mean, fitted.mean)


def test_silence_and_a_single_sample_give_finite_log_mels(fitted):
    clips = np.zeros((2, mels.RATE), np.int16)
    clips[1, 8000] = 1
    assert fitted((clips,))[0].isfinite().all()
    assert np.isfinite(mfcc.statistics((clips,))).all()
    constant = mels.fit((clips[:1].repeat(3, axis=0),), "mel32", waveforms=False)
    assert constant((clips,))[0].isfinite().all()


# Views


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("autocast", [False, True])
def test_a_view_keeps_shapes_and_dtypes_and_is_made_by_its_generator(toy, name, autocast):
    transform = ADAPTER.fit(toy.train.x, toy, spec(name))
    x = transform(take(toy.train.x, np.arange(12)))
    kept = tuple(t.clone() for t in x)
    view = ADAPTER.view(spec(name), transform)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        first, again, other = view(x, rng(1)), view(x, rng(1)), view(x, rng(2))
    for a, b, c, before, now in zip(first, again, other, kept, x, strict=True):
        assert (a.shape, a.dtype) == (before.shape, before.dtype)
        assert a.float().isfinite().all()
        assert torch.equal(a, b)
        assert torch.equal(a, c) == (name == "none")
        assert torch.equal(before, now)


def test_views_stay_near_the_range_of_log_mels(fitted, batch):
    """dB below the loudest cell, at most the gain and the noise's grain above it; masked cells are means, so inside."""
    db = fitted.restore(ADAPTER.view(SPEC, fitted)(batch, rng())[0])
    assert db.max() <= views.DOMAIN.gain + 10
    assert db.min() >= -mels.DEEPEST - views.DOMAIN.gain - 1e-3


@pytest.mark.parametrize("rate", [0.2, 0.5])
def test_cells_are_masked_independently_at_the_rate(rate):
    n, bands, frames = 4000, 4, 3
    (x,) = views.masking(rate)((torch.ones(n, bands, frames),), rng())
    hit = (x == 0).flatten(1).double()
    assert (hit.mean(dim=0) - rate).abs().max() < 4.5 * (rate * (1 - rate) / n) ** 0.5
    assert (torch.corrcoef(hit.T) - torch.eye(bands * frames)).abs().max() < 5 / n**0.5
    assert set(x.unique().tolist()) == {0.0, 1.0}


def test_moving_a_batch_is_moving_each_example_with_numpys_interpolation(batch):
    (x,) = batch
    n, bands, frames = x.shape
    luck = torch.rand(3, n, generator=rng())
    speed, shift, warp = luck[0] * 0.4 + 0.8, luck[1] * 10 - 5, luck[2] * 4 - 2
    found = views.moved(x, speed, shift, warp).numpy()
    middle = (frames - 1) / 2
    for i in range(n):
        at = (np.arange(frames) - middle - float(shift[i])) * float(speed[i]) + middle
        slow = np.stack([np.interp(at, np.arange(frames), row) for row in x[i].numpy()])
        up = np.arange(bands) - float(warp[i])
        expected = np.stack([np.interp(up, np.arange(bands), column) for column in slow.T], axis=1)
        np.testing.assert_allclose(found[i], expected, atol=1e-4)


def test_moving_by_nothing_changes_nothing_and_by_whole_cells_is_a_roll(batch):
    (x,) = batch
    one, none, two = torch.ones(len(x)), torch.zeros(len(x)), torch.full((len(x),), 2.0)
    assert torch.equal(views.moved(x, one, none, none), x)
    assert torch.equal(views.moved(x, one, two, none)[..., 2:], x[..., :-2])
    assert torch.equal(views.moved(x, one, none, two)[:, 2:], x[:, :-2])


@pytest.mark.parametrize("axis", [1, 2])
def test_masks_are_torchaudios(batch, axis):
    (x,) = batch
    most, size = 9, x.shape[axis]
    torch.manual_seed(3)
    expected = torchaudio.functional.mask_along_axis_iid(x[:, None], most, 0.0, axis + 1)[:, 0]
    torch.manual_seed(3)
    width = torch.rand(len(x), 1)[:, 0] * most
    start = torch.rand(len(x), 1)[:, 0] * (size - width)
    assert torch.equal(views.masked(x, axis, start, width), expected)
    assert not torch.equal(expected, x)


def test_added_noise_has_the_level_of_torchaudios_add_noise():
    """Two tones in different bands of the same clip: powers add, so each keeps its level against the other."""
    t = torch.arange(mels.RATE) / mels.RATE
    low, high = (torch.sin(2 * math.pi * f * t)[None] for f in (500.0, 3000.0))
    snr, settings = 12.0, mels.MELS["mel32"]
    mixed = torchaudio.functional.add_noise(low, high, torch.tensor([snr]))

    def db(wave: torch.Tensor) -> torch.Tensor:
        power = mels.spectrum(wave, settings).square().flatten(2) @ mels.filters(settings, wave.device)
        return power.clamp(min=1e-10).log10()[:, 3:-3] * 10  # at the ends a reflected tone is no tone

    found, expected = views.added(db(low), db(high) - snr), db(mixed)
    loud = found > found.amax() - 30  # elsewhere the windows' leakage of both tones interferes
    assert loud.sum() > 50
    torch.testing.assert_close(found[loud], expected[loud], atol=0.3, rtol=0)


def test_adding_noise_far_below_changes_nothing_and_equal_noise_adds_three_decibels():
    db = torch.tensor([-20.0, -40.0])
    torch.testing.assert_close(views.added(db, db - 100), db)
    torch.testing.assert_close(views.added(db, db), db + 10 * math.log10(2))


# The paper's recipe on waveforms


def test_a_clip_played_as_it_is_stays_and_faster_is_linear_interpolation():
    clips = noise(4)
    zero, one = torch.zeros(4), torch.ones(4)
    assert torch.equal(waves.faster(clips, zero, one), clips)
    change, gain = torch.tensor([-0.2, 0.15, 0.0, 0.2]), torch.tensor([0.7, 1.0, 1.1, 0.9])
    found = waves.faster(clips, change, gain)
    assert found.dtype == torch.int16
    for i in range(4):
        at = np.arange(mels.RATE) * (1 + float(change[i]))
        sound = np.interp(at, np.arange(mels.RATE), clips[i].numpy()) * (at <= mels.RATE - 1) * float(gain[i])
        np.testing.assert_allclose(found[i].numpy(), np.clip(sound, -32768, 32767), atol=1)


@pytest.mark.parametrize("rate", [0.8, 1.0, 1.2])
def test_stretching_gives_the_magnitudes_of_torchaudios_phase_vocoder(rate):
    settings = mels.MELS["mel32"]
    clear = torch.view_as_complex(mels.spectrum(mels.waves(noise(2)), settings))
    advance = torch.linspace(0, math.pi * settings.hop, settings.bins)[:, None]
    expected = torchaudio.functional.phase_vocoder(clear.transpose(1, 2), rate, advance).abs().transpose(1, 2)
    found = waves.moves(settings.frames, torch.full((2,), rate), torch.zeros(2)) @ clear.abs()
    frames = min(expected.shape[1], settings.frames)
    torch.testing.assert_close(found[:, :frames], expected[:, :frames], atol=1e-3, rtol=1e-4)
    assert not found[:, expected.shape[1] + 1 :].any()


def test_shifting_moves_whole_frames_and_silence_in():
    x = torch.rand(3, 10, 4, generator=rng())
    found = waves.moves(10, torch.ones(3), torch.tensor([0.0, 3.0, -2.0])) @ x
    assert torch.equal(found[0], x[0])
    assert torch.equal(found[1, 3:], x[1, :-3])
    assert not found[1, :3].any()
    assert torch.equal(found[2, :-2], x[2, 2:])
    assert not found[2, -2:].any()


def test_the_stem_does_what_its_controls_say(toy):
    """Against numpy in float64: the Fourier transform, its magnitudes stretched, then shifted, and noise added to it."""
    settings, clips = mels.MELS["mel32"], toy.train.x[0][:6].copy()
    clips[4, :9000] = 0  # frames of silence, into which sound is moved
    controls = torch.tensor(
        [[*mels.NOTHING], [1.15, 0, 0, 0], [1, 5, 0, 0], [1, 0, 0.4, 3], [1.1, 4, 0.3, 9], [0.85, -6, 0.2, 15]]
    )
    transform = mels.Sound(settings, torch.zeros(32, 1), torch.ones(32, 1), waveforms=True)
    found = waves.LogMel(transform)((torch.from_numpy(clips), controls))[:, 0]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(settings.window) / settings.window)
    bank = mels.filters(settings, torch.device("cpu"))[::2].double().numpy()

    def fourier(x: np.ndarray) -> np.ndarray:
        long = np.pad(x, settings.window // 2, mode="reflect")
        starts = range(0, settings.frames * settings.hop, settings.hop)
        return np.stack([np.fft.rfft(long[i : i + settings.window] * window) for i in starts])

    for clip, (rate, shift, share, which), mel in zip(clips / 32768, controls.tolist(), found, strict=True):
        clear = fourier(clip)
        magnitude = np.concatenate((np.abs(clear), np.zeros((2, settings.bins))))
        moved = np.zeros_like(clear)
        for t in range(settings.frames):
            at = np.float32(rate) * (t - shift)
            if 0 <= t - shift < settings.frames:
                k, part = min(int(at), settings.frames), at - int(at)
                moved[t] = magnitude[k] + part * (magnitude[k + 1] - magnitude[k])
        phase = np.where(np.abs(clear) == 0, 1, clear / np.maximum(np.abs(clear), 1e-30))
        noisy = moved * (1 - share) * phase + fourier(
            waves._noises()[int(which)].double().numpy() * np.sqrt(np.mean(clip**2)) * share
        )
        db = 10 * np.log10(np.maximum(np.abs(noisy) ** 2 @ bank, 1e-10)).T
        np.testing.assert_allclose(mel.numpy(), np.maximum(db - db.max(), -mels.DEEPEST), atol=2e-3)


def test_a_stem_without_controls_makes_the_same_log_mels_as_preprocessing(toy, fitted):
    x = take(toy.train.x, np.arange(10))
    transform = ADAPTER.fit(toy.train.x, toy, spec("waveform"))
    assert torch.equal(transform.mean, fitted.mean)
    stem = waves.LogMel(transform)
    torch.testing.assert_close(stem(transform(x))[:, 0], fitted(x)[0], atol=1e-3, rtol=0)


def test_a_whole_batch_through_the_stem_is_each_clip_alone(toy):
    transform = ADAPTER.fit(toy.train.x, toy, spec("waveform"))
    stem, x = (
        waves.LogMel(transform),
        ADAPTER.view(spec("waveform"), transform)(transform(take(toy.train.x, np.arange(11))), rng()),
    )
    alone = torch.cat([stem(select(x, torch.tensor([i]))) for i in range(11)])
    torch.testing.assert_close(stem(x), alone, atol=1e-3, rtol=0)


def test_half_of_the_clips_get_each_change_and_none_goes_beyond_its_range():
    n = 2000
    transform = mels.Sound(mels.MELS["mel32"], torch.zeros(32, 1), torch.ones(32, 1), waveforms=True)
    x = torch.ones(n, 1600, dtype=torch.int16) * 1000, torch.tensor(mels.NOTHING).repeat(n, 1)
    _, controls = waves.recipe(transform)(x, rng())
    plain = torch.tensor(mels.NOTHING)[:3]
    kept = (controls[:, :3] == plain).double().mean(dim=0)
    slack = 4.5 * (0.25 / n) ** 0.5
    assert (kept - torch.tensor([0.5, 0.5 + 0.5 / 16, 0.5])).abs().max() < slack + 0.5 / 16  # a drawn shift may round to 0
    assert (controls[:, 0] - 1).abs().max() <= waves.STRETCH
    assert controls[:, 1].abs().max() <= waves.SHIFT
    assert 0 <= controls[:, 2].min() <= controls[:, 2].max() <= waves.SHARE
    assert set(controls[:, 3].tolist()) == set(range(waves.NOISES))


def test_cutmix_needs_log_mels(fitted):
    with pytest.raises(UserError, match=r"cutmix cuts boxes out of log-mels.*Use --views domain"):
        ADAPTER.view(spec("waveform").replace(method="npair+cutmix"), fitted)


# Encoder and controls


@pytest.mark.parametrize(
    ("name", "features"),
    [("bands", "mel32"), ("bands", "mel64"), pytest.param("resnet18", "mel32", marks=pytest.mark.full)],
)
def test_an_encoder_says_its_dimension_and_every_weight_learns(toy, name, features):
    asked = SPEC.replace(encoder=name, features=features)
    transform = ADAPTER.fit(toy.train.x, toy, asked)
    x = transform(take(toy.train.x, np.arange(6)))
    torch.manual_seed(0)
    encoder = ADAPTER.encoder(asked, transform)
    h = encoder(x)
    assert h.shape == (6, encoder.dim)
    h.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in encoder.parameters())


def test_the_small_encoder_keeps_the_frequency_axis_and_averages_time(batch, fitted):
    torch.manual_seed(0)
    encoder = ADAPTER.encoder(SPEC, fitted).eval()
    planes = encoder.body.layers(encoder.stem(batch))
    assert planes.shape[2] == 4
    torch.testing.assert_close(encoder(batch), planes.mean(dim=3).flatten(1))


def test_mixing_after_the_stem_is_mixing_log_mels(batch, fitted):
    stem = ADAPTER.encoder(SPEC, fitted).stem
    (x,) = batch
    assert stem(batch).shape == (12, 1, 32, 32)
    torch.testing.assert_close(0.3 * stem(batch) + 0.7 * stem((x.flip(0),)), stem((0.3 * x + 0.7 * x.flip(0),)))


def test_raw_features_are_the_flattened_log_mels(batch, fitted):
    raw = ADAPTER.raw(batch, fitted)
    assert (raw.shape, raw.dtype) == ((12, 1024), np.float32)
    np.testing.assert_array_equal(raw[3].reshape(32, 32), batch[0][3].numpy())


def test_a_contact_sheet_shows_low_bands_at_the_bottom(toy):
    t = np.arange(mels.RATE) / mels.RATE
    low = np.rint(9000 * np.sin(2 * np.pi * 200 * t)).astype(np.int16)[None]
    for name in ("domain", "waveform"):
        transform = ADAPTER.fit(toy.train.x, toy, spec(name))
        picture = ADAPTER.sheet(transform((low,)), transform)
        assert picture.dtype == np.uint8
        assert picture[0, -16:].mean() > picture[0, :16].mean() + 50


def test_mfcc_statistics_are_torchaudios_mfccs(toy):
    x = take(toy.train.x, np.arange(9))
    mfcc_of = torchaudio.transforms.MFCC(
        mels.RATE, mfcc.COEFFICIENTS, melkwargs={"n_fft": 512, "hop_length": 160, "n_mels": 40}
    )
    c = torch.stack([mfcc_of(torch.from_numpy(clip).float() / 32768) for clip in x[0]])
    found = mfcc.statistics(x)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[:, :20], c.mean(dim=2), rtol=1e-3, atol=1e-2)
    np.testing.assert_allclose(found[:, 20:40], c.std(dim=2), rtol=1e-3, atol=1e-2)


# Embedded data


def test_the_toy_is_what_its_card_says(toy):
    card = catalog.card("modalities", "speech")["datasets"]["toy"]
    assert f"{len(toy.train)} + {len(toy.test)}" == card["rows"]
    assert toy.fingerprint.startswith(card["fingerprint"])
    assert toy.train.x[0].dtype == np.int16
    assert not set(toy.train.groups) & set(toy.test.groups)


@pytest.mark.full
def test_rendered_words_are_what_the_card_says_and_no_voice_is_on_both_sides(home):
    card, d = catalog.card("modalities", "speech")["datasets"]["espeak_words"], embedded.espeak_words()
    assert f"{len(d.train)} + {len(d.test)}" == card["rows"]
    assert len(d.classes) == card["classes"]
    assert d.fingerprint.startswith(card["fingerprint"])
    assert card["test_groups"] == {"voices": len(set(d.test.groups))}
    assert "Synthetic" in d.notes[0]
    assert "synthetic" in card["source"]
    assert not set(d.train.groups) & set(d.test.groups)
    assert all(len(set(d.train.y[d.train.groups == v])) == len(espeak.WORDS) for v in set(d.train.groups))
    (kept,) = (home / "data" / "espeak_words").glob("*.safetensors")
    content = bytearray(kept.read_bytes())
    content[-1] ^= 1
    kept.write_bytes(content)
    assert embedded.espeak_words().fingerprint == d.fingerprint
    assert kept.with_suffix(".damaged").exists()


def test_every_voice_speaks_in_two_accents_and_every_accent_is_heard():
    said = list(espeak.script())
    assert len(said) == espeak.TAKES * len(espeak.VOICES) == espeak.TAKES * len(set(espeak.VOICES))
    assert {accent for _, _, accent, *_ in said} == set(espeak.ACCENTS)
    for voice in espeak.VOICES:
        assert len({accent for v, _, accent, *_ in said if v == voice}) == espeak.TAKES


@pytest.fixture
def other_script(monkeypatch, tmp_path):
    """Another program in the place of the one that renders; this machine's own library is never in doubt."""

    def put(code: str) -> None:
        program = tmp_path / "espeak.py"
        program.write_text(code, encoding="utf-8")
        monkeypatch.setattr(espeak, "__file__", str(program))

    return put


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("code", "reason"),
    [("raise OSError('wrong ELF class')", "OSError: wrong ELF class"), ("import os; os.abort()", "it ended with code -6")],
)
def test_a_library_that_does_not_load_or_crashes_is_a_message(other_script, code, reason):
    other_script(code)
    with pytest.raises(UserError, match=rf"could not be rendered on this machine: {reason}.*--dataset fsdd"):
        embedded.espeak_words()


@pytest.mark.usefixtures("home")
def test_rendering_without_the_library_names_the_extra(monkeypatch):
    def absent(name: str) -> str:
        raise embedded.PackageNotFoundError(name)

    monkeypatch.setattr(embedded, "version", absent)
    with pytest.raises(UserError, match=r"needs the library espeakng-loader.*\[speech\]"):
        embedded.espeak_words()


@pytest.mark.full
def test_rendering_twice_gives_the_same_samples():
    first, second = embedded._render(), embedded._render()
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
