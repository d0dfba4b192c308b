"""Settings without effect are errors: the conditions against the compiled networks, and the messages."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import pytest

from resjax import config, models, records, registry, settings
from resjax.config import Config, Model, effects, freeze
from resjax.settings import ConfigError
from resjax.sweep import Point, axis, expand
from resjax.train import experiment
from tests.config_values import with_values
from tests.in_process_commands import run_command

# Networks that together have each condition on the model met and not met.
NETWORKS = {
  "A": Model(depth=8),
  "B": Model(depth=8, shortcut="B"),
  "gate": Model(depth=8, shortcut="gate"),
  "plain, without norms": Model(kind="plain", depth=8, norm="none"),
  "pre-activation of single layers": Model(depth=5, block="single", preactivation=True),
  "bottlenecks": Model(depth=11, block="bottleneck", norm="layer"),
  "bottlenecks, v1.5": Model(depth=11, block="bottleneck", bottleneck_stride="3x3"),
  "bottlenecks of one width": Model(depth=5, blocks=(1,), block="bottleneck"),
  "one stage": Model(depth=4, blocks=(1,)),
  "7x7 stem": Model("imagenet", depth=18, width=8, shortcut="B"),
  "VGG": Model("vgg", depth=16, block="single", width=4),
  "MLP": Model("mlp", depth=4, block="dense", width=8),
}
OTHER_VALUES = {
  "model.pool_padding": "behind",
  "model.gate_bias": 0.5,
  "model.option_a_stride": "average",
  "model.option_a_zeros": "both",
  "model.padding": "same",
  "model.zero_init_scale": True,
  "model.norm_images": 1,
  "model.norm_momentum": 0.5,
  "model.norm_epsilon": 0.5,
}

# Each conditional setting: its value, settings with which it has no effect, and settings with which it has one.
CASES: dict[str, tuple[object, Point, Point]] = {
  "model.pool_padding": ("behind", {}, {"model.stem": "7x7"}),
  "model.gate_bias": (0.0, {}, {"model.shortcut": "exclusive_gate"}),
  "model.bottleneck_stride": ("3x3", {}, {"model.block": "bottleneck"}),
  "model.option_a_stride": ("average", {"model.shortcut": "B"}, {"model.shortcut": "rezero"}),
  "model.option_a_zeros": ("both", {"model.shortcut": "C"}, {"model.kind": "plain"}),
  "model.padding": ("same", {"model.block": "bottleneck"}, {}),
  "model.zero_init_scale": (True, {"model.norm": "none"}, {}),
  "model.norm_images": (64, {"model.norm": "layer"}, {}),
  "model.norm_momentum": (0.99, {"model.norm": "none"}, {}),
  "model.norm_epsilon": (1e-3, {"model.norm": "none"}, {"model.norm": "layer"}),
  "data.train_split": ("trainval", {}, {"data.name": "voc", "responses.final": False}),
  "data.test_split": ("test", {}, {"data.name": "coco", "responses.final": False}),
  "data.normalize": ("channel", {"data.name": "voc", "responses.final": False}, {}),
  "data.pad": (2, {"data.name": "folder"}, {"data.name": "folder", "data.resize": ()}),
  "data.image_size": (128, {}, {"data.name": "folder"}),
  "data.resize": ((300, 400), {}, {"data.name": "imagenet2012"}),
  "data.lighting": (0.0, {"data.name": "folder", "data.resize": ()}, {"data.name": "folder"}),
  "data.test_share": (0.2, {"data.name": "imagenet2012"}, {"data.name": "folder"}),
  "detection.regions": (7, {}, {"data.name": "voc", "responses.final": False}),
  "train.drops": ((0.25,), {"train.schedule": "plateau"}, {}),
  "train.drop_factor": (0.5, {"train.schedule": "cosine"}, {"train.schedule": "plateau"}),
  "train.plateau_patience": (3, {}, {"train.schedule": "plateau"}),
  "train.plateau_gain": (0.1, {}, {"train.schedule": "plateau"}),
  "train.momentum": (0.5, {"train.optimizer": "adagrad"}, {}),
  "train.nesterov": (True, {"train.optimizer": "adagrad"}, {}),
  "train.decay_norm_and_bias": (False, {"train.weight_decay": 0.0}, {}),
  "train.warmup_rate": (0.02, {}, {"model.depth": 110}),
  "train.warmup_error": (0.5, {"model.depth": 110, "model.kind": "plain"}, {"train.warmup": "on"}),
  "train.warmup_window": (10, {"model.depth": 110, "train.warmup": "off"}, {"train.warmup": "on"}),
  "evaluation.statistics": ("training_set", {"model.norm": "layer"}, {}),
}
MEAN_AND_STD = {"data.mean", "data.std"}  # `Data` refuses them without data.normalize = "given"


def expanded(*points: Point, pinned: Point | None = None, base: Point | None = None):
  values = config.default()
  values.model.depth = 20
  values.update_from_flattened_dict(dict(base or {}))
  return expand("study", "", values.to_dict(), points or [{}], pinned or {})


def program(net: Model) -> str:
  """The initialization and a training pass of a network as text, without the addresses of Python functions."""
  built = models.build(net, classes=10)

  def run(key, x):
    variables = built.init(key, x, train=False)
    return variables, built.apply(variables, x, train=True, mutable=["batch_stats"])

  traced = jax.make_jaxpr(run)(jax.random.key(0), jnp.zeros((2, 36, 36, 3)))
  return re.sub(r" at 0x[0-9a-f]+", "", str(traced))


@pytest.mark.parametrize("name", NETWORKS)
def test_conditions_on_the_model_are_those_of_the_compiled_network(name):
  """A value changes the network's program exactly where its condition holds."""
  net = NETWORKS[name]
  values = OTHER_VALUES | {"model.bottleneck_stride": "1x1" if net.bottleneck_stride == "3x3" else "3x3"}
  whole = program(net)
  for key, value in values.items():
    other = dataclasses.replace(net, **{key.removeprefix("model."): value})
    if net.kind == "plain" and key.startswith("model.option_a"):
      continue  # used by the study of lesions only
    holds = effects.CONDITIONS[key].holds(Config(model=other))
    assert (program(other) != whole) == holds, key


