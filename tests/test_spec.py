"""What a run is called and what it will do: the grammar of methods, run ids, recipes and budgets, and every refusal."""

import dataclasses
import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import catalog
from bench.errors import UserError
from bench.prepare import prepare
from bench.recipes import book, departures, effective, resolve, unlike_paper
from bench.spec import ALIASES, SETTINGS, RunSpec, canonical, identity, options, parse_method, run_id, settings_used

BASES = [*catalog.names(catalog.METHODS), *catalog.controls()]
ALLOWED = {base: parse_method(base).card["mixers"] for base in BASES}
REQUESTS = [
    "+".join((base, *mix))
    for base, mixers in ALLOWED.items()
    for size in range(len(mixers) + 1)
    for mix in itertools.permutations(mixers, size)
    if not {"imix", "cutmix"} <= set(mix)  # both mix the query
]
FACTS = {"dataset_fingerprint": "d", "split_fingerprint": "s", "method_version": 1, "world_size": 1}


# -- grammar ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", REQUESTS)
def test_a_method_has_one_canonical_name(text):
    method = parse_method(text)
    again = parse_method(method.name)
    assert (again.base, again.mixers) == (method.base, method.mixers)
    assert list(method.mixers) == sorted(set(text.split("+")[1:]))
    assert method.asked == text
    assert parse_method(method.base).unmixed == method.unmixed == method.base


@given(st.permutations(["imix", "inputmix", "imix"]), st.sampled_from(["npair", "mocon"]))
@settings(max_examples=20)
def test_order_and_repetition_of_mixers_do_not_matter(mixers, base):
    assert parse_method("+".join((base, *mixers))).name == f"{base}+imix+inputmix"


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("imix", "npair+imix"),
        ("imix+inputmix", "npair+imix+inputmix"),
        ("simclr+imix", "npair+imix"),
        ("simclr+inputmix+imix", "npair+imix+inputmix"),
        ("simclr+inputmix", "simclr+inputmix"),
        ("moco+imix", "mocon+imix"),
        ("moco+inputmix", "moco+inputmix"),
        ("moco+imix+inputmix", "mocon+imix+inputmix"),
        ("supervised+mixup", "supervised+mixup"),
        (" npair ", "npair"),
    ],
)
def test_aliases_and_bases_without_a_label_space_run_under_another_name_and_say_so(asked, name):
    method = parse_method(asked)
    assert method.name == name
    assert method.asked == asked.strip()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("simlcr", "unknown method 'simlcr'.*Did you mean 'simclr'"),
        ("npair+imx", "unknown mixer 'imx'.*bench/mixing.py.*Did you mean 'imix'"),
        ("npair+mixup", r"npair\+mixup makes no sense: npair takes imix, cutmix, inputmix"),
        ("raw+imix", r"raw\+imix makes no sense: raw takes no mixer"),
        ("supervised+imix", r"supervised\+imix makes no sense"),
        ("imix+mixup", r"npair\+mixup makes no sense"),
        ("npair+", "unknown mixer ''"),
        ("", "unknown method ''"),
        ("+imix", "unknown method ''"),
    ],
)
def test_a_method_that_does_not_exist_or_fit_is_refused_with_a_reason(text, words):
    with pytest.raises(UserError, match=words):
        parse_method(text)


def test_aliases_name_methods_that_exist():
    assert {parse_method(name).name for name in ALIASES.values()} == set(ALIASES.values())


# -- run ids ------------------------------------------------------------------------------------------------------------

OTHER = {str: "other", int: 77, float: 0.77, bool: True}
"""A value that differs from every default, for each type of field."""


def other_value(field: dataclasses.Field) -> object:
    return OTHER[next(t for t in OTHER if t.__name__ in str(field.type))]


