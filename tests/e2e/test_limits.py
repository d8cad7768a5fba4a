"""Callers that mean harm or do not care: every limit holds, says so, and costs the others nothing; and what one parser
could read differently from the next never reaches a DSP."""
import gzip
import json
import socket
import subprocess
import threading
import time

from harness import (BIDSIEVE, SLOW, bid_request, bidder, captured, certificate, http_call, run, wait_for)

POST = b"POST /openrtb2/auction HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


def body_of(request_id="r1", **fields):
    return json.dumps(bid_request(request_id, floor=0.5, **fields)).encode()


def connect(proxy, port=None):
    s = socket.create_connection(("127.0.0.1", port or proxy.port), timeout=20 * SLOW)
    proxy.test.cleanup.append(s.close)
    return s


def read_all(s):
    """All that comes until the other side closes; a reset ends it too."""
    data = b""
    try:
        while more := s.recv(65536):
            data += more
    except ConnectionError:
        pass
    return data


def talk(proxy, *pieces):
    """What a raw request is answered with; the sending side is closed behind it."""
    s = connect(proxy)
    try:
        for piece in pieces:
            s.sendall(piece)
        s.shutdown(socket.SHUT_WR)
    except OSError:
        pass
    return read_all(s)


def serves(proxy, request_id="still-there"):
    answer = proxy.post(bid_request(request_id, floor=0.5))
    assert answer.status == 200 and answer.json["id"] == request_id, answer


def alive(t, **config):
    dsp = t.dsp(bidder(2.0))
    return t.proxy({"alpha": dsp}, **config), dsp


# ---- framing: what could be read in two ways ----

def chunked(body):
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


SMUGGLED = POST + b"Content-Length: %d\r\n\r\n" % len(body_of("smuggled")) + body_of("smuggled")

SMUGGLING = {
    "length and chunks": POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(body_of()) + SMUGGLED,
    "chunks and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: %d\r\n\r\n" % (len(SMUGGLED) + 5) +
    b"0\r\n\r\n" + SMUGGLED,
    "two lengths": POST + b"Content-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(SMUGGLED) + SMUGGLED,
    "two equal lengths": POST + b"Content-Length: %d\r\nContent-Length: %d\r\n\r\n" % ((len(body_of()),) * 2) + body_of(),
    "a list of lengths": POST + b"Content-Length: 0, %d\r\n\r\n" % len(SMUGGLED) + SMUGGLED,
    "length +": POST + b"Content-Length: +%d\r\n\r\n" % len(SMUGGLED) + SMUGGLED,
    "length -": POST + b"Content-Length: -1\r\n\r\n" + SMUGGLED,
    "length in hex": POST + b"Content-Length: 0x10\r\n\r\n" + SMUGGLED,
    "length beyond words": POST + b"Content-Length: 18446744073709551616\r\n\r\n" + SMUGGLED,
    "no length value": POST + b"Content-Length: \r\n\r\n" + SMUGGLED,
    "space before the colon": POST + b"Content-Length : %d\r\n\r\n" % len(SMUGGLED) + SMUGGLED,
    "coding with a space before the colon": POST + b"Transfer-Encoding : chunked\r\nContent-Length: 5\r\n\r\n" +
    b"0\r\n\r\n" + SMUGGLED,
    "two codings": POST + b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(body_of()),
    "unknown coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n" + chunked(body_of()),
    "chunked twice": POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n" + chunked(body_of()),
    "chunks in HTTP/1.0": POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(body_of()),
    "bad chunk size": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + body_of() + b"\r\n0\r\n\r\n",
    "negative chunk": POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n" + body_of() + b"\r\n0\r\n\r\n",
    "chunk beyond words": POST + b"Transfer-Encoding: chunked\r\n\r\n10000000000000001\r\n" + body_of() + b"\r\n0\r\n\r\n",
    "folded header": POST + b"X: a\r\n Content-Length: 5\r\n\r\n" + SMUGGLED,
    "NUL in a header": POST + b"X: \0\r\nContent-Length: %d\r\n\r\n" % len(body_of()) + body_of(),
    "bare CR": POST.replace(b"\r\n", b"\r") + b"Content-Length: %d\r\r" % len(body_of()) + body_of(),
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 400,
    "body cut short": POST + b"Content-Length: 5000\r\n\r\n" + body_of(),
    "no length at all": POST + b"\r\n",
}


def test_smuggling_reaches_no_dsp(t):
    proxy, dsp = alive(t)
    for name, raw in SMUGGLING.items():
        answer = talk(proxy, raw)
        assert not dsp.requests, (name, dsp.requests, answer)
        assert answer.count(b"HTTP/1.1 ") <= 1, (name, answer)
        assert answer == b"" or answer.split()[1] in (b"400", b"411", b"501"), (name, answer)
    serves(proxy)


