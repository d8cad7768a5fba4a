"""The auction as a caller sees it: prices, no bids, late DSPs, bad requests, over real sockets."""
import gzip
import json
import threading
import time

from harness import bid_request, bidder, http_call, run


def paid(answer):
    assert answer.status == 200, answer
    seatbid = answer.json["seatbid"]
    assert len(seatbid) == 1 and len(seatbid[0]["bid"]) == 1, answer
    return seatbid[0]["bid"][0]["price"]


def test_second_price_is_the_other_bid_plus_the_increment(t):
    proxy = t.proxy({"alpha": t.dsp(bidder(5.0)), "bravo": t.dsp(bidder(3.0))})
    answer = proxy.post(bid_request(floor=1.0))
    assert paid(answer) == 3.01
    assert answer.json["id"] == "r1" and answer.json["cur"] == "USD"
    assert answer.json["seatbid"][0]["bid"][0]["adm"] == "<ad/>"


def test_lone_bid_pays_the_floor(t):
    proxy = t.proxy({"alpha": t.dsp(bidder(5.0)), "bravo": t.dsp()})
    assert paid(proxy.post(bid_request(floor=1.0))) == 1.0


def test_bids_of_one_dsp_do_not_set_each_others_price(t):
    proxy = t.proxy({"alpha": t.dsp(bidder(5.0, 4.0)), "bravo": t.dsp(bidder(2.0))})
    assert paid(proxy.post(bid_request(floor=1.0))) == 2.01


def test_first_price_when_the_request_says_so(t):
    proxy = t.proxy({"alpha": t.dsp(bidder(5.0)), "bravo": t.dsp(bidder(3.0))})
    assert paid(proxy.post(bid_request(floor=1.0, at=1))) == 5.0


def test_bid_under_the_floor_is_no_bid(t):
    proxy = t.proxy({"alpha": t.dsp(bidder(0.5))})
    answer = proxy.post(bid_request(floor=1.0))
    assert answer.status == 204 and answer.body == b""


def test_no_bid_is_204(t):
    dsp = t.dsp()
    proxy = t.proxy({"alpha": dsp})
    assert proxy.post(bid_request()).status == 204
    assert len(dsp.requests) == 1


def test_body_passes_through_with_tmax_replaced(t):
    dsp = t.dsp()
    proxy = t.proxy({"alpha": dsp})
    odd = bid_request(tmax=300, ext={"vendor": [1, {"x": None}]}, unknown="\u00e9\u20ac", test=1)
    assert proxy.post(odd).status == 204
    got = dsp.requests[0]
    assert 1 <= got.pop("tmax") <= 290
    odd.pop("tmax")
    assert got == odd
    without = bid_request()
    del without["tmax"]
    proxy.post(without)
    got = dsp.requests[1]
    assert 1 <= got.pop("tmax") <= 390
    assert got == without


def test_late_dsp_does_not_delay_the_answer(t):
    late, quick = t.dsp(bidder(9.0), delay=1.5), t.dsp(bidder(2.0))
    proxy = t.proxy({"late": late, "quick": quick}, auction={"timeout_ms": 150})
    started = time.monotonic()
    answer = proxy.post(bid_request(floor=0.5))
    assert paid(answer) == 0.5
    assert time.monotonic() - started < 1.2
    status = {d["name"]: d for d in proxy.status()["dsps"]}
    assert status["late"]["outcomes"]["timeout"] == 1
    assert status["quick"]["outcomes"]["bid"] == 1


def test_dead_dsp_is_an_error_not_a_failure(t):
    dead, quick = t.dsp(), t.dsp(bidder(2.0))
    dead.close()
    proxy = t.proxy({"dead": dead, "quick": quick})
    for _ in range(5):
        assert paid(proxy.post(bid_request(floor=1.0))) == 1.0


def test_bad_requests_name_the_fault(t):
    proxy = t.proxy({"alpha": t.dsp()})
    for body, words in [(b"{", "byte 1"), (b"[]", "object"), (b'{"id":"1"}', "imp"),
                        (b'{"id":"1","imp":[{"id":"a"}]}', "imp[0]"),
                        (b'{"id":"","imp":[{"id":"a","banner":{}}]}', "id")]:
        answer = proxy.post(body)
        assert answer.status == 400, (body, answer)
        assert words in answer.json["error"] and answer.json["nbr"] == 2, answer


def test_http_as_usual(t):
    proxy = t.proxy({"alpha": t.dsp()}, limits={"body_bytes_max": 20000})
    assert http_call(proxy.port, "GET", "/openrtb2/auction").status == 405
    assert http_call(proxy.port, "POST", "/nothing", b"{}").status == 404
    assert proxy.post(b" " * 30000).status == 413
    assert proxy.post(b" " * 200000).json["nbr"] == 2  # read whole, so that the answer is seen
    assert proxy.metrics()['bidsieve_requests_total{status="413"}'] == 2
    assert proxy.post(bid_request(), {"content-type": "text/plain"}).status == 415
    assert proxy.post(bid_request(), {"content-encoding": "br"}).status == 415
    body = json.dumps(bid_request()).encode()
    assert proxy.post(gzip.compress(body), {"content-encoding": "gzip"}).status == 204
    assert proxy.post(gzip.compress(body), {"content-encoding": "X-GZip"}).status == 204
    assert proxy.post(gzip.compress(body)[:-9], {"content-encoding": "gzip"}).status == 400
    assert proxy.post(gzip.compress(b" " * 1000000), {"content-encoding": "gzip"}).status == 413


def test_overload_answers_503_at_once(t):
    proxy = t.proxy({"alpha": t.dsp(delay=0.3)}, limits={"in_flight_max": 2}, listen={"threads": 1})
    statuses = []

    def post():
        statuses.append(proxy.post(bid_request()).status)
    threads = [threading.Thread(target=post) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(set(statuses)) == [204, 503], statuses
    assert statuses.count(204) >= 2


def test_qps_cap_withholds_and_says_so(t):
    dsp = t.dsp()
    proxy = t.proxy([{"name": "alpha", "url": dsp.url, "qps_max": 1}], listen={"threads": 1})
    for _ in range(10):
        assert proxy.post(bid_request()).status == 204
    assert 1 <= len(dsp.requests) <= 4
    assert proxy.metrics()['bidsieve_dsp_decisions_total{dsp="alpha",why="qps"}'] >= 6


def test_rule_withholds(t):
    dsp = t.dsp()
    proxy = t.proxy([{"name": "alpha", "url": dsp.url, "rules": {"countries": ["DEU"]}}])
    proxy.post(bid_request(device={"geo": {"country": "FRA"}}))
    assert len(dsp.requests) == 0
    proxy.post(bid_request(device={"geo": {"country": "DEU"}}))
    assert len(dsp.requests) == 1


run(globals())
