"""Ways to spoil bytes and trees: blind ones, and ones that know JSON, YAML and Python's pickles.

A mutator takes the bytes of a whole file and a random generator, and gives other bytes; the same generator gives the
same bytes. Archives, protobuf and flatbuffers are left to `structures`.
"""

from __future__ import annotations

import json
import pickle
import re
import struct
from collections.abc import Callable
from random import Random
from typing import Any

import yaml

Mutator = Callable[[bytes, Random], bytes]
NEAR_HEAD, NEAR_TAIL = 512, 2048
"""Where formats keep what they are read by."""
LENGTHS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**40, 2**63 - 1, 2**64 - 1)
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 2**31, 2**70, 1e308, float("nan"), float("inf"), "", "x" * 5000, "../../x", "/etc/passwd",
    "\x00", "\ud7ff", [], {}, [[]], {"": None}, [1, "a", None], {"a": {"b": []}},
)  # fmt: skip
DEEP = 5000


def spoiled(data: bytes, random: Random) -> bytes:
    """Up to six blind changes, one on the other."""
    for _ in range(random.choice((1, 1, 1, 2, 3, 6))):
        data = random.choice(_BLIND)(data, random)
    return data


def one_of(*mutators: Mutator) -> Mutator:
    """Any of them; naming one twice makes it likelier."""
    return lambda data, random: random.choice(mutators)(data, random)


def json_tree(data: bytes, random: Random) -> bytes:
    """JSON with one to three nodes exchanged, lost or renamed; nested past any reader's patience now and then."""
    if random.random() < 0.02:
        return _nested(b'{"a":', b"}", b"1", random)
    text = json.dumps(_changed_tree(json.loads(data), random), allow_nan=True)
    return text.encode("utf-8", "surrogatepass")


def yaml_tree(data: bytes, random: Random) -> bytes:
    """YAML with nodes exchanged, lost or renamed, or with what only YAML has: tags, aliases, merges."""
    if random.random() < 0.2:
        return random.choice(_YAML_TRICKS)(data, random)
    return yaml.safe_dump(_changed_tree(yaml.safe_load(data), random), sort_keys=False).encode("utf-8", "replace")


def safetensors_header(data: bytes, random: Random) -> bytes:
    """The JSON before the tensors changed, its length kept true half of the time."""
    (length,) = struct.unpack_from("<Q", data)
    header = json_tree(data[8 : 8 + length], random)
    said = len(header) if random.random() < 0.7 else random.choice(LENGTHS)
    return struct.pack("<Q", said) + header + data[8 + length :]


def npy_header(data: bytes, random: Random) -> bytes:
    """The dictionary before an array's numbers: other types, shapes and orders, or no dictionary at all."""
    headers = (
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
        f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({random.choice(LENGTHS)}, 8, 8, 3), }}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 8, 8, 3), }",
        "{'descr': '<f4', 'fortran_order': True, 'shape': (), }",
        "{'descr': [('a', '<f4'), ('b', '|O')], 'fortran_order': False, 'shape': (2,), }",
        "{'descr': '<M8[ns]', 'fortran_order': False, 'shape': (2,), }",
        "__import__('os').getcwd()", "(" * 400, "{'descr': 1}", "",
    )  # fmt: skip
    header = random.choice(headers).encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data[128:]


def pickled(data: bytes, random: Random) -> bytes:
    """A pickle in which opcodes were exchanged, or one that would run code."""
    if random.random() < 0.3:
        return random.choice(gadgets("/nonexistent/canary"))
    return spoiled(data, random)


def gadgets(canary: str) -> list[bytes]:
    """Pickles that would make the file `canary` if anything in them were run."""
    source = f"open({canary!r}, 'w').close()"
    calls = [
        ("posix", "system", (f"touch {canary}",)),
        ("builtins", "eval", (source,)),
        ("builtins", "exec", (source,)),
        ("builtins", "open", (canary, "w")),
        ("subprocess", "getoutput", (f"touch {canary}",)),
        ("os", "makedirs", (canary,)),
        ("runpy", "_run_code", (source, {})),
        ("code", "InteractiveInterpreter", ()),
    ]
    inner = _call("builtins", "exec", (source,))
    return [
        *(_call(*one) for one in calls),
        _call("torch.storage", "_load_from_bytes", (inner,)),
        _call("torch.serialization", "load", (canary,)),
        _call("pickle", "loads", (inner,)),
        _call("builtins", "getattr", (_Raw(b"cbuiltins\n__dict__\n"), "exec")),
        _call("torch._utils", "_rebuild_tensor_v2", (inner, 0, (2**40,), (1,), False, {})),
        _call("torch", "_utils.__builtins__", (source,)),
        _call("collections", "OrderedDict", (_Raw(inner[2:-1]),)),
    ]


class _Raw:
    """Opcodes that stand for a value."""

    def __init__(self, opcodes: bytes) -> None:
        self.opcodes = opcodes


def _call(module: str, name: str, arguments: tuple[Any, ...]) -> bytes:
    """Opcodes of protocol 2: push the global, push the arguments, reduce."""
    pushed = b"".join(one.opcodes if isinstance(one, _Raw) else pickle.dumps(one, 2)[2:-1] for one in arguments)
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + b"(" + pushed + b"tR."


def _at(data: bytes, random: Random) -> int:
    size = max(len(data), 1)
    where = random.random()
    if where < 0.4:
        return random.randrange(min(size, NEAR_HEAD))
    if where < 0.6:
        return size - 1 - random.randrange(min(size, NEAR_TAIL))
    return random.randrange(size)