@pytest.mark.parametrize("field", dataclasses.fields(RunSpec), ids=lambda f: f.name)
def test_a_run_id_moves_with_every_field_that_can_change_a_number_and_with_no_other(field):
    before, after = RunSpec(), RunSpec(**{field.name: other_value(field)})
    same = run_id(before, FACTS) == run_id(after, FACTS)
    assert same == (not field.metadata.get("identity", True))


@pytest.mark.parametrize("fact", FACTS)
def test_a_run_id_moves_with_every_fact(fact):
    assert run_id(RunSpec(), FACTS) != run_id(RunSpec(), {**FACTS, fact: "another"})


def test_a_field_or_fact_that_is_none_says_nothing():
    """So a field introduced later keeps old run ids."""
    assert run_id(RunSpec(), {**FACTS, "introduced_later": None}) == run_id(RunSpec(), FACTS)
    assert "temperature" not in identity(RunSpec(), FACTS)


def test_a_run_id_does_not_depend_on_the_order_of_facts_or_on_how_one_is_written():
    assert run_id(RunSpec(), dict(reversed(FACTS.items()))) == run_id(RunSpec(), FACTS)
    assert run_id(RunSpec(pretrain_fraction=1), FACTS) == run_id(RunSpec(pretrain_fraction=1.0), FACTS)


def test_a_run_id_is_pinned():
    """It is the name under which results lie in people's folders; a change here orphans all of them."""
    assert identity(RunSpec(method="npair", seed=3, temperature=0.1), FACTS) == {
        "modality": "tabular", "dataset": "", "method": "npair", "views": "domain", "budget": "small", "pretrain_fraction": 1.0,
        "label_fraction": 1.0, "seed": 3, "protocol": "linear@1", "temperature": 0.1, "device": "auto", "precision": "auto",
        "threads": 1, **FACTS,
    }  # fmt: skip
    assert run_id(RunSpec(method="npair", seed=3, temperature=0.1), FACTS) == "b55eb92fbac62693"


@given(st.dictionaries(st.text(), st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text())))
@settings(max_examples=50)
def test_canonical_json_is_one_string_for_equal_values_and_can_be_read_back(value):
    assert canonical(dict(reversed(value.items()))) == canonical(value)
    assert json.loads(canonical(value)) == value


def test_canonical_json_refuses_what_json_cannot_say():
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical({"x": float("nan")})


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ({"method": "imix"}, {"method": "npair+imix"}),
        ({"method": "simclr+imix"}, {"method": "npair+imix"}),
        ({"views": "domain", "method": "raw"}, {"views": "none", "method": "raw"}),
        ({"temperature": 0.1}, {}),  # the recipe's own value
        ({"recipe": "imix-higgs"}, {}),
        ({"epochs": 8.0}, {"steps": 30}),  # 8 · 240 / 64
        ({"base_lr": 1}, {"base_lr": 1.0}),
    ],
)
def test_two_ways_to_ask_for_the_same_run_have_one_id(one, two):
    usual = {"dataset": "toy", "budget": "smoke", "device": "cpu", "precision": "fp32"}
    assert prepare(RunSpec(**{**usual, **one})).run_id == prepare(RunSpec(**{**usual, **two})).run_id


@pytest.mark.parametrize(
    "over",
    [{"label_fraction": 0.5}, {"seed": 1}, {"protocol": "knn@1"}, {"temperature": 0.2}, {"steps": 31}, {"batch_size": 32}],
)
def test_another_run_has_another_id_and_shares_pretraining_only_where_it_can(over):
    usual = {"dataset": "toy", "budget": "smoke", "device": "cpu", "precision": "fp32"}
    one, two = prepare(RunSpec(**usual)), prepare(RunSpec(**{**usual, **over}))
    assert one.run_id != two.run_id
    assert (one.pretrain_id == two.pretrain_id) == bool({"label_fraction", "protocol"} & set(over))


