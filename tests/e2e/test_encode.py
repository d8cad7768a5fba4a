"""`bidsieve encode`: arrays for other trainers, read here without numpy; and a network from them scored by hand."""
import array
import ast
import json
import math
import struct

from harness import SOURCE, run

TYPES = {"|u1": "B", "<u2": "H", "<u4": "I", "<i8": "q", "<f4": "f"}


def load(path):
    """A .npy file as (shape, flat array)."""
    data = path.read_bytes()
    assert data[:8] == b"\x93NUMPY\x01\x00"
    size = struct.unpack("<H", data[8:10])[0]
    assert (10 + size) % 64 == 0
    head = ast.literal_eval(data[10:10 + size].decode())
    assert head["fortran_order"] is False
    items = array.array(TYPES[head["descr"]])
    items.frombytes(data[10 + size:])
    n = 1
    for side in head["shape"]:
        n *= side
    assert n == len(items), (path, head, len(items))
    return head["shape"], items


def texts(folder, feature):
    return load(folder / feature["vocabulary"])[1].tobytes().decode().split("\0")[:-1] if feature["vocabulary"] else []


def rows(folder):
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


def test_rows_are_what_was_captured(t):
    capture, out = t.world_capture(requests=500), t.folder / "rows"
    records = [json.loads(line) for line in capture.read_text().splitlines()]
    r = t.run("encode", "--capture", capture, "--out", out)
    assert r.stderr == "" and "1000 requests, 3000 calls" in r.stdout, r
    meta = json.loads((out / "meta.json").read_text())
    assert meta["format"] == "bidsieve-rows-1" and meta["dsps"] == ["broad", "middle", "narrow"]
    assert (meta["from_ms"], meta["to_ms"]) == (records[0]["ts"], records[-1]["ts"])
    arrays = {name: load(out / f"{name}.npy") for name in ("slots", "numeric", "ts_ms", "request", "dsp", "label", "weight")}
    assert arrays["slots"][0] == (1000, meta["slots"]) and arrays["numeric"][0] == (1000, meta["numeric"])
    assert list(arrays["ts_ms"][1]) == [record["ts"] for record in records]
    pairs = [(i, meta["dsps"].index(d["dsp"]), int(d["outcome"] == "bid"), 1.0)
             for i, record in enumerate(records) for d in record["dsps"]]
    assert list(zip(*(arrays[name][1] for name in ("request", "dsp", "label", "weight")))) == pairs
    feature = {f["name"]: f for f in meta["features"]}

    # The country of every request, by way of its column and vocabulary.
    country, names = feature["country"], texts(out, feature["country"])
    assert country["values"] == 2 + len(names) and country["columns"] == 1
    for i, record in enumerate(records):
        row = arrays["slots"][1][i * meta["slots"] + country["column"]]
        told = record["request"]["device"]["geo"]["country"]
        assert (names[row - 2] if row >= 2 else None) == (told if told in names else None), (i, row, told)
    assert feature["size"]["columns"] == 4 and meta["empty_slot"] == 2**32 - 1


def test_the_same_code_as_training(t):
    """The vocabularies of a model that was trained on the same capture encode it to the same bytes."""
    capture = t.world_capture(requests=500)
    model = t.train(capture)
    schema = t.folder / "features.json"
    schema.write_text((SOURCE / "config/features.json").read_text())
    for name, options in (("a", []), ("b", ["--schema", schema]), ("c", ["--model", model])):
        t.run("encode", "--capture", capture, "--out", t.folder / name, *options)
    first = rows(t.folder / "a")
    assert first == rows(t.folder / "b")
    other = rows(t.folder / "c")
    assert {n for n in first if first[n] != other[n]} == set(), [n for n in first if first[n] != other[n]]


def test_later_days_with_a_model(t):
    model = t.train(t.world_capture(requests=500))
    later = t.world_capture("later.ndjson", days="2:3", requests=300)
    lines = later.read_text().splitlines()
    record = json.loads(lines[0])
    record["dsps"][0]["dsp"] = "stranger"
    record["dsps"][1] = {"dsp": "middle", "sent": False, "why": "below_threshold"}
    lines[0] = json.dumps(record)
    lines.insert(1, '{"ts":1764168300000,"request":{"id":')
    later.write_text("\n".join(lines) + "\n")
    r = t.run("encode", "--capture", later, "--model", model, "--out", t.folder / "rows", "--json")
    done = json.loads(r.stdout)
    assert (done["requests"], done["calls"], done["calls_dropped"], done["refused"]) == (300, 898, 1, 1), done
    assert "later.ndjson:2" in r.stderr and "left out 1 calls" in r.stderr, r.stderr


