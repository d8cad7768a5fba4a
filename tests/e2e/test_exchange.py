"""What an SSP's engineer asks of an exchange: a reason for each DSP, seatnonbid on demand, compressed bodies, logs."""
import gzip
import json
import shutil
import subprocess

from harness import PATIENT, bidder, captured, patient, run, wait_for

DEAD = "http://127.0.0.1:1/"  # nobody listens there


def seatnonbid(answer):
    """seat -> {imp: code}"""
    return {s["seat"]: {n["impid"]: n["statuscode"] for n in s["nonbid"]} for s in answer.json["ext"]["seatnonbid"]}


def flushed(t, proxy, n):
    proxy.stop()
    records = captured(t.folder / "capture")
    assert len(records) == n, records
    return [{d["dsp"]: d for d in r["dsps"]} for r in records]


def capture(t):
    return {"directory": str(t.folder / "capture"), "compress": False}


def test_every_call_that_is_not_made_has_its_reason(t):
    bids, late, secondary, ruled, capped = t.dsp(bidder(2.0)), t.dsp(delay=0.25), t.dsp(), t.dsp(), t.dsp()
    dsps = [{"name": "bids", "url": bids.url}, {"name": "second", "url": secondary.url, "secondary": True},
            {"name": "ruled", "url": ruled.url, "rules": {"countries": ["DEU"]}},
            {"name": "gone", "url": ruled.url, "enabled": False},
            {"name": "capped", "url": capped.url, "qps_max": 0.001}]
    proxy = t.proxy(dsps, listen={"threads": 1}, capture=capture(t), **PATIENT)
    assert proxy.post(patient("a")).status == 200
    assert proxy.post(patient("b")).status == 200
    first, second = flushed(t, proxy, 2)
    assert {k: (d["sent"], d["why"]) for k, d in second.items()} == {
        "bids": (True, "fail_open:no_model"), "second": (False, "secondary"), "ruled": (False, "rule:country"),
        "capped": (False, "qps")}, second
    assert first["capped"]["sent"] and len(capped.requests) == 1
    assert not secondary.requests and not ruled.requests


def test_a_secondary_that_does_not_fit_any_more_says_tmax(t):
    slow, secondary = t.dsp(delay=3), t.dsp(bidder(1.0))
    proxy = t.proxy([{"name": "slow", "url": slow.url, "timeout_ms": 300},
                     {"name": "second", "url": secondary.url, "secondary": True, "timeout_ms": 900}],
                    capture=capture(t), **PATIENT)
    assert proxy.post(patient(tmax=1010)).status == 204
    assert proxy.metrics()['bidsieve_dsp_decisions_total{dsp="second",why="rule:tmax"}'] == 1
    record, = flushed(t, proxy, 1)
    assert (record["second"]["sent"], record["second"]["why"]) == (False, "rule:tmax")
    assert record["slow"]["outcome"] == "timeout" and not secondary.requests


def test_a_secondary_that_is_not_needed_costs_none_of_its_cap(t):
    primary, secondary = t.dsp(bidder(1.0)), t.dsp(bidder(1.0))
    proxy = t.proxy([{"name": "first", "url": primary.url, "timeout_ms": 1000},
                     {"name": "second", "url": secondary.url, "secondary": True, "qps_max": 0.001, "timeout_ms": 5000}],
                    listen={"threads": 1}, auction=PATIENT["auction"])
    for _ in range(3):
        assert proxy.post(patient()).status == 200
    primary.answer = None
    assert proxy.post(patient()).status == 200
    assert len(secondary.requests) == 1
    assert proxy.post(patient()).status == 204
    assert proxy.metrics()['bidsieve_dsp_decisions_total{dsp="second",why="qps"}'] == 1


WISHES = [{"prebid": {"returnallbidstatus": True}}, {"bidsieve": {"seatnonbid": True}},
          {"other": 1, "prebid": {"x": [{}], "returnallbidstatus": True}}]
NO_WISHES = [None, {}, {"prebid": {"returnallbidstatus": False}}, {"prebid": []}, "returnallbidstatus", [],
             {"returnallbidstatus": True}, {"bidsieve": {"returnallbidstatus": True}}, {"bidsieve": {"seatnonbid": "x"}}]


