"""Every model that can be asked for by name: those with a YAML, and any that an installed library describes.

| name | is |
|---|---|
| `mobileclip_s1` | an id or alias of configs/models |
| `open_clip:NAME`, `open_clip:NAME@TAG` | one of open_clip's list, with the first or the named weights of its table |
| `timm:NAME` | an image tower of timm's, without its classifier |
| `mobileclip:NAME` | Apple's own implementation, from Apple's installed package |

Torch is imported only for names with a colon; `converter.models.described` writes their specs.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal, get_args

from converter.config import configs_dir, find_model, load_models, read_yaml
from converter.errors import ConfigError, UsageError, nearest
from converter.listed import Listed, Proven
from converter.records import ModelSpec, Preprocessing, Tower

Source = Literal["yaml", "open_clip", "timm"]
SOURCES: tuple[Source, ...] = get_args(Source)
FOUND_BY = ("open_clip", "timm", "mobileclip")
"""What may stand before the colon of a name."""
APPLE_NAMES = ("mobileclip_s0", "mobileclip_s1", "mobileclip_s2", "mobileclip_b")
"""What Apple's package calls its models; the YAML of the same id says the rest."""
PROVEN_FILE = "proven.yaml"
"""In configs, written by `make prove-models`."""
NAMED_STATISTICS = {
    ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)): "0/1",
    ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)): "OpenAI's",
    ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)): "ImageNet's",
}


def find(name: str) -> ModelSpec:
    """The model of that id, alias, or library's name.

    Raises:
        UsageError: no such model, or it cannot be converted; the message says why and offers the nearest name.
    """
    family, colon, rest = name.partition(":")
    models = load_models()
    if not colon:
        return _by_id(name, models)
    if family not in FOUND_BY or not rest:
        hint = nearest(family, FOUND_BY)
        message = f"unknown model '{name}'; before the colon stands where it comes from: {', '.join(FOUND_BY)}; {hint}"
        raise UsageError(message)
    try:
        with _advice_silenced():
            spec = _from_library(family, rest, models)
    except ConfigError as error:
        raise UsageError("; ".join(error.mistakes)) from error
    return _with_yaml(spec, models) or spec


def listing(word: str = "", source: Source = "yaml") -> list[Listed]:
    """The models of one source whose name or title contains `word`.

    Raises:
        UsageError: there is no such source.
    """
    if source not in SOURCES:
        message = f"unknown source '{source}'; {nearest(source, SOURCES)}"
        raise UsageError(message)
    with _advice_silenced():
        lines = {"yaml": _list_yaml, "open_clip": _list_open_clip, "timm": _list_timm}[source]()
    return [line for line in lines if word.lower() in f"{line.name} {line.title}".lower()]


def why_no_text(spec: ModelSpec) -> str:
    """Why a model has no text tower here; "" where it has one."""
    if "text" in spec.towers:
        return ""
    family, _, name = spec.source.partition(":")
    if family != "open_clip":
        return f"{spec.title} is an image tower; {family} has no text tower for it"
    from converter.models.open_clip import read_settings
    from converter.models.open_clip import why_no_text as reason

    why = reason(read_settings(name, spec.id))
    return f"the text tower of {spec.title} cannot be converted: {why}"


def proven(spec: ModelSpec) -> Proven | None:
    """What is known of earlier proofs of this model's files; None where there is nothing.

    Raises:
        ConfigError: configs/proven.yaml does not hold `weights` and `rows` for this model.
    """
    return _proven_of(spec.id, _all_proven())


def _all_proven() -> Mapping[str, object]:
    path = configs_dir() / PROVEN_FILE
    return read_yaml(path) if path.is_file() else {}


def _proven_of(model: str, everything: Mapping[str, object]) -> Proven | None:
    entry = everything.get(model)
    if entry is None:
        return None
    if not isinstance(entry, Mapping) or not isinstance(entry.get("rows"), Mapping):
        raise ConfigError([f"{PROVEN_FILE}: {model}: expected weights and rows, found {entry!r}"])
    rows = {str(step): str(verdict) for step, verdict in entry["rows"].items()}
    return Proven(weights=str(entry.get("weights", "")), rows=rows)


