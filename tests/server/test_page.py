#!/usr/bin/env python3
"""The chat page in a browser: Debian's chromium driven by selenium.

    test_page.py                    against tests/server/mock.py, which serves the built-in page
    test_page.py --url URL          against a running server; leaves out what only the mock can answer
    --only NAME ...                 some of the tests      --shots DIR     pictures along the way
    --pictures DIR                  no tests: takes the pictures of docs/page.md
"""
import argparse
import json
import os
import sys
import tempfile
import time
import traceback
import urllib.error
import urllib.request
from pathlib import Path

os.environ["SE_OFFLINE"] = "true"  # selenium brings no browser and no driver of its own
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

sys.path.insert(0, str(Path(__file__).parent))
import mock

WAIT = 90
LONG = "Write a very long and slow story about a river, with many chapters."


class Page:
    """The browser with the page in it."""

    def __init__(self, args, url):
        options = Options()
        options.binary_location = args.chromium
        for a in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                  "--window-size=1280,800"):
            options.add_argument(a)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(args.driver))
        self.driver.set_script_timeout(300)  # of a machine that is busy with other things
        # The mock ends its answers; a small model may go on until its context is full.
        self.limit = 700 if args.url else 0
        self.url = url
        self.shots = args.shots

    def cdp(self, command, **params):
        return self.driver.execute_cdp_cmd(command, params)

    def js(self, script, *args):
        return self.driver.execute_script(script, *args)

    def fresh(self, url=None, width=1280, height=800, mobile=False, scheme="light"):
        """The page as a new visitor sees it."""
        self.driver.get("about:blank")
        self.cdp("Storage.clearDataForOrigin", origin=(url or self.url).split("?")[0].rstrip("/"),
                 storageTypes="all")
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=height,
                 deviceScaleFactor=1, mobile=mobile)
        self.cdp("Emulation.setTouchEmulationEnabled", enabled=mobile)
        self.cdp("Emulation.setEmulatedMedia",
                 features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.driver.get_log("browser")
        self.driver.get(url or self.url)
        if self.limit:
            self.js("localStorage.setItem('brisk.defaults', arguments[0])",
                    json.dumps({"max_tokens": self.limit}))
            self.driver.refresh()
        self.until("the page is ready", "return document.documentElement.dataset.ready === '1'")

    def reload(self):
        self.driver.refresh()
        self.until("the page is ready", "return document.documentElement.dataset.ready === '1'")

    def until(self, what, script, *args, wait=WAIT):
        end = time.monotonic() + wait
        while time.monotonic() < end:
            value = self.js(script, *args)
            if value:
                return value
            time.sleep(0.03)
        raise AssertionError(f"not within {wait} s: {what}")

    def one(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def count(self, selector):
        return self.js("return document.querySelectorAll(arguments[0]).length", selector)

    def text(self, selector):
        return self.js("return document.querySelector(arguments[0])?.textContent ?? ''", selector)

    def click(self, selector):
        self.until(selector, "return document.querySelector(arguments[0])", selector)
        self.js("document.querySelector(arguments[0]).click()", selector)

    def type(self, text):
        self.one("#input").send_keys(text)

    def ask(self, text, wait=True):
        self.type(text)
        self.one("#input").send_keys(Keys.ENTER)
        self.until("the answer begins", "return document.querySelector('.msg.assistant.last')")
        if wait:
            self.done()

    def running(self):
        return self.count(".msg.running") > 0

    def done(self):
        self.until("the answer is complete", "return !document.querySelector('.msg.running')")

    def words(self, n):
        """Until the newest answer has n characters and still grows."""
        self.until("text arrives", """const m = document.querySelector('.msg.assistant.last');
            return m.querySelector('.markdown').textContent.length >= arguments[0]""", n)

    def answer(self):
        return self.text(".msg.assistant.last .markdown")

    def gauge(self, name, part="value"):
        return self.text(f".msg.assistant.last .g-{name} .g-{part}")

    def shot(self, name):
        if self.shots:
            Path(self.shots).mkdir(parents=True, exist_ok=True)
            self.driver.save_screenshot(str(Path(self.shots, name + ".png")))

    def complaints(self):
        return [e["message"] for e in self.driver.get_log("browser")
                if e["level"] == "SEVERE" and "status of 4" not in e["message"]]


def check(ok, what):
    if not ok:
        raise AssertionError(what)


def fetch(url, **headers):
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as r:
            return r.status, r.headers, r.read()
    except urllib.error.HTTPError as e:
        return e.code, e.headers, e.read()


# ---- Tests for any server: each gets the page and, where there is one, the mock -------------------

def test_files(page, server):
    """Every file has a type, a policy without exceptions, and a tag that is honoured."""
    base = page.url
    page.fresh()
    paths = page.js("""return performance.getEntriesByType('resource').map((e) => e.name)
        .filter((n) => /\\.(js|css|svg)$/.test(n))""")
    check(len(paths) > 15, f"the page loads {len(paths)} files")
    check(all(p.startswith(base) for p in paths), "a file comes from elsewhere")
    for url in [base, *paths]:
        plain = fetch(url)
        packed = fetch(url, **{"Accept-Encoding": "gzip"})
        policy = plain[1]["Content-Security-Policy"] or ""
        check(plain[0] == 200 and "script-src 'self'" in policy, f"{url}: policy {policy}")
        check("unsafe" not in policy and "*" not in policy, f"{url}: policy {policy}")
        check(plain[1]["ETag"] and plain[1]["ETag"] != packed[1]["ETag"], f"{url}: tags")
        again = fetch(url, **{"If-None-Match": plain[1]["ETag"]})
        check(again[0] == 304 and not again[2], f"{url}: {again[0]} for a known tag")
        source = Path(__file__).parents[2] / "src/server/web" / url[len(base):]
        if source.is_file():
            check(plain[2] == source.read_bytes(), f"{url} is not {source}")


def test_stream(page, server):
    """Text and gauges grow while the answer comes, and stay when it is there."""
    page.fresh()
    check(page.js("return !document.getElementById('welcome').hidden"), "no welcome")
    page.shot("empty")
    page.ask(LONG, wait=False)
    lengths, counts, sparks = set(), set(), set()
    end = time.monotonic() + WAIT
    while len(lengths) < 5 and page.running() and time.monotonic() < end:
        lengths.add(len(page.answer()))
        counts.add(page.gauge("speed", "note"))
        sparks.add(page.js("return document.querySelector('.last .spark .line').getAttribute('d')"))
        time.sleep(0.15)
    check(len(lengths) >= 4, f"the text had the lengths {sorted(lengths)} only")
    check(len(counts) >= 3 and len(sparks) >= 3, "the gauges stood still")
    page.shot("stream")
    page.click("#stop")
    page.done()
    page.ask("Say hello in a short sentence.")
    check(page.answer().strip() != "", "an empty answer")
    for name in ("first", "speed", "gaps", "cache"):
        check(any(c.isdigit() for c in page.gauge(name)), f"gauge {name}: {page.gauge(name)!r}")
    for part in ("queue", "prefill", "first decode"):
        check(part in page.gauge("first", "note"), f"no {part} in {page.gauge('first', 'note')!r}")
    check("prompt tokens" in page.gauge("cache", "note"), page.gauge("cache", "note"))
    check(page.js("return !document.querySelector('.last .spark .dot').hidden"), "no worst gap")
    check(page.count(".msg.assistant:not(.last) .gauges-line:not([hidden])") == 1,
          "the older answer lost its figures")


def test_stop(page, server):
    page.fresh()
    before = server.state.counters["cancelled"] if server else 0
    page.ask(LONG, wait=False)
    page.words(20)
    check(page.js("return document.getElementById('send').hidden"), "send beside stop")
    page.click("#stop")
    page.done()
    check("stopped" in page.text(".last .actions"), page.text(".last .actions"))
    check(len(page.answer()) >= 20, "the text went away")
    if server:
        end = time.monotonic() + 10
        while server.state.counters["cancelled"] == before and time.monotonic() < end:
            time.sleep(0.05)
        check(server.state.counters["cancelled"] > before, "the server goes on")


def test_branches(page, server):
    """Edit, answer again, and the way between the versions."""
    page.fresh()
    page.ask("Give me one short word, version one")
    first = page.answer()
    page.click(".last [aria-label='Answer again']")
    page.done()
    second = page.answer()
    check(page.text(".last .which") == "2 / 2", page.text(".last .which"))
    if server:
        check(first != second, "the same answer twice")
    page.click(".last [aria-label='Previous version']")
    check(page.answer() == first and page.text(".last .which") == "1 / 2", "version 1 is not back")
    page.click(".msg.user [aria-label='Edit message']")
    area = page.one(".editor textarea")
    area.send_keys(Keys.CONTROL + "a")
    area.send_keys("Give me one short word, version two" + Keys.ENTER)
    page.until("the edited message", "return /two/.test(document.querySelector('.bubble').textContent)")
    page.done()
    check(page.text(".msg.user .which") == "2 / 2", page.text(".msg.user .which"))
    check(page.count(".msg") == 2, "an edit adds to the conversation")
    page.click(".msg.user [aria-label='Previous version']")
    check("one" in page.text(".bubble") and page.answer() == first, "the old branch is not back")
    page.reload()
    check("one" in page.text(".bubble") and page.answer() == first, "the branch is not kept")


def test_history(page, server):
    page.fresh()
    page.ask("Say a short hello")
    answer, value = page.answer(), page.gauge("first")
    page.reload()
    check(page.answer() == answer, "the answer is gone after a reload")
    check(page.gauge("first") == value, "the gauges are gone after a reload")
    check(page.text("#chats .chat") == "Say a short hello", page.text("#chats"))
    page.click("#new-chat")
    check(page.count(".msg") == 0, "a new chat is not empty")
    page.ask(LONG, wait=False)
    page.words(40)
    time.sleep(2)
    page.reload()
    check("interrupted" in page.text(".last .actions"), page.text(".last .actions"))
    check(len(page.answer()) >= 20, "what had arrived is gone")
    page.one("#search").send_keys("hello")
    page.until("search", "return document.querySelectorAll('#chats .chat').length === 1")
    page.click("#chats .chat")
    check(page.answer() == answer, "the first conversation does not open")
    page.click("#chats [aria-label^='Delete']")
    page.until("deletion", "return document.querySelectorAll('#chats .chat').length === 0")
    page.click(".toast button")
    page.until("undo", "return document.querySelectorAll('#chats .chat').length === 1")


def test_export(page, server):
    page.fresh()
    page.ask("Say a short hello")
    answer = page.answer()
    with tempfile.TemporaryDirectory() as folder:
        page.cdp("Browser.setDownloadBehavior", behavior="allow", downloadPath=folder)
        page.click("#export")
        end = time.monotonic() + 20
        while not list(Path(folder).glob("*.json")) and time.monotonic() < end:
            time.sleep(0.1)
        file = next(Path(folder).glob("*.json"))
        data = json.loads(file.read_text())
        check(data["format"] == "brisk-chats" and len(data["chats"]) == 1, "what was exported")
        page.fresh()
        page.one("#import-file").send_keys(str(file))
        page.until("the import", "return document.querySelector('#chats .chat')")
        page.click("#chats .chat")
        check(page.answer() == answer, "the imported answer differs")
        for text in ("{", "[1]", '{"format": "brisk-chats", "chats": [{"nodes": 3}, null]}'):
            Path(folder, "bad.json").write_text(text)
            page.one("#import-file").send_keys(str(Path(folder, "bad.json")))
            page.until("a notice", "return document.querySelector('.toast')")
        check(page.count("#chats .chat") == 1, "something came in from a broken file")


def test_theme(page, server):
    ground = "return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
    page.fresh(scheme="dark")
    check(max(page.js(ground)) < 60, "not dark where the system is")
    page.click("#theme")
    check(min(page.js(ground)) > 200, "not light after the switch")
    page.reload()
    check(min(page.js(ground)) > 200, "the choice is not kept")
    page.fresh(scheme="light")
    check(min(page.js(ground)) > 200, "not light where the system is")


def test_phone(page, server):
    """390 pixels: nothing wider than the screen, every button reachable."""
    page.fresh(width=390, height=844, mobile=True)
    page.type("Explain it")
    page.click("#send")
    page.words(1)
    page.done()
    wide = """return [...document.querySelectorAll('body *')].filter((e) => {
        const r = e.getBoundingClientRect();
        return r.right > innerWidth + 1 && r.width > 0 && !e.closest('.table, pre, #sidebar, .hidden')
            && getComputedStyle(e).visibility !== 'hidden'; }).map((e) => e.outerHTML.slice(0, 80))"""
    check(page.js("return document.documentElement.scrollWidth") <= 390, "wider than the screen")
    check(page.js("return document.getElementById('scroll').scrollWidth") <= 390, "wide messages")
    check(not page.js(wide), f"too wide: {page.js(wide)}")
    page.shot("phone")
    page.click("#toggle-sidebar")
    page.until("the drawer", """const r = document.getElementById('sidebar').getBoundingClientRect();
        return r.left >= 0 && r.right <= innerWidth""")
    page.click("#chats .chat")
    page.until("the drawer closes",
               "return document.getElementById('sidebar').getBoundingClientRect().right <= 0")
    page.click("#toggle-panel")
    page.until("the panel", "return /\\d/.test(document.querySelector('#panel .card-value').textContent)")
    check(not page.js(wide), f"too wide: {page.js(wide)}")


def harmless(page):
    time.sleep(0.5)
    check(page.js("return window.hacked") is None, f"it ran: {page.js('return window.hacked')}")
    bad = ".markdown :is(img, script, iframe, style, object, form, [onerror], [onload], [style])"
    check(page.count(bad) == 0, "an element got through")
    check(page.count(".markdown svg:not(.i)") == 0, "a picture got through")
    links = page.js("return [...document.querySelectorAll('.markdown a[href]')].map((a) => a.href)")
    check(all(u.startswith(("http:", "https:", "mailto:")) for u in links), f"links: {links}")
    check("onerror" in page.answer(), "the text of the attack is not shown as text")


def test_hostile(page, server):
    """HTML in an answer is text, whether it comes by stream or by import."""
    page.fresh()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "chat.json")
        file.write_text(json.dumps([{"role": "user", "content": mock.XSS},
                                    {"role": "assistant", "content": mock.XSS}]))
        page.one("#import-file").send_keys(str(file))
        page.until("the import", "return document.querySelector('#chats .chat')")
        page.click("#chats .chat")
        harmless(page)
    if server:
        page.click("#new-chat")
        page.ask("xss")
        harmless(page)
    check(not page.complaints(), "the policy had to step in")


def test_keyboard(page, server):
    page.fresh()
    check(page.js("return document.activeElement.id") == "input", "the field has no focus")
    page.type("first line")
    page.one("#input").send_keys(Keys.SHIFT + Keys.ENTER)
    page.type(LONG)
    check(page.count(".msg") == 0, "Shift+Enter sent it")
    page.one("#input").send_keys(Keys.ENTER)
    page.words(5)
    check(page.text(".bubble") == "first line\n" + LONG, repr(page.text(".bubble")))
    page.one("#input").send_keys(Keys.ESCAPE)
    page.done()
    check("stopped" in page.text(".last .actions"), "Esc did not stop")
    page.one("#input").send_keys(Keys.ARROW_UP)
    page.until("the editor", "return document.activeElement.matches('.editor textarea')")
    page.one(".editor textarea").send_keys(Keys.ESCAPE)
    check(page.count(".editor") == 0, "Esc leaves the editor open")
    page.one("body").send_keys(Keys.CONTROL + ".")
    check(page.js("return !document.getElementById('panel').hidden"), "Ctrl+. opens nothing")
    page.one("body").send_keys(Keys.CONTROL + "k")
    check(page.count(".msg") == 0, "Ctrl+K opened no new chat")
    check(page.js("return document.activeElement.id") == "input", "no focus after Ctrl+K")
    page.one("body").send_keys(Keys.CONTROL + "/")
    check(page.js("return document.getElementById('help-dialog').open"), "Ctrl+/ shows no help")
    named = """return [...document.querySelectorAll('button, input:not([hidden]), textarea, select')]
        .filter((e) => !(e.getAttribute('aria-label') || e.textContent.trim() || e.labels?.length))
        .map((e) => e.outerHTML.slice(0, 100))"""
    check(not page.js(named), f"without a name: {page.js(named)}")


def test_panel(page, server):
    page.fresh()
    page.click("#toggle-panel")
    page.ask(LONG, wait=False)
    page.until("a stream in the panel", """return /^1/.test(
        document.querySelector('#panel .card-value').textContent)""")
    page.until("speed", """return parseFloat(
        document.querySelectorAll('#panel .card-value')[1].textContent) > 0""")
    text = page.until("a request", """const p = document.getElementById('panel').textContent;
        return /decode/.test(p) && p""")
    for word in ("Keys and values", "Memory", "weights", "context"):
        check(word in text, f"no {word} in the panel")
    page.shot("panel")
    page.one("#input").send_keys(Keys.ESCAPE)
    page.done()
    page.click("#toggle-panel")
    time.sleep(1.5)
    polls = "return performance.getEntriesByType('resource').filter((e) => /metrics/.test(e.name)).length"
    before = page.js(polls)
    time.sleep(2.5)
    check(before > 0 and page.js(polls) == before, "a closed panel goes on asking")


def test_link(page, server):
    page.fresh(page.url + "?q=Say%20a%20short%20hello")
    page.until("the question", "return document.querySelector('.bubble')")
    check(page.text(".bubble") == "Say a short hello", page.text(".bubble"))
    page.done()
    check("?" not in page.js("return location.href"), "a reload would ask again")
    page.reload()
    check(page.count(".msg") == 2, "the reload asked again")


# ---- Tests for the mock's answers ---------------------------------------------------------------

def mock_progress(page, server):
    page.fresh()
    page.ask("big", wait=False)
    values, shown = set(), ".last .wait:not([hidden]) progress:not([hidden])"
    page.until("progress", "return document.querySelector(arguments[0])", shown)
    check("Reading the prompt" in page.text(".last .wait"), page.text(".last .wait"))
    while page.count(shown):
        values.add(page.js("return document.querySelector('.last progress').value"))
        check(len(values) < 500, "no end of it")
        time.sleep(0.05)
    check(len(values) > 4 and max(values) <= 1, f"progress: {sorted(values)}")
    page.done()


def mock_figures(page, server):
    """What the gauges say is what the server said."""
    page.fresh()
    server.state.prompts.clear()
    page.ask("big short")
    check(page.gauge("cache") == "0 %", page.gauge("cache"))
    body = server.bodies[-1]
    check(body["stream_options"] == {"include_usage": True} and body["return_progress"], str(body))
    check(body["model"] == "smollm2-135m", body["model"])
    made = server.state.counters["generated"]
    page.ask("short again")
    made = server.state.counters["generated"] - made
    tokens = mock.tokens_of(server.bodies[-1]["messages"])
    note = page.gauge("cache", "note")
    check(f"of {len(tokens):,} prompt" in note and not note.startswith("cached 0 "), note)
    check(page.gauge("speed", "note").startswith(f"{made} tokens in"), page.gauge("speed", "note"))
    page.ask("explain")
    worst = page.gauge("gaps")
    check(worst.endswith("ms worst") and float(worst.split()[0]) > 60, worst)
    left = page.js("return parseFloat(document.querySelector('.last .spark .dot').style.left)")
    check(30 < left < 50, f"the worst gap is marked at {left} %")  # before token 84 of 219


def mock_parts(page, server):
    page.fresh()
    page.ask("think short")
    check("Thought for" in page.text(".last .think summary"), page.text(".last .think summary"))
    check(page.js("return !document.querySelector('.last .think').open"), "thoughts are not folded")
    check("wants me to think" in page.text(".last .think-text"), "no thoughts")
    check(page.answer().startswith("Hello"), page.answer())
    page.ask("use a tool")
    check("get_weather" in page.text(".last .tool-head"), page.text(".last .tools"))
    check('"city": "Lyon"' in page.text(".last .tool pre"), page.text(".last .tool pre"))
    page.ask("explain")
    sent = server.bodies[-1]["messages"]
    check(sent[3]["tool_calls"][0]["function"]["name"] == "get_weather", str(sent[3]))
    check("think" in sent[1]["reasoning_content"], str(sent[1]))
    check(page.count(".last .code [class^=hljs-]") > 5, "code has no colours")
    check(page.text(".last .code-head span") == "python", "code has no language")
    check(page.count(".last .table td") == 6 and page.count(".last blockquote") == 1, "Markdown")
    check(page.js("return getComputedStyle(document.querySelector('.last td:last-child')).textAlign")
          == "right", "the column is not aligned")


def mock_errors(page, server):
    page.fresh()
    page.ask("overflow")
    check(page.text(".last .error") == f"The prompt has 9,001 tokens; the context holds {mock.N_CTX}.",
          page.text(".last .error"))
    page.ask("busy")
    check(page.text(".last .error") == "The queue is full. Try again in 7 s.", page.text(".last .error"))
    page.ask("fail")
    check(page.text(".last .error") == "The model ran out of memory pages.", page.text(".last .error"))
    check(page.answer() != "", "the text before the error is gone")


def mock_settings(page, server):
    page.fresh()
    page.click("#open-settings")
    page.one("#settings [name=system]").send_keys("Be brief.")
    page.one("#settings [name=temperature]").send_keys("0.4")
    page.one("#settings [name=seed]").send_keys("7")
    page.shot("settings")
    page.click("#settings .primary")
    page.ask("short")
    body = server.bodies[-1]
    check(body["messages"][0] == {"role": "system", "content": "Be brief."}, str(body["messages"]))
    check(body["temperature"] == 0.4 and body["seed"] == 7 and "top_p" not in body, str(body))
    page.reload()
    page.ask("short again")
    check(server.bodies[-1]["temperature"] == 0.4, "settings are not kept with the chat")
    page.click("#new-chat")
    page.ask("short")
    check("temperature" not in server.bodies[-1], "settings of one chat reach another")


def mock_background(page, server):
    """An answer goes on while another conversation is open."""
    page.fresh()
    page.ask("slow", wait=False)
    page.words(10)
    page.click("#new-chat")
    page.ask("short")
    check(page.answer().startswith("Hello"), page.answer())
    check(page.count("#chats li.running") == 1, "the other answer does not run")
    page.js("[...document.querySelectorAll('#chats .chat')].at(-1).click()")
    page.until("the other", "return document.querySelector('.bubble').textContent === 'slow'")
    length = len(page.answer())
    page.until("it grows", """return document.querySelector('.last .markdown').textContent.length
        > arguments[0]""", length)
    page.click("#stop")
    page.done()


def mock_key(page, server):
    locked = mock.start(server.program, key="secret")
    page.fresh()
    page.driver.get("about:blank")
    page.driver.get(f"http://127.0.0.1:{locked.server_port}/")
    page.until("the dialog", "return document.getElementById('key-dialog').open")
    page.one("#key").send_keys("wrong")
    page.click("#key-dialog .primary")
    page.until("it asks again", """return document.getElementById('key-dialog').open &&
        document.getElementById('key').value === 'wrong'""")
    page.one("#key").send_keys(Keys.CONTROL + "a")
    page.one("#key").send_keys("secret" + Keys.ENTER)
    page.until("the page is ready", "return document.documentElement.dataset.ready === '1'")
    page.ask("short")
    check(page.answer().startswith("Hello"), page.answer())
    locked.shutdown()


def mock_plain(page, server):
    """Built without the libraries: plain text, and nothing is asked for that is not there."""
    plain = mock.start(server.program)
    index = plain.assets["/"]
    index["data"] = b"\n".join(line for line in index["data"].split(b"\n") if b'"lib/' not in line)
    index["gz"] = None
    for path in [p for p in plain.assets if p.startswith("/lib/")]:
        del plain.assets[path]
    page.fresh(f"http://127.0.0.1:{plain.server_port}/")
    page.ask("explain")
    check("1. **Look up.**" in page.answer() and "| phase |" in page.answer(), page.answer())
    page.ask("xss")
    harmless(page)
    plain.shutdown()


def pictures(page, folder):
    """Desktop with the panel, while another answer runs; phone in the dark."""
    question = "Explain how a language model writes one token at a time"
    page.limit = 0
    page.fresh()
    page.click("#toggle-panel")
    page.ask(LONG, wait=False)
    page.words(10)
    page.js("localStorage.setItem('brisk.defaults', '{\"max_tokens\": 400, \"temperature\": 0.2}')")
    page.click("#new-chat")
    for text in (question, "Give a short example in Python"):
        page.type(text + Keys.ENTER)
        page.until("the answer", """return document.querySelector('.bubble') &&
            !document.querySelector('.msg.running')""")
    time.sleep(2)
    page.driver.save_screenshot(str(Path(folder, "page.png")))
    page.limit = 400
    page.fresh(width=390, height=844, mobile=True, scheme="dark")
    page.type(question)
    page.click("#send")
    page.words(1)
    page.done()
    time.sleep(0.5)
    page.driver.save_screenshot(str(Path(folder, "page-phone.png")))


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--url")
    p.add_argument("--assets", default="build/release/tests/server/assets")
    p.add_argument("--chromium", default="/usr/bin/chromium")
    p.add_argument("--driver", default="/usr/bin/chromedriver")
    p.add_argument("--only", nargs="*")
    p.add_argument("--shots")
    p.add_argument("--pictures")
    args = p.parse_args()
    server = None
    if not args.url:
        server = mock.start(args.assets)
        server.program = args.assets
    page = Page(args, args.url.rstrip("/") + "/" if args.url else
                f"http://127.0.0.1:{server.server_port}/")
    if args.pictures:
        pictures(page, args.pictures)
        page.driver.quit()
        return 0
    kinds = ("test_", "mock_") if server else ("test_",)
    tests = [(n, f) for n, f in globals().items() if n.startswith(kinds) and callable(f)]
    failed = n = 0
    for name, test in tests:
        if args.only and name not in args.only:
            continue
        n += 1
        try:
            test(page, server)
            complaints = page.complaints()
            check(not complaints, f"the browser complains: {complaints[:3]}")
            print(f"ok   {name}", flush=True)
        except Exception as error:
            failed += 1
            page.shot("failed-" + name)
            print(f"FAIL {name}: {error}", flush=True)
            if not isinstance(error, AssertionError):
                traceback.print_exc()
    page.driver.quit()
    print(f"{n - failed} of {n} page tests passed")
    return 1 if failed or n == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