def test_what_is_passed_on_is_built_anew(t):
    """Nothing of the caller's framing or headers goes to a DSP, and pipelined requests are each answered in order."""
    proxy, dsp = alive(t)
    head = POST + b"Cookie: secret\r\nX-Forwarded-For: 1.2.3.4\r\nAuthorization: Basic eA==\r\nExpect: 100-continue\r\n"
    answer = talk(proxy, head + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(body_of()))
    assert b"200 OK" in answer, answer
    assert set(dsp.headers[0]) <= {"host", "content-type", "content-length", "accept-encoding", "accept", "connection",
                                   "x-openrtb-version", "user-agent"}, dsp.headers[0]
    several = b"".join(POST + b"Content-Length: %d\r\n\r\n" % len(body_of(f"p{i}")) + body_of(f"p{i}") for i in range(20))
    answer = talk(proxy, several)
    positions = [answer.find(b'"id":"p%d"' % i) for i in range(20)]
    assert answer.count(b"HTTP/1.1 200") == 20 and positions == sorted(positions) and positions[0] > 0, answer


# ---- sizes ----

def test_bodies(t):
    proxy, dsp = alive(t, limits={"body_bytes_max": 65536, "imps_max": 10})
    bomb = gzip.compress(b" " * 30_000_000)
    nested = gzip.compress(gzip.compress(body_of()))
    compressed = {"content-encoding": "gzip"}
    imps = [{"id": str(i), "banner": {"w": 300, "h": 250}} for i in range(11)]
    for name, status, body, headers in [
            ("at the limit", 200, body_of().ljust(65536), {}),
            ("a byte beyond", 413, body_of().ljust(65537), {}),
            ("inflated at the limit", 200, gzip.compress(body_of().ljust(65536)), compressed),
            ("inflated a byte beyond", 413, gzip.compress(body_of().ljust(65537)), compressed),
            ("gzip bomb", 413, bomb[:60000], compressed),
            ("gzip within gzip", 400, nested, compressed),
            ("gzip that is none", 400, body_of(), compressed),
            ("gzip with a tail", 400, gzip.compress(body_of()) + b"tail", compressed),
            ("10 imps", 200, json.dumps(bid_request(imp=imps[:10])).encode(), {}),
            ("11 imps", 400, json.dumps(bid_request(imp=imps)).encode(), {}),
            ("nothing", 400, b"", {}),
            ("deep", 400, b"[" * 60000, {}),
            ("deep within", 400, body_of()[:-1] + b',"ext":' + b"[" * 50000, {})]:
        before = len(dsp.requests)
        answer = proxy.post(body, headers)
        assert answer.status == status, (name, answer)
        assert len(dsp.requests) == before + (status == 200), name
        if status == 400:
            assert answer.json["error"] and answer.json["nbr"] == 2, (name, answer)
    # A length that is announced is refused before the body is sent.
    answer = talk(proxy, POST + b"Content-Length: 100000000\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 "), answer
    # Chunks tell their size as they come.
    endless = [b"4000\r\n" + b" " * 0x4000 + b"\r\n"] * 200
    answer = talk(proxy, POST + b"Transfer-Encoding: chunked\r\n\r\n", *endless)
    assert answer.startswith(b"HTTP/1.1 413 ") or answer == b"", answer
    serves(proxy)