@contextmanager
def _advice_silenced() -> Iterator[None]:
    """Libraries advise each other on where to import from."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


def _by_id(name: str, models: Mapping[str, ModelSpec]) -> ModelSpec:
    try:
        return find_model(name, models)
    except UsageError as error:
        message = f"{error}; any model of open_clip or timm: open_clip:NAME, timm:NAME"
        raise UsageError(message) from error


def _from_library(family: str, name: str, models: Mapping[str, ModelSpec]) -> ModelSpec:
    from converter.models import described

    if family == "mobileclip":
        return _from_apple(name, models)
    return described.from_open_clip(name) if family == "open_clip" else described.from_timm(name)


def _with_yaml(spec: ModelSpec, models: Mapping[str, ModelSpec]) -> ModelSpec | None:
    """The YAML of the same architecture and weights, which says more than the library."""
    if not spec.source.startswith("open_clip:"):
        return None
    return next((one for one in models.values() if _identity(one) == _identity(spec)), None)


def _identity(spec: ModelSpec) -> tuple[str, str, bool]:
    source, _, _ = spec.source.partition("@")
    return source.removesuffix("-quickgelu"), spec.hub_repo, source.startswith("open_clip:")


def _from_apple(name: str, models: Mapping[str, ModelSpec]) -> ModelSpec:
    if name not in APPLE_NAMES or name not in models:
        message = f"mobileclip:{name}: Apple's package has no such model; {nearest(name, APPLE_NAMES)}"
        raise UsageError(message)
    alike = models[name]
    return dataclasses.replace(
        alike, id=f"apple_{name}", title=f"{alike.title}, Apple's implementation",
        source=f"mobileclip:{name}", aliases=(),
    )  # fmt: skip


def _list_yaml() -> list[Listed]:
    everything = _all_proven()
    return [
        Listed(
            name=spec.id, title=spec.title, towers=spec.towers, size=spec.preprocessing.size,
            weights=spec.hub_repo or spec.bundled or "-", license=spec.license,
            parameters={tower: round(spec.parameters[tower] / 1e6, 1) for tower in spec.towers},
            preprocessing=_in_words(spec.preprocessing),
            proven=", ".join(_targets_in_words(_proven_of(spec.id, everything))),
        )
        for spec in load_models().values()
    ]  # fmt: skip


def _in_words(preprocessing: Preprocessing) -> str:
    known = (preprocessing.mean, preprocessing.std)
    return f"{preprocessing.interpolation}, mean/std {NAMED_STATISTICS.get(known, 'its own')}"


def _targets_in_words(found: Proven | None) -> Iterator[str]:
    """Targets whose files all passed; with a count where only some did."""
    for target, (passed, total) in found.targets().items() if found else ():
        yield target if passed == total else f"{target} {passed}/{total}"


def _list_open_clip() -> list[Listed]:
    import open_clip
    from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model

    from converter.models.described import UNKNOWN_LICENSE, on_the_hub
    from converter.models.open_clip import why_no_text as reason

    lines = []
    for architecture in open_clip.list_models():
        settings = open_clip.get_model_config(architecture)
        why, size = reason(settings), settings["vision_cfg"].get("image_size", 224)
        towers: tuple[Tower, ...] = ("image",) if why else ("image", "text")
        for tag in list_pretrained_tags_by_model(architecture):
            repo, _ = on_the_hub(get_pretrained_cfg(architecture, tag))
            lines.append(
                Listed(
                    name=f"open_clip:{architecture}@{tag}", title=architecture, towers=towers, size=size,
                    weights=repo or "-", license=UNKNOWN_LICENSE, refused=why and f"no text tower: {why}",
                )
            )  # fmt: skip
    return lines


def _list_timm() -> list[Listed]:
    import timm

    from converter.models.described import UNKNOWN_LICENSE

    lines = []
    for name in timm.list_pretrained():
        said = timm.get_pretrained_cfg(name)
        lines.append(
            Listed(
                name=f"timm:{name}", title=name, towers=("image",), size=said.input_size[-1],
                weights=said.hf_hub_id or "-", license=said.license or UNKNOWN_LICENSE,
            )
        )  # fmt: skip
    return lines