def _flip(data: bytes, random: Random) -> bytes:
    changed = bytearray(data or b"\0")
    for _ in range(random.choice((1, 1, 2, 8, 64))):
        changed[_at(data, random)] ^= 1 << random.randrange(8)
    return bytes(changed)


def _cut(data: bytes, random: Random) -> bytes:
    return data[: _at(data, random)]


def _drop(data: bytes, random: Random) -> bytes:
    at = _at(data, random)
    return data[:at] + data[at + random.choice((1, 4, 8, 100, 4096)) :]


def _insert(data: bytes, random: Random) -> bytes:
    at, count = _at(data, random), random.choice((1, 4, 16, 256))
    return data[:at] + random.choice((bytes(count), b"\xff" * count, random.randbytes(count))) + data[at:]


def _splice(data: bytes, random: Random) -> bytes:
    """A block of the file itself somewhere else in it."""
    at, start = _at(data, random), _at(data, random)
    block = data[start : start + random.choice((4, 16, 200, 5000))]
    return data[:at] + block + data[at + len(block) * random.randrange(2) :]


def _length(data: bytes, random: Random) -> bytes:
    """A number that may be a length or an offset."""
    kind = random.choice(("<H", ">H", "<I", ">I", "<Q", ">Q"))
    at = _at(data, random) & ~(random.choice((0, 1, 3)))
    number = random.choice((*LENGTHS, len(data), len(data) + 1, at)) & (2 ** (8 * struct.calcsize(kind)) - 1)
    field = struct.pack(kind, number)
    return data[:at] + field + data[at + len(field) :]


def _digits(data: bytes, random: Random) -> bytes:
    """A number written in digits, as in headers of text."""
    found = list(re.finditer(rb"\d+", data[:65536]))
    if not found:
        return _flip(data, random)
    one = random.choice(found)
    return data[: one.start()] + str(random.choice((*LENGTHS, -1))).encode() + data[one.end() :]


_BLIND: tuple[Mutator, ...] = (_flip, _flip, _cut, _drop, _insert, _splice, _length, _length, _digits)


def _changed_tree(tree: Any, random: Random) -> Any:
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        places = list(_places(tree))
        if not places:
            return random.choice(VALUES)
        holder, key = random.choice(places)
        _change_node(holder, key, random)
    return tree


def _places(tree: Any) -> Any:
    """Every (container, key) of the tree."""
    for key in list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ():
        yield tree, key
        yield from _places(tree[key])


def _change_node(holder: Any, key: Any, random: Random) -> None:
    what = random.randrange(6)
    if what == 0:
        del holder[key]
    elif what == 1 and isinstance(holder, dict):
        holder[random.choice((f"{key}x", "", "../x", key if random.random() < 0.5 else str(key).upper()))] = holder.pop(
            key
        )
    elif what == 2 and isinstance(holder[key], int | float):
        holder[key] = random.choice((-holder[key], holder[key] + 1, 2**63, 1e-300, str(holder[key])))
    elif what == 3 and isinstance(holder[key], str):
        holder[key] = random.choice(("../" * 3 + holder[key], "/" + holder[key], holder[key] * 50, holder[key][:-1]))
    elif what == 4:
        holder[key] = random.choice(([holder[key]], {"a": holder[key]}, [holder[key]] * 3))
    else:
        holder[key] = random.choice(VALUES)


def _nested(opening: bytes, closing: bytes, core: bytes, random: Random) -> bytes:
    depth = random.choice((50, 500, DEEP, 100_000))
    return opening * depth + core + closing * random.choice((depth, 0))


def _laughs(data: bytes, random: Random) -> bytes:
    """A list of lists of lists of the same list: nine levels make a billion leaves."""
    levels = "".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 10)}]\n" for i in range(1, random.choice((3, 6, 10))))
    return ("l0: &l0 [ha, ha, ha]\n" + levels).encode() + (data if random.random() < 0.5 else b"rows: *l2\n")


def _own_parent(data: bytes, random: Random) -> bytes:
    """A node that holds itself."""
    name = random.choice((b"rows", b"targets", b"options", b"limits", b"samples", b"summary", b"tolerances"))
    return data + b"\n" + name + random.choice((b": &a [*a]\n", b": &a {a: *a}\n", b": &a {<<: *a}\n"))


def _tag(data: bytes, random: Random) -> bytes:
    tags = (b"!!python/object/apply:os.system ['true']", b"!!python/name:os.system", b"!!binary '$$$'", b"!!set {a, b}",
            b"!!timestamp 2026-99-99", b"!!int 0x", b"!!float abc", b"!!omap [a: 1]", b"!x y", b"2026-13-45",
            b"? [a, b]\n: c", b"? {a: b}\n: c", b"1:99:99", b"!!null x", b"!!bool maybe", b"0o99", b"!!int ''",
            b"!!merge x", b"<<: 1", b"{[a]: b}", b"{{a: b}: c}", b"=", b"!!str {a: b}", b"!!map x")  # fmt: skip
    line = random.choice((b"model: ", b"rows: ", b"summary: ", b"threads: ", b"  x: ", b""))
    return data + b"\n" + line + random.choice(tags) + b"\n"


def _deep_yaml(_data: bytes, random: Random) -> bytes:
    return random.choice((_nested(b"[", b"]", b"", random), _nested(b"{a: ", b"}", b"1", random),
                          _nested(b"- ", b"", b"x", random), b"rows: " + _nested(b"[", b"]", b"", random)))  # fmt: skip


_YAML_TRICKS: tuple[Mutator, ...] = (_laughs, _own_parent, _tag, _tag, _deep_yaml, spoiled)
