"""Words spoken by eSpeak NG, through ctypes. Run as a program: `python espeak.py OUT` writes OUT.samples.npy, OUT.lengths.npy.

eSpeak NG keeps state from one word to the next (phases, echoes, its generator of noise). A process of its own that speaks the
whole list in one order, with its generator seeded before each word, gives the same samples every time; and if the library
should crash, the caller lives. This file imports nothing of `bench`.
"""

import ctypes
import sys
import zlib
from collections.abc import Iterator

import numpy as np

RATE = 22050

_WORDS = "yes no up down left right on off stop go zero one two three four five six seven eight nine"
WORDS = tuple(_WORDS.split())
"""The 20 core words of Speech Commands (Warden 2018): ten commands and ten digits."""

ACCENTS = (
    "en", "en-US", "en-GB-x-rp", "en-GB-scotland", "en-GB-x-gbclan", "en-GB-x-gbcwmd", "en-029", "en-US-nyc",
)  # fmt: skip

# One of each family (of Gene and Gene2 only Gene), and none that whispers, croaks or is a robot.
_VOICES = """
Alex Alicia Andrea Andy Annie Denis Diogo Gene Henrique Hugo Jacky Lee Marco Mario Michael Mike Nguyen Reed RicishayMax Storm
adam anika announcer antonio aunty belinda benjamin boris caleb david ed edward f1 f2 f3 f4 f5 grandma grandpa gustave ian iven
john kaukovalta klatt linda m1 m2 m3 m4 m5 m6 m7 m8 marcelo max michel miguel norbert pablo paul pedro quincy rob robert sandro
shelby steph travis victor zac
"""
VOICES = tuple(_VOICES.split())

TAKES = 2
"""How often a voice says each word: in another accent, at another rate and pitch."""


def script() -> Iterator[tuple[str, int, str, int, int, int]]:
    """What is said, in order: (voice, take, accent, rate in words a minute, pitch 0-99, pitch range 0-99); then every word."""
    for i, voice in enumerate(VOICES):
        for take in range(TAKES):
            luck = zlib.crc32(f"{voice} {take}".encode())
            accent = ACCENTS[(3 * i + 4 * take + i // 8) % len(ACCENTS)]
            yield voice, take, accent, 120 + luck % 101, 25 + luck // 101 % 51, 20 + luck // 5151 % 61


class Speaker:
    """The library, loaded and listening. Raises `OSError` where it cannot be loaded or does not start."""

    def __init__(self) -> None:
        import espeakng_loader

        self.lib = ctypes.CDLL(espeakng_loader.get_library_path())
        self.heard: list[np.ndarray] = []
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
        self.callback = kind(self._hear)  # kept, since the library only holds a pointer to it
        synchronous, no_exit = 2, 0x8000
        rate = self.lib.espeak_Initialize(synchronous, 0, espeakng_loader.get_data_path().encode(), no_exit)
        if rate != RATE:
            raise OSError(f"eSpeak NG gives {rate} samples a second where {RATE} are expected")
        self.lib.espeak_SetSynthCallback(self.callback)

    def _hear(self, samples: "ctypes._Pointer[ctypes.c_short]", count: int, _events: int) -> int:
        if samples and count > 0:
            self.heard.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    def voice(self, name: str, rate: int, pitch: int, spread: int) -> None:
        """Take a voice such as `gmw/en-US+f3`."""
        if self.lib.espeak_SetVoiceByName(name.encode()) != 0:
            raise OSError(f"eSpeak NG has no voice {name}")
        for number, value in ((1, rate), (3, pitch), (4, spread)):
            self.lib.espeak_SetParameter(number, value, 0)

    def say(self, word: str, seed: int) -> np.ndarray:
        """Samples of one word, int16."""
        self.heard.clear()
        self.lib.espeak_ng_SetRandSeed(ctypes.c_long(seed))
        text = word.encode() + b"\0"
        failed = self.lib.espeak_Synth(text, len(text), 0, 1, 0, 1, None, None)
        self.lib.espeak_Synchronize()
        if failed or not self.heard:
            raise OSError(f"eSpeak NG could not say {word!r} (code {failed})")
        return np.concatenate(self.heard)


def speak(out: str) -> None:
    """Say the whole script and write the samples of all words, one after the other, and their lengths."""
    speaker, said = Speaker(), []
    libc = ctypes.CDLL(None)
    for number, (voice, _, accent, *how) in enumerate(script()):
        speaker.voice(f"gmw/{accent}+{voice}", *how)
        for i, word in enumerate(WORDS):
            libc.srand(1 + number * len(WORDS) + i)  # some voices draw their breath from the C library
            said.append(speaker.say(word, 1 + number * len(WORDS) + i))
    np.save(f"{out}.samples.npy", np.concatenate(said), allow_pickle=False)
    np.save(f"{out}.lengths.npy", np.array([len(s) for s in said]), allow_pickle=False)


if __name__ == "__main__":
    speak(sys.argv[1])
