"""Chromium without a window, driven by its own DevTools protocol through a pipe: real clicks, real keys, and everything
that it asked for or complained of."""

import base64
import contextlib
import fcntl
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import threading
import time

FAILED = pathlib.Path(__file__).parents[2] / "target/page/failed.png"
PATIENCE = int(os.environ.get("PAGE_PATIENCE", "60"))  # seconds until something that is waited for counts as never coming

KEYS = {  # what a key types, and its number
    "Tab": (None, 9), "Enter": ("\r", 13), "Escape": (None, 27), "Space": (" ", 32), "/": ("/", 191),
    "ArrowDown": (None, 40),
}


class Browser:
    def __init__(self):
        self.chromium = shutil.which("chromium")
        if self.chromium is None:
            raise SystemExit("tests/page: chromium is missing: run tests/page/setup, or install the package chromium")

    def __enter__(self):
        self.home = tempfile.TemporaryDirectory(prefix="status-page-", ignore_cleanup_errors=True)
        (read, self.write), (self.read, write) = os.pipe(), os.pipe()
        read, write = (fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in (read, write))  # clear of 3 and 4
        arguments = [
            self.chromium, "--headless=new", "--remote-debugging-pipe", f"--user-data-dir={self.home.name}",
            "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update",
            "--no-first-run", "--no-default-browser-check", "--disable-sync", "--disable-extensions",
            "--force-color-profile=srgb", "--hide-scrollbars",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        ]
        if os.getuid() == 0:
            arguments.append("--no-sandbox")  # Chromium's own has no use for root
        self.log = open(os.path.join(self.home.name, "log"), "wb")
        self.process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{read} 4>&{write}', "bash", *arguments], pass_fds=(read, write),
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, start_new_session=True,
            env={**os.environ, "HOME": self.home.name, "XDG_CONFIG_HOME": self.home.name, "XDG_CACHE_HOME": self.home.name})
        os.close(read), os.close(write)
        self.number, self.answers, self.pages, self.news = 0, {}, {}, threading.Condition()
        threading.Thread(target=self.listen, daemon=True).start()
        return self

    def __exit__(self, *_):
        with contextlib.suppress(Exception):
            self.call("Browser.close")
            self.process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # its own group, which it began
        self.process.wait()
        self.log.close()
        self.home.cleanup()

    def listen(self):
        with os.fdopen(self.read, "rb") as stream:
            rest = b""
            while piece := stream.read1(1 << 20):
                *messages, rest = (rest + piece).split(b"\0")
                with self.news:
                    for message in map(json.loads, messages):
                        if "id" in message:
                            self.answers[message["id"]] = message
                        elif page := self.pages.get(message.get("sessionId")):
                            page.heard(message["method"], message["params"])
                    self.news.notify_all()

    def call(self, method, session=None, **params):
        with self.news:
            self.number += 1
            number = self.number
        message = {"id": number, "method": method, "params": params} | ({"sessionId": session} if session else {})
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.write, data):]
        with self.news:
            is_there = self.news.wait_for(lambda: number in self.answers or self.process.poll() is not None, PATIENCE)
            answer = self.answers.pop(number, None)
        if answer is None:
            said = pathlib.Path(self.log.name).read_text(errors="replace")[-2_000:]
            raise AssertionError(f"chromium does not answer {method} ({is_there=}); it said:\n{said}")
        if "error" in answer:
            raise AssertionError(f"{method}: {answer['error']}")
        return answer["result"]

    @contextlib.contextmanager
    def page(self, url, width=1200, height=800, scheme="light"):
        """A page with a storage of its own."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self.pages[session] = Page(self, session)
        try:
            for domain in ["Page", "Runtime", "Log", "Network", "Audits"]:
                page.call(f"{domain}.enable")
            page.size(width, height)
            page.scheme(scheme)
            page.open(url)
            yield page
        except BaseException:
            # Kept for whoever has to find out.
            with contextlib.suppress(Exception):
                page.screenshot(FAILED)
            raise
        finally:
            with contextlib.suppress(AssertionError):
                self.call("Target.disposeBrowserContext", browserContextId=context)


class Page:
    def __init__(self, browser, session):
        self.browser, self.session = browser, session
        self.requests, self.complaints = [], []

    def call(self, method, **params):
        return self.browser.call(method, self.session, **params)

    def heard(self, method, params):
        match method:
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Log.entryAdded":
                entry = params["entry"]
                self.complaints.append(f"{entry['source']}: {entry['text']} {entry.get('url', '')}")
            case "Runtime.exceptionThrown":
                self.complaints.append(f"exception: {params['exceptionDetails']}")
            case "Runtime.consoleAPICalled":
                self.complaints.append(f"console: {params['args']}")
            case "Audits.issueAdded":
                self.complaints.append(f"issue: {params['issue']}")

    def open(self, url):
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete'", "the page to load")

    def size(self, width, height):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def scheme(self, scheme):
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def js(self, expression, **arguments):
        """The value of an expression, in which the arguments are constants."""
        constants = "".join(f"const {name} = {json.dumps(value)};" for name, value in arguments.items())
        result = self.call("Runtime.evaluate", expression=f"(() => {{ {constants} return ({expression}); }})()",
                           returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise AssertionError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def until(self, expression, what, **arguments):
        """Waits until the expression is true, and returns what it is."""
        deadline = time.monotonic() + PATIENCE
        while not (value := self.js(expression, **arguments)):
            if time.monotonic() > deadline:
                text = self.js("document.body.innerText")
                raise AssertionError(f"waited in vain for {what}: {expression}\n{text[:3_000]}\n{self.complaints}")
            time.sleep(0.05)
        return value

    def click(self, expression, **arguments):
        """A click in the middle of an element, if nothing else lies there."""
        spot = self.js(f"""(() => {{
            const node = {expression};
            if (!node) return null;
            node.scrollIntoView({{ block: "center" }});
            const box = node.getBoundingClientRect();
            const [x, y] = [box.left + Math.min(box.width, 300) / 2, box.top + box.height / 2];
            const hit = document.elementFromPoint(x, y);
            return node.contains(hit) || hit?.contains(node) ? {{ x, y }} : `${{hit?.outerHTML}} lies over it`;
        }})()""", **arguments)
        assert isinstance(spot, dict), f"cannot click {expression}: {spot}"
        for kind in ["mousePressed", "mouseReleased"]:
            self.call("Input.dispatchMouseEvent", type=kind, **spot, button="left", clickCount=1)

    def press(self, key, modifiers=0):
        text, code = KEYS.get(key) or (key, ord(key.upper()))
        name = " " if key == "Space" else key
        for kind in ["keyDown", "keyUp"]:
            typed = {"text": text} if text is not None and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=name, windowsVirtualKeyCode=code, modifiers=modifiers, **typed)

    def type(self, text):
        for character in text:
            self.press(character)

    def screenshot(self, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