def test_networks_have_each_condition_on_the_model_met_and_not_met():
  for key in [*OTHER_VALUES, "model.bottleneck_stride"]:
    assert {effects.CONDITIONS[key].holds(Config(model=net)) for net in NETWORKS.values()} == {True, False}, key


@pytest.mark.parametrize("key", CASES)
def test_a_setting_without_effect_is_refused_and_one_with_an_effect_is_not(key):
  value, without, with_effect = CASES[key]
  with pytest.raises(ConfigError) as caught:
    expanded(pinned={key: value, **without})
  message = str(caught.value)
  assert message.startswith(f"{key} = {value!r}: has no effect in any run; it needs ")
  assert message.endswith(f"leave {key} at {dict(settings.leaves(Config))[key].default!r}") and "\n" not in message
  assert expanded(pinned={key: value, **with_effect})
  assert expanded(pinned=without)


def test_every_conditional_setting_has_a_case():
  of_detection = {key for key in effects.CONDITIONS if key.startswith("detection.")}
  assert set(effects.CONDITIONS) - of_detection - MEAN_AND_STD == set(CASES) - of_detection
  assert {effects.CONDITIONS[key] for key in of_detection} == {effects.CONDITIONS["detection.regions"]}


def test_a_setting_of_the_experiment_needs_an_effect_in_one_run():
  both = axis("model.shortcut", ("A", "B"))
  assert len(expanded(*both, base={"model.option_a_zeros": "both"})) == 2
  assert len(expanded(*both, pinned={"model.option_a_zeros": "both"})) == 2
  with pytest.raises(ConfigError, match=r"^model\.option_a_zeros = 'both': has no effect in any run"):
    expanded(*both[1:], base={"model.option_a_zeros": "both"}, pinned={"seed": 3})


