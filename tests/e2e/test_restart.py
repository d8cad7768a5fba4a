"""Stopping and restarting: SIGTERM drains, a second process on the same port takes over, and no caller notices."""
import http.client
import json
import signal
import socket
import threading
import time

from harness import SLOW, Proxy, bid_request, bidder, http_call, run, wait_for, well_behaved


class Load:
    """Callers that post until told to stop, some on kept connections, some on a fresh one each time. What came back is
    counted; a lost answer, a refused or reset connection is a fault. A kept connection that is closed between two
    requests is what HTTP allows: then the next request goes over a new one, once."""

    def __init__(self, port, kept=8, fresh=8):
        self.port, self.answers, self.faults, self.stop = port, 0, [], threading.Event()
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self._run, args=(self._kept if i < kept else self._fresh,), daemon=True)
                        for i in range(kept + fresh)]
        for thread in self.threads:
            thread.start()

    def _run(self, post):
        state = {}
        while not self.stop.is_set():
            try:
                status, body = post(state)
                good = status == 200 and json.loads(body)["seatbid"][0]["bid"][0]["price"] == 2.01
                fault = None if good else f"{status} {body[:100]}"
            except (OSError, http.client.HTTPException) as error:
                fault = f"{post.__name__}: {error!r}"
            with self.lock:
                self.answers += fault is None
                if fault:
                    self.faults.append(fault)

    def _post(self, connection):
        connection.request("POST", "/openrtb2/auction", json.dumps(bid_request(floor=0.5)),
                           {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()

    def _connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20 * SLOW)

    def _kept(self, state):
        used = "connection" in state
        connection = state.setdefault("connection", self._connect())
        try:
            status, body = self._post(connection)
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            state.pop("connection").close()
            if not used:
                raise
            return self._kept(state)
        if connection.sock is None:  # it said Connection: close
            state.pop("connection")
        return status, body

    def _fresh(self, _state):
        connection = self._connect()
        try:
            return self._post(connection)
        finally:
            connection.close()

    def await_answers(self, more):
        target = self.answers + more
        wait_for(lambda: self.answers >= target or self.faults, f"{more} more answers", 30)

    def end(self):
        self.stop.set()
        for thread in self.threads:
            thread.join()


def successor_of(t, old):
    """Another process with the same listener, as an operator would start it before stopping the first."""
    new = Proxy(t, old.config["dsps"], start=False)
    new.port = new.config["listen"]["port"] = old.port
    new.path.write_text(json.dumps(new.config))
    return new.start()


def test_restart_under_load_loses_nothing(t):
    dsps = {"alpha": t.dsp(bidder(5.0), delay=0.01), "bravo": t.dsp(bidder(2.0), delay=0.01)}
    proxy = t.proxy(dsps)
    load = Load(proxy.port)
    for _ in range(4):
        load.await_answers(60)
        successor = successor_of(t, proxy)
        load.await_answers(60)
        proxy.stop()
        proxy = successor
    load.await_answers(60)
    load.end()
    assert not load.faults, (len(load.faults), load.answers, load.faults[:5])
    proxy.stop()


def test_stop_answers_what_is_in_flight(t):
    dsp = t.dsp(bidder(2.0), delay=0.3)
    proxy = t.proxy({"alpha": dsp}, auction={"timeout_ms": 5000}, defaults={"timeout_ms": 5000})
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(proxy.post(bid_request(floor=0.5, tmax=5000))))
               for _ in range(20)]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(dsp.requests) == 20, "20 calls")
    proxy.stop()
    for thread in threads:
        thread.join()
    assert [a.status for a in answers] == [200] * 20, answers
    assert {a.headers.get("connection") for a in answers} == {"close"}