def test_seatnonbid_only_when_asked(t):
    dsps = [{"name": "wins", "url": t.dsp(bidder(5.0)).url}, {"name": "loses", "url": t.dsp(bidder(2.0)).url},
            {"name": "low", "url": t.dsp(bidder(0.1)).url}, {"name": "none", "url": t.dsp().url},
            {"name": "says", "url": t.dsp({"id": "r1", "nbr": 8}).url},
            {"name": "broken", "url": t.dsp(b"<html>").url}, {"name": "error", "url": t.dsp((500, b"")).url},
            {"name": "dead", "url": DEAD}, {"name": "late", "url": t.dsp(delay=2).url, "timeout_ms": 100},
            {"name": "ruled", "url": DEAD, "rules": {"countries": ["DEU"]}},
            {"name": "apps", "url": DEAD, "rules": {"channels": ["app"]}},
            {"name": "videos", "url": DEAD, "rules": {"media": ["video"]}},
            {"name": "spare", "url": DEAD, "secondary": True},
            {"name": "gone", "url": DEAD, "enabled": False}]
    proxy = t.proxy(dsps, **PATIENT)
    for ext in WISHES:
        answer = proxy.post(patient(floor=1.0, ext=ext))
        assert answer.status == 200, answer
        assert seatnonbid(answer) == {name: {"1": code} for name, code in {
            "loses": 500, "low": 301, "none": 0, "says": 8, "broken": 102, "error": 100, "dead": 103, "late": 101,
            "ruled": 200, "apps": 201, "videos": 202, "spare": 514}.items()}, seatnonbid(answer)
    for ext in NO_WISHES:
        answer = proxy.post(patient(floor=1.0, ext=ext))
        assert answer.status == 200 and "ext" not in answer.json, (ext, answer)


def test_no_bid_is_told_in_a_200_when_asked(t):
    ask = {"bidsieve": {"seatnonbid": True}}
    proxy = t.proxy({"none": t.dsp()}, **PATIENT)
    answer = proxy.post(patient(ext=ask))
    assert answer.status == 200
    assert answer.json == {"id": "r1", "cur": "USD", "nbr": 500, "ext": {"seatnonbid": [
        {"seat": "none", "nonbid": [{"impid": "1", "statuscode": 0}]}]}}
    assert proxy.post(patient()).status == 204
    proxy.config["dsps"][0]["rules"] = {"countries": ["DEU"]}
    proxy.write()
    assert proxy.admin("POST", "/reload").status == 200
    answer = proxy.post(patient(ext=ask))
    assert answer.json["nbr"] == 501 and seatnonbid(answer) == {"none": {"1": 200}}


def test_gzip_body_is_shared_and_says_the_least_time(t):
    one, two, plain = t.dsp(), t.dsp(), t.dsp()
    proxy = t.proxy([{"name": "one", "url": one.url, "gzip": True, "timeout_ms": 5000},
                     {"name": "two", "url": two.url, "gzip": True, "timeout_ms": 4000},
                     {"name": "plain", "url": plain.url, "timeout_ms": 6000}], listen={"threads": 1}, **PATIENT)
    sent = patient(ext={"text": "é" * 3000})
    n = 5
    for _ in range(n):
        assert proxy.post(sent).status == 204
    for i in range(n):
        assert one.headers[i]["content-encoding"] == "gzip" and "content-encoding" not in plain.headers[i]
        assert one.requests[i] == two.requests[i]
        got = json.loads(gzip.decompress(one.requests[i]))
        assert got.pop("tmax") == 4000 and plain.requests[i].pop("tmax") == 6000
        assert got == plain.requests[i] == {k: v for k, v in sent.items() if k != "tmax"}
    metrics = proxy.metrics()
    assert metrics["bidsieve_gzip_bodies_total"] == n
    assert metrics["bidsieve_gzip_output_bytes_total"] < metrics["bidsieve_gzip_input_bytes_total"] / 5


def test_gzip_follows_a_reload(t):
    dsp = t.dsp()
    proxy = t.proxy({"a": dsp}, **PATIENT)
    for packed in (False, True, False):
        proxy.config["dsps"][0]["gzip"] = packed
        proxy.write()
        assert proxy.admin("POST", "/reload").status == 200
        assert proxy.post(patient()).status == 204
        assert (dsp.headers[-1].get("content-encoding") == "gzip") == packed


