"""Mutators that know what a file is made of: members of archives, fields of protobuf messages and of flatbuffers."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import numpy as np

from tests.fuzz.mutators import LENGTHS, Mutator, spoiled

NAMES = ("../../x", "/tmp/x", "..", "", "a/../../b", "C:\\x", "\x00", "x" * 300, "a\nb", ".", "./", "\u202e.png")
INTEGERS = (-1, 0, 1, 2, 255, 65535, 2**31 - 1, -(2**31), 2**32 - 1, 2**40, 2**63 - 1, -(2**63))
DECLARED_SIZE = 24
"""Where an entry of a zip's directory says how large its member is, unpacked; the packed size is 4 bytes before."""


def zip_members(inside: Mutator = spoiled, pickles: Mutator = spoiled) -> Mutator:
    """Members renamed, doubled, lost, changed by `inside` (`.pkl` by `pickles`), or with lies about their sizes."""

    def mutate(data: bytes, random: Random) -> bytes:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(one.filename, archive.read(one)) for one in archive.infolist()]
        for _ in range(random.choice((1, 1, 2))):
            _change_member(members, inside, pickles, random)
        packed = _zipped(members, random)
        return _with_lie(packed, random) if random.random() < 0.15 else packed

    return mutate


def tar_members(packed: bool = False) -> Mutator:
    """As `zip_members`, with links, devices and sizes that lie besides."""

    def mutate(data: bytes, random: Random) -> bytes:
        plain = gzip.decompress(data) if packed else data
        changed = _retarred(plain, random) if random.random() < 0.7 else spoiled(plain, random)
        return gzip.compress(changed, 1) if packed else changed

    return mutate


def protobuf(make: Callable[[], Any]) -> Mutator:
    """Up to four fields of the message set to something else, lost or doubled. `make` gives an empty message."""

    def mutate(data: bytes, random: Random) -> bytes:
        message = make()
        message.ParseFromString(data)
        for _ in range(random.choice((1, 1, 2, 4))):
            _change_message(_random_message(message, random), random)
        try:
            return bytes(message.SerializeToString(deterministic=True))
        except (ValueError, UnicodeEncodeError):
            return spoiled(data, random)

    return mutate


def tflite_objects(data: bytes, random: Random) -> bytes:
    """One to four attributes of the file's objects changed, then packed as if all were well."""
    import flatbuffers
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(bytearray(data))
    for _ in range(random.choice((1, 1, 2, 4))):
        _change_object(random.choice(list(_objects(model))), random)
    try:
        builder = flatbuffers.Builder(len(data) + 2**16)
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())
    except Exception:  # what cannot be packed at all is spoiled blindly
        return spoiled(data, random)


def _change_member(members: list[tuple[str, bytes]], inside: Mutator, pickles: Mutator, random: Random) -> None:
    if not members:
        members.append((random.choice(NAMES), b""))
        return
    at = random.randrange(len(members))
    name, content = members[at]
    what = random.randrange(8)
    if what == 0:
        del members[at]
    elif what == 1:
        members[at] = (random.choice((*NAMES, f"../{name}", f"/{name}", name.upper())), content)
    elif what == 2:
        members.append((name, inside(content, random)))
    else:
        members[at] = (name, (pickles if name.endswith(".pkl") else inside)(content, random))


def _zipped(members: list[tuple[str, bytes]], random: Random) -> bytes:
    buffer = io.BytesIO()
    kind = random.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2))
    with zipfile.ZipFile(buffer, "w", kind) as archive:
        for name, content in members:
            info = zipfile.ZipInfo()
            info.filename, info.compress_type = name, kind
            archive.writestr(info, content)
    return buffer.getvalue()


def _with_lie(data: bytes, random: Random) -> bytes:
    at = data.find(b"PK\x01\x02")
    if at < 0:
        return data
    lie = (random.choice(LENGTHS) & 0xFFFFFFFF).to_bytes(4, "little")
    field = at + DECLARED_SIZE - random.choice((0, 4))
    return data[:field] + lie + data[field + 4 :]


