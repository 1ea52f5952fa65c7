#!/usr/bin/env python3
"""Fails if a report's page does not show in headless Chromium as it should.

    python3 .ci/check_page.py FOLDER [SCREENSHOTS]

At 1280 and at 390 pixels: every figure has a size, nothing scrolls sideways, nothing is written to the console, nothing is
asked of another place. Without JavaScript the page shows the same text. With SCREENSHOTS, pictures and a print go there.
"""

import base64
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

WIDTHS = (1280, 390)
# Height of a screenshot in pixels.
PIECE = 1800

MEASURE = """(() => {
  const box = (e) => e.getBoundingClientRect();
  const pictures = [...document.querySelectorAll('figure svg, img')];
  const shown = (e) => e.tagName === 'IMG' ? e.naturalWidth > 0 : box(e).width > 100 && box(e).height > 50;
  const root = document.documentElement;
  return JSON.stringify({
    pictures: pictures.length,
    hidden: pictures.filter((e) => !shown(e)).length,
    fonts: [...document.fonts].map((f) => f.family + ' ' + f.weight + ' ' + f.status),
    sideways: Math.max(root.scrollWidth, document.body.scrollWidth) - root.clientWidth,
    wide: [...document.querySelectorAll('body *')].filter((e) => {
      for (let p = e; p !== document.body; p = p.parentElement) {
        if (['auto', 'scroll', 'hidden'].includes(getComputedStyle(p).overflowX)) return false;
      }
      return box(e).right > root.clientWidth + 1;
    }).slice(0, 5).map((e) => e.tagName + '.' + e.className + ' ' + e.textContent.slice(0, 60)),
    height: Math.ceil(box(root).height),
    text: document.body.innerText.length,
  });
})()"""


class Browser:
    """Chromium, spoken to through two pipes: file descriptors 3 and 4 of its process, messages that end with a zero byte."""

    def __init__(self, profile):
        program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        if program is None:
            sys.exit("chromium is not installed")
        (to_read, self.to), (self.back, back_write) = os.pipe(), os.pipe()

        def connect():
            # First out of the way of 3 and 4, which may be among them.
            ends = [os.dup(to_read), os.dup(back_write)]
            high = [os.dup2(end, 100 + k) for k, end in enumerate(ends)]
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        self.process = subprocess.Popen(
            [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
             "--no-first-run", "--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe",
             f"--user-data-dir={profile}", "about:blank"],
            close_fds=False, preexec_fn=connect, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_read)
        os.close(back_write)
        self.buffer, self.number, self.events = b"", 0, []

    def message(self):
        while b"\0" not in self.buffer:
            data = os.read(self.back, 1 << 20)
            if not data:
                sys.exit("chromium ended")
            self.buffer += data
        text, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(text)

    def call(self, method, session=None, **parameters):
        self.number += 1
        number, request = self.number, {"id": self.number, "method": method, "params": parameters}
        if session:
            request["sessionId"] = session
        data = json.dumps(request).encode() + b"\0"
        while data:
            data = data[os.write(self.to, data):]
        while True:
            answer = self.message()
            if answer.get("id") == number:
                if "error" in answer:
                    sys.exit(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def wait(self, event):
        while True:
            for k, known in enumerate(self.events):
                if known.get("method") == event:
                    return self.events.pop(k)
            self.events.append(self.message())

    def close(self):
        try:
            self.call("Browser.close")
        finally:
            self.process.wait(timeout=30)


def visit(browser, page, width, script, pictures):
    """Opens the page and returns what was measured and what was complained about."""
    target = browser.call("Target.createTarget", url="about:blank")["targetId"]
    session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    call = lambda method, **parameters: browser.call(method, session, **parameters)
    for domain in ("Page", "Runtime", "Log", "Network"):
        call(f"{domain}.enable")
    call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
    # The checks evaluate expressions from outside; a page's own scripts do not run.
    call("Emulation.setScriptExecutionDisabled", value=not script)
    browser.events.clear()
    call("Page.navigate", url=page.resolve().as_uri())
    browser.wait("Page.loadEventFired")
    call("Runtime.evaluate", expression="document.fonts.ready.then(() => 1)", awaitPromise=True)
    value = json.loads(call("Runtime.evaluate", expression=MEASURE, returnByValue=True)["result"]["value"])
    complaints = []
    for event in browser.events:
        method, parameters = event.get("method"), event.get("params", {})
        if method == "Runtime.consoleAPICalled":
            complaints.append(f"console: {parameters['args']}")
        elif method == "Runtime.exceptionThrown":
            complaints.append(f"error: {parameters['exceptionDetails'].get('text')}")
        elif method == "Log.entryAdded":
            complaints.append(f"log: {parameters['entry']['text']}")
        elif method == "Network.requestWillBeSent":
            address = parameters["request"]["url"]
            if not address.startswith("data:") and address != page.resolve().as_uri():
                complaints.append(f"asks for {address}")
        elif method == "Network.loadingFailed":
            complaints.append(f"not loaded: {parameters.get('errorText')}")
    if pictures and script:
        for scheme in ("light", "dark"):
            call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
            # A long page comes in pieces that can be looked at.
            for k, top in enumerate(range(0, value["height"], PIECE)):
                clip = {"x": 0, "y": top, "width": width, "height": min(PIECE, value["height"] - top), "scale": 1}
                shot = call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
                (pictures / f"{scheme}-{width}-{k:03}.png").write_bytes(base64.b64decode(shot["data"]))
        call("Emulation.setEmulatedMedia", features=[])
        if width == WIDTHS[0]:
            print_ = call("Page.printToPDF", preferCSSPageSize=True, printBackground=True)
            (pictures / "print.pdf").write_bytes(base64.b64decode(print_["data"]))
    browser.call("Target.closeTarget", targetId=target)
    return value, complaints


def main():
    page = pathlib.Path(sys.argv[1]) / "index.html"
    pictures = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else None
    if pictures:
        pictures.mkdir(parents=True, exist_ok=True)
    wrong = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(profile)
        length = {}
        for width in WIDTHS:
            for script in (True, False):
                value, complaints = visit(browser, page, width, script, pictures)
                name = f"{width} px, JavaScript {'on' if script else 'off'}"
                print(f"{name}: {value['pictures']} figures, {value['text']} characters, {value['height']} px high, "
                      f"{value['sideways']} px sideways, typefaces {', '.join(value['fonts'])}")
                length[script, width] = value["text"]
                wrong += [f"{name}: {complaint}" for complaint in complaints]
                if not value["pictures"] or value["hidden"]:
                    wrong.append(f"{name}: {value['hidden']} of {value['pictures']} figures do not show")
                if value["sideways"] > 0 or value["wide"]:
                    wrong.append(f"{name}: scrolls sideways by {value['sideways']} px: {value['wide']}")
                if any("loaded" not in font for font in value["fonts"]) or not value["fonts"]:
                    wrong.append(f"{name}: typefaces {value['fonts']}")
            if length[True, width] != length[False, width] or length[True, width] < 500:
                wrong.append(f"{width} px: {length[True, width]} characters with JavaScript, {length[False, width]} without")
        browser.close()
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