def test_a_swept_setting_needs_an_effect_in_its_own_run():
  points = [{"model.shortcut": "A"}, {"model.shortcut": "B", "model.option_a_zeros": "both"}]
  with pytest.raises(ConfigError, match=r"^model\.option_a_zeros = 'both': has no effect in residual-B-d20-.*both-s0;"):
    expanded(*points)


def test_an_override_may_leave_a_setting_of_the_experiment_without_effect():
  """Another schedule for an experiment with its own drops is no mistake; an experiment that has both is."""
  drops = {"train.drops": (0.25,)}
  assert expanded(base=drops, pinned={"train.schedule": "cosine"})
  with pytest.raises(ConfigError, match=r"^train\.drops = "):
    expanded(base={**drops, "train.schedule": "cosine"}, pinned={"seed": 1})


def test_recipes_and_experiments_have_no_setting_without_effect():
  for recipe in config.recipes.ALL:
    assert effects.ineffective(freeze(recipe().to_dict())) == {}, recipe.__name__
  for each in registry.available():
    for variant in ("", *each.variants):
      assert each.runs(variant)


def test_recorded_settings_without_effect_can_still_be_read():
  """The check is for runs that are to be made; records of earlier versions are read as they are."""
  recorded = freeze({"model": {"shortcut": "B", "option_a_zeros": "both"}, "data": {"train_split": "trainval"}})
  assert freeze(recorded.to_dict()) == recorded
  assert effects.ineffective(recorded) == {"model.option_a_zeros": "both", "data.train_split": "trainval"}


@pytest.mark.parametrize(
  ("changes", "says"),
  [
    (
      {"checkpoint.every": 0, "checkpoint.keep_every": 50},
      "checkpoint.keep_every = 50: needs checkpoint.every above 0, of which it must be a multiple",
    ),
    (
      {"checkpoint.keep_every": 1500},
      "checkpoint.keep_every = 1500: must be a multiple of checkpoint.every = 1000",
    ),
    *(
      (
        {"checkpoint.keep_best": True, "checkpoint.every": saved, "evaluation.every": evaluated},
        "checkpoint.keep_best = True: needs an evaluation at each checkpoint; set "
        f"checkpoint.every = {saved} to a multiple of evaluation.every = {evaluated}, both above 0",
      )
      for saved, evaluated in ((1000, 352), (0, 1000), (1000, 0))
    ),
  ],
  ids=str,
)
def test_checkpoints_to_keep_must_be_saved_and_evaluated(changes, says, tmp_path):
  """Only new runs are checked: those of earlier versions with such settings can be read and continued."""
  config = freeze(with_values(changes))
  with pytest.raises(ConfigError) as caught:
    experiment._check_directory(tmp_path / "run", config)
  assert str(caught.value) == says
  with records.RunWriter(tmp_path / "run", True) as writer:
    writer.write_config(config.to_dict())
    writer.update(id="run", status=records.PENDING, config_digest=config.digest)
  experiment._check_directory(tmp_path / "run", config)


def test_checkpoints_at_multiples_and_at_evaluations_can_be_kept():
  kept = {"checkpoint.every": 500, "checkpoint.keep_every": 1500, "checkpoint.keep_best": True, "evaluation.every": 250}
  effects.check_checkpoints(freeze(with_values(kept)))


def test_the_command_line_names_the_setting(monkeypatch):
  with pytest.raises(ConfigError) as caught:
    run_command(monkeypatch, "resjax.summary", ["--config", "quickstart", "--config.model.gate_bias=0"])
  assert str(caught.value) == (
    "model.gate_bias = 0.0: has no effect in any run; it needs model.kind = 'residual' and model.shortcut = 'gate' or "
    "'exclusive_gate'; set that, or leave model.gate_bias at -6.0"
  )
