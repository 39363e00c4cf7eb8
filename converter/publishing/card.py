"""The model card: `README.md` of a release, in the form that the model hub reads.

All of it comes from the manifest: a verdict first, then what was waived, the table of parity, how to prepare inputs,
and for each format that is there a few lines that run one of its files (`converter.publishing.snippets`).
"""

from __future__ import annotations

from collections.abc import Iterator

from converter.config import load_models
from converter.manifest import Manifest, ManifestEntry, ManifestModel
from converter.publishing.snippets import snippets
from converter.records import ParityReport

_LIBRARIES = {"onnx": "onnx", "coreml": "coreml", "tflite": "tflite", "torchscript": "pytorch"}
"""What the hub calls our targets."""
_CHECK = (
    "`mcconvert verify .` runs every file here once more, on the samples in `reference/`, and judges it again; "
    "`mcconvert verify . --provenance` holds every byte against `provenance.json` and `SHA256SUMS`. "
    "Without mcconvert: `sha256sum -c SHA256SUMS`."
)


def card(manifest: Manifest) -> str:
    """The whole page, front matter first."""
    parts = [_front_matter(manifest), f"# {manifest.model.id}", *_verdict(manifest), *_warnings(manifest)]
    parts += ["## Files", table(manifest), table_words(manifest), "## Inputs", *_inputs(manifest)]
    parts += ["## Use", *snippets(manifest), "## Check it", _CHECK, "## Licence", *licence_words(manifest.model)]
    return "\n\n".join(parts) + "\n"


def _front_matter(manifest: Manifest) -> str:
    from huggingface_hub import ModelCardData

    model = manifest.model
    targets = sorted({entry.target for entry in manifest.artifacts})
    identifier, name, link = _hub_licence(model)
    zero_shot = {entry.tower for entry in manifest.artifacts} == {"image", "text"}
    data = ModelCardData(
        license=identifier, license_name=name, license_link=link,
        library_name=_LIBRARIES.get(targets[0], targets[0]) if len(targets) == 1 else None,
        pipeline_tag="zero-shot-image-classification" if zero_shot else "feature-extraction",
        tags=["mcconvert", "clip", *(["mobileclip"] if "mobileclip" in model.family else []), *targets],
        base_model=_hub_repo(model) or None,
    )  # fmt: skip
    return f"---\n{data.to_yaml()}\n---"


def _hub_repo(model: ManifestModel) -> str:
    """Where the hub has the model that the files were made from; empty for weights of someone's own."""
    known = load_models().get(model.id)
    return known.hub_repo if known is not None and model.weights.kind == "hub" else ""


def _hub_licence(model: ManifestModel) -> tuple[str, str | None, str | None]:
    """The hub's identifier where it has one; elsewhere `other` with a name and an address."""
    known = {"MIT": "mit", "Apache-2.0": "apache-2.0", "BSD-3-Clause": "bsd-3-clause", "CC-BY-4.0": "cc-by-4.0"}
    if "apple-amlr" in model.license:
        return "apple-amlr", None, model.license_url or None
    if model.license in known:
        return known[model.license], None, None
    return "other", model.license or "unknown", model.license_url or None


def _verdict(manifest: Manifest) -> Iterator[str]:
    model, count = manifest.model, len(manifest.artifacts)
    reports = [entry.parity for entry in manifest.artifacts if entry.parity]
    targets = _listed(sorted({_target(entry.target) for entry in manifest.artifacts}))
    sets = " and ".join(sorted({report.sample_set for report in reports}))
    files = "One file" if count == 1 else f"{count} files"
    yield (
        f"{files} of `{model.id}` ({model.source}) for {targets}. Each was run on {sets} and on inputs "
        "that no photograph or caption resembles, compared with the unmodified "
        "PyTorch model in float32, and found to be the same model within the bounds that `manifest.json` names."
    )
    yield f"Made by {manifest.created_by}. Every figure below is of the very bytes that lie here."


def _warnings(manifest: Manifest) -> Iterator[str]:
    if not manifest.model.trained:
        yield (
            "> [!WARNING]\n> **The weights are not trained.** These files show that the conversion works. Their "
            "embeddings mean nothing: do not use them in an app."
        )
    if manifest.waivers:
        lines = [f"> - `{one.name}`: {one.what}" for one in manifest.waivers]
        yield "\n".join(["> [!WARNING]", "> Published although, as its publisher waived:", *lines])


