"""From captured days to thresholds: recalibrate, backtest, the recall of value, where recall is worst."""
import json
import os
import struct
import subprocess

from harness import BIDSIEVE, one_json, records, refused, run, write


def days(t):
    """Six days of a small world, 500 requests each, and a model of the first four."""
    capture = t.world_capture(days="0:6", requests=500)
    lines = records(capture)
    day = [r["ts"] // 86400000 for r in lines]
    parts = [write(t.folder / f"day{i}.ndjson", [r for r, d in zip(lines, day) if d == min(day) + i]) for i in range(6)]
    model = t.folder / "model.safetensors"
    t.run("train", "--capture", *parts[:4], "--out", model, "--hidden", "16,8", "--epochs", 4)
    return parts, model


def tensors_of(model):
    """The header's metadata, and name -> (description, bytes)."""
    data = model.read_bytes()
    length, = struct.unpack("<Q", data[:8])
    head, body = json.loads(data[8:8 + length]), data[8 + length:]
    return head.pop("__metadata__"), {n: (v, body[slice(*v["data_offsets"])]) for n, v in head.items()}


def rewritten(model, path, name, content):
    """The model as another tool might have written it: no checksums, no golden inputs, and one tensor otherwise, or missing (None)."""
    metadata, tensors = tensors_of(model)
    head, body = {"__metadata__": {k: v for k, v in metadata.items() if "checksum" not in k}}, b""
    for n, (v, data) in tensors.items():
        data = content if n == name else data
        if data is not None and not n.startswith("golden."):
            head[n] = {**v, "data_offsets": [len(body), len(body) + len(data)]}
            body += data
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return path


def test_recalibrate(t):
    parts, model = days(t)
    before, out = model.read_bytes(), t.folder / "fresh.safetensors"
    r = one_json(t.run("recalibrate", "--model", model, "--capture", parts[3], parts[4], "--out", out, "--recall", 0.9,
                       "--confidence", 0.6, "--margin", 0, "--json").stdout)
    assert model.read_bytes() == before
    assert (r["records"], r["records_learnt"]) == (500, 500), "what the network has learnt from is left out"
    assert [d["dsp"] for d in r["dsps"]] == ["broad", "middle", "narrow"] and r["version"] != r["old_version"]
    for d in r["dsps"]:
        assert d["calls"] == 500 and (d["threshold"] is None) == (d["not_filtered"] is not None), d
        assert d["threshold"] is None or d["recall"] >= 0.9, d
    old, new = (one_json(t.run("inspect", "--model", m, "--json").stdout) for m in (model, out))
    last = records(parts[4])[-1]["ts"]
    assert new["training"]["validation_to_ms"] == last and new["training"]["recall_confidence"] == 0.6
    for key in ("from_ms", "to_ms", "learnt_to_ms", "seed", "epochs", "train_pairs"):
        assert new["training"][key] == old["training"][key], key
    assert new["schema"] == old["schema"] and new["curves"]["broad"]["pairs"] == 500
    # the thresholds that were told are those that serve
    e = one_json(t.run("evaluate", "--model", out, "--capture", parts[4], "--recall", 0.9, "--json").stdout)
    for a, b in zip(r["dsps"], e["dsps"]):
        assert a["threshold"] == b["threshold"] and abs((a["recall"] or 0) - (b["recall"] or 0)) < 1e-6, (a, b)
        assert abs(b["calibration"] - 1) < 0.35, b
    # the same model once more, in place, as a table
    table = t.run("recalibrate", "--model", out, "--capture", parts[4], parts[5], "--out", out).stdout
    assert "threshold" in table and "by 1000 records" in table and "broad" in table, table
    refused(t, 1, "recalibrate", "--model", model, "--capture", parts[0], "--out", out, words=["learnt from"])
    refused(t, 2, "recalibrate", "--model", model, "--capture", parts[4], "--out", out, "--recall-of", "x", words=["bids or value"])
    silent = write(t.folder / "silent.ndjson", [dict(r, dsps=[]) for r in records(parts[4])])
    refused(t, 1, "recalibrate", "--model", model, "--capture", silent, "--out", out, words=["no bid"])


def test_recalibrate_follows_campaigns(t):
    """Of two campaigns, rectangles on some sites and leaderboards on others, one ends: an old model learns so without training."""
    def day(number, both):
        items = []
        for i in range(3000):
            site, wide = i % 8, i // 8 % 2
            wanted = site < 3 and not wide or site in (2, 3, 4) and wide and both
            items.append({"ts": 1763760000000 + number * 86400000 + i * 28000, "request": {
                "id": f"{number}-{i}", "imp": [{"id": "1", "banner": {"w": 728 if wide else 300, "h": 90 if wide else 250}}],
                "site": {"domain": f"d{site}.example"}},
                "dsps": [{"dsp": "alpha", "sent": True, "outcome": "bid" if wanted and i // 16 % 10 < 6 else "no_bid"}]})
        return items
    old, fresh, later = (write(t.folder / f"{name}.ndjson", lines) for name, lines in (
        ("old", day(0, True) + day(1, True)), ("fresh", day(2, False)), ("later", day(3, False))))
    schema, model, out = (t.folder / name for name in ("schema.json", "old.safetensors", "fresh.safetensors"))
    schema.write_text(json.dumps({"features": [{"name": "dsp", "source": "dsp", "dim": 2},
                                               {"name": "domain", "source": "property.domain", "dim": 2},
                                               {"name": "size", "source": "imp.size", "dim": 2}]}))
    t.run("train", "--capture", old, "--out", model, "--schema", schema, "--hidden", "8,4")
    r = one_json(t.run("recalibrate", "--model", model, "--capture", fresh, "--out", out, "--json").stdout)
    assert r["units"] > r["units_quieter"] > 0, r
    said = t.run("recalibrate", "--model", model, "--capture", fresh, "--out", out).stdout
    assert f"Of {r['units']} units of conjunctions {r['units_quieter']} are less than a third as busy" in said, said
    # how much they weigh is settled anew too, whatever it was
    share = tensors_of(out)[1]["conjunctions.share"][1]
    for other in (None, struct.pack("<f", 0.25)):
        m = rewritten(model, t.folder / "other.safetensors", "conjunctions.share", other)
        t.run("recalibrate", "--model", m, "--capture", fresh, "--out", m)
        assert tensors_of(m)[1]["conjunctions.share"][1] == share != other, (other, share)
    before, after = (one_json(t.run("evaluate", "--model", m, "--capture", later, "--json").stdout)["dsps"][0] for m in (model, out))
    assert after["recall"] > 0.96 and after["withheld"] > before["withheld"] + 0.1, (before, after)


def test_backtest(t):
    parts, _ = days(t)
    arguments = ["backtest", "--capture", *parts, "--train-days", 2, "--hidden", "16,8", "--epochs", 2, "--recall", 0.9]
    r = one_json(t.run(*arguments, "--json").stdout)
    assert [len(d["dsps"]) for d in r["days"]] == [3, 3, 3] and [a["days_since"] for a in r["ageing"]] == [1, 2, 3]
    assert r["days"][0]["day"] < r["days"][1]["day"] and [d["calls"] for d in r["days"]] == [1500] * 3
    first, aged = dict(r["days"][0]), dict(r["ageing"][0])
    aged.pop("days_since")
    assert first == aged, "the first model on its first day"
    assert [a["days_since"] for a in r["recalibrated"]] == [2, 3]
    for d in r["days"] + r["ageing"] + r["recalibrated"]:
        assert d["bids"] == sum(x["bids"] for x in d["dsps"]) and 0 <= d["withheld"] < 1
        assert d["recall_low"] <= d["recall"] <= d["recall_high"]
    # the last model by hand: trained on two days and calibrated on the third
    model = t.folder / "last.safetensors"
    t.run("train", "--capture", *parts[2:5], "--out", model, "--hidden", "16,8", "--epochs", 2, "--validation-share", 1 / 3)
    e = one_json(t.run("evaluate", "--model", model, "--capture", parts[5], "--recall", 0.9, "--json").stdout)
    assert abs(e["withheld"] - r["days"][2]["withheld"]) < 0.15, (e["withheld"], r["days"][2]["withheld"])
    # the first model, recalibrated by hand by the days between
    t.run("train", "--capture", *parts[:3], "--out", model, "--hidden", "16,8", "--epochs", 2, "--validation-share", 0.333)
    for i, day in enumerate(r["recalibrated"]):
        t.run("recalibrate", "--model", model, "--capture", parts[3 + i], "--out", model)
        e = one_json(t.run("evaluate", "--model", model, "--capture", parts[4 + i], "--recall", 0.9, "--json").stdout)
        assert day["calls"] == 1500 and abs(e["withheld"] - day["withheld"]) < 0.15, (e["withheld"], day["withheld"])
        assert [d["threshold"] for d in day["dsps"]] != [d["threshold"] for d in r["ageing"][0]["dsps"]]
    os.environ["TMPDIR"] = str(t.folder)
    table = t.run(*arguments).stdout
    del os.environ["TMPDIR"]
    assert table.count(r["days"][1]["day"]) == 3 and "without retraining" in table and "every night" in table, table
    assert not list(t.folder.glob("bidsieve-backtest-*")), "files of models are left"
    refused(t, 1, *arguments, "--train-days", 5, words=["6 days (UTC)", "are 7"])
    # a day without a bid to learn from is told, the others are tested
    quiet = write(t.folder / "quiet.ndjson", [dict(x, dsps=[dict(d, outcome="no_bid") for d in x["dsps"]])
                                              for p in parts[:2] for x in records(p)])
    r = one_json(t.run("backtest", "--capture", quiet, *parts[2:], *arguments[8:], "--train-days", 2, "--json").stdout)
    assert "no bid" in r["days"][0]["no_model"] and r["days"][2]["calls"] == 1500 and r["ageing"] == r["recalibrated"] == [], r


def test_recall_of_value(t):
    """Dear bids come from one domain: of value, its calls are kept and the cheap ones' go."""
    items = []
    for i in range(6000):
        dear = i % 2 == 0
        bid = i // 2 % 10 < (3 if dear else 1)
        items.append({"ts": 1763760000000 + i * 40000, "request": {
            "id": str(i), "imp": [{"id": "1", "banner": {"w": 300, "h": 250}}],
            "site": {"domain": ("dear" if dear else "cheap") + str(i // 10 % 3) + ".example"}},
            "dsps": [{"dsp": d, "sent": True, "outcome": "bid" if bid else "no_bid",
                      **({"price": 10.0 if dear else 0.1} if bid and d == "priced" else {})} for d in ("priced", "plain")]})
    capture = write(t.folder / "capture.ndjson", items)
    model = t.folder / "model.safetensors"
    schema = t.folder / "schema.json"
    schema.write_text(json.dumps({"features": [{"name": "dsp", "source": "dsp", "dim": 2},
                                               {"name": "domain", "source": "property.domain", "dim": 2, "min_count": 2}]}))
    t.run("train", "--capture", capture, "--out", model, "--schema", schema, "--hidden", "8,4", "--epochs", 3)
    curves = one_json(t.run("inspect", "--model", model, "--json").stdout)["curves"]
    assert "value" in curves["priced"] and "value" not in curves["plain"]
    assert "of value" in t.run("inspect", "--model", model).stdout
    by = {of: one_json(t.run("evaluate", "--capture", capture, "--model", model, "--recall", 0.9, "--recall-of", of,
                             "--json").stdout) for of in ("bids", "value")}
    assert by["value"]["bids_without_price"] == 1200 and by["value"]["recall_of"] == "value"
    priced, of_bids = ([d for d in by[of]["dsps"] if d["dsp"] == "priced"][0] for of in ("value", "bids"))
    assert priced["recall"] >= 0.99 and priced["withheld"] >= 0.45, priced
    assert of_bids["recall"] >= 0.9 and of_bids["withheld"] < 0.3, of_bids
    # served: the DSP without prices falls back, and check and /status say so
    proxy = t.proxy([{"name": n, "url": "http://127.0.0.1:9/", "recall_of": "value", "recall_target": 0.9}
                     for n in ("priced", "plain", "stranger")], model={"file": str(model), "max_age_hours": 0})
    said = t.run("check", "--config", proxy.path).stdout
    assert "plain: \"recall_of\": \"value\" falls back to bids" in said and "priced:" not in said, said
    assert "stranger is not filtered, every call is sent: the model does not know it" in said, said
    status = {d["name"]: d for d in proxy.status()["dsps"]}
    assert [status[n]["recall_of"] for n in ("priced", "plain")] == ["value", "bids"]
    assert status["stranger"]["not_filtered"] == "the model does not know it" and status["priced"]["not_filtered"] is None
    assert abs(status["priced"]["threshold"] - priced["threshold"]) < 1e-7


def test_evaluate_by(t):
    parts, model = days(t)
    evaluate = ["evaluate", "--model", model, "--capture", parts[5], "--recall", 0.8]
    total = one_json(t.run(*evaluate, "--json").stdout)
    bids = sum(d["bids"] for d in total["dsps"])
    for by in ("country", "size", "domain", "hour", "os", "floor", "imp.media", "cat"):
        b = one_json(t.run(*evaluate, "--by", by, "--top", 10000, "--json").stdout)["breakdown"]
        assert b["by"] == by and len(b["slices"]) == b["values_with_bids"] <= b["values"], (by, b)
        seen = sum(s["bids"] for s in b["slices"])
        assert seen >= bids if by in ("size", "cat") else seen == bids, (by, seen, bids)
        highs = [s["recall_high"] for s in b["slices"]]
        assert highs == sorted(highs) and all(s["recall_low"] <= s["recall"] <= s["recall_high"] for s in b["slices"])
    hours = one_json(t.run(*evaluate, "--by", "hour", "--top", 3, "--json").stdout)["breakdown"]
    assert len(hours["slices"]) == 3 and hours["values"] <= 25
    table = t.run(*evaluate, "--by", "country").stdout
    assert "by country: " in table and table.count("\n") <= 10 + 12, table
    for wrong in ("dsp", "nonsense", ""):
        refused(t, 1, *evaluate, "--by", wrong, words=["--by", "country"])


def test_few_bids_are_told(t):
    """A DSP that is not filtered is said to be so wherever its threshold would stand."""
    capture = t.world_capture(requests=600)
    model = t.folder / "m"
    r = t.run("train", "--capture", capture, "--out", model, "--hidden", "8,4", "--epochs", 1, "--confidence", 0.999, "--margin", 0.02)
    assert "3 of 3 DSPs are not filtered" in r.stdout, r.stdout
    assert t.run("evaluate", "--model", model, "--capture", capture).stdout.count("not filtered: too few bids") == 3
    r = subprocess.run([BIDSIEVE, "score", "--model", model], input=capture.read_text().splitlines()[0], capture_output=True, text=True)
    assert all(d["send"] and "too few bids" in d["not_filtered"] for d in json.loads(r.stdout)["dsps"])
    proxy = t.proxy([{"name": "broad", "url": "http://127.0.0.1:9/"}], start=False, model={"file": str(model)})
    assert "broad is not filtered, every call is sent: too few bids" in t.run("check", "--config", proxy.path).stdout


run(globals())