def test_gzip_of_large_bodies_and_for_secondaries(t):
    first, second = t.dsp(), t.dsp(bidder(1.0))
    second.answer = lambda request, _: bidder(1.0)(json.loads(gzip.decompress(request)), {})
    proxy = t.proxy([{"name": "first", "url": first.url, "gzip": True, "timeout_ms": 4000},
                     {"name": "second", "url": second.url, "gzip": True, "secondary": True, "timeout_ms": 3500}],
                    **PATIENT)
    for size in (0, 10, 1000, 60_000, 400_000):
        sent = patient(ext={"x": [i * 7919 % 1000 for i in range(size // 4)]})
        assert proxy.post(sent).status == 200, size
        tmax = [json.loads(gzip.decompress(d.requests[-1])).pop("tmax") for d in (first, second)]
        assert tmax == [4000, 3500], tmax
        assert json.loads(gzip.decompress(second.requests[-1]))["ext"] == sent["ext"]


def test_access_log_has_a_line_for_each_bid_request(t):
    path = t.folder / "access.log"
    proxy = t.proxy({"a": t.dsp(bidder(2.0, 3.0)), "b": t.dsp()}, log={"access_file": str(path), "format": "json"},
                    **PATIENT)
    proxy.post(patient())
    proxy.post(patient(), {"content-type": "text/plain"}, path="/openrtb2/auction?secret=1")
    proxy.post(b"{")
    proxy.post(patient(), path="/nothing")
    lines = wait_for(lambda: path.exists() and path.read_text().count("\n") >= 3 and path.read_text().splitlines(),
                     "three lines")
    entries = [json.loads(line) for line in lines]
    assert [e["status"] for e in entries] == [200, 415, 400], entries
    assert "secret" not in path.read_text() and "192.0.2.1" not in path.read_text()
    assert {k: v for k, v in entries[0].items() if k in ("path", "dsps_called", "bids")} == {
        "path": "/openrtb2/auction", "dsps_called": 2, "bids": 2}, entries[0]


def test_prices_are_counted_an_imp_each_in_our_currency(t):
    rates = t.folder / "rates.json"
    rates.write_text(json.dumps({"base": "USD", "rates": {"EUR": 0.5}}))

    def both(request, _):
        return {"id": request["id"], "cur": "EUR", "seatbid": [{"bid": [
            {"id": i["id"], "impid": i["id"], "price": 2.0, "adm": "x"} for i in request["imp"]]}]}
    proxy = t.proxy({"a": t.dsp(both)}, auction={**PATIENT["auction"], "currency_rates": str(rates)},
                    defaults=PATIENT["defaults"])
    imps = [{"id": n, "banner": {"w": 300, "h": 250}, "bidfloor": 1.0, "bidfloorcur": "EUR"} for n in "xy"]
    answer = proxy.post(patient(imp=imps, cur=["EUR"]))
    assert answer.status == 200 and answer.json["cur"] == "EUR", answer
    metrics = proxy.metrics()
    assert metrics["bidsieve_clearing_price_cpm_count"] == 2
    assert metrics["bidsieve_clearing_price_cpm_sum"] == 4.0
    assert metrics['bidsieve_dsp_revenue_cpm_total{dsp="a"}'] == 4.0


def test_deals_first(t):
    def deal(request, _):
        return {"id": request["id"], "seatbid": [{"bid": [
            {"id": "d", "impid": "1", "price": 2.0, "adm": "deal", "dealid": "D"}]}]}
    imps = [{"id": "1", "banner": {"w": 300, "h": 250}, "pmp": {"deals": [{"id": "D", "bidfloor": 1.5}]}}]
    proxy = t.proxy({"deal": t.dsp(deal), "open": t.dsp(bidder(9.0))}, **PATIENT)
    for deals_first, markup in ((False, "<ad/>"), (True, "deal")):
        proxy.config["auction"]["deals_first"] = deals_first
        proxy.write()
        assert proxy.admin("POST", "/reload").status == 200
        answer = proxy.post(patient(imp=imps))
        assert answer.json["seatbid"][0]["bid"][0]["adm"] == markup, (deals_first, answer)


def check_exposition(text):
    """What `promtool check metrics` would say: each family described once and before its samples, in one piece;
    counters named _total; buckets that add up."""
    types, helps, done, current, seen = {}, {}, set(), None, set()
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name, _, words = line[7:].partition(" ")
            assert name not in helps and words, line
            helps[name] = words
        elif line.startswith("# TYPE "):
            name, kind = line[7:].split(" ")
            assert name in helps and name not in types, line
            assert (kind == "counter") == name.endswith("_total"), line
            types[name] = kind
        else:
            series, _, value = line.rpartition(" ")
            float(value)
            assert series not in seen, f"twice: {series}"
            seen.add(series)
            name = series.partition("{")[0]
            family = name
            for suffix in ("_bucket", "_sum", "_count"):
                if name.endswith(suffix) and types.get(name[:-len(suffix)]) == "histogram":
                    family = name[:-len(suffix)]
            assert family in types, line
            if family != current:
                assert family not in done, f"in pieces: {family}"
                done.add(family)
                current = family
    assert set(helps) == set(types)
    return types


def test_metrics_are_sound(t):
    rates = t.folder / "rates.json"
    rates.write_text(json.dumps({"base": "USD", "rates": {"EUR": 0.5}}))
    url = "http://127.0.0.1:1/"
    dsps = [{"name": "wins", "url": t.dsp(bidder(5.0, burl=url, lurl=url)).url, "gzip": False},
            {"name": "low", "url": t.dsp(bidder(0.1, lurl=url)).url}, {"name": "packed", "url": t.dsp().url, "gzip": True},
            {"name": "dead", "url": url}, {"name": "ruled", "url": url, "rules": {"countries": ["DEU"]}}]
    proxy = t.proxy(dsps, capture=capture(t), auction={"notices": "fire", "loss_notices": True,
                                                       "currency_rates": str(rates)})
    for i in range(20):
        proxy.post(patient(f"r{i}", floor=1.0) if i % 3 else b"{")
    text = proxy.admin("GET", "/metrics").body.decode()
    types = check_exposition(text)
    for name in ("bidsieve_gzip_bodies_total", "bidsieve_notices_total", "bidsieve_notices_queued_total"):
        assert types[name] == "counter"
    if shutil.which("promtool"):
        r = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
        assert r.returncode == 0 and not r.stderr, r.stderr


run(globals())
