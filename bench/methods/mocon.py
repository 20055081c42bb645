"""MoCo with the batch's own keys as candidates too: the N + K label space in which i-Mix is defined."""

from functools import partial

from bench.methods.moco import MoCo

CARD = {
    "title": "MoCo (N + K)",
    "what": "MoCo whose candidates are the batch's N keys and K queued keys",
    "cite": "He et al., MoCo, CVPR 2020; in-batch keys as in Lee et al., i-Mix, ICLR 2021 (kibok90/imix@d40fabe)",
    "version": 1,
    "space": "N + K keys",
    "needs": ["encoder", "views", "training", "projector", "queue", "momentum encoder"],
    "settings": ["temperature", "queue_size", "key_momentum"],
    "options": {"key_schedule": "constant", "bn_groups": 1, "own_keys": "kept", "steps": None},
    "mixers": {"imix": "mocon", "cutmix": "mocon", "inputmix": "mocon"},
}

METHOD = partial(MoCo, in_batch=True)
