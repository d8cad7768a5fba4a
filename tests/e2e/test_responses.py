"""Answers that real DSPs (or those who imitate them) gave, served by a DSP of ours to requests that fit their ids: each
bid is taken or refused for a counted reason, none is lost without a word, and nothing crashes."""
import json
import math

from harness import CORPUS, captured, run

MEDIA = {"video": {"mimes": ["video/mp4"]}, "audio": {"mimes": ["audio/mp4"]},
         "native": {"request": json.dumps({"assets": [{"id": 1, "title": {"len": 90}}]})}}


def bids_of(body):
    """Every bid of an answer, in order, odd ones included."""
    if not isinstance(body, dict):
        return []
    return [bid for seat in body.get("seatbid") or [] if isinstance(seat, dict) for bid in seat.get("bid") or []]


def text(value):
    return value if isinstance(value, str) else ""


def fitting_request(number, body):
    """A request that the answer could be the answer to: its id, imps, sizes, deals and currency."""
    imps = {}
    for bid in bids_of(body):
        if isinstance(bid, dict) and text(bid.get("impid")):
            imp = imps.setdefault(bid["impid"], {"id": bid["impid"], "banner": {"format": [{"w": 300, "h": 250}]}, **MEDIA})
            if isinstance(bid.get("w"), int) and isinstance(bid.get("h"), int) and bid["w"] > 0 and bid["h"] > 0:
                imp["banner"]["format"].append({"w": bid["w"], "h": bid["h"]})
            if text(bid.get("dealid")):
                imp.setdefault("pmp", {"deals": []})["deals"].append({"id": bid["dealid"]})
    request = {"id": text(body.get("id")) if isinstance(body, dict) else "", "tmax": 5000,
               "imp": list(imps.values()) or [{"id": "1", "banner": {"w": 300, "h": 250}}], "site": {"domain": "example.com"},
               "ext": {"case": number}}
    request["id"] = request["id"] or f"case-{number}"
    for imp in request["imp"]:  # a deal is offered once
        if "pmp" in imp:
            imp["pmp"]["deals"] = list({d["id"]: d for d in imp["pmp"]["deals"]}.values())
    if isinstance(body, dict) and text(body.get("cur")):
        request["cur"] = [body["cur"]]
    return request


def positive(price):
    return isinstance(price, (int, float)) and not isinstance(price, bool) and math.isfinite(price) and price > 0


def fault(bid, seen):
    """Why a bid cannot be taken, by OpenRTB alone; None if it can."""
    if not isinstance(bid, dict):
        return "odd"
    if not text(bid.get("impid")):
        return "unknown_imp"
    if not positive(bid.get("price")):
        return "bad_price"
    if not text(bid.get("id")):
        return "no_id"
    if bid["id"] in seen:
        return "duplicate_id"
    seen.add(bid["id"])
    if not (bid.get("adm") or text(bid.get("nurl"))):
        return "no_markup"
    return None


def expected(case):
    """(outcome, refusals, valid bids) of an answer to its fitting request."""
    status, body = case["status"], case["body"]
    if status == 204:
        return "no_bid", [], 0
    if status != 200:
        return "error", [], 0
    if not isinstance(body, dict) or not isinstance(body.get("seatbid") or [], list):
        return "invalid", ["not_json"], 0
    bids, seen = bids_of(body), set()
    if not bids:
        return "no_bid", [], 0
    if not text(body.get("id")):
        return "invalid", ["wrong_response_id"] * len(bids), 0
    faults = [fault(bid, seen) for bid in bids]
    valid = faults.count(None)
    return "bid" if valid else "invalid", [f for f in faults if f], valid


def refusals(proxy):
    return {key.split('reason="')[1].rstrip('"}'): int(n) for key, n in proxy.metrics().items()
            if key.startswith("bidsieve_dsp_bids_refused_total{dsp=\"alpha\"")}


def test_each_answer_is_taken_or_refused_for_a_reason(t):
    if not CORPUS:
        t.skip("BIDSIEVE_CORPUS is not set")
    with open(f"{CORPUS}/openrtb/responses.ndjson") as f:
        cases = [json.loads(line) for line in f]

    def answer(request, _headers):
        case = cases[request["ext"]["case"]]
        body = case["body"]
        if case["status"] == 204:
            return None
        return case["status"], json.dumps(body).encode()
    currencies = {c["body"]["cur"] for c in cases if isinstance(c["body"], dict) and text(c["body"].get("cur"))}
    rates = t.folder / "rates.json"
    rates.write_text(json.dumps({"base": "USD", "rates": {c: 1.0 for c in currencies if c != "USD"}}))
    proxy = t.proxy({"alpha": t.dsp(answer)}, auction={"timeout_ms": 5000, "currency_rates": str(rates)},
                    defaults={"timeout_ms": 5000}, capture={"directory": str(t.folder / "capture"), "mask": []})
    connection, surprises, totals = proxy.connection(), [], {}
    before = refusals(proxy)
    for number, case in enumerate(cases):
        request = fitting_request(number, case["body"])
        response = proxy.post(request, connection=connection)
        assert response.status in (200, 204), (case["src"], response)
        after = refusals(proxy)
        counted = sorted(r for r in after for _ in range(after[r] - before.get(r, 0)))
        before = after
        outcome, faults, valid = expected(case)
        got = len([b for s in response.json["seatbid"] for b in s["bid"]]) if response.status == 200 else 0
        for reason in counted:
            totals[reason] = totals.get(reason, 0) + 1
        if response.status != (200 if valid else 204) or counted != sorted(faults) or (valid and not got):
            surprises.append(f"{case['src']}: {response.status}, refused {counted}; expected {outcome}, {sorted(faults)}")
    print(f"{len(cases)} answers; refused: {totals}; {len(surprises)} surprises")
    assert not surprises, "\n" + "\n".join(surprises[:60])
    proxy.stop()
    records = captured(t.folder / "capture")
    assert len(records) == len(cases)
    for record in records:
        call = record["dsps"][0]
        outcome, _, _ = expected(cases[record["request"]["ext"]["case"]])
        assert call["outcome"] == outcome, (cases[record["request"]["ext"]["case"]]["src"], call)


def test_each_answer_to_a_request_it_does_not_fit(t):
    """The same answers to one request of other ids: none wins, each is refused or has no bid."""
    if not CORPUS:
        t.skip("BIDSIEVE_CORPUS is not set")
    with open(f"{CORPUS}/openrtb/responses.ndjson") as f:
        cases = [json.loads(line) for line in f]
    numbers = iter(range(len(cases)))

    def answer(_request, _headers):
        case = cases[next(numbers)]
        return None if case["status"] == 204 else (case["status"], json.dumps(case["body"]).encode())
    proxy = t.proxy({"alpha": t.dsp(answer)}, auction={"timeout_ms": 5000}, defaults={"timeout_ms": 5000})
    connection = proxy.connection()
    for case in cases:
        response = proxy.post({"id": "unlike any other", "imp": [{"id": "unlike", "banner": {"w": 300, "h": 250}}]}, connection=connection)
        assert response.status == 204, (case["src"], response)
    outcomes = proxy.status()["dsps"][0]["outcomes"]
    assert outcomes["bid"] == 0 and outcomes["timeout"] == 0 and sum(outcomes.values()) == len(cases), outcomes


run(globals())
