"""Serves the status page with a canned status, with the headers that the daemon sends.

    python3 tests/page/serve.py [NAME] [PORT]     then look at it; NAME is one of canned.py"""

import http.server
import json
import pathlib
import sys
import threading

import canned

PAGE = pathlib.Path(__file__).parents[2] / "src/server/page"
POLICY = ("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
          "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'")
FILES = {"/": ("page.html", "text/html; charset=utf-8"), "/page.css": ("page.css", "text/css; charset=utf-8"),
         "/page.js": ("page.js", "text/javascript; charset=utf-8")}


class Canned(http.server.ThreadingHTTPServer):
    """One status, which may be changed while it is served."""

    daemon_threads = True

    def __init__(self, status, port=0, page=PAGE):
        super().__init__(("127.0.0.1", port), Handler)
        self.status, self.page = status, page
        self.refusal = None  # an HTTP status and a text to answer instead
        self.token = None  # asked for where there is one
        self.hold = threading.Event()  # nothing of the status is answered before
        self.hold.set()
        self.policy = POLICY
        self.asked = []  # paths, in order
        self.address = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def stop(self):
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address):
        pass  # a browser that has left


class Handler(http.server.BaseHTTPRequestHandler):
    server_version, sys_version = "ssm-role-controller", ""

    def do_GET(self):
        server = self.server
        server.asked.append(self.path)
        if self.path in FILES:
            name, kind = FILES[self.path]
            return self.answer(200, kind, (server.page / name).read_bytes())
        if self.path != "/status":
            return self.answer(404, "text/plain", b"there is nothing here\n")
        server.hold.wait()
        if server.refusal is not None:
            return self.answer(server.refusal[0], "text/plain; charset=utf-8", server.refusal[1].encode())
        if server.token is not None and self.headers["Authorization"] != f"Bearer {server.token}":
            return self.answer(401, "text/plain", b"a token is needed\n", [("WWW-Authenticate", "Bearer")])
        status = server.status() if callable(server.status) else server.status
        self.answer(200, "application/json", json.dumps(status).encode())

    def answer(self, code, kind, body, headers=()):
        self.send_response(code)
        for name, value in [("Content-Type", kind), ("Content-Length", str(len(body))), ("Cache-Control", "no-store"),
                            ("Content-Security-Policy", self.server.policy), ("X-Content-Type-Options", "nosniff"),
                            ("Referrer-Policy", "no-referrer"), *headers]:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    name, port = (sys.argv[1:] + ["night", "8082"][len(sys.argv) - 1:])[:2]
    server = Canned(canned.ALL[name], int(port))
    print(f"{server.address} shows {name}; Ctrl-C ends it")
    threading.Event().wait()
