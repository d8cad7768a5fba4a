"""Win, billing and loss notices: left to the caller, or fired by us after the answer, macros filled in."""
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from harness import PATIENT, patient, run, wait_for

WIN = {**PATIENT, "auction": {**PATIENT["auction"], "notices": "fire"}}
LOSS = {**PATIENT, "auction": {**PATIENT["auction"], "loss_notices": True}}
FIRE = {**PATIENT, "auction": {**PATIENT["auction"], "notices": "fire", "loss_notices": True}}


class Tracker:
    def __init__(self, t):
        hits = self.hits = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                hits.append(self.path)
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                pass
        class Server(ThreadingHTTPServer):
            request_queue_size = 128  # with 5, as is usual, connections that come together wait for seconds

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        t.cleanup.append(self.server.shutdown)


def bid(tracker, name, price, **fields):
    def answer(request, _):
        return {"id": request["id"], "bidid": "x/" + name, "seatbid": [{"seat": "s", "bid": [dict({
            "id": name, "impid": request["imp"][0]["id"], "price": price, "adm": "<ad/>",
            "nurl": f"{tracker.url}/nurl/{name}?p=${{AUCTION_PRICE}}",
            "burl": f"{tracker.url}/burl/{name}?p=${{AUCTION_PRICE}}&b=${{AUCTION_BID_ID}}",
            "lurl": f"{tracker.url}/lurl/{name}?l=${{AUCTION_LOSS}}&m=${{AUCTION_MIN_TO_WIN}}"}, **fields)]}]}
    return answer


def dsps(t, tracker):
    return {"wins": t.dsp(bid(tracker, "wins", 5.0)), "loses": t.dsp(bid(tracker, "loses", 3.0)),
            "low": t.dsp(bid(tracker, "low", 0.5))}


def test_pass_leaves_them_in_the_answer(t):
    tracker = Tracker(t)
    proxy = t.proxy(dsps(t, tracker), **PATIENT)
    won = proxy.post(patient(floor=1.0)).json["seatbid"][0]["bid"][0]
    assert won["nurl"] == tracker.url + "/nurl/wins?p=3.01" and won["burl"].endswith("?p=3.01&b=x/wins"), won
    proxy.stop()
    assert tracker.hits == []


def test_fire_calls_them_once_and_takes_them_out(t):
    tracker = Tracker(t)
    proxy = t.proxy(dsps(t, tracker), **FIRE)
    for _ in range(10):
        won = proxy.post(patient(floor=1.0)).json["seatbid"][0]["bid"][0]
        assert won["price"] == 3.01 and "nurl" not in won and "burl" not in won, won
    expected = ["/burl/wins?p=3.01&b=x/wins", "/lurl/loses?l=102&m=3.01", "/lurl/low?l=100&m=", "/nurl/wins?p=3.01"]
    wait_for(lambda: len(tracker.hits) == 40, "40 notices")
    assert sorted(tracker.hits) == sorted(expected * 10), tracker.hits
    metrics = wait_for(lambda: (m := proxy.metrics())["bidsieve_notices_pending"] == 0 and m, "nothing pending")
    for kind, n in (("win", 10), ("billing", 10), ("loss", 20)):
        assert metrics[f'bidsieve_notices_queued_total{{kind="{kind}"}}'] == n
        assert metrics[f'bidsieve_notices_total{{kind="{kind}",result="sent"}}'] == n


def test_loss_notices_alone(t):
    tracker = Tracker(t)
    proxy = t.proxy(dsps(t, tracker), **LOSS)
    assert "burl" in proxy.post(patient(floor=1.0)).json["seatbid"][0]["bid"][0]
    wait_for(lambda: len(tracker.hits) == 2, "two notices")
    assert all(hit.startswith("/lurl/") for hit in tracker.hits)


def test_a_test_is_not_billed(t):
    tracker = Tracker(t)
    proxy = t.proxy({"wins": t.dsp(bid(tracker, "wins", 5.0))}, **WIN)
    won = proxy.post(patient(floor=1.0, test=1)).json["seatbid"][0]["bid"][0]
    assert "burl" not in won
    proxy.stop()  # sends what is queued
    assert tracker.hits == ["/nurl/wins?p=1"], tracker.hits


def test_a_nurl_that_brings_the_markup_stays(t):
    tracker = Tracker(t)
    proxy = t.proxy({"wins": t.dsp(bid(tracker, "wins", 5.0, adm=""))}, **WIN)
    won = proxy.post(patient(floor=1.0)).json["seatbid"][0]["bid"][0]
    assert won["nurl"].endswith("/nurl/wins?p=1") and "burl" not in won
    proxy.stop()
    assert [hit.split("?")[0] for hit in tracker.hits] == ["/burl/wins"]


def test_odd_urls_harm_nobody(t):
    urls = ["file:///etc/passwd", "http://user:x@127.0.0.1/", "http://127.0.0.1:1/closed", "no url", "http://",
            "http://127.0.0.1/a b", "http://name.invalid/", "gopher://127.0.0.1/", "/relative", "x" * 9000]
    proxy = t.proxy({f"d{i}": t.dsp(bid(Tracker(t), "b", 1.0 + i, burl=url, nurl=url, lurl=url))
                     for i, url in enumerate(urls)}, **FIRE)
    for _ in range(3):
        assert proxy.post(patient(floor=0.5)).status == 200
    metrics = wait_for(lambda: (m := proxy.metrics())["bidsieve_notices_pending"] == 0 and m, "nothing pending", 20)
    assert metrics['bidsieve_notices_total{kind="loss",result="refused"}'] == 3 * 7
    assert metrics['bidsieve_notices_total{kind="loss",result="failed"}'] == 3 * 2
    assert metrics['bidsieve_notices_total{kind="billing",result="refused"}'] == 3


run(globals())
