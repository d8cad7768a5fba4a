"""DSPs that misbehave in every way we know of. Beside each stands a good one, whose bid must win all the same; what
the bad one did must be told apart in /status; nothing piles up; and once it behaves it is used again."""
import gzip
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from harness import (SLOW, bid_request, bidder, captured, certificate, free_port, http_call, run, tls_context, wait_for,
                     well_behaved)

POSTS = 3  # of each case
DEADLINE_MS = 700


# What a DSP does with one connection. Those that answer well enough bid 1.00, the good one beside them 2.00.

def never_answers(peer):
    while peer.read():
        pass


def closes_at_once(peer):
    pass


def closes_after_request(peer):
    peer.read()


def closes_in_the_head(peer):
    peer.read()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Le")


def closes_after_the_head(peer):
    peer.read()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")


def closes_in_the_body(peer):
    peer.read()
    body = peer.bid()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body), body[:20])


def closes_in_a_chunk(peer):
    peer.read()
    peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n100\r\n{\"id\"")


def resets(peer):
    peer.read()
    peer.reset()


def resets_in_the_body(peer):
    peer.read()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{")
    peer.reset()


def answers_twice(peer):
    while peer.read():
        body = peer.bid()
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
        peer.send(head, body, head, peer.bid(50.0))


def answers_again_later(peer):
    while peer.read():
        peer.answer(peer.bid())
        peer.answer(peer.bid(50.0, id="unasked"))


def answers_before_asked(peer):
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
    peer.wait_closed()


def answers_another_id(peer):
    while peer.read():
        peer.answer(peer.bid(50.0, id="another"))


def a_byte_at_a_time(peer):
    while peer.read():
        body = peer.bid()
        for byte in b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body:
            peer.send(bytes([byte]))


def a_byte_a_chunk(peer):
    while peer.read():
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        peer.send(b"".join(b"1;x=y\r\n%c\r\n" % byte for byte in peer.bid()), b"0\r\nTrailer: 1\r\n\r\n")


def drips_forever(peer):
    peer.read()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        peer.send(b" ")
        time.sleep(0.02)


def body_of_10_mb(peer):
    peer.read()
    peer.answer(b" " * 10_000_000)


def body_of_10_mb_chunked(peer):
    peer.read()
    peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(160):
        peer.send(b"10000\r\n", b" " * 65536, b"\r\n")
    peer.send(b"0\r\n\r\n")


def body_of_10_mb_to_the_close(peer):
    peer.read()
    peer.send(b"HTTP/1.1 200 OK\r\n\r\n", b" " * 10_000_000)


def chunks_of_extensions(peer):
    peer.read()
    peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(2000):
        peer.send(b"1;" + b"x" * 60000 + b"\r\n \r\n")


GZIP_BOMB = gzip.compress(b" " * 50_000_000)


def gzip_bomb(peer):
    while peer.read():
        peer.answer(GZIP_BOMB, b"Content-Encoding: gzip")


def gzip_that_is_none(peer):
    while peer.read():
        peer.answer(peer.bid(), b"Content-Encoding: gzip")


def gzip_cut_short(peer):
    while peer.read():
        peer.answer(gzip.compress(peer.bid())[:-12], b"Content-Encoding: gzip")


def gzip_sound(peer):
    while peer.read():
        peer.answer(gzip.compress(peer.bid()), b"Content-Encoding: gzip")


def headers_without_end(peer):
    peer.read()
    peer.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        peer.send(b"X-Padding: 0123456789\r\n" * 100)


def a_header_without_end(peer):
    peer.read()
    peer.send(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        peer.send(b"0123456789" * 200)


def a_thousand_headers(peer):
    peer.read()
    peer.answer(peer.bid(), *[b"a:b"] * 1000)


def interim_first(peer):
    while peer.read():
        peer.send(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
        peer.answer(peer.bid())


def interim_for_ever(peer):
    peer.read()
    while True:
        peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")


def switches_protocols(peer):
    peer.read()
    peer.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n")
    peer.wait_closed()


def bad_chunk(peer):
    peer.read()
    peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", peer.bid(), b"\r\n0\r\n\r\n")
    peer.wait_closed()


def length_and_chunks(peer):
    while peer.read():
        body = peer.bid(50.0)
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
                  b"%x\r\n" % len(body), body, b"\r\n0\r\n\r\n")


def two_lengths(peer):
    while peer.read():
        peer.answer(peer.bid(50.0), b"Content-Length: 7")


def negative_length(peer):
    while peer.read():
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", peer.bid(50.0))


def length_beyond_words(peer):
    while peer.read():
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551617\r\n\r\n", peer.bid(50.0))


def no_content_with_content(peer):
    while peer.read():
        peer.answer(peer.bid(50.0), status=b"204 No Content")


def closes_to_end(peer):
    peer.read()
    peer.send(b"HTTP/1.0 200 OK\r\n\r\n", peer.bid())


def closes_though_it_promised(peer):
    """Keeps the connection, then drops it as the next request comes: a race every server runs."""
    peer.read()
    peer.answer(peer.bid())
    peer.read()


def no_http(peer):
    peer.read()
    peer.send(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")
    peer.wait_closed()


def http_2(peer):
    peer.read()
    peer.send(b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x64\0\x04\0\x10\0\0")
    peer.wait_closed()


def says(body, status=b"200 OK"):
    def script(peer):
        while peer.read():
            peer.answer(body, status=status)
    return script


def bids_as(make):
    """An answer that is made of a valid one."""
    def script(peer):
        while peer.read():
            answer = make(bidder(50.0)(peer.request, None))
            peer.answer(answer if isinstance(answer, bytes) else json.dumps(answer).encode())
    return script


def with_bid(**fields):
    def make(answer):
        answer["seatbid"][0]["bid"][0].update(fields)
        return answer
    return bids_as(make)


def duplicate_ids(answer):
    bids = answer["seatbid"][0]["bid"]
    answer["seatbid"][0]["bid"] = [dict(b, price=p) for b in bids for p in (1.0, 50.0)]
    return answer


# name: (script, outcome, what must be counted beside it, or None)
CASES = {
    "never_answers": (never_answers, "timeout", None),
    "closes_at_once": (closes_at_once, "error", "closed"),
    "closes_after_request": (closes_after_request, "error", "closed"),
    "closes_in_the_head": (closes_in_the_head, "error", "closed"),
    "closes_after_the_head": (closes_after_the_head, "error", "closed"),
    "closes_in_the_body": (closes_in_the_body, "error", "closed"),
    "closes_in_a_chunk": (closes_in_a_chunk, "error", "closed"),
    "resets": (resets, "error", "closed"),
    "resets_in_the_body": (resets_in_the_body, "error", "closed"),
    "answers_twice": (answers_twice, "bid", None),
    # The second answer meets a connection at rest, which is closed, or the next request, whose id it has not.
    "answers_again_later": (answers_again_later, ("bid", "invalid"), None),
    "answers_another_id": (answers_another_id, "invalid", "wrong_response_id"),
    "a_byte_at_a_time": (a_byte_at_a_time, "bid", None),
    "a_byte_a_chunk": (a_byte_a_chunk, "bid", None),
    "drips_forever": (drips_forever, "timeout", None),
    "body_of_10_mb": (body_of_10_mb, "error", "too_large"),
    "body_of_10_mb_chunked": (body_of_10_mb_chunked, "error", "too_large"),
    "body_of_10_mb_to_the_close": (body_of_10_mb_to_the_close, "error", "too_large"),
    "chunks_of_extensions": (chunks_of_extensions, "error", "too_large"),
    "gzip_bomb": (gzip_bomb, "error", "too_large"),
    "gzip_that_is_none": (gzip_that_is_none, "error", "malformed"),
    "gzip_cut_short": (gzip_cut_short, "error", "malformed"),
    "gzip_sound": (gzip_sound, "bid", None),
    "headers_without_end": (headers_without_end, "error", "too_large"),
    "a_header_without_end": (a_header_without_end, "error", "too_large"),
    "a_thousand_headers": (a_thousand_headers, "error", "too_large"),
    "interim_first": (interim_first, "bid", None),
    "interim_for_ever": (interim_for_ever, "error", "malformed"),
    "switches_protocols": (switches_protocols, "error", "malformed"),
    "bad_chunk": (bad_chunk, "error", "malformed"),
    "length_and_chunks": (length_and_chunks, "error", "malformed"),
    "two_lengths": (two_lengths, "error", "malformed"),
    "negative_length": (negative_length, "error", "malformed"),
    "length_beyond_words": (length_beyond_words, "error", "malformed"),
    "no_content_with_content": (no_content_with_content, "no_bid", None),
    "closes_to_end": (closes_to_end, "bid", None),
    "closes_though_it_promised": (closes_though_it_promised, "bid", None),
    "no_http": (no_http, "error", "malformed"),
    "http_2": (http_2, "error", "malformed"),
    "empty_200": (says(b""), "no_bid", None),
    "empty_object": (says(b"{}"), "no_bid", None),
    "not_json": (says(b"<html>sorry</html>"), "invalid", "not_json"),
    "cut_json": (bids_as(lambda a: json.dumps(a).encode()[:-1]), "invalid", "not_json"),
    "json_with_a_tail": (bids_as(lambda a: json.dumps(a).encode() + b"}"), "invalid", "not_json"),
    "deep_json": (says(b"[" * 500_000), "invalid", "not_json"),
    "deep_seatbid": (says(b'{"seatbid":' + b"[" * 500_000), "invalid", "not_json"),
    "status_500": (says(b"{}", b"500 Oops"), "error", None),
    "status_302": (says(b"", b"302 Found"), "error", None),
    "status_404_with_a_bid": (says(b'{"id":"x","seatbid":[]}', b"404 Nope"), "error", None),
    "unknown_imp": (with_bid(impid="zz"), "invalid", "unknown_imp"),
    "no_price": (with_bid(price=None), "invalid", "bad_price"),
    "price_as_text": (with_bid(price="50"), "invalid", "bad_price"),
    "price_negative": (with_bid(price=-50), "invalid", "bad_price"),
    "price_1e400": (bids_as(lambda a: json.dumps(a).encode().replace(b"50.0", b"1e400")), "invalid", "bad_price"),
    "price_nan": (bids_as(lambda a: json.dumps(a).encode().replace(b"50.0", b"NaN")), "invalid", "not_json"),
    "below_the_floor": (with_bid(price=0.1), "invalid", "below_floor"),
    "no_markup": (with_bid(adm=None), "invalid", "no_markup"),
    "wrong_size": (with_bid(w=1, h=1), "invalid", "bad_size"),
    "unknown_deal": (with_bid(dealid="d1"), "invalid", "unknown_deal"),
    "blocked_domain": (with_bid(adomain=["blocked.example"]), "invalid", "blocked_domain"),
    "unknown_currency": (bids_as(lambda a: a | {"cur": "XAU"}), "invalid", "bad_currency"),
    "duplicate_ids": (bids_as(duplicate_ids), "bid", "duplicate_id"),
}


def counted(metrics, name):
    """How often a reason was counted for a DSP, whichever metric has it."""
    return {label: value for key, value in metrics.items() for metric, label in
            [("bidsieve_dsp_transport_errors_total", key.rpartition('="')[2].rstrip('"}')),
             ("bidsieve_dsp_bids_refused_total", key.rpartition('="')[2].rstrip('"}'))]
            if key.startswith(metric) and f'dsp="{name}"' in key}


def request_for(name, number):
    """Each case has a site of its own, whose rule lets only that case's DSP and the good one see it."""
    return bid_request(f"{name}-{number}", floor=0.5, badv=["blocked.example"], site={"domain": f"{name}.example"})


def case_dsp(name, url, **fields):
    return {"name": name, "url": url, "rules": {"domains": [f"{name.replace('_', '-')}.example"]},
            "connections_max": 8, **fields}


def host(name):
    return name.replace("_", "-")


def post_case(proxy, name, posts, errors):
    for i in range(posts):
        answer = proxy.post(request_for(host(name), i))
        if answer.status != 200 or answer.json["seatbid"][0]["bid"][0]["price"] > 2.0:
            errors.append(f"{name}, post {i}: {answer}")


def check_case(status, metrics, name, outcome, counter, posts, errors):
    outcomes = {k: v for k, v in status[name]["outcomes"].items() if v}
    allowed = outcome if isinstance(outcome, tuple) else (outcome,)
    if not set(outcomes) <= set(allowed) or sum(outcomes.values()) != posts:
        errors.append(f"{name}: {outcomes}, not {posts} x {outcome}")
    if counter and counted(metrics, name).get(counter, 0) != posts:
        errors.append(f"{name}: {counted(metrics, name)}, not {posts} x {counter}")


def dsp_states(proxy):
    return {d["name"]: d for d in proxy.status()["dsps"]}


def torture(t, cases, dsps, posts=POSTS, **config):
    """All cases against one proxy, several at a time; then what each was counted as."""
    good = t.dsp(bidder(2.0))
    proxy = t.proxy(dsps + [{"name": "good", "url": good.url, "connections_max": 64}],
                    auction={"timeout_ms": DEADLINE_MS, "network_margin_ms": 10},
                    defaults={"timeout_ms": DEADLINE_MS, "connect_timeout_ms": DEADLINE_MS}, **config)
    errors = []
    with ThreadPoolExecutor(6) as pool:
        for name in cases:
            pool.submit(post_case, proxy, name, posts, errors)
    status, metrics = dsp_states(proxy), proxy.metrics()
    for name, (_, outcome, counter) in cases.items():
        check_case(status, metrics, name, outcome, counter, posts, errors)
    if status["good"]["outcomes"]["bid"] != posts * len(cases):
        errors.append(f"good: {status['good']['outcomes']}")
    assert not errors, "\n" + "\n".join(errors)
    return proxy, good


def test_every_way(t):
    peers = {name: t.raw_dsp(script) for name, (script, _, _) in CASES.items()}
    proxy, _ = torture(t, CASES, [case_dsp(name, d.url) for name, d in peers.items()],
                       capture={"directory": str(t.folder / "capture")})
    # No descriptor beyond what the caps allow is held, and those of broken connections are gone.
    calm = len(CASES) * 2 + 80
    wait_for(lambda: proxy.descriptors() < calm, f"fewer than {calm} descriptors")
    # They mend their ways: each is called again, and its bid wins.
    for d in peers.values():
        d.become(well_behaved(9.0))
    waiting, number = set(CASES), POSTS
    end = time.monotonic() + 25 * SLOW
    while waiting and time.monotonic() < end:
        number += 1
        for name in sorted(waiting):
            answer = proxy.post(request_for(host(name), number))
            assert answer.status == 200, (name, answer)
            if answer.json["seatbid"][0]["bid"][0]["price"] == 2.01:
                waiting.discard(name)
    assert not waiting, f"never used again: {sorted(waiting)}"
    proxy.stop()
    records = {r["auction"]: r for r in captured(t.folder / "capture")}
    for name, (_, outcome, _) in CASES.items():
        for i in range(POSTS):
            calls = {d["dsp"]: d for d in records[f"{host(name)}-{i}"]["dsps"]}
            assert calls[name]["sent"] and calls[name]["outcome"] in outcome, calls[name]
            assert calls["good"]["won"], calls["good"]


def test_dead_ends(t):
    """Ports that refuse, listeners that never accept, connections that are never read."""
    deaf = socket.create_server(("127.0.0.1", 0), backlog=64)
    t.cleanup.append(deaf.close)
    unread = t.raw_dsp(lambda peer: threading.Event().wait(60))
    cases = {"refuses": (None, "error", "connect_failed"), "no_such_host": (None, "error", "resolve_failed"),
             "deaf": (None, "timeout", None), "unread": (None, "timeout", None)}
    dsps = [case_dsp("refuses", f"http://127.0.0.1:{free_port()}/"), case_dsp("no_such_host", "http://no-such.invalid/"),
            case_dsp("deaf", f"http://127.0.0.1:{deaf.getsockname()[1]}/"), case_dsp("unread", unread.url)]
    proxy, _ = torture(t, cases, dsps)
    # A body larger than the socket's buffers: what cannot be written must not hold up the others.
    big = request_for("unread", "big") | {"ext": {"x": "y" * 900_000}}
    for _ in range(3):
        assert proxy.post(big).status == 200
    assert proxy.descriptors() < 100


def test_hanging_dsp_cannot_take_more_than_its_connections(t):
    hanging, good = t.raw_dsp(never_answers), t.dsp(bidder(2.0))
    proxy = t.proxy([{"name": "hanging", "url": hanging.url, "connections_max": 6},
                     {"name": "good", "url": good.url}], auction={"timeout_ms": 400}, defaults={"timeout_ms": 300})
    before = proxy.descriptors()
    failures = []

    def post(_):
        answer = proxy.post(bid_request(floor=0.5))
        if answer.status != 200:
            failures.append(answer)
        return proxy.descriptors()
    with ThreadPoolExecutor(24) as pool:
        most = max(pool.map(post, range(150)))
    assert not failures, failures[:3]
    assert most < before + 6 + 64 + 2 * 24 + 8, (before, most)
    hanging_state = dsp_states(proxy)["hanging"]
    assert hanging_state["decisions"].get("overload", 0) > 0, hanging_state
    assert hanging_state["outcomes"]["timeout"] > 0, hanging_state
    assert len(hanging.open) <= 8


def test_late_answers_are_drained_and_the_connection_is_kept(t):
    answered = threading.Semaphore(0)

    def late_bidder(peer):
        while peer.read():
            time.sleep(0.2)
            peer.answer(peer.bid(9.0))
            answered.release()
    late = t.raw_dsp(late_bidder)
    proxy = t.proxy([{"name": "late", "url": late.url, "timeout_ms": 60}], listen={"threads": 1})
    for i in range(8):
        assert proxy.post(bid_request(f"r{i}")).status == 204
        assert answered.acquire(timeout=10 * SLOW)
        http_call(proxy.port, "GET", "/")  # a turn of the loop, which reads the late answer
    assert late.connections <= 2, late.connections
    assert dsp_states(proxy)["late"]["outcomes"]["timeout"] == 8


def speaks_plainly(peer):
    peer.socket.recv(1)
    peer.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def test_tls(t):
    authority = certificate(t.folder, "ca", "test authority")
    right = certificate(t.folder, "right", "localhost", authority)
    wrong = certificate(t.folder, "wrong", "other.example", authority)
    lone = certificate(t.folder, "lone", "localhost")
    servers = {"right": t.raw_dsp(well_behaved(1.0), tls_context(right)),
               "wrong_name": t.raw_dsp(well_behaved(50.0), tls_context(wrong)),
               "self_signed": t.raw_dsp(well_behaved(50.0), tls_context(lone)),
               "unverified": t.raw_dsp(well_behaved(1.0), tls_context(lone)),
               "plain": t.raw_dsp(speaks_plainly), "silent": t.raw_dsp(lambda peer: peer.wait_closed()),
               "breaks_off": t.raw_dsp(lambda peer: peer.socket.recv(1))}
    cases = {"right": (None, "bid", None), "wrong_name": (None, "error", "connect_failed"),
             "self_signed": (None, "error", "connect_failed"), "unverified": (None, "bid", None),
             "plain": (None, "error", "connect_failed"), "silent": (None, "error", "connect_failed"),
             "breaks_off": (None, "error", "connect_failed")}
    dsps = [case_dsp(name, f"https://localhost:{d.port}/bid",
                     tls={"verify": name != "unverified", "ca_file": str(authority[1])},
                     connect_timeout_ms=100 if name == "silent" else 10_000) for name, d in servers.items()]
    proxy, _ = torture(t, cases, dsps, listen={"threads": 1})
    assert servers["right"].connections == 1, "a TLS connection is kept"


run(globals())
