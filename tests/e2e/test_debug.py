"""The debug trace: what it tells, that only the token brings it, and that it is bounded."""
import json
import math

from harness import PATIENT, bidder, patient, run

TOKEN = {"X-Bidsieve-Debug": "s3cret"}

DEAD = "http://127.0.0.1:1/"  # nobody listens there


def small_model(t):
    """A model trained on a log in which "alpha" bids on GBR alone; its schema has a text, a list and a number."""
    schema = t.folder / "schema.json"
    schema.write_text(json.dumps({"features": [
        {"name": "dsp", "source": "dsp", "dim": 2}, {"name": "country", "source": "geo.country", "dim": 2},
        {"name": "size", "source": "imp.size", "dim": 2, "slots": 3}, {"name": "floor", "source": "imp.floor"}]}))
    with open(t.folder / "log.ndjson", "w") as log:
        for i in range(4000):
            country = ("GBR", "FRA", "DEU")[i % 3]
            request = {"id": str(i), "imp": [{"id": "1", "bidfloor": i % 7 / 10, "banner": {"w": 300, "h": 250}}],
                       "device": {"geo": {"country": country}}}
            log.write(json.dumps({"ts": 1763760000000 + i * 20000, "request": request, "dsps": [
                {"dsp": "alpha", "sent": True, "outcome": "bid" if country == "GBR" else "no_bid"}]}) + "\n")
    model = t.folder / "model.safetensors"
    t.run("train", "--capture", t.folder / "log.ndjson", "--schema", schema, "--hidden", "8,4", "--epochs", "12",
          "--out", model)
    return model


def debug(answer):
    assert answer.status == 200, answer
    d = answer.json["ext"]["bidsieve"]["debug"]
    d["dsps"] = {x.pop("dsp"): x for x in d["dsps"]}
    return d


def test_trace_without_a_model(t):
    garbage = b"\xff\xfe{\"\x00\xe2\x82" + b"x" * 5000
    proxy = t.proxy([{"name": "wins", "url": t.dsp(bidder(5.0)).url}, {"name": "low", "url": t.dsp(bidder(0.1)).url},
                     {"name": "none", "url": t.dsp().url}, {"name": "garbage", "url": t.dsp(garbage).url},
                     {"name": "error", "url": t.dsp((503, b"busy")).url}, {"name": "dead", "url": DEAD},
                     {"name": "late", "url": t.dsp(delay=2).url, "timeout_ms": 100},
                     {"name": "ruled", "url": DEAD, "rules": {"countries": ["DEU"]}},
                     {"name": "gone", "url": DEAD, "enabled": False}],
                    debug={"token": "s3cret"}, **PATIENT)
    request = patient(floor=1.0, device={"geo": {"country": "GBR", "city": "L\u00e9on"}})
    d = debug(proxy.post(request, TOKEN))
    assert d["generation"] == 1 and "model" not in d and "features" not in d
    assert d["place"]["country"] == "GBR" and d["place"]["city"] == "L\u00e9on" and not d["place"]["from_database"]
    assert d["timings_us"]["total"] >= d["timings_us"]["auction"] > 0
    dsps = d["dsps"]
    assert set(dsps) == {"wins", "low", "none", "garbage", "error", "dead", "late", "ruled"}
    assert {k: v.get("outcome") for k, v in dsps.items()} == {
        "wins": "bid", "low": "invalid", "none": "no_bid", "garbage": "invalid", "error": "error", "dead": "error",
        "late": "timeout", "ruled": None}
    wins = dsps["wins"]
    assert wins["sent"] and wins["why"] == "fail_open:no_model" and wins["p"] is None and wins["propensity"] == 1
    assert wins["won"] and wins["price"] == 5.0 and wins["paid"] == 1.0 and wins["http_status"] == 200
    assert json.loads(wins["body"])["seatbid"] and wins["latency_us"] > 0
    assert dsps["low"]["refused"] == {"below_floor": 1} and dsps["low"]["bids"] == 0
    assert dsps["error"]["http_status"] == 503 and dsps["error"]["body"] == "busy"
    assert dsps["dead"]["transport"] == "connect_failed" and "http_status" not in dsps["dead"]
    assert dsps["none"]["http_status"] == 204 and dsps["none"]["body"] == ""
    assert dsps["garbage"]["body_bytes"] == len(garbage) and dsps["garbage"]["refused"] == {"not_json": 1}
    assert dsps["garbage"]["body"] == "\ufffd\ufffd{\"\x00\ufffd\ufffd" + "x" * (4096 - 7)
    assert "body" not in dsps["late"]
    assert dsps["ruled"] == {"sent": False, "why": "rule:country", "p": None, "threshold": None, "propensity": 1}


