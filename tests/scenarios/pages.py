"""The web pages of a host as a person sees them: in a real browser, through `celeryhost open` from elsewhere."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

PROGRAMS = {"chromium": "chromium", "chromedriver": "chromium-driver"}  # each with its package
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --window-size=1280,700"
)
PATIENCE = 120  # seconds for a page to show something


def missing() -> str:
    """Why there is no browser to drive; empty when there is one."""
    packages = [package for program, package in PROGRAMS.items() if not shutil.which(program)]
    return f"needs a browser (apt-get install {' '.join(packages)})" if packages else ""


@contextmanager
def browser(folder):
    """Chromium without a screen; yields Selenium's driver of it. `folder` is for its profile."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in (*FLAGS.split(), f"--user-data-dir={folder}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


@contextmanager
def opened(folder, *options):
    """`./celeryhost OPTIONS` (an `open`) run in `folder`; yields the address, bare and with credentials."""
    process = subprocess.Popen(
        ["./celeryhost", *options, "--no-browser", "--credentials"],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        url = process.stdout.readline().strip()
        user, password = re.fullmatch(r"user (\S+), password (\S+)\n", process.stdout.readline()).groups()
        yield url, url.replace("://", f"://{user}:{password}@")
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
    assert process.returncode == 0


def look(folder, inventory, screenshots=None):
    """Look at both pages of the host of an inventory, from the checkout in `folder`; skips without a browser.

    `screenshots`: a folder for pictures of them.
    """
    if reason := missing():
        pytest.skip(reason)

    def picture(driver, name):
        if screenshots:
            driver.save_screenshot(str(Path(screenshots, name)))

    with browser(folder / "chromium") as driver:
        with opened(folder, "-i", inventory, "open") as (url, known):
            assert refuses_strangers(url)
            driver.get(known)
            picture(driver, "supervisor.png")
            _supervisor(driver, url)
            _other_origins(driver, url)
        with opened(folder, "-i", inventory, "open", "--flower") as (url, known):
            assert refuses_strangers(url)
            driver.get(known)
            shows(driver, "//tr[.//a[starts-with(@title, 'mysite-worker@')]]", "Online")
            command = ["./celeryhost", "-i", inventory, "run", "--json", "app.tasks.sum", "2", "3"]
            ran = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=True).stdout
            driver.get(f"{url}task/{json.loads(ran)['hosts'][0]['id']}")
            shows(driver, "//body", "app.tasks.sum", "SUCCESS")
            driver.get(f"{url}tasks")
            shows(driver, "//tbody", "SUCCESS")
            picture(driver, "flower.png")


def _supervisor(driver, url):
    before = programs(driver)
    running = {name for name, (_, state, _) in before.items() if state == "running"}
    assert {"mysite-worker", "mysite-beat"} <= running
    row, _, pid = before["mysite-worker"]
    row.find_element("link text", "Restart").click()
    deadline = time.monotonic() + PATIENCE
    while (after := programs(driver)["mysite-worker"])[1:] == ("running", pid) or after[1] != "running":
        assert time.monotonic() < deadline, after
        driver.get(url)
    after[0].find_element("link text", "mysite-worker").click()  # opens another window
    driver.switch_to.window(driver.window_handles[-1])
    shows(driver, "//pre", "app.tasks.sum")  # what Celery prints at its start; then it logs by itself


def _other_origins(driver, url):
    """What pages of other origins ask for, by a browser that knows the password of this one, is refused."""
    before = states(driver, url)
    stop = f"{url}index.html?processname=mysite-worker&action=stop"
    call = "<methodCall><methodName>supervisor.stopAllProcesses</methodName><params/></methodCall>"
    attack = f"""<!DOCTYPE html><title>attack</title><img src="{stop}"><script>
        const options = {{mode: "no-cors", credentials: "include"}};
        const post = {{...options, method: "POST", headers: {{"Content-Type": "text/plain"}}, body: "{call}"}};
        Promise.allSettled([fetch("{stop}", options), fetch("{url}RPC2", post)]).then(() => document.title = "done");
    </script>"""
    with page(attack) as port:
        for host in ("localhost", "127.0.0.1"):  # what browsers call the same site, and another
            driver.get(f"http://{host}:{port}/")
            wait(driver).until(lambda _: driver.title == "done")
            driver.execute_script("location = arguments[0]", stop)  # a link
            shows(driver, "//body", "403")
    assert states(driver, url) == before


@contextmanager
def page(text):
    """A web server on a free port of this machine that answers everything with `text`; yields the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def states(driver, url):
    """{program: (state, pid)} as Supervisor's page says."""
    driver.get(url)
    return {name: row[1:] for name, row in programs(driver).items()}


def refuses_strangers(url) -> bool:
    """Whether it answers 401 to somebody without user and password."""
    try:
        urllib.request.urlopen(url, timeout=PATIENCE)
    except urllib.error.HTTPError as error:
        return error.code == 401
    return False


def programs(driver):
    """What Supervisor's page lists: {program: (its row, state, pid)}."""
    listed = {}
    for row in driver.find_elements("css selector", "tbody tr"):
        state, description, name = (row.find_element("css selector", f"td:nth-child({n})").text for n in (1, 2, 3))
        pid = re.match(r"pid (\d+)", description)
        listed[name] = (row, state, pid and int(pid[1]))
    return listed


def wait(driver):
    """Selenium's wait, for pages that replace their rows as they please."""
    from selenium.common.exceptions import WebDriverException
    from selenium.webdriver.support.wait import WebDriverWait

    return WebDriverWait(driver, PATIENCE, ignored_exceptions=[WebDriverException])


def shows(driver, place, *words):
    """Wait until the element at this XPath has all of these words."""
    wait(driver).until(
        lambda _: all(word in driver.find_element("xpath", place).text for word in words),
        f"no {words} in {place} of {driver.current_url}",
    )
