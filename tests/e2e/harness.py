"""What the end-to-end tests share: the real binary, real DSPs over real sockets, a temporary folder.

A test file defines functions test_*(t) and ends with run(globals()). Standard library only.
"""
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

SOURCE = Path(os.environ.get("BIDSIEVE_SOURCE", Path(__file__).resolve().parents[2]))
BUILD = Path(os.environ.get("BIDSIEVE_BUILD", SOURCE / "build/release"))
CORPUS = os.environ.get("BIDSIEVE_CORPUS")
BIDSIEVE = BUILD / "bidsieve"
SLOW = 4 if "asan" in BUILD.name or "tsan" in BUILD.name else 1


class Skipped(Exception):
    pass


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(condition, what, seconds=10):
    end = time.monotonic() + seconds * SLOW
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError(f"waited {seconds * SLOW} s in vain for {what}")


class Dsp:
    """A DSP on a port of its own: answer(request, headers) -> None (204), a dict (200), bytes, or (status, bytes).
    `delay` seconds come before the answer; every request is kept in `requests`."""

    def __init__(self, answer=None, delay=0.0):
        self.answer, self.delay, self.requests, self.headers = answer, delay, [], []
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/bid"
        self.connections = 0
        self.closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream = connection.makefile("rb")
        try:
            while not self.closed:
                line = stream.readline()
                if not line:
                    return
                headers = {}
                while (header := stream.readline()) not in (b"\r\n", b""):
                    name, _, value = header.decode().partition(":")
                    headers[name.lower()] = value.strip()
                body = stream.read(int(headers.get("content-length", 0)))
                request = body
                if headers.get("content-encoding") != "gzip":
                    request = json.loads(body)
                with self.lock:
                    self.requests.append(request)
                    self.headers.append(headers)
                if self.delay:
                    time.sleep(self.delay)
                answer = self.answer(request, headers) if callable(self.answer) else self.answer
                if answer == "close":
                    return
                status = 200
                if isinstance(answer, tuple):
                    status, answer = answer
                if answer is None:
                    connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
                    continue
                if isinstance(answer, dict):
                    answer = json.dumps(answer).encode()
                head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(answer)}\r\n\r\n"
                connection.sendall(head.encode() + answer)
        except OSError:
            pass
        finally:
            connection.close()

    def close(self):
        self.closed = True
        self.listener.close()


def bidder(*prices, **fields):
    """An answer function: one bid per price on the first imp."""
    def answer(request, _headers):
        bids = [dict({"id": f"b{i}", "impid": request["imp"][0]["id"], "price": price, "adm": "<ad/>",
                      "crid": f"c{i}"}, **fields) for i, price in enumerate(prices)]
        return {"id": request["id"], "seatbid": [{"seat": "s", "bid": bids}]}
    return answer


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.body[:200]!r}>"


def http_call(port, method, path, body=None, headers=None, timeout=20, connection=None):
    c = connection or http.client.HTTPConnection("127.0.0.1", port, timeout=timeout * SLOW)
    c.request(method, path, body=body, headers=headers or {})
    r = c.getresponse()
    answer = Answer(r.status, dict((k.lower(), v) for k, v in r.getheaders()), r.read())
    if connection is None:
        c.close()
    return answer


def bid_request(request_id="r1", floor=None, **fields):
    imp = {"id": "1", "banner": {"format": [{"w": 300, "h": 250}]}}
    if floor is not None:
        imp["bidfloor"] = floor
    return dict({"id": request_id, "imp": [imp], "site": {"domain": "example.com", "page": "https://example.com/"},
                 "device": {"ua": "x", "ip": "192.0.2.1"}, "tmax": 500}, **fields)