def test_a_network_from_the_rows(t):
    """A model file made of nothing but what meta.json says is served, and scores as the rows say."""
    capture, out = t.world_capture(requests=300), t.folder / "rows"
    t.run("encode", "--capture", capture, "--out", out)
    meta = json.loads((out / "meta.json").read_text())
    tables = [f for f in meta["features"] if f["kind"] != "number"]
    inputs = sum(f["dim"] for f in tables) + meta["numeric"]
    tensors, at = {}, 0
    for f in tables:  # one unit reads the first place of the country's embedding, and the DSP's
        items = [0.0] * (f["values"] * f["dim"])
        if f["name"] in ("country", "dsp"):
            for v in range(f["values"]):
                items[v * f["dim"]] = 0.01 * v
        tensors[f"embedding.{f['name']}"] = ("F32", [f["values"], f["dim"]], struct.pack(f"<{len(items)}f", *items))
    weights = [0.0] * inputs
    for f in tables:
        if f["name"] in ("country", "dsp"):
            weights[at] = 1.0
        at += f["dim"]
    for name, shape, items in (("hidden1.weight", [1, inputs], weights), ("hidden1.bias", [1], [0]), ("hidden2.weight", [1, 1], [1]),
                               ("hidden2.bias", [1], [0]), ("output.weight", [2, 1], [0, 1]), ("output.bias", [2], [0, 0])):
        tensors[name] = ("F32", shape, struct.pack(f"<{len(items)}f", *items))
    for f in tables:
        if f.get("vocabulary"):
            text = load(out / f["vocabulary"])[1].tobytes()
            tensors[f"vocabulary.{f['name']}"] = ("U8", [len(text)], text)
    head, body = {"__metadata__": meta["metadata"]}, b""
    for name, (dtype, shape, data) in tensors.items():
        head[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    model = t.folder / "by-hand.safetensors"
    model.write_bytes(struct.pack("<Q", len(text)) + text + body)

    lines = t.run("score", "--model", model, stdin=capture.read_text()).stdout.splitlines()
    column = next(f["column"] for f in tables if f["name"] == "country")
    slots = load(out / "slots.npy")[1]
    for i, line in enumerate(lines):
        for d in json.loads(line)["dsps"]:
            logit = 0.01 * slots[i * meta["slots"] + column] + 0.01 * (2 + meta["dsps"].index(d["dsp"]))
            assert abs(d["p"] - 1 / (1 + math.exp(-logit))) < 1e-6, (i, d, logit)


def test_refusals(t):
    capture = t.world_capture(requests=50)
    file = t.folder / "a-file"
    file.write_text("")
    empty = t.folder / "empty.ndjson"
    empty.write_text("")
    for status, options, word in (
            (2, ["--capture", capture, "--out", "x", "--model", "m", "--schema", "s"], "not both"),
            (2, ["--capture", capture], "--out"), (2, ["--out", "x"], "--capture"),
            (1, ["--capture", t.folder / "absent", "--out", t.folder / "x"], "absent"),
            (1, ["--capture", capture, "--out", file], "a-file"),
            (1, ["--capture", capture, "--out", file / "below"], "a-file/below"),
            (1, ["--capture", capture, "--out", t.folder / "x", "--model", file], "a-file"),
            (1, ["--capture", capture, "--out", t.folder / "x", "--schema", t.folder / "none.json"], "none.json"),
            (1, ["--capture", capture, "--out", t.folder / "x", "--geo", file], "a-file"),
            (1, ["--capture", empty, "--out", t.folder / "x"], "no request"),
            (1, ["--capture", "-", "--out", t.folder / "x"], "twice")):
        r = t.run("encode", *options, status=status)
        assert r.stdout == "" and r.stderr.count("\n") == 1 and word in r.stderr, (options, r)
        assert r.stderr.startswith("bidsieve encode: ")


def test_nothing_of_the_outcome_reaches_a_feature(t):
    """Other bids, prices, winners and propensities for the same requests: the same vocabularies and inputs to the bit."""
    capture = t.world_capture(requests=400)
    records = [json.loads(line) for line in capture.read_text().splitlines()]
    for i, record in enumerate(records):
        for j, d in enumerate(record["dsps"]):
            bid = (i * 7 + j * 3) % 5 == 0
            record["dsps"][j] = {"dsp": d["dsp"], "sent": True, "why": "explore", "p": 0.25, "propensity": 0.5,
                                 "outcome": "bid" if bid else "no_bid", **({"price": 9.5, "won": True, "paid": 9} if bid else {})}
    other = t.folder / "other.ndjson"
    other.write_text("".join(json.dumps(record) + "\n" for record in records))
    for name, path in (("a", capture), ("b", other)):
        t.run("encode", "--capture", path, "--out", t.folder / name)
    a, b = rows(t.folder / "a"), rows(t.folder / "b")
    assert a["label.npy"] != b["label.npy"] and a["weight.npy"] != b["weight.npy"] and a.keys() == b.keys()
    for name in a.keys() - {"label.npy", "weight.npy", "meta.json"}:
        assert a[name] == b[name], name


run(globals())