# -- recipes and budgets ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", book()["budgets"])
@pytest.mark.parametrize("name", sorted({parse_method(text).name for text in REQUESTS if "cutmix" not in text}))
def test_resolving_fills_exactly_the_settings_in_use_and_twice_is_once(name, budget):
    spec = resolve(RunSpec(method=name, budget=budget))
    used = settings_used(spec, parse_method(name))
    length = {"steps", "epochs", "key_momentum"}  # one of the first two; the third may follow from them
    length |= options(parse_method(name)).keys()  # these may stay None
    assert {s for s in SETTINGS if getattr(spec, s) is not None} - length == used - length
    assert len([s for s in ("steps", "epochs") if getattr(spec, s) is not None]) == ("steps" in used)
    assert resolve(spec) == spec
    assert departures(RunSpec(method=name, budget=budget), spec) == ""


def test_letter_uses_the_higgs_row_of_the_paper():
    spec = resolve(RunSpec(dataset="letter", method="mocon+imix+inputmix", budget="paper"))
    assert spec.recipe == "imix-higgs"
    wanted = {
        "temperature": 0.1, "imix_alpha": 1.0, "base_lr": 0.125, "weight_decay": 1e-4, "sgd_momentum": 0.9, "queue_size": 4096,
        "head": "mlpbn", "projection_dim": 128, "mask_rate": 0.2, "mask_columns": "all", "epochs": 500, "batch_size": 512,
        "width": 64, "inputmix_aux": 2, "inputmix_floor": 0.5,
    }  # fmt: skip
    assert {k: getattr(spec, k) for k in wanted} == wanted
    covtype = resolve(RunSpec(dataset="covtype", method="npair+imix"))
    assert (covtype.imix_alpha, covtype.mask_columns) == (2.0, "numeric")


OPTIONS = [
    (name, option, value) for name in BASES for option, value in options(parse_method(name)).items() if value is not None
]


@pytest.mark.parametrize(("name", "option", "usual"), OPTIONS)
def test_the_usual_value_of_an_option_is_the_same_as_none(name, option, usual):
    plain = resolve(RunSpec(method=name))
    if option == "margin":
        return  # only beside a loss that reads it
    if getattr(plain, option) is None:
        assert resolve(RunSpec(method=name, **{option: usual})) == plain


def test_values_of_a_methods_own_paper_stand_above_the_recipe_and_below_what_is_given():
    assert resolve(RunSpec(method="cc")).temperature == 0.5
    assert resolve(RunSpec(method="npair")).temperature == 0.1
    assert resolve(RunSpec(method="cc", temperature=0.3)).temperature == 0.3
    flat = resolve(RunSpec(method="vicreg", head="linear"))
    assert flat.head_depth is None
    assert resolve(flat) == flat


def test_what_is_given_wins_over_recipe_and_budget_and_is_named_as_a_departure():
    asked = RunSpec(dataset="toy", temperature=0.5, steps=7, batch_size=512)
    spec = resolve(asked)
    assert (spec.temperature, spec.steps, spec.epochs, spec.batch_size) == (0.5, 7, None, 512)
    assert departures(asked, spec) == "steps=7 temperature=0.5"  # a batch of 512 is the budget's own


@pytest.mark.parametrize("name", list(book()["recipes"]))
def test_every_value_of_a_recipe_is_a_setting_and_has_a_source(name):
    recipe = book()["recipes"][name]
    assert recipe["cite"]
    assert recipe["source"]
    assert set(recipe) - {"cite", "source", "paper"} <= set(SETTINGS)
    assert set(recipe.get("paper", {})) - {"momentum"} <= set(SETTINGS)
    assert set(recipe.get("paper", {}).get("momentum", {})) <= set(SETTINGS)