class Proxy:
    """bidsieve serve with a config written to the test's folder."""

    def __init__(self, test, dsps, start=True, **config):
        self.test = test
        self.port, self.admin_port = free_port(), free_port()
        self.config = {"listen": {"host": "127.0.0.1", "port": self.port, "threads": 2},
                       "admin": {"host": "127.0.0.1", "port": self.admin_port},
                       "auction": {"timeout_ms": 400, "network_margin_ms": 10},
                       "defaults": {"timeout_ms": 390}, "dsps": dsps}
        for key, value in config.items():
            if isinstance(value, dict) and isinstance(self.config.get(key), dict):
                self.config[key].update(value)
            else:
                self.config[key] = value
        self.path = test.folder / f"config-{self.port}.json"
        self.log_path = test.folder / f"log-{self.port}"
        self.process = None
        self.write()
        if start:
            self.start()

    def write(self):
        self.path.write_text(json.dumps(self.config))

    def start(self):
        self.process = subprocess.Popen([BIDSIEVE, "serve", "--config", self.path], stdout=open(self.log_path, "ab"),
                                        stderr=subprocess.STDOUT)
        self.test.cleanup.append(self.kill)

        def ready():
            if self.process.poll() is not None:
                raise AssertionError(f"serve ended with {self.process.returncode}: {self.log()}")
            try:
                return http_call(self.admin_port, "GET", "/readyz").status == 200
            except OSError:
                return False
        wait_for(ready, "readyz")
        return self

    def log(self):
        return self.log_path.read_text()

    def post(self, request, headers=None, connection=None, path="/openrtb2/auction"):
        body = request if isinstance(request, bytes) else json.dumps(request).encode()
        return http_call(self.port, "POST", path, body, {"content-type": "application/json", **(headers or {})},
                         connection=connection)

    def connection(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20 * SLOW)

    def admin(self, method, path, **kw):
        return http_call(self.admin_port, method, path, **kw)

    def status(self):
        return self.admin("GET", "/status").json

    def metrics(self):
        values = {}
        for line in self.admin("GET", "/metrics").body.decode().splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                values[name] = float(value)
        return values

    def stop(self, expect=0):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=20 * SLOW)
        assert code == expect, f"serve ended with {code}: {self.log()}"

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Test:
    def __init__(self, folder):
        self.folder, self.cleanup = Path(folder), []

    def dsp(self, answer=None, delay=0.0):
        d = Dsp(answer, delay)
        self.cleanup.append(d.close)
        return d

    def proxy(self, dsps, **kw):
        """dsps: name -> Dsp, or a list of config objects."""
        if isinstance(dsps, dict):
            dsps = [{"name": name, "url": d.url} for name, d in dsps.items()]
        return Proxy(self, dsps, **kw)

    def run(self, *arguments, stdin=None, status=0, binary=BIDSIEVE):
        r = subprocess.run([binary, *map(str, arguments)], input=stdin, capture_output=True, text=True,
                           timeout=250)
        assert r.returncode == status, f"{arguments}: exit {r.returncode}, not {status}\n{r.stdout}\n{r.stderr}"
        return r

    def skip(self, why):
        raise Skipped(why)


def captured(folder):
    """All records under a capture directory, in order."""
    records = []
    for path in sorted(Path(folder).iterdir()):
        if path.suffix == ".zst":
            text = subprocess.run(["zstd", "-dcq", path], capture_output=True).stdout.decode()
        elif path.suffix == ".ndjson":
            text = path.read_text()
        else:
            continue
        records += [json.loads(line) for line in text.split("\n") if line]
    return records


def run(names):
    failed = passed = skipped = 0
    for name, function in list(names.items()):
        if not name.startswith("test_") or not callable(function):
            continue
        if len(sys.argv) > 1 and name not in sys.argv[1:]:
            continue
        with tempfile.TemporaryDirectory() as folder:
            test = Test(folder)
            started = time.monotonic()
            try:
                function(test)
                passed += 1
                print(f"ok       {name} ({time.monotonic() - started:.1f} s)")
            except Skipped as why:
                skipped += 1
                print(f"skipped  {name}: {why}")
            except Exception:
                failed += 1
                print(f"FAILED   {name}")
                traceback.print_exc()
                for log in Path(folder).glob("log-*"):
                    print(f"--- {log.name}\n{log.read_text()[-3000:]}")
            finally:
                for undo in reversed(test.cleanup):
                    undo()
            sys.stdout.flush()
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed else 0)