def test_stopping_refuses_nobody_who_is_connected(t):
    """A client that connected and has not asked yet is served; readiness is gone at once."""
    dsp = t.dsp(bidder(2.0), delay=0.3)
    proxy = t.proxy({"alpha": dsp}, auction={"timeout_ms": 5000}, defaults={"timeout_ms": 5000})
    connection = proxy.connection()
    connection.connect()
    slow = threading.Thread(target=lambda: proxy.post(bid_request(tmax=5000)))
    slow.start()
    wait_for(lambda: dsp.requests, "a call")
    proxy.process.send_signal(signal.SIGTERM)
    wait_for(lambda: "no new connections" in proxy.log(), "the stop")
    assert http_call(proxy.admin_port, "GET", "/readyz").status == 503
    assert http_call(proxy.admin_port, "GET", "/healthz").status == 200
    assert proxy.admin("POST", "/reload").status == 422
    assert proxy.post(bid_request(floor=0.5, tmax=5000), connection=connection).status == 200
    slow.join()
    assert proxy.process.wait(20 * SLOW) == 0


def hanging(t, **config):
    """A proxy with one auction that a DSP would hold up for a minute."""
    dsp = t.raw_dsp(lambda peer: peer.read() and threading.Event().wait(60))
    proxy = t.proxy([{"name": "alpha", "url": dsp.url}], auction={"timeout_ms": 60000}, defaults={"timeout_ms": 60000},
                    **config)
    client = socket.create_connection(("127.0.0.1", proxy.port))
    t.cleanup.append(client.close)
    body = json.dumps(bid_request(tmax=60000)).encode()
    client.sendall(b"POST /openrtb2/auction HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    wait_for(lambda: dsp.connections == 1, "a call")
    return proxy


def test_second_sigterm_ends_at_once(t):
    for number in (signal.SIGTERM, signal.SIGINT):
        proxy = hanging(t, shutdown_timeout_ms=50000)
        proxy.process.send_signal(number)
        wait_for(lambda: "no new connections" in proxy.log(), "the stop")
        assert proxy.process.poll() is None
        proxy.process.send_signal(number)
        assert proxy.process.wait(20 * SLOW) == 0
        assert "dropped" in proxy.log()


def test_many_signals_end_once(t):
    proxy = hanging(t)
    for _ in range(50):
        proxy.process.send_signal(signal.SIGHUP)
        proxy.process.send_signal(signal.SIGTERM)
        proxy.process.send_signal(signal.SIGINT)
    assert proxy.process.wait(20 * SLOW) == 0, proxy.log()


def test_hanging_dsp_holds_up_a_stop_no_longer_than_configured(t):
    proxy = hanging(t, shutdown_timeout_ms=300)
    proxy.process.send_signal(signal.SIGTERM)
    assert proxy.process.wait(20 * SLOW) == 0
    assert "shutdown_timeout_ms is over" in proxy.log()


def test_stop_amid_reloads(t):
    """Whatever a reload was at when the process ended, nothing is freed twice or used after (ASan tells)."""
    dsps = {"alpha": t.raw_dsp(well_behaved(2.0))}
    for i in range(12):
        proxy = t.proxy(dsps, capture={"directory": str(t.folder / f"capture{i}")})
        client = socket.create_connection(("127.0.0.1", proxy.admin_port))
        for n in range(1 + i % 3):
            proxy.config["capture"]["directory"] = str(t.folder / f"capture{i}-{n}")
            proxy.write()
            client.sendall(b"POST /reload HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            proxy.process.send_signal(signal.SIGHUP)
        time.sleep(0.0005 * i)  # another moment each time
        proxy.process.send_signal(signal.SIGTERM)
        if i % 2:
            proxy.process.send_signal(signal.SIGTERM)
        assert proxy.process.wait(20 * SLOW) == 0, proxy.log()
        client.close()


def test_start_on_a_taken_port_says_so(t):
    other = socket.create_server(("127.0.0.1", 0))  # without SO_REUSEPORT
    t.cleanup.append(other.close)
    for key in ("listen", "admin"):
        proxy = t.proxy({}, start=False)
        proxy.config[key]["port"] = other.getsockname()[1]
        proxy.write()
        r = t.run("serve", "--config", proxy.path, status=1)
        assert str(other.getsockname()[1]) in r.stderr and "in use" in r.stderr and r.stderr.count("\n") == 1, r.stderr


run(globals())
