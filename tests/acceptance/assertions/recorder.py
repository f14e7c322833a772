"""A recording HTTPS proxy in front of the sandbox.

Owns the recorded requests. The proxy has the sandbox's own address, `https://localhost:PORT`, because an assertion is for
this address. So the sandbox listens on another address of loopback, at the same port.
"""

import contextlib
import http.client
import http.server
import socket
import ssl
import threading
import urllib.parse

PROXY, SANDBOX = "127.0.0.1", "127.0.0.2"
# Headers of one connection (RFC 9110, 7.6.1), and those that the proxy sets itself.
NOT_FORWARDED = {"connection", "keep-alive", "transfer-encoding", "content-length"}


class Recorded:
    """One request: its path without the query, the form of a token request, and the status of the answer."""

    def __init__(self, method, path, body):
        self.method, self.path, self.status = method, path.partition("?")[0], None
        self.form = {}
        if self.path.endswith("/oauth2/v2.0/token"):
            self.form = dict(urllib.parse.parse_qsl(body.decode()))

    @property
    def assertion(self):
        """The client assertion of a token request."""
        return self.form.get("client_assertion")


class Hold:
    """Holds back the next redemption of an app, so that its assertion is in flight."""

    def __init__(self, client_id):
        self.client_id, self.request = client_id, None
        self.arrived, self.released = threading.Event(), threading.Event()


class Upstream(http.client.HTTPSConnection):
    """A connection to the sandbox, whose certificate is for localhost."""

    def connect(self):
        tcp = socket.create_connection((SANDBOX, self.port), timeout=30)
        self.sock = self._context.wrap_socket(tcp, server_hostname="localhost")


class Recorder:
    def __init__(self, lab):
        self.requests, self.holds = [], []
        recorder = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def forward(self):
                recorder.forward(self)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = forward

            def log_message(self, *words):
                pass

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, request, client_address):
                """A client that closes its connection is no error."""

        self.server = Server((PROXY, 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(lab / "server.pem", lab / "server.key")
        # The thread of the connection shakes hands, so that no client blocks the others.
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self.server.server_port
        self.origin = f"https://localhost:{self.port}"

    def start(self, sandbox_ca):
        """Begins to forward requests. The sandbox must be up."""
        self.trust = ssl.create_default_context(cafile=sandbox_ca)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def forward(self, handler):
        body = handler.rfile.read(int(handler.headers.get("content-length") or 0))
        request = Recorded(handler.command, handler.path, body)
        self.requests.append(request)
        for hold in self.holds:
            redeems = request.form.get("grant_type") == "refresh_token"
            if redeems and request.form["client_id"] == hold.client_id and not hold.arrived.is_set():
                hold.request = request
                hold.arrived.set()
                hold.released.wait(20)
        headers = {name: value for name, value in handler.headers.items() if name.lower() not in NOT_FORWARDED}
        upstream = Upstream("localhost", self.port, context=self.trust, timeout=60)
        with contextlib.closing(upstream):
            upstream.request(handler.command, handler.path, body or None, headers)
            answer = upstream.getresponse()
            content = answer.read()
        request.status = answer.status
        handler.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in NOT_FORWARDED:
                handler.send_header(name, value)
        handler.send_header("content-length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    @contextlib.contextmanager
    def during(self):
        """The list of requests during the `with` block, complete at its end."""
        seen, begin = [], len(self.requests)
        try:
            yield seen
        finally:
            seen += self.requests[begin:]

    @contextlib.contextmanager
    def hold(self, client_id):
        """Holds back the next redemption of an app for the duration of the `with` block."""
        hold = Hold(client_id)
        self.holds.append(hold)
        try:
            yield hold
        finally:
            hold.released.set()
            self.holds.remove(hold)