def test_floods_of_headers(t):
    proxy, dsp = alive(t)
    for pieces in ([POST] + [b"X-%d: y\r\n" % i for i in range(5000)] + [b"\r\n"],
                   [POST + b"X: "] + [b"y" * 65536] * 100,
                   [b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\n\r\n"],
                   [b"A" * 1_000_000]):
        answer = talk(proxy, *pieces)
        assert answer == b"" or answer.split()[1] in (b"400", b"413", b"414", b"431"), answer[:200]
    assert not dsp.requests
    serves(proxy)


# ---- time ----

def test_slow_senders_are_closed_and_hold_up_nobody(t):
    """Slowloris: a byte now and then, in the head or in the body, does not keep a connection for ever."""
    proxy, dsp = alive(t, listen={"idle_timeout_ms": 400, "threads": 1})
    whole = POST + b"Content-Length: %d\r\n\r\n" % len(body_of()) + body_of()
    connections = [(connect(proxy), whole[:n]) for n in (0, 1, 40, len(POST) + 10, len(whole) - 100) for _ in range(20)]
    for s, start in connections:
        s.sendall(start)
    serves(proxy)
    for s, start in connections:
        data = read_all(s)
        assert b" 200 " not in data, (start, data)
    assert len(dsp.requests) == 1
    wait_for(lambda: proxy.descriptors() < 60, "their descriptors to be closed")


def holds(proxy, s):
    """Whether a process still has the other end of our connection open: the kernel knows no inode for it otherwise."""
    ends = f"0100007F:{proxy.port:04X} 0100007F:{s.getsockname()[1]:04X}"
    with open("/proc/net/tcp") as f:
        return any(ends in line and line.split()[9] != "0" for line in f)


def test_a_client_that_does_not_read_is_cut_off(t):
    adm = "x" * 500_000
    proxy = t.proxy({"alpha": t.dsp(bidder(2.0, adm=adm))}, listen={"write_timeout_ms": 300, "threads": 1},
                    auction={"timeout_ms": 5000}, defaults={"timeout_ms": 5000})
    s = socket.socket()
    t.cleanup.append(s.close)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    s.connect(("127.0.0.1", proxy.port))
    request = POST + b"Content-Length: %d\r\n\r\n" % len(body_of()) + body_of()
    for _ in range(20):  # 10 MB: no socket buffer takes it all
        s.sendall(request)
    wait_for(lambda: holds(proxy, s), "the connection to be accepted")
    wait_for(lambda: not holds(proxy, s), "the connection to be cut")
    assert len(read_all(s)) < 20 * 500_000
    assert proxy.post(bid_request(tmax=5000)).status == 200


def test_a_thousand_idle_connections(t):
    proxy, _ = alive(t)
    idle = [connect(proxy) for _ in range(1000)]
    for _ in range(20):
        serves(proxy)
    body = body_of("woken")
    for s in idle[::100]:
        s.sendall(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert s.recv(65536).startswith(b"HTTP/1.1 200")
    for s in idle:
        s.close()
    wait_for(lambda: proxy.descriptors() < 60, "their descriptors to be closed")


def test_connections_beyond_the_cap_wait_their_turn(t):
    proxy, _ = alive(t, listen={"connections_max": 10, "threads": 1, "idle_timeout_ms": 60000})
    held = [connect(proxy) for _ in range(10)]
    body = body_of()
    for s in held:
        s.sendall(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert s.recv(65536).startswith(b"HTTP/1.1 200")
    waiting = connect(proxy)
    waiting.sendall(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    waiting.settimeout(0.3)
    try:
        assert not waiting.recv(65536)
        raise AssertionError("accepted beyond connections_max")
    except TimeoutError:
        pass
    held[0].close()
    waiting.settimeout(20 * SLOW)
    assert waiting.recv(65536).startswith(b"HTTP/1.1 200")


def test_clients_that_leave_before_the_answer(t):
    dsp = t.dsp(bidder(2.0), delay=0.1)
    proxy = t.proxy({"alpha": dsp}, capture={"directory": str(t.folder / "capture")})
    body = body_of("gone")
    for _ in range(50):
        s = socket.create_connection(("127.0.0.1", proxy.port))
        s.sendall(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        s.close()
    wait_for(lambda: sum(n for key, n in proxy.metrics().items() if key.startswith("bidsieve_auctions_total")) == 50,
             "their auctions to end")
    serves(proxy)
    wait_for(lambda: proxy.metrics()["bidsieve_requests_in_flight"] == 0, "nothing in flight")
    proxy.stop()
    assert len(captured(t.folder / "capture")) == 51


def test_overload_says_503_at_once_and_recovers(t):
    release = threading.Event()

    def held(peer):
        while peer.read():
            release.wait(60)
            peer.answer(peer.bid(2.0))
    dsp = t.raw_dsp(held)
    proxy = t.proxy([{"name": "alpha", "url": dsp.url}], limits={"in_flight_max": 8}, listen={"threads": 1},
                    auction={"timeout_ms": 60000}, defaults={"timeout_ms": 60000})
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(proxy.post(bid_request(tmax=60000)).status))
               for _ in range(8)]
    for thread in threads:
        thread.start()
    wait_for(lambda: dsp.connections == 8, "8 calls")
    for _ in range(20):  # answered though nothing that is in flight ends
        answer = proxy.post(bid_request())
        assert answer.status == 503 and "in flight" in answer.json["error"], answer
    assert proxy.metrics()['bidsieve_requests_total{status="503"}'] == 20
    release.set()
    for thread in threads:
        thread.join()
    assert answers == [200] * 8
    assert proxy.post(bid_request()).status == 200


# ---- the admin side ----

def test_admin_token(t):
    proxy, _ = alive(t, admin={"token": "s3cret"})
    for method, path in (("GET", "/status"), ("GET", "/metrics"), ("POST", "/reload")):
        for header in ({}, {"authorization": "Bearer wrong!"}, {"authorization": "s3cret"}, {"authorization": "Bearer s3cre"},
                       {"authorization": "Bearer s3cret "[:-1] + "x"}, {"authorization": "Basic s3cret"}):
            answer = http_call(proxy.admin_port, method, path, headers=header)
            assert answer.status == 401 and b"alpha" not in answer.body, (path, header, answer)
        assert http_call(proxy.admin_port, method, path, headers={"authorization": "Bearer s3cret"}).status == 200
    for path in ("/healthz", "/readyz"):
        assert http_call(proxy.admin_port, "GET", path).status == 200
    assert json.loads(http_call(proxy.admin_port, "GET", "/status",
                                headers={"authorization": "Bearer s3cret"}).body)["generation"] == 2


def test_admin_beyond_loopback_needs_a_token(t):
    proxy, _ = alive(t)
    for host in ("0.0.0.0", "::", "192.0.2.1"):
        config = json.loads(proxy.path.read_text())
        config["admin"] = {"host": host, "port": 0}
        path = t.folder / "open.json"
        path.write_text(json.dumps(config))
        r = t.run("check", "--config", path, status=1)
        assert "admin.token" in r.stderr, r.stderr
        config["admin"]["token"] = "x" * 20
        path.write_text(json.dumps(config))
        t.run("check", "--config", path)


def test_admin_is_not_on_the_public_port_nor_the_reverse(t):
    proxy, dsp = alive(t)
    for path in ("/status", "/metrics", "/reload", "/healthz", "/", "/openrtb2/auction/", "/openrtb2/auction/../../status",
                 "//openrtb2/auction", "/openrtb2/auction%00"):
        assert http_call(proxy.port, "POST", path, b"{}").status in (400, 404), path
    assert http_call(proxy.admin_port, "POST", "/openrtb2/auction", body_of()).status == 404
    assert not dsp.requests
    assert http_call(proxy.admin_port, "GET", "/reload").status == 405
    assert proxy.status()["generation"] == 1
    assert b"nothing" not in talk_admin(proxy, b"GET /status HTTP/1.1\r\n" + b"X: y\r\n" * 5000 + b"\r\n")
    assert http_call(proxy.admin_port, "GET", "/readyz").status == 200


def talk_admin(proxy, raw):
    s = connect(proxy, proxy.admin_port)
    try:
        s.sendall(raw)
        s.shutdown(socket.SHUT_WR)
    except OSError:
        pass
    return read_all(s)


# ---- the clock ----

def test_the_time_header_counts_only_when_the_clock_is_the_header(t):
    for clock, taken in (("wall", False), ("header", True)):
        dsp = t.dsp(bidder(2.0))
        proxy = t.proxy({"alpha": dsp}, clock=clock, capture={"directory": str(t.folder / clock)})
        assert proxy.post(bid_request(), {"x-bidsieve-time": "1000"}).status == 200
        for odd in ("soon", "-1", "1e9", "99999999999999999999"):
            assert proxy.post(bid_request("odd"), {"x-bidsieve-time": odd}).status == (400 if taken else 200), odd
        assert proxy.post(bid_request("without")).status == 200
        assert ("x-bidsieve-time" in dsp.headers[0]) == taken
        proxy.stop()
        records = {r["auction"]: r for r in captured(t.folder / clock)}
        assert (records["r1"]["ts"] == 1000) == taken
        now_ms = time.time() * 1000
        assert abs(records["without"]["ts"] - now_ms) < 3_600_000


def test_tls_listener(t):
    pair = certificate(t.folder, "server", "localhost")
    dsp = t.dsp(bidder(2.0))
    proxy = t.proxy({"alpha": dsp}, listen={"tls": {"certificate": str(pair[1]), "key": str(pair[0])}})
    plain = connect(proxy)
    plain.sendall(POST + b"Content-Length: 2\r\n\r\n{}")
    assert b"200" not in read_all(plain)[:20]
    body = body_of().decode()
    r = subprocess.run(["openssl", "s_client", "-quiet", "-connect", f"127.0.0.1:{proxy.port}", "-servername", "localhost",
                        "-CAfile", pair[1], "-verify_return_error", "-alpn", "h2,http/1.1"],
                       input=f"POST /openrtb2/auction HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                             f"Content-Length: {len(body)}\r\n\r\n{body}", capture_output=True, text=True,
                       timeout=60 * SLOW)
    assert "HTTP/1.1 200" in r.stdout, r
    assert dsp.requests and BIDSIEVE.exists()


run(globals())
