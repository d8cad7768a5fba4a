"""What the end-to-end tests share: the real binary, real DSPs over real sockets, a temporary folder.

A test file defines functions test_*(t) and ends with run(globals()). Standard library only.
"""
import http.client
import json
import os
import signal
import socket
import ssl
import struct
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
BIDSIEVE, WORLD, LOAD = BUILD / "bidsieve", BUILD / "bidsieve-world", BUILD / "bidsieve-load"
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
    `delay` seconds come before the answer; every request is kept in `requests`, its bytes in `bodies`."""

    def __init__(self, answer=None, delay=0.0):
        self.answer, self.delay, self.requests, self.headers, self.bodies = answer, delay, [], [], []
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
                    self.bodies.append(body)
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


class Peer:
    """The DSP's end of one connection, for scripts of RawDsp."""

    def __init__(self, connection):
        self.socket, self.input, self.request = connection, b"", None

    def read(self):
        """The next request's body, parsed; None once the proxy has closed."""
        while b"\r\n\r\n" not in self.input:
            if not self._more():
                return None
        head, _, rest = self.input.partition(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n")
                      if line.lower().startswith(b"content-length:"))
        self.input = rest
        while len(self.input) < length:
            if not self._more():
                return None
        body, self.input = self.input[:length], self.input[length:]
        self.request = json.loads(body)
        return self.request

    def _more(self):
        data = self.socket.recv(65536)
        self.input += data
        return bool(data)

    def bid(self, price=1.0, **fields):
        return json.dumps(bidder(price)(self.request, None) | fields).encode()

    def send(self, *pieces):
        self.socket.sendall(b"".join(pieces))

    def answer(self, body, *headers, status=b"200 OK"):
        self.send(b"HTTP/1.1 ", status, b"\r\nContent-Length: %d\r\n" % len(body),
                  *(h + b"\r\n" for h in headers), b"\r\n", body)

    def wait_closed(self):
        while self.socket.recv(65536):
            pass

    def reset(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


class RawDsp:
    """A DSP whose connections each run script(peer), which may do as it likes; errors of the socket end it.
    tls: an ssl.SSLContext."""

    def __init__(self, script, tls=None):
        self.script, self.tls = script, tls
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self.listener.getsockname()[1]
        self.url = f"http{'s' if tls else ''}://localhost:{self.port}/bid" if tls else \
            f"http://127.0.0.1:{self.port}/bid"
        self.connections, self.open = 0, set()
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
        self.open.add(connection)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls:
                connection = self.tls.wrap_socket(connection, server_side=True)
            self.script(Peer(connection))
        except (OSError, ValueError):
            pass
        finally:
            self.open.discard(connection)
            connection.close()

    def become(self, script):
        """Another script from now on: what is connected is cut."""
        self.script = script
        self.cut()

    def close(self):
        self.listener.close()
        self.cut()

    def cut(self):
        for connection in list(self.open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def well_behaved(price):
    def script(peer):
        while peer.read():
            peer.answer(peer.bid(price))
    return script


def certificate(folder, name, host, issuer=None):
    """A key and certificate for host (PEM paths), self-signed or by another such pair."""
    key, pem = Path(folder) / f"{name}.key", Path(folder) / f"{name}.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
               "-keyout", key, "-out", pem, "-days", "30", "-subj", f"/CN={host}"]
    command += ["-addext", f"subjectAltName=DNS:{host}"]
    if issuer:
        command += ["-CA", issuer[1], "-CAkey", issuer[0], "-addext", "basicConstraints=critical,CA:FALSE"]
    subprocess.run(command, check=True, capture_output=True)
    return key, pem


def tls_context(pair):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair[1], pair[0])
    return context


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


# For tests in which time decides nothing: a machine under load answers late. Use with patient(...).
PATIENT = {"auction": {"timeout_ms": 8000}, "defaults": {"timeout_ms": 7000}}


