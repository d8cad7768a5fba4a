"""A process that stood still for a while: what had piled up is answered, and nobody else is blamed for it."""
import json
import signal
import socket
import threading
import time

from harness import SLOW, bid_request, bidder, http_call, run, wait_for


def stand_still(proxy, seconds):
    proxy.process.send_signal(signal.SIGSTOP)
    time.sleep(seconds)
    proxy.process.send_signal(signal.SIGCONT)


def test_a_stall_is_not_the_dsps_fault(t):
    dsp = t.dsp(bidder(2.0), delay=0.1)
    proxy = t.proxy([{"name": "good", "url": dsp.url}], auction={"timeout_ms": 300}, defaults={"timeout_ms": 290},
                    listen={"threads": 1})
    calls = 0

    def timeouts():
        return proxy.status()["dsps"][0]["outcomes"]["timeout"]
    for _ in range(2):  # health is judged a second at a time
        threads = [threading.Thread(target=proxy.post, args=(bid_request(f"r{i}"),)) for i in range(30)]
        for thread in threads:
            thread.start()
        wait_for(lambda: len(dsp.requests) >= calls + 10, "calls")
        stand_still(proxy, 1.2)
        for thread in threads:
            thread.join()
        calls = len(dsp.requests)
    assert timeouts() >= 20, proxy.status()
    why = proxy.status()["dsps"][0]["decisions"]
    assert "health" not in why, why


def test_what_piled_up_is_answered(t):
    """More at once than can be called for in time: some are refused, at once; all are answered; then all is well."""
    dsps = [{"name": f"d{i}", "url": t.dsp(bidder(1.0)).url} for i in range(2)]
    dsps += [{"name": f"refused{i}", "url": f"http://127.0.0.1:9/{i}", "connections_max": 2000} for i in range(20)]
    proxy = t.proxy(dsps, auction={"timeout_ms": 20, "network_margin_ms": 0}, defaults={"timeout_ms": 20},
                    listen={"threads": 1})
    assert proxy.post(bid_request("before")).status in (200, 204)
    body = json.dumps(bid_request("pile")).encode()
    message = (b"POST /openrtb2/auction HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
               b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
    connections = [socket.create_connection(("127.0.0.1", proxy.port), timeout=60 * SLOW) for _ in range(600)]
    wait_for(lambda: proxy.descriptors() > 600, "connections")
    proxy.process.send_signal(signal.SIGSTOP)
    for connection in connections:
        connection.sendall(message)
    proxy.process.send_signal(signal.SIGCONT)
    statuses = {}
    for connection in connections:
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
        connection.close()
        status = answer.split(b" ", 2)[1]
        statuses[status] = statuses.get(status, 0) + 1
    assert sum(statuses.values()) == 600 and set(statuses) <= {b"200", b"204", b"503"}, statuses
    assert statuses.get(b"503", 0) > 0 and len(statuses) > 1, statuses
    assert http_call(proxy.port, "POST", "/openrtb2/auction", body, {"content-type": "application/json"}).status != 503


run(globals())
