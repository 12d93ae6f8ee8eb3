"""Harmless damage: what disks, editors, copies that stop half-way and people do to files."""

import copy
import json
import random

ODD_TEXTS = (
    "",
    " ",
    "x",
    "-1",
    "0",
    "1e999",
    "nan",
    "NaN",
    "inf",
    "null",
    "none",
    "true",
    "½",
    "٣",
    "²",
    "日本",
    "🦀",
    "é" * 40,
    "a" * 5000,
    "9" * 5000,
    "../x",
    "/",
    ".",
    "con",
    "1_000",
    "0x10",
    " 42 ",
    "4.0",
    "%s{}\\n",
    "'",
    '"',
    "\t",
)
ODD_VALUES = (
    None,
    True,
    False,
    0,
    1,
    -1,
    2,
    7,
    10**30,
    -(10**30),
    2**31,
    2**63,
    0.5,
    -0.0,
    1e308,
    1e-320,
    "",
    "x",
    "1",
    "🦀",
    "a" * 3000,
    [],
    [0],
    [[]],
    ["x"],
    {},
    {"x": 1},
    [None],
    list(range(300)),
)


def flip_bits(data: bytes, rng: random.Random) -> tuple[bytes, str]:
    "One to eight bits of a file turned over."
    if not data:
        return b"\x00", "a byte put into an empty file"
    changed, places = bytearray(data), sorted(rng.randrange(len(data) * 8) for _ in range(rng.choice((1, 1, 2, 8))))
    for place in places:
        changed[place // 8] ^= 1 << place % 8
    return bytes(changed), f"bits {', '.join(map(str, places))} turned over"


def cut_bytes(data: bytes, rng: random.Random) -> tuple[bytes, str]:
    "A file that ends too early."
    end = rng.choice((0, 1, 7, 8, 9, len(data) // 2, len(data) - 1, rng.randrange(len(data) + 1)))
    end = max(0, min(end, len(data)))
    return data[:end], f"cut after {end} of {len(data)} bytes"


def patch_bytes(data: bytes, rng: random.Random) -> tuple[bytes, str]:
    "A stretch of zeros or noise, something inserted, taken out, or put twice."
    begin = rng.randrange(len(data) + 1)
    length = min(rng.choice((1, 4, 64, 512)), len(data) - begin)
    noise = rng.randbytes(length or 1)
    how = rng.choice(("zeroed", "overwritten", "inserted", "taken out", "doubled", "appended"))
    middle = {
        "zeroed": bytes(length),
        "overwritten": noise[:length],
        "inserted": noise + data[begin : begin + length],
        "taken out": b"",
        "doubled": data[begin : begin + length] * 2,
    }.get(how)
    if middle is None:
        return data + noise, f"{len(noise)} bytes appended"
    return data[:begin] + middle + data[begin + length :], f"{length} bytes at {begin} {how}"


def of_bytes(data: bytes, rng: random.Random) -> tuple[bytes, str]:
    "Some damage to the bytes of a file."
    return rng.choice((flip_bits, cut_bytes, patch_bytes))(data, rng)


def _places(value, path=()):
    "The path of every value in a structure of JSON."
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value[:20]) if isinstance(value, list) else ()
    for key, item in items:
        yield from _places(item, (*path, key))


def _neighbour(value, rng):
    "A value of the same type that is easily mistaken for this one."
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + rng.choice((-1, 1, 10, -value, -2 * value))
    if isinstance(value, float):
        return value * rng.choice((-1.0, 0.5, 1.0000001, 10.0, 1e30))
    if isinstance(value, str):
        return rng.choice((value[:-1], value + "x", value.upper(), value[::-1], value.replace("s42", "s43")))
    return rng.choice(ODD_VALUES)


def of_json(content, rng: random.Random, names=()) -> tuple[object, str]:
    "One field changed, dropped, renamed or added, or the whole replaced; `names` are fields worth adding."
    if not isinstance(content, (dict, list)) or not content or rng.random() < 0.04:
        value = rng.choice(ODD_VALUES)
        return value, f"the whole replaced by {json.dumps(value)[:60]}"
    changed = copy.deepcopy(content)
    if isinstance(changed, dict) and rng.random() < 0.1:
        name, value = rng.choice((*names, "extra", "sha256", "🦀", "a" * 300)), rng.choice(ODD_VALUES)
        changed[name] = value
        return changed, f"{name[:40]!r} added as {json.dumps(value)[:60]}"
    place = _chosen_place(changed, rng)
    parent = changed
    for key in place[:-1]:
        parent = parent[key]
    last, where = place[-1], ".".join(map(str, place))
    how = rng.choice(("neighbour", "neighbour", "odd", "odd", "as text", "dropped", "dropped", "renamed"))
    if how == "dropped" or how == "renamed" and isinstance(parent, list):
        del parent[last]
        return changed, f"{where} dropped"
    if how == "renamed":
        parent[f"{last}_"] = parent.pop(last)
        return changed, f"{where} renamed to {last}_"
    parent[last] = {
        "neighbour": lambda: _neighbour(parent[last], rng),
        "odd": lambda: rng.choice(ODD_VALUES),
        "as text": lambda: json.dumps(parent[last]),
    }[how]()
    return changed, f"{where} changed to {json.dumps(parent[last])[:60]}"


def _chosen_place(content, rng):
    "Half of the time a field of the top, else any."
    places = list(_places(content))
    top = [place for place in places if len(place) == 1]
    return rng.choice(top if rng.random() < 0.5 else places)


def of_json_text(text: str, rng: random.Random, names=()) -> tuple[str | bytes, str]:
    "A damaged JSON file: in its structure, in its bytes, or in the way it is written."
    if rng.random() < 0.75:
        value, said = of_json(json.loads(text), rng, names)
        return json.dumps(value, indent=rng.choice((None, 2))), said
    odd = {
        "BOM before it": "\ufeff" + text,
        "two of them": text + text,
        "an infinity in it": text.replace("{", '{"odd": Infinity, ', 1),
        "NaN in it": text.replace("{", '{"odd": NaN, ', 1),
        "a comma at the end": text.rstrip()[:-1] + ",}",
        "a key twice": text.replace("{", '{"status": "done", "status": "failed", ', 1),
        "single quotes": text.replace('"', "'"),
        "nested 100,000 deep": "[" * 100_000,
        "UTF-16": text.encode("utf-16"),
        "half of a surrogate pair": text.replace("{", '{"\\ud800": "\\ud800", ', 1),
        "blank": "\n\n",
    }
    if rng.random() < 0.5:
        said = rng.choice(list(odd))
        return odd[said], said
    return of_bytes(text.encode(), rng)


def write(path, content):
    "Puts damaged content in the place of a file."
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