@pytest.mark.parametrize(
    ("recipe", "method", "wanted"),
    [  # SimCLR's README for one GPU; MoCo's CIFAR notebook; i-Mix's run.sh
        (
            "simclr-cifar",
            "simclr",
            {"encoder": "resnet18", "batch_size": 512, "epochs": 1000, "temperature": 0.5, "head": "mlp"},
        ),
        (
            "moco-cifar",
            "moco",
            {"encoder": "resnet18", "batch_size": 512, "bn_groups": 8, "key_momentum": 0.99, "head": "linear"},
        ),
        ("imix-paper", "npair+imix", {"encoder": "resnet50", "batch_size": 256, "head": "mlpbn", "imix_alpha": 1.0}),
        ("imix-paper", "mocon+imix", {"head": "mlpbn1", "bn_groups": 2, "queue_size": 4096, "temperature": 0.2}),
    ],
)
def test_a_recipe_at_the_budget_paper_is_as_published(recipe, method, wanted):
    spec = resolve(RunSpec(modality="images", dataset="cifar10", method=method, recipe=recipe, budget="paper"))
    assert {name: getattr(spec, name) for name in wanted} == {k: float(v) if k == "epochs" else v for k, v in wanted.items()}
    assert unlike_paper(spec) == ""
    small = resolve(RunSpec(modality="images", dataset="cifar10", method=method, recipe=recipe))
    assert "steps=300 (paper epochs=" in unlike_paper(small)
    assert "encoder=convnet (paper resnet" in unlike_paper(small)


def test_the_imix_papers_recipe_is_that_of_the_data_at_hand():
    for modality, dataset, own in (("tabular", "letter", "imix-higgs"), ("tabular", "covtype", "imix-covtype")):
        assert resolve(RunSpec(modality=modality, dataset=dataset, recipe="imix-paper")).recipe == own
    with pytest.raises(UserError, match="the i-Mix paper has no text"):
        resolve(RunSpec(modality="text", dataset="langid", recipe="imix-paper"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"method": "moco", "bn_groups": 300}, "every group needs two rows"),
        ({"method": "mochi", "hardest": 9, "hard_pairs": 0, "hard_query": 0}, "nothing is mixed from them"),
        ({"method": "npair", "probe_on": "z", "protocol": "finetune@1"}, "it cannot look at z"),
        ({"method": "cc", "probe_on": "z", "protocol": "cluster@1"}, "by its own head on h"),
    ],
)
def test_settings_that_change_nothing_or_cannot_be_done_are_refused(given, said):
    with pytest.raises(UserError, match=said):
        resolve(RunSpec(dataset="letter", **given))