def table(manifest: Manifest) -> str:
    """The figures of every file of the manifest."""
    head = [
        "| file | size | precision | centred cosine, min / mean | top-5 kept, 95 % interval | ms a call | run by |",
        "|---|---:|---|---:|---:|---:|---|",
    ]
    return "\n".join([*head, *(_row(entry) for entry in manifest.artifacts)])


def _row(entry: ManifestEntry) -> str:
    size = f"{entry.size_bytes / 1e6:.1f} MB" if entry.size_bytes >= 1e5 else f"{entry.size_bytes / 1e3:.1f} kB"
    cosine, kept, latency, by = _figures(entry.parity)
    return f"| `{entry.path}` | {size} | {entry.precision} | {cosine} | {kept} | {latency} | {by} |"


def _figures(report: ParityReport | None) -> tuple[str, str, str, str]:
    if report is None or not report.outputs:
        return "-", "-", "-", "-"
    output, ranking = report.outputs[0], report.ranking
    kept = f"{ranking.top_k:.3f}" if ranking else "-"
    if ranking and ranking.top_k_interval:
        kept += " [{:.3f}, {:.3f}]".format(*ranking.top_k_interval)
    latency = f"{report.latency_ms:.1f}" if report.latency_ms is not None else "-"
    cosine = f"{output.centred_cosine_min:.6f} / {output.centred_cosine_mean:.6f}"
    return cosine, kept, latency, report.executed_by.partition(",")[0]


def table_words(manifest: Manifest) -> str:
    """What the figures of the table mean."""
    machine = manifest.environment.get("machine", "unknown")
    return (
        "Cosines are taken after subtracting the mean of the reference's embeddings: what all inputs have in common "
        "says nothing about whether they can be told apart. *Top-5 kept* is the share of the reference's five nearest "
        f"neighbours that the file returns too. *ms a call* is the median of single calls on the {machine} machine "
        "that proved the file, beside whatever else that did: an order of magnitude, not a benchmark, and not a "
        "phone's. It is left out where calls took several samples or an interpreter ran in place of the phone's code."
    )


def _inputs(manifest: Manifest) -> Iterator[str]:
    model, towers = manifest.model, {entry.tower for entry in manifest.artifacts}
    if "image" in towers:
        yield _image_words(model)
    if "text" in towers and model.tokenizer is not None:
        cut = model.tokenizer
        yield (
            f"**Texts.** `{cut.path}` (Hugging Face `tokenizers`) gives rows of {cut.context_length} int32 tokens: "
            f"start {cut.start_token}, end {cut.end_token}, filled up with {cut.pad_token}. It was seen to cut "
            f"{cut.captions} captions as the reference's own tokenizer does."
        )
    scale = (
        f" For zero-shot classification take the softmax over {model.logit_scale:.4f} times the cosines."
        if model.logit_scale is not None
        else ""
    )
    yield (
        f"**Outputs.** Embeddings of {model.embed_dim} float32 values of length 1: their dot product is the cosine."
        f"{scale}"
    )


def _image_words(model: ManifestModel) -> str:
    pre = model.preprocessing
    resize = {"shortest": "the shortest side", "longest": "the longest side", "squash": "both sides"}[pre.resize]
    after = (
        "and hand over the uint8 RGB values as they are: the files scale and normalise them."
        if pre.inside_graph
        else f"scale to [0, 1], subtract the mean {_numbers(pre.mean)} and divide by the deviation "
        f"{_numbers(pre.std)}, a channel each in the order RGB."
    )
    return (
        f"**Images.** Resize {resize} to {pre.resize_size or pre.size} pixels ({pre.interpolation}), crop the centre "
        f"{pre.size} x {pre.size}, {after} The layout is {pre.layout} unless the file's own input says otherwise."
    )


def licence_words(model: ManifestModel) -> Iterator[str]:
    """Under which licence the weights are, and so the files."""
    where = f" ({model.license_url})" if model.license_url else ""
    yield f"The weights are under: {model.license or 'unknown'}{where}. Files made from them are under the same."


def _numbers(values: tuple[float, ...]) -> str:
    return f"({', '.join(f'{value:g}' for value in values)})"


def _target(name: str) -> str:
    return {"onnx": "ONNX", "coreml": "Core ML", "tflite": "LiteRT", "torchscript": "TorchScript"}.get(name, name)


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
