"""The receivers of all sinks: an HTTPS server with a path for each sink, and two mail servers.

Records the messages, the sink and the time of each. Does not check messages. The mail servers use aiosmtpd.
"""

import asyncio
import logging
import ssl
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from aiosmtpd.smtp import SMTP, AuthResult

# aiosmtpd warns of its own deprecated calls.
logging.getLogger("mail.log").setLevel(logging.ERROR)

MAIL_LOGIN = ("perennial", "canary-mail-password")

# The kernel treats this address as 127.0.0.1, but Perennial treats it as another host. So Perennial requires STARTTLS here.
# On loopback it does not.
SOMEWHERE = "[::ffff:127.0.0.1]"

# The documented answer of each service.
ANSWERS = {
    "teams": (202, b""),
    "slack": (200, b"ok"),
    "pagerduty": (202, b'{"status":"success","message":"Event processed"}'),
    "webhook": (204, b""),
    "heartbeat": (200, b"OK"),
    "on-call": (200, b""),
    "dead-mans-switch": (200, b"OK"),
}


@dataclass
class Received:
    """A received message."""

    sink: str
    at: float
    headers: dict
    body: bytes
    sender: str = ""
    recipients: list = field(default_factory=list)


class Receivers:
    """All receivers, each on its own port."""

    def __init__(self, certificate, key):
        self._received = []
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate, key)
        web = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        # The handler does the TLS handshake, so that no client waits for the handshake of another.
        web.socket = tls.wrap_socket(web.socket, server_side=True, do_handshake_on_connect=False)
        self.origin = f"https://localhost:{web.server_port}"
        threading.Thread(target=web.serve_forever, daemon=True).start()

        loop = asyncio.new_event_loop()
        threading.Thread(target=loop.run_forever, daemon=True).start()

        def mail_server(sink, tls_first=None, **options):
            serving = _mail_server(_Mailbox(sink, self._received), tls_first, options)
            return asyncio.run_coroutine_threadsafe(serving, loop).result(10)

        asked = {"tls_context": tls, "require_starttls": True, "authenticator": _knows, "auth_required": True}
        self.mail_servers = {
            "email": f"smtps://localhost:{mail_server('email', tls)}",
            "email-starttls": f"smtp://{SOMEWHERE}:{mail_server('email-starttls', **asked)}",
        }

    def at(self, sink):
        """The messages of a sink so far."""
        return [one for one in list(self._received) if one.sink == sink]

    def _handler(self):
        received = self._received

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                at = time.time()
                sink = self.path.split("/")[1]
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                received.append(Received(sink, at, headers, body))
                status, answer = ANSWERS.get(sink, (404, b""))
                self.send_response(status)
                if status != 204:
                    self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        return Handler


class _Mailbox:
    """The handler to which aiosmtpd passes each mail."""

    def __init__(self, sink, received):
        self.sink, self.received = sink, received

    async def handle_DATA(self, server, session, envelope):
        sender, recipients = envelope.mail_from, envelope.rcpt_tos
        self.received.append(Received(self.sink, time.time(), {}, envelope.content, sender, recipients))
        return "250 taken"


def _knows(server, session, envelope, mechanism, login):
    given = (login.login.decode(), login.password.decode())
    return AuthResult(success=given == MAIL_LOGIN)


async def _mail_server(mailbox, tls_first, options):
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(mailbox, loop=loop, **options), "127.0.0.1", 0, ssl=tls_first)
    return server.sockets[0].getsockname()[1]