def _retarred(data: bytes, random: Random) -> bytes:
    buffer = io.BytesIO()
    kinds = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE, tarfile.GNUTYPE_SPARSE, b"Z")
    with tarfile.open(fileobj=io.BytesIO(data)) as old, tarfile.open(fileobj=buffer, mode="w") as new:
        for member in old:
            content = old.extractfile(member)
            if random.random() < 0.3:
                member.name = random.choice(NAMES[:3] + NAMES[4:6])
            if random.random() < 0.2:
                member.type, member.linkname = random.choice(kinds), random.choice(("/etc/passwd", "../x", member.name))
            new.addfile(member, content if member.isreg() else None)
    return buffer.getvalue()


def _random_message(message: Any, random: Random) -> Any:
    """A walk down, that ends anywhere."""
    while random.random() < 0.85:
        below = [one for field, value in message.ListFields() if field.message_type for one in _messages(value)]
        if not below:
            break
        message = random.choice(below)
    return message


def _messages(value: Any) -> list[Any]:
    if hasattr(value, "ListFields"):
        return [value]
    return [one for one in (value.values() if hasattr(value, "values") else value) if hasattr(one, "ListFields")]


def _change_message(message: Any, random: Random) -> None:
    field = random.choice(list(message.DESCRIPTOR.fields) or [None])
    if field is None:
        return
    try:
        if random.random() < 0.3:
            message.ClearField(field.name)
        elif hasattr(getattr(message, field.name), "append") and not field.message_type:
            getattr(message, field.name).append(_value_of(field, random))
        elif hasattr(getattr(message, field.name), "add"):
            _double(getattr(message, field.name), random)
        elif not field.message_type:
            setattr(message, field.name, _value_of(field, random))
        else:
            getattr(message, field.name).SetInParent()
    except (ValueError, TypeError, AttributeError):  # out of the field's range: left as it was
        return


def _double(repeated: Any, random: Random) -> None:
    if len(repeated) and random.random() < 0.5:
        repeated.append(random.choice(list(repeated)))
    elif len(repeated) and random.random() < 0.5:
        del repeated[random.randrange(len(repeated))]
    else:
        repeated.add()


def _value_of(field: Any, random: Random) -> Any:
    if field.cpp_type == field.CPPTYPE_STRING:
        text = random.choice((*NAMES, "@model_path/../../../etc/passwd", "add", "x"))
        return text.encode() if field.type == field.TYPE_BYTES else text
    if field.cpp_type in (field.CPPTYPE_DOUBLE, field.CPPTYPE_FLOAT):
        return random.choice((0.0, -1.0, 1e30, float("nan"), float("inf")))
    return random.choice(INTEGERS)


def _objects(value: Any) -> Iterator[Any]:
    """Every object of a ModelT that has attributes."""
    yield value
    for one in vars(value).values():
        for below in one if isinstance(one, list) else (one,):
            if type(below).__name__.endswith("T") and hasattr(below, "Pack"):
                yield from _objects(below)


def _change_object(one: Any, random: Random) -> None:
    names = list(vars(one))
    if not names:
        return
    name = random.choice(names)
    value = getattr(one, name)
    if isinstance(value, bool):
        setattr(one, name, not value)
    elif isinstance(value, int):
        setattr(one, name, random.choice((*INTEGERS[:6], value + 1, value - 1, value * 2)))
    elif isinstance(value, np.ndarray) and value.size:
        changed = value.copy()
        other = np.array(random.choice((-1, 0, 1, 100, 127))).astype(changed.dtype)  # wraps where it does not fit
        changed[random.randrange(len(changed))] = other
        setattr(one, name, random.choice((changed, changed[:-1], np.concatenate([changed, changed]))))
    elif isinstance(value, list) and value:
        setattr(one, name, random.choice((value[:-1], value[::-1], [*value, value[0]], [])))
    else:
        setattr(one, name, random.choice((None, value)))
