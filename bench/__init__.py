"""bench: how much does contrastive pretraining buy on my kind of data, at my dataset size, and with which method?

The file list is the pipeline. A module imports only modules that stand above it in `STAGES`; a test says so. One run flows

    RunSpec -> load -> cut -> views -> Mixture -> encoder -> head -> loss -> fit -> probe -> Record -> store -> page

`from bench import RunSpec, run` is the Python interface. Importing `bench` imports no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.experiment import run as run
    from bench.frozen import load as load
    from bench.record import Record as Record
    from bench.spec import RunSpec as RunSpec

__version__ = "0.4.0"

STAGES = (
    "errors",  # what a user did wrong, said once, exit code 2
    "catalog",  # file names in modalities/ and bench/methods/ -> cards and objects
    "spec",  # RunSpec: a frozen flat value that says what to run; the grammar of methods
    "recipes",  # papers' values and budgets -> a RunSpec without holes
    "grid",  # what a command asks for: combinations as RunSpecs, checked before anything heavy is imported
    "workers",  # how worker processes start
    "seeds",  # (root seed, purpose) -> generator; the only place where randomness starts
    "perf",  # device, precision, threads, memory, FLOPs
    "home",  # caches under BENCH_HOME: atomic files, damage set aside
    "adapter",  # Adapter: what a modality provides (load, fit, view, encoder); Split, Dataset, Encoder
    "encoders",  # f: x -> h, bodies shared by modalities
    "heads",  # g: h -> z, projection heads
    "corrupt",  # test rows made worse on purpose: noise, missing parts
    "data",  # nested stratified fractions, validation folds, epochs of batches
    "mixing",  # blend(); Mixture for none, i-Mix, InputMix
    "objective",  # info_nce(q, keys, targets, temperature, candidates); logistic, margin and bilinear losses
    "method",  # Method: loss(x_q, x_k, mixture), after_step(); one file each in methods/
    "train",  # fit(): the one loop, resumable
    "probe",  # linear, k-NN, ridge on frozen h
    "cluster",  # k-means on h without labels; clusters named after classes
    "diagnose",  # spectra, ranks, alignment, uniformity, shares of negatives; what they say in words
    "baseline",  # raw, classical, supervised
    "record",  # one flat row = spec + scores + provenance
    "store",  # one file per run, whole or not at all
    "predictions",  # what published scores are computed from, one compact file per modality
    "publish",  # working records -> committed, sorted JSON lines
    "stats",  # intervals, paired differences, labels needed: pure functions
    "ranking",  # ranks and their intervals, wins, tests across data sets
    "tables",  # records -> sections of tables of rows, no formatting
    "words",  # numbers and verdicts as a person reads them
    "prepare",  # what a run's name depends on: resolved spec, data, cut, effective sizes
    "verify",  # whether records are what their runs said
    "kept",  # what runs that differ only in the protocol share
    "outcome",  # what a run found; steps that pretrained encoders and controls share
    "finetune",  # the pretrained encoder goes on learning, with labels
    "pretrain",  # contrastive(): pretrain or take from the cache, embed, probe
    "control",  # classical() and supervised()
    "experiment",  # run(): one run, top to bottom
    "frozen",  # a finished run's encoder with its preprocessing, for new rows
    "examine",  # a run's diagnosis in numbers, in words and as a figure
    "audit",  # what a data set's own rows say about scores on it
    "contact",  # what views look like, for `bench views`
    "sweep",  # specs not yet stored -> worker processes
    "forecast",  # what cells will cost, from what cells like them have cost
    "report",  # what the terminal shows: progress, the table at the end, the verdict in words
    "figures",  # curves, quality against cost and forest plots as SVG
    "columns",  # one label fraction as a markdown table
    "pages",  # the markdown page of a modality
    "ablation",  # mixers against views
    "overview",  # the front page of the boards
    "webpage",  # all boards as one web page without a network
    "leaderboard",  # committed records -> pages and figures; which of them are stale
    "listing",  # what `bench list` prints
    "cli",  # bench run | sweep | views | list | audit | show | rerun | embed | clean | publish | verify | leaderboard
)

_WHERE = {"RunSpec": "bench.spec", "Record": "bench.record", "run": "bench.experiment", "load": "bench.frozen"}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'bench' has no attribute {name!r}; it offers {', '.join(_WHERE)}")
    return getattr(import_module(_WHERE[name]), name)