@pytest.mark.parametrize(
    ("over", "words"),
    [
        ({"modality": "tabula"}, "unknown modality 'tabula'.*modalities/.*Did you mean 'tabular'"),
        ({"dataset": "leter"}, "unknown data set 'leter'.*Did you mean 'letter'"),
        ({"views": "domian"}, "unknown views 'domian'.*Did you mean 'domain'"),
        ({"budget": "smal"}, "unknown budget 'smal'.*Did you mean 'small'"),
        ({"recipe": "imix-higs"}, "unknown recipe 'imix-higs'.*Did you mean 'imix-higgs'"),
        ({"protocol": "linear"}, "unknown protocol 'linear'.*Did you mean 'linear@1'"),
        ({"head": "mpl"}, "unknown head 'mpl'"),
        ({"device": "gpu"}, "unknown device 'gpu'"),
        ({"pretrain_fraction": 0.0}, r"pretrain_fraction 0 is outside \(0, 1\]"),
        ({"label_fraction": 1.5}, r"label_fraction 1.5 is outside \(0, 1\]"),
        ({"pretrain_fraction": 0.1, "label_fraction": 0.5}, "label_fraction 0.5 is above pretrain_fraction 0.1"),
        ({"label_fraction": float("nan")}, r"label_fraction nan is outside \(0, 1\]"),
        ({"batch_size": 1}, "batch_size 1 is too small; it must be at least 2"),
        ({"temperature": 0.0}, "temperature 0 is too small; it must be above 0"),
        ({"base_lr": float("nan")}, "base_lr nan is not a number to work with; it must be above 0 and finite"),
        ({"temperature": float("inf")}, "temperature inf is not a number"),
        ({"seed": -1}, "seed -1 is too small"),
        ({"mask_rate": 1.1}, r"mask_rate 1.1 is outside \[0, 1\]"),
        ({"steps": 5, "epochs": 1.0}, "steps 5 and epochs 1 both say how long to train"),
        ({"steps": 2.5}, "steps is 2.5, a float; it must be of type int"),
        ({"temperature": "0.1"}, "temperature is '0.1', a str; it must be of type float"),
        ({"queue_size": 64}, r"queue_size is set to 64, but npair\+imix with views 'domain' does not use it"),
        ({"method": "moco", "imix_alpha": 1.0}, "imix_alpha is set to 1.0, but moco .* does not use it"),
        ({"method": "raw", "steps": 9}, "steps is set to 9, but raw .* does not use it"),
        ({"views": "none", "mask_rate": 0.1}, "mask_rate is set to 0.1, but .* with views 'none' does not use it"),
        ({"method": "npair", "loss": "margn"}, "unknown loss 'margn'.*Did you mean 'margin'"),
        ({"method": "npair", "margin": 0.4}, "margin is set to 0.4, but the loss is nt_xent. Use margin or margin_sh"),
        ({"method": "moco", "loss": "margin"}, "loss is set to margin, but moco .* does not use it"),
        ({"method": "directclr", "head": "mlp"}, "head is set to mlp, but directclr .* does not use it"),
        ({"head": "linear", "head_depth": 2}, "head_depth is set to 2, but the head 'linear' has no hidden layer"),
        ({"method": "membank", "bank_momentum": 1.5}, r"bank_momentum 1.5 is outside \[0, 1\]"),
        ({"method": "raw", "probe_on": "z"}, "probe_on is set to z, but raw .* does not use it"),
        ({"target": "x"}, "--test and --target describe a file of yours"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused_with_what_came_and_what_is_wanted(over, words):
    with pytest.raises(UserError, match=words):
        resolve(RunSpec(**over))


def test_all_problems_are_said_at_once():
    with pytest.raises(UserError) as caught:
        resolve(RunSpec(dataset="leter", views="x", batch_size=1, label_fraction=2.0))
    assert len(str(caught.value).splitlines()) >= 4


def test_a_misspelt_field_is_a_type_error():
    with pytest.raises(TypeError, match="temprature"):
        RunSpec(temprature=0.1)


@given(rows=st.integers(2, 20_000), batch=st.integers(2, 2048), queue=st.integers(1, 70_000), steps=st.integers(1, 5000))
@settings(max_examples=100)
def test_effective_sizes_fit_the_rows_at_hand(rows, batch, queue, steps):
    spec = resolve(RunSpec(dataset="toy", method="mocon+imix", batch_size=batch, queue_size=queue, steps=steps))
    found = effective(spec, 20_000, rows)
    assert found.batch_size == min(batch, rows)
    assert found.queue_size >= found.batch_size
    assert found.queue_size <= max(rows // 4, found.batch_size)
    assert found.steps == steps
    assert found.key_momentum == pytest.approx(min(max(1 - 10 / steps, 0), 0.999))


@pytest.mark.parametrize(("name", "over", "momentum"), [("moco", {"key_momentum": 0.5}, 0.5), ("npair", {}, None)])
def test_a_key_momentum_that_is_given_stays_and_methods_without_keys_have_none(name, over, momentum):
    found = effective(resolve(RunSpec(dataset="toy", method=name, **over)), 240, 240)
    assert found.key_momentum == momentum


def test_epochs_count_passes_over_the_full_rows_so_every_fraction_trains_equally_long():
    spec = resolve(RunSpec(dataset="toy", epochs=3.0, batch_size=100))
    assert effective(spec, 1000, 1000).steps == effective(spec, 1000, 100).steps == 30
