"""A way to the service that breaks when a test says so, and a server that answers what a test says."""

import socket
import threading
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Way:
    """Passes bytes between a client and the service, and counts connections and requests.

    lose_answers: so many answers are thrown away, and their connections cut. `cut()` cuts all.
    let_pass: while it is cleared, answers to POST wait; `held` counts them.
    """

    def __init__(self, url: str, listening: socket.socket) -> None:
        host, port = url.removeprefix("http://").split(":")
        self._to = host, int(port)
        self._listening = listening
        self.url = "http://127.0.0.1:{1}".format(*listening.getsockname())
        self.lose_answers = 0
        self.connections = 0
        self.requests: list[bytes] = []
        self.let_pass = threading.Event()
        self.let_pass.set()
        self.held = threading.Semaphore(0)
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    def run(self) -> None:
        """Take connections until the listening socket is closed."""
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(self._to)
            except OSError:
                near.close()
                continue
            with self._lock:
                self.connections += 1
                self._open |= {near, far}
            asked: list[bytes] = []
            for ends in ((self._ask, near, far), (self._answer, far, near)):
                threading.Thread(target=self._pass_on, args=(*ends, asked), daemon=True).start()

    def _pass_on(self, look, source: socket.socket, sink: socket.socket, asked: list[bytes]) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if not look(data, asked):
                    break
                sink.sendall(data)
        self._drop(source, sink)

    def _ask(self, data: bytes, asked: list[bytes]) -> bool:
        lines = [line for line in data.split(b"\r\n") if line.endswith(b" HTTP/1.1")]
        asked += lines
        self.requests += lines
        return True

    def _answer(self, data: bytes, asked: list[bytes]) -> bool:
        if self.lose_answers:
            self.lose_answers -= 1
            return False
        if asked[-1].startswith(b"POST") and not self.let_pass.is_set():
            self.held.release()
            self.let_pass.wait(30)
        return True

    def _drop(self, *ends: socket.socket) -> None:
        with self._lock:
            self._open -= set(ends)
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def cut(self) -> None:
        """Cut every connection."""
        with self._lock:
            ends = list(self._open)
        self._drop(*ends)


@contextmanager
def way_to(url: str):
    """Open a way to a service."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        way = Way(url, listening)
        thread = threading.Thread(target=way.run)
        thread.start()
        try:
            yield way
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()
            way.cut()


@contextmanager
def answering(*answers: tuple[int, dict[str, str], bytes]):
    """Serve one answer after the other, the last one again and again; yield the address and the requests."""
    left, asked = list(answers), []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked.append((self.command, self.path, dict(self.headers)))
            status, headers, body = left.pop(0) if len(left) > 1 else left[0]
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_DELETE = do_PATCH = do_GET  # noqa: N815  (names of http.server)

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()
