"""MoCHi with a class oracle: keys of the query's own class are no negatives. It uses labels, so it is ranked with no other."""

from bench.methods.mochi import mochi

CARD = {
    "title": "MoCHi with class oracle",
    "what": "MoCHi without the false negatives: keys of the query's class, where both labels are known, are no candidates",
    "cite": "Kalantidis et al., Hard Negative Mixing, NeurIPS 2020; arXiv 2010.01028",
    "version": 1,
    "space": "N + K keys",
    "needs": ["encoder", "views", "training", "projector", "queue", "momentum encoder", "labels"],
    "settings": ["temperature", "queue_size", "key_momentum"],
    "options": {
        "hardest": None, "hard_pairs": None, "hard_query": None, "hard_start": 0.05,
        "key_schedule": "constant", "bn_groups": 1, "own_keys": "kept", "steps": None,
    },
    "mixers": {"imix": "mochi_oracle", "cutmix": "mochi_oracle", "inputmix": "mochi_oracle"},
}  # fmt: skip

METHOD = mochi