def patient(request_id="r1", floor=None, **fields):
    """A bid request that leaves the DSPs all the time they may need."""
    return bid_request(request_id, floor, **{"tmax": 8000, **fields})


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
        environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_NUM_THREADS"}  # with its threads, as in life
        self.process = subprocess.Popen([BIDSIEVE, "serve", "--config", self.path], stdout=open(self.log_path, "ab"),
                                        stderr=subprocess.STDOUT, env=environment)
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

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def memory_kb(self):
        """Resident memory that is its own (not mapped files)."""
        with open(f"/proc/{self.process.pid}/status") as f:
            return next(int(line.split()[1]) for line in f if line.startswith("RssAnon:"))

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


class World:
    """bidsieve-world serve: a scenario's DSPs as a process."""

    def __init__(self, test, scenario="small"):
        self.test, self.scenario = test, SOURCE / f"loadtest/scenarios/{scenario}.json"
        self.process = subprocess.Popen([WORLD, "serve", "--scenario", self.scenario, "--port", "0"],
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        test.cleanup.append(self.close)
        line = self.process.stdout.readline()
        self.port = int(line.split("http://127.0.0.1:")[1].split("/")[0])

    def config(self, **options):
        """A proxy's configuration for its DSPs."""
        words = [w for k, v in options.items() for w in (f"--{k}", v)]
        return json.loads(self.test.run("config", "--scenario", self.scenario, "--port", self.port, "--listen", 0, "--admin",
                                        0, *words, binary=WORLD).stdout)

    def proxy(self, capture, **config):
        """A proxy in front of it, by the request's clock."""
        ours = self.config()
        for d in ours["dsps"]:
            d["timeout_ms"] = 5000
        return self.test.proxy(ours["dsps"], **{"clock": "header", "capture": {"directory": str(capture)},
                                                "auction": {"timeout_ms": 5000}, "defaults": {"timeout_ms": 5000}} | config)

    def report(self, capture, days):
        r = self.test.run("report", "--scenario", self.scenario, "--capture", capture, "--days", days, "--json",
                          binary=WORLD)
        return json.loads(r.stdout)

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class Test:
    def __init__(self, folder):
        self.folder, self.cleanup = Path(folder), []

    def dsp(self, answer=None, delay=0.0):
        d = Dsp(answer, delay)
        self.cleanup.append(d.close)
        return d

    def raw_dsp(self, script, tls=None):
        d = RawDsp(script, tls)
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

    def load(self, proxy, *options):
        """bidsieve-load against the proxy, its JSON report."""
        r = self.run("--to", f"http://127.0.0.1:{proxy.port}/openrtb2/auction", "--time-header", "--json", *options,
                     binary=LOAD)
        return json.loads(r.stdout)

    def world_capture(self, name="world.ndjson", days="0:2", requests=1000, scenario="small"):
        """What an exchange without a filter would capture of a simulated world."""
        path = self.folder / name
        r = self.run("capture", "--scenario", SOURCE / f"loadtest/scenarios/{scenario}.json", "--days", days, "--requests",
                     requests, binary=WORLD)
        path.write_text(r.stdout)
        return path

    def train(self, capture, name="model.safetensors", *options):
        path = self.folder / name
        self.run("train", "--capture", capture, "--out", path, "--hidden", "16,8", "--epochs", 3, *options)
        return path

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


def records(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def write(path, items):
    path.write_text("".join((i if isinstance(i, str) else json.dumps(i)) + "\n" for i in items))
    return path


def one_json(text):
    document, end = json.JSONDecoder().raw_decode(text)
    assert text[end:].strip() == "", text[end:]
    return document


def refused(t, status, *arguments, words=(), stdin=None, binary=BIDSIEVE):
    """Fails with that status and one line on stderr that has the words; says nothing on stdout."""
    r = t.run(*arguments, stdin=stdin, status=status, binary=binary)
    assert r.stdout == "", r.stdout
    lines = r.stderr.splitlines()
    assert len(lines) == 1, r.stderr
    assert lines[0].startswith(binary.name), r.stderr
    for word in words:
        assert str(word) in lines[0], (word, r.stderr)
    return lines[0]


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
