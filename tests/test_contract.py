"""Every stage, runtime and target that is found keeps its contract; a new one is picked up here by itself."""

from __future__ import annotations

import dataclasses
import inspect

import pytest

from converter.config import load_config, load_models
from converter.errors import McconvertError, UsageError
from converter.parsing import parse
from converter.pipeline import plugins
from converter.pipeline.steps import Selection, build_steps
from converter.publishing import opening
from converter.records import TOWERS


@pytest.mark.parametrize("name", plugins.stage_names())
def test_a_stage_keeps_its_contract(name: str) -> None:
    """Names, signature, documented options with defaults, and a runtime for what it writes."""
    stage = plugins.load_stage(name)
    mistakes: list[str] = []

    options = parse(stage.Options, {}, "options", mistakes)

    assert not mistakes
    assert dataclasses.is_dataclass(options)
    assert stage.FORMAT in plugins.runtime_names()
    assert list(inspect.signature(stage.convert).parameters) == ["parent", "options", "recipe", "out_dir"]
    assert (stage.__doc__ or "").strip()
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.anything = 1
    for field in dataclasses.fields(stage.Options):
        source = inspect.getsource(stage.Options)
        assert '"""' in source.partition(f"{field.name}:")[2], f"{name}.{field.name} has no docstring"


@pytest.mark.parametrize("name", plugins.runtime_names())
def test_a_runtime_keeps_its_contract(name: str) -> None:
    """Names, and it is known under its own format."""
    runtime = plugins.load_runtime(name)

    assert name == runtime.FORMAT
    assert list(inspect.signature(runtime.open_runner).parameters) == ["artifact", "threads"]


@pytest.mark.parametrize("name", opening.destination_names())
def test_a_destination_keeps_its_contract(name: str) -> None:
    """Names, signature, and an example that says what it means."""
    destination = opening.load_destination(name)
    address, _, words = destination.EXAMPLE.partition(": ")

    assert address and words
    assert destination.SCHEMES or getattr(destination, "SUFFIXES", ())
    assert list(inspect.signature(destination.open_destination).parameters) == ["address", "model"]
    assert destination.REQUIRES or not destination.EXTRA


def test_no_two_destinations_take_one_scheme() -> None:
    """An address means one place."""
    schemes = [one for name in opening.destination_names() for one in opening.load_destination(name).SCHEMES]

    assert len(schemes) == len(set(schemes))


def test_every_row_takes_what_its_parent_gives() -> None:
    """No target YAML chains a stage to a format that it does not take."""
    config = load_config()
    for target in config.targets.values():
        for name, row in target.rows.items():
            given = "pytorch" if row.parent == "pytorch" else plugins.load_stage(config.row(row.parent).stage).FORMAT

            assert given in plugins.load_stage(row.stage).ACCEPTS, name


def test_every_row_has_a_test_of_its_tolerances_for_seeded_and_trained() -> None:
    """Each step of the whole matrix has bounds, whatever the weights."""
    config, spec = load_config(), load_models()["mobileclip_s1"]
    for trained in (True, False):
        steps = build_steps(config, spec, Selection(targets=("all",)), trained=trained)

        assert {step.tower for step in steps} == set(TOWERS)
        assert all(step.tolerances for step in steps)


def test_unknown_plugins_offer_the_nearest() -> None:
    """A stage or a runtime that does not exist is refused with an offer."""
    with pytest.raises(UsageError, match="did you mean 'to_onnx'"):
        plugins.load_stage("to_onyx")
    with pytest.raises(UsageError, match="unknown runtime"):
        plugins.load_runtime("tape")


def test_a_module_that_lacks_a_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin of the contract test: half a stage is not a stage."""
    monkeypatch.setattr(plugins, "STAGE_NAMES", (*plugins.STAGE_NAMES, "reverse"))
    plugins.load_stage.cache_clear()

    with pytest.raises(McconvertError, match="lacks reverse"):
        plugins.load_stage("to_onnx")
    plugins.load_stage.cache_clear()


def test_a_destination_that_lacks_a_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin for destinations."""
    monkeypatch.setattr(opening, "NAMES", (*opening.NAMES, "forget"))
    opening.load_destination.cache_clear()

    with pytest.raises(McconvertError, match="destination 'folder' .* lacks forget"):
        opening.load_destination("folder")
    opening.load_destination.cache_clear()