def test_trace_with_a_model(t):
    dsps = [{"name": "alpha", "url": t.dsp().url, "explore": 0}, {"name": "new", "url": t.dsp().url}]
    proxy = t.proxy(dsps, debug={"token": "s3cret"}, model={"file": str(small_model(t)), "max_age_hours": 0}, **PATIENT)
    request = patient(floor=0.3, device={"geo": {"country": "GBR"}})
    request["imp"][0]["banner"] = {"format": [{"w": 300, "h": 250}, {"w": 1, "h": 2}]}
    d = debug(proxy.post(request, TOKEN))
    assert d["model"] == proxy.status()["model"]["version"] and d["model_stale"] is False
    assert abs(d["features"].pop("floor") - math.log(1.3)) < 1e-6  # what the model is given
    assert d["features"] == {"country": "GBR", "size": ["300x250", {"unknown": "1x2"}]}, d["features"]
    alpha = d["dsps"]["alpha"]
    assert alpha["sent"] and alpha["why"] == "score" and alpha["p"] >= alpha["threshold"] > 0, alpha
    assert d["dsps"]["new"]["why"] == "fail_open:unknown_dsp"
    d = debug(proxy.post(patient(device={"geo": {"country": "DEU"}}), TOKEN))
    alpha = d["dsps"]["alpha"]
    assert not alpha["sent"] and alpha["why"] == "below_threshold" and alpha["p"] < alpha["threshold"], alpha
    assert alpha["propensity"] == 0 and "body" not in alpha
    d = debug(proxy.post({"id": "r", "imp": [{"id": "1", "native": {"request": "{\"assets\":[{\"id\":1,\"title\":{\"len\":9}}]}"}}],
                          "device": {"geo": {"country": "XKX"}}}, TOKEN))
    assert d["features"]["size"] is None and d["features"]["country"] in ("XKX", {"unknown": "XKX"}), d["features"]
    model = t.run("score", "--model", t.folder / "model.safetensors", stdin=json.dumps(
        {"ts": d["ts"], "request": request, "dsps": [{"dsp": "alpha", "sent": True, "outcome": "no_bid"}]}) + "\n")
    scored = json.loads(model.stdout)["dsps"][0]
    again = debug(proxy.post(request, TOKEN))["dsps"]["alpha"]
    assert abs(again["p"] - scored["p"]) < 1e-6 and abs(again["threshold"] - scored["threshold"]) < 1e-6


def test_only_the_token_brings_it(t):
    proxy = t.proxy({"a": t.dsp(bidder(2.0))}, debug={"token": "s3cret"}, **PATIENT)
    for header in ({}, {"X-Bidsieve-Debug": ""}, {"X-Bidsieve-Debug": "s3cre"}, {"X-Bidsieve-Debug": "s3crett"},
                   {"X-Bidsieve-Debug": "S3CRET"}, {"X-Bidsieve-Debug": "1"}, {"Authorization": "Bearer s3cret"}):
        answer = proxy.post(patient(floor=1.0), header)
        assert answer.status == 200 and "ext" not in answer.json, (header, answer)
    assert "ext" in proxy.post(patient(floor=1.0), TOKEN).json
    proxy.config["debug"] = {"token": None}
    proxy.write()
    assert proxy.admin("POST", "/reload").status == 200
    for header in (TOKEN, {"X-Bidsieve-Debug": ""}, {"X-Bidsieve-Debug": "null"}):
        assert "ext" not in proxy.post(patient(floor=1.0), header).json


def test_the_dsp_sees_nothing_of_it(t):
    dsp = t.dsp()
    proxy = t.proxy({"a": dsp}, debug={"token": "s3cret"}, **PATIENT)
    answer = proxy.post(patient(), TOKEN)
    assert answer.status == 200 and answer.json["nbr"] == 500
    assert "x-bidsieve-debug" not in dsp.headers[0] and "s3cret" not in json.dumps(dsp.requests)


def test_traces_are_bounded(t):
    proxy = t.proxy({"a": t.dsp(bidder(2.0))}, listen={"threads": 1}, debug={"token": "s3cret", "rate_max": 2}, **PATIENT)
    traced = sum("ext" in proxy.post(patient(floor=1.0), TOKEN).json for _ in range(40))
    assert 2 <= traced <= 6, traced


def test_with_seatnonbid(t):
    proxy = t.proxy({"a": t.dsp()}, debug={"token": "s3cret"}, **PATIENT)
    ext = proxy.post(patient(ext={"bidsieve": {"seatnonbid": True}}), TOKEN).json["ext"]
    assert set(ext) == {"seatnonbid", "bidsieve"}


run(globals())
