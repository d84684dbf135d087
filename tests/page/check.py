"""The status page in a real Chromium, by clicks and keys. Needs `tests/page/setup`.

    python3 tests/page/check.py canned                              against serve.py, with every status of canned.py
    python3 tests/page/check.py canned DIRECTORY [WORD]             the same with other page files; those checks with this word
    python3 tests/page/check.py daemon URL [TOKEN-FILE]             against a daemon that runs, whatever it shows
    python3 tests/page/check.py planted                             plants faults: each check must notice its own
    python3 tests/page/check.py picture docs/status-page.png        draws the picture of the README

`canned` and `daemon` print a line for each thing that holds, and figures; the first that does not hold ends them."""

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.error
import urllib.request

import canned
from browser import Browser
from serve import PAGE, POLICY, Canned

AXE = pathlib.Path(__file__).parents[2] / "target/page/node_modules/axe-core/axe.min.js"
CTRL = 2

# What the checks ask the page for, again and again.
HELPERS = """
    const all = (selector, within = document) => [...within.querySelectorAll(selector)];
    const text = (selector) => document.querySelector(selector).innerText;
    const roles = () => all("#rows th button").map((button) => button.innerText);
    const opener = (role, place) => all(`${place} button[aria-expanded]`).find((button) => button.innerText === role);
    const named = (label, within = document) => all("button", within).find((button) => button.innerText.startsWith(label));
"""


def js(page, expression, **arguments):
    return page.js(f"(() => {{ {HELPERS} return ({expression}); }})()", **arguments)


def until(page, expression, what, **arguments):
    return page.until(f"(() => {{ {HELPERS} return ({expression}); }})()", what, **arguments)


def asked_anew(page, expression, what):
    """The same, where the page need not wait for its next turn (that it asks by itself is a check of its own)."""
    page.js("void ask()")
    until(page, expression, what)


def click(page, expression, **arguments):
    page.click(f"(() => {{ {HELPERS} return ({expression}); }})()", **arguments)


def needs_person(role):
    """The contract's rule, said once more, so that the page is not its own judge."""
    bad = any(condition["status"] == "False" for condition in role["conditions"])
    return role["reason"] not in ("Suspended", "SuspendTag") and (role["action"] == "blocked" or bad)


def flat(status):
    return [(account["account"], role) for account in status["accounts"] for role in account["roles"]]


def shown(page):
    until(page, "!document.querySelector('#status').hidden", "the status")


def search(page, text):
    page.press("/")
    page.press("a", CTRL)
    if text:
        page.type(text)
    else:
        page.press("Escape")
    until(page, "document.querySelector('#search').value === wanted", "what was typed", wanted=text)


def quiet(page, origin, allowed=()):
    """No request to another host, nothing refused by the Content-Security-Policy, no complaint of the browser's."""
    strange = [url for url in page.requests if not url.startswith(f"{origin}/") and url != "data:,"]
    assert not strange, f"requests to others: {strange}"
    assert page.requests, "no request was seen, so this proves nothing"
    complaints = [one for one in page.complaints if not any(word in one for word in allowed)]
    assert not complaints, f"the browser complains: {complaints}"


def accessible(page):
    """What axe-core finds; it is given to the page behind its Content-Security-Policy's back."""
    page.call("Runtime.evaluate", expression=AXE.read_text())
    found = page.js("axe.run(document, { resultTypes: ['violations'] })")
    found = [(one["id"], one["help"], [node["html"][:200] + str(node.get("failureSummary")) for node in one["nodes"]][:5])
             for one in found["violations"]]
    assert not found, json.dumps(found, indent=1)


# ---- What holds whatever is shown -----------------------------------------------------------------------------------


def examine(page, status, origin):
    """The page shows this status; some of its roles are opened and searched for."""
    shown(page)
    every = flat(status)
    needy = [role for _, role in every if needs_person(role)]
    lost = [account for account in status["accounts"] if account["state"] not in ("Kept", "Entering")]
    held = [account for account in status["accounts"] if account["held"]]
    total = len(needy) + len(lost) + len(held)
    until(page, "text('#attention-title') === wanted", "how many need a person", wanted=f"What needs a person ({total:,})")

    tops = js(page, "all('main section').map((section) => [section.querySelector('h2').innerText, section.getBoundingClientRect().top])")
    assert [title.split(" (")[0] for title, _ in tops] == ["What needs a person", "Faults of manifests", "Accounts", "Roles"], tops
    assert [top for _, top in tops] == sorted(top for _, top in tops), tops

    for account in lost + held:
        assert account["account"] in js(page, "text('#attention')"), account["account"]
    assert f"({len(status['manifests']['faults']):,})" in js(page, "text('#faults-title')")
    search(page, "")
    assert js(page, "text('#shown')") == f"All {len(every):,} role{'' if len(every) == 1 else 's'}"
    filters = js(page, "all('#filters button').map((button) => button.innerText)")
    drifted = [role for _, role in every if role["drift"] not in (None, "cosmetic")]
    unready = [role for _, role in every if role["conditions"][1]["status"] == "False"]
    assert filters == [f"All {len(every):,}", f"Needs a person {len(needy):,}", f"Drifted {len(drifted):,}",
                       f"Not ready {len(unready):,}"], filters
    if needy and every:
        assert js(page, "roles()[0]") in [role["role"] for role in needy], "those that need a person come first in the list, too"

    # Those with a difference are the ones to look at; else any.
    for account, role in ([one for one in every if one[1]["diff"]] or every)[:3]:
        search(page, f"{role['role']} {account}")
        until(page, "roles().includes(role)", f"{role['role']} to be found", role=role["role"])
        row = "opener(role, '#rows').closest('tr')"
        click(page, "opener(role, '#rows')", role=role["role"])
        until(page, f"{row}.nextSibling?.className === 'details'", "the details", role=role["role"])
        lines = js(page, f"all('.diff li', {row}.nextSibling).map((line) => line.className + '|' + line.innerText.replace(/\\s*\\n\\s*/, '|'))", role=role["role"])
        assert len(lines) == len(role["diff"]), (lines, role["diff"])
        for line, wanted in zip(lines, role["diff"], strict=True):
            sign = {"lost": "lost|− lost|", "gained": "gained|+ gained|"}[wanted["change"]]
            assert line.startswith(sign), (line, wanted)
        for condition in role["conditions"]:
            told = js(page, f"{row}.nextSibling.innerText", role=role["role"])
            assert f"{condition['status']}, {condition['reason']}" in told, (condition, told)
        click(page, "opener(role, '#rows')", role=role["role"])
        until(page, f"{row}.nextSibling?.className !== 'details'", "the details to be gone", role=role["role"])
    search(page, "no role has this name")
    until(page, "text('#no-rows') !== '' && roles().length === 0", "no role to be left")
    search(page, "")
    quiet(page, origin)


# ---- What the canned statuses prove ---------------------------------------------------------------------------------

CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


@contextlib.contextmanager
def serving(status, page=PAGE):
    server = Canned(status, page=page)
    try:
        yield server
    finally:
        server.stop()


@check
def the_page_shows_every_canned_status(browser, pages):
    for name, make in canned.ALL.items():
        status = make()
        with serving(status, pages) as server, browser.page(server.address) as page:
            examine(page, status, server.address)


@check
def what_needs_a_person_comes_first_with_why_and_what_to_do(browser, pages):
    with serving(canned.night, pages) as server, browser.page(server.address, height=900) as page:
        shown(page)
        # 12 are held with their account's plan, three belong to the account that is not entered.
        assert js(page, "text('#attention-title')") == "What needs a person (24)"
        cases = js(page, "all('#attention article').map((one) => one.innerText.replace(/\\s+/g, ' '))")
        assert cases[0].startswith("Account 444455556666: not entered, 3 roles"), cases[0]
        assert "tenant-1 in 444455556666, for 25 min" in cases[0], cases[0]
        assert "STS denied sts:AssumeRole" in cases[0] and "this one may sts:AssumeRole it" in cases[0], cases[0]
        assert cases[1].startswith("Account 222233334444: a plan is held by the guards, 12 roles"), cases[1]
        assert "Show all 12 in the list" in cases[1] and len(cases) == 7, cases
        assert "9f86d081884c7d65" in cases[1] and "20 allowed (maxChangesPerHour)" in cases[1], cases[1]
        bastion = next(one for one in cases if "bastion" in one)
        assert "somebody shut this door on purpose" in bastion and "the controller takes over from there" in bastion, bastion
        assert "for 3 h: " in bastion, bastion
        assert cases[-1].startswith("1 role: Missing (to be repaired by itself)"), cases
        assert not any("billing" in one for one in cases), "somebody asked for that one to be left alone"
        assert js(page, "document.querySelector('#attention article').getBoundingClientRect().bottom") < 900, "on the first screen"
        click(page, "named('Show all 12 in the list')")
        until(page, "roles().length === 12 && document.querySelector('#search').value === 'GuardHeld 222233334444'", "them alone")
        assert js(page, "document.activeElement.id") == "roles-title", "whoever reads on begins there"
        assert js(page, "document.title") == "(25) ssm-role-controller", "with the fault"
        assert js(page, "text('#summary')").startswith("24 need a person · 1 fault in manifests, 4 in force"), "in one line"


@check
def faults_accounts_and_conditions_are_told_in_words(browser, pages):
    with serving(canned.night, pages) as server, browser.page(server.address) as page:
        shown(page)
        faults = js(page, "text('#faults')")
        assert "config/edge.yaml:7:12 at spec.sessionPreferences.kmsKeyId" in faults, faults
        assert "an alias is no key" in faults and "write the key" in faults and "last good version stays in force" in faults
        accounts = js(page, "all('#accounts tbody tr').map((row) => row.innerText.replace(/\\s+/g, ' '))")
        assert len(accounts) == 5 and accounts[0].startswith("444455556666 ✕ not entered 3 3"), accounts
        assert any(row.startswith("777788889999 … being entered: its credentials are being asked for") and row.endswith("never") for row in accounts), accounts
        assert any("✓ kept, suspended: nothing is written" in row for row in accounts), accounts
        assert any("✓ kept, a plan is held" in row for row in accounts), accounts
        click(page, "opener('reports', '#rows')")
        details = until(page, "document.querySelector('tr.details')?.innerText", "the details")
        assert "SessionReady\nFalse, NoInstanceProfile: instance profile: no instance profile holds the role" in details, details
        assert "UTC, 50 min ago" in details and "UTC, 6 d ago" in details, details


@check
def search_and_filters_narrow_the_list_by_every_word_that_is_given(browser, pages):
    with serving(canned.night, pages) as server, browser.page(server.address) as page:
        shown(page)

        def found(text):
            search(page, text)
            return js(page, "[roles(), text('#shown')]")

        assert found("bastion") == [["bastion"], "1 of 66 roles"]
        assert found("222233334444")[1] == "12 of 66 roles", "by account"
        assert found("workers")[1] == "11 of 66 roles", "by manifest"
        assert sorted(found("Narrowed")[0]) == sorted(found("guardheld")[0]) and len(found("narrowed")[0]) == 12, "by drift, by reason"
        assert found("NoInstanceProfile")[0] == ["reports"], "by a condition's reason"
        assert found("SessionManagerPerm")[1] == "66 of 66 roles", "by policy"
        assert found("edge ams")[0] == ["edge-ams"], "every word counts"
        assert "No role is like that" in (found("nobody"), js(page, "text('#no-rows')"))[1]
        search(page, "")
        for label, wanted in [("Drifted", 15), ("Not ready", 3), ("Needs a person", 22), ("All", 66)]:
            click(page, "named(label, document.querySelector('#filters'))", label=label)
            until(page, "roles().length === wanted", f"{label}: {wanted}", wanted=wanted)
            pressed = js(page, "all('#filters [aria-pressed=true]').map((button) => button.innerText)")
            assert pressed == [f"{label} {wanted}"], pressed
        assert js(page, "document.querySelector('#shown').getAttribute('role')") == "status", "it is read aloud"

        # The address leads back to what was searched.
        click(page, "named('Drifted', document.querySelector('#filters'))")
        search(page, "edge")
        address = js(page, "location.href")
        assert address.endswith("#search=edge&show=drifted"), address
        page.open("about:blank")
        page.open(address)
        shown(page)
        until(page, "roles().length === 12 && document.querySelector('#search').value === 'edge'", "the same again")


@check
def the_list_is_sorted_by_its_heads(browser, pages):
    with serving(canned.night, pages) as server, browser.page(server.address) as page:
        shown(page)
        assert js(page, "roles()").index("bastion") < js(page, "roles()").index("billing"), "at first, by need"
        click(page, "named('Role', document.querySelector('#heads'))")
        until(page, "roles()[0] === 'bastion' && roles()[1] === 'batch-worker'", "the order of names")
        assert js(page, "document.querySelector('#heads [aria-sort]').getAttribute('aria-sort')") == "ascending"
        click(page, "named('Role', document.querySelector('#heads'))")
        until(page, "roles()[0] === 'web-server'", "the order turned")
        assert js(page, "document.querySelector('#heads [aria-sort]').innerText") == "Role ↓"
        click(page, "named('Since', document.querySelector('#heads'))")
        until(page, "roles().at(-1) === 'web-server'", "the latest at the end")


@check
def what_manifests_at_odds_want_of_one_policy_stands_in_rows_of_their_own(browser, pages):
    with serving(canned.night, pages) as server, browser.page(server.address) as page:
        shown(page)
        search(page, "shared")
        assert js(page, "roles()") == ["shared"] * 3
        click(page, "opener('shared', '#rows')")
        until(page, "all('tr.details').length === 1", "one of them to open")
        assert js(page, "all('#attention article').find((one) => one.innerText.includes('Conflict')).innerText").startswith("3 roles: Conflict")


@check
def a_role_opens_by_the_keyboard_alone(browser, pages):
    with serving(canned.night, pages) as server, browser.page(server.address) as page:
        shown(page)
        page.press("Tab")
        assert js(page, "document.activeElement.className") == "skip", "the way past everything comes first"
        page.press("/")
        assert js(page, "document.activeElement.id") == "search"
        page.type("bastion/")
        assert js(page, "document.querySelector('#search').value") == "bastion/", "it is an ordinary character there"
        page.press("Escape")
        assert js(page, "document.querySelector('#search').value") == ""
        page.type("bastion")
        for _ in range(30):
            page.press("Tab")
            if js(page, "document.activeElement === opener('bastion', '#rows')"):
                break
        outline = js(page, "getComputedStyle(document.activeElement).outlineStyle + getComputedStyle(document.activeElement).outlineWidth")
        assert outline == "solid3px", f"the focus is seen: {outline}"
        assert js(page, "document.activeElement.getAttribute('aria-expanded')") == "false"
        page.press("Enter")
        until(page, "document.activeElement.getAttribute('aria-expanded') === 'true'", "it to open, and to keep the focus")
        signs = js(page, "all('tr.details .direction').map((sign) => sign.innerText)")
        assert signs == ["+ gained", "− lost"], signs
        page.press("Space")
        until(page, "document.activeElement.getAttribute('aria-expanded') === 'false'", "it to close")


@check
def the_diff_differs_by_colour_and_by_word(browser, pages):
    with serving(canned.night, pages) as server, browser.page(server.address) as page:
        shown(page)
        for place in ["#attention", "#rows"]:
            click(page, "opener('bastion', place)", place=place)
            lines = until(page, """all(`${place} .diff li`).map((line) => {
                const { color, backgroundColor } = getComputedStyle(line);
                return [line.innerText.replace(/\\s+/g, ' '), color, backgroundColor];
            })""", "the lines", place=place)
            assert lines[0][0] == "+ gained Deny ssmmessages:* on *", lines
            assert lines[1][0].startswith("− lost Allow kms:Decrypt on arn:aws:kms:"), lines
            assert lines[0][1] != lines[1][1] and lines[0][2] != lines[1][2], lines


@check
def a_refresh_takes_away_neither_scroll_nor_focus_nor_what_is_open_nor_the_search(browser, pages):
    status = canned.night()
    with serving(status, pages) as server, browser.page(server.address, height=500) as page:
        shown(page)
        click(page, "opener('edge-ams', '#attention')")
        search(page, "web-0")
        click(page, "opener('web-07', '#rows')")
        until(page, "opener('web-07', '#rows').getAttribute('aria-expanded') === 'true'", "it to open")
        look = """({ focus: document.activeElement.innerText, open: all('[aria-expanded=true]').map((one) => one.innerText),
            search: document.querySelector('#search').value, top: Math.round(opener('web-07', '#rows').getBoundingClientRect().top) })"""
        before = js(page, look)
        assert before["focus"] == "web-07" and before["open"] == ["edge-ams", "web-07"], before

        # Another role above it drifts, and this one does itself; a new one comes.
        roles = status["accounts"][0]["roles"]
        place = next(number for number, role in enumerate(roles) if role["role"] == "web-07")
        roles[place] = canned.role("web-07", drift="narrowed", action="put", diff=[("lost", "Allow kms:Decrypt on *")])
        roles.append(canned.role("web-00", drift="missing", action="put", diff=[("lost", "Allow kms:Decrypt on *")]))
        until(page, "document.querySelector('tr.details')?.innerText.includes('− lost')", "the refresh")
        after = js(page, look)
        assert after == before, (before, after)
        assert js(page, "roles()")[:2] == ["web-00", "web-07"], "those that need a person come first"

        # Nothing changes: nothing moves at all, and the same elements stand there.
        js(page, "window.marked = all('#rows tr, #attention article, #accounts tr')")
        asked = server.asked.count("/status")
        asked_anew(page, "true", "another refresh")
        while server.asked.count("/status") < asked + 1:
            time.sleep(0.1)
        until(page, "!asking", "it to be shown")
        assert js(page, look) == after
        assert js(page, "window.marked.every((one) => one.isConnected)"), "what is the same is not made again"
        quiet(page, server.address)


@check
def what_comes_from_elsewhere_is_shown_as_text(browser, pages):
    status = canned.hostile()
    with serving(status, pages) as server:
        with browser.page(server.address) as page:
            shown(page)
            for place in ["#attention", "#rows"]:
                click(page, "opener('web', place)", place=place)
            until(page, "all('.detail').length === 2", "the details")
            told = js(page, "document.body.innerText")
            for text in [canned.MARKUP, canned.CLOSING, canned.STYLE, canned.LINK]:
                assert told.count(text) >= 2, text
            assert "\\u{202e}gnp.exe\\u{2066}\\u{200b}" in told, "what turns the text around is spelled out"
            assert "\\u{0}\\u{7}\\u{d}\\u{1b}[31m" in told, "and so are control characters"
            assert js(page, "!/[\\u202a-\\u202e\\u2066-\\u2069\\u200b\\0]/.test(document.documentElement.textContent)")
            assert js(page, "all('main img, main script, main style, main a, [onerror], [style]').length") == 0
            assert not js(page, "document.title").count("owned")
            assert js(page, "document.documentElement.scrollWidth <= innerWidth"), "however long a word is, it is wrapped"
            for name in ["constructor", "__proto__", "Web"]:
                click(page, "opener(name, '#rows')", name=name)
            until(page, "all('#rows .detail').length === 4", "the others")
            quiet(page, server.address)


@check
def a_daemon_that_answers_no_more_is_told_plainly_and_so_is_its_return(browser, pages):
    server = Canned(canned.night, page=pages)
    port = server.server_address[1]
    with browser.page(server.address) as page:
        shown(page)
        assert js(page, "document.querySelector('#notices').getAttribute('role')") == "alert"
        assert js(page, "text('#notices')") == ""
        server.refusal = (503, "the daemon is stopping <b>now</b>\n")
        until(page, "text('#notices').includes('HTTP 503') && text('#notices').includes('stopping <b>now</b>')", "the refusal")
        server.stop()
        asked_anew(page, "text('#notices').includes('The daemon does not answer any more')", "the notice")
        notice = js(page, "text('#notices')")
        assert "What is shown is of 2" in notice and "UTC" in notice, notice
        until(page, "text('#freshness').startsWith('stale: as of ')", "the same above")
        assert js(page, "roles().length") == 66, "what was known stays"
        server = Canned(canned.night, port, pages)
        asked_anew(page, "text('#notices') === '' && text('#freshness').startsWith('as of ')", "its return")
        server.status = {"version": 2}
        asked_anew(page, "text('#notices').includes('not 2: load it again')", "another version")
        for nonsense in [{"accounts": "none"}, {"controller": {}, "accounts": []}, {"manifests": {}}, {"accounts": [{"roles": [{}]}]}]:
            server.status = canned.calm() | nonsense | {"version": 1}
            asked_anew(page, "!asking && text('#notices').includes('What the daemon tells is not understood')", "nonsense")
            assert js(page, "roles().length") == 66, "what was known stays"
            server.status = canned.night
            asked_anew(page, "!asking && text('#notices') === ''", "sense")
        server.status = canned.night() | {"takenAt": canned.ago(600)}
        asked_anew(page, "text('#notices').includes('What the daemon tells is old')", "an old status")
        quiet(page, server.address, allowed=["Failed to load resource"])
    server.stop()


@check
def a_daemon_that_holds_the_line_and_says_nothing_is_told_too(browser, pages):
    with tempfile.TemporaryDirectory() as directory, serving(canned.night, with_patience(pages, directory)) as server:
        with browser.page(server.address) as page:
            shown(page)
            server.hold = threading.Event()
            asked_anew(page, "text('#notices').includes('It has not answered within 1 seconds')", "the notice")
            server.hold.set()
            asked_anew(page, "text('#notices') === ''", "its return")
            quiet(page, server.address)


def with_patience(pages, directory):
    """The same page, but less patient."""
    patient = shutil.copytree(pages, pathlib.Path(directory) / "page")
    text = (patient / "page.js").read_text()
    assert "PATIENCE_MS = 20_000" in text
    (patient / "page.js").write_text(text.replace("PATIENCE_MS = 20_000", "PATIENCE_MS = 1_000"))
    return patient


@check
def the_kill_switch_observing_and_standing_by_are_told_first(browser, pages):
    with serving(canned.switched_off, pages) as server, browser.page(server.address) as page:
        shown(page)
        notices = until(page, "text('#notices')", "the notices")
        for text in ["The kill switch is on: nothing is written in any account", "1 role is drifted now",
                     "suspend: false in the ControllerConfiguration", "This process only observes", "This process is a standby"]:
            assert text in notices, (text, notices)
        assert js(page, "text('#attention')") == "Nothing else: 0 roles are as the manifests want; 1 role is suspended on purpose, 1 of them drifted."
        assert js(page, "document.querySelector('#notices').getBoundingClientRect().bottom < document.querySelector('#attention-title').getBoundingClientRect().top")


@check
def an_empty_place_says_why_it_is_empty(browser, pages):
    for make, wanted in [(canned.calm, "Nothing: all 312 roles are as their manifests want them."),
                         (canned.empty, "No manifest is in force, so no role is looked at.")]:
        with serving(make, pages) as server, browser.page(server.address) as page:
            shown(page)
            assert js(page, "text('#attention')") == wanted
            assert "None: every manifest was understood." in js(page, "text('#faults')")


@check
def a_token_is_asked_for_kept_for_the_tab_and_sent(browser, pages):
    with serving(canned.night, pages) as server:
        server.token = "correct-horse"
        with browser.page(server.address) as page:
            until(page, "!document.querySelector('#sign-in').hidden", "the form")
            assert js(page, "document.querySelector('#status').hidden && document.activeElement.id === 'token'")
            assert js(page, "document.querySelector('#token').type") == "password"
            page.type("wrong")
            page.press("Enter")
            until(page, "text('#refused') === 'The daemon does not accept this token.'", "the refusal")
            page.type("wröng")
            page.press("Enter")
            until(page, "text('#refused').startsWith('A token is one word')", "what cannot be sent")
            js(page, "document.querySelector('#token').select()")
            page.type("correct-horse")
            click(page, "named('Show the status')")
            shown(page)
            assert js(page, "document.querySelector('#sign-in').hidden")
            assert "correct-horse" not in js(page, "location.href + document.documentElement.outerHTML")
            assert js(page, "localStorage.length") == 0 and not page.call("Network.getCookies")["cookies"], "kept for this tab alone"
            page.call("Page.reload")
            time.sleep(0.2)
            shown(page)
            server.token = "another"
            until(page, "!document.querySelector('#sign-in').hidden", "to be asked again")
            assert js(page, "!document.body.textContent.includes('bastion')"), "and nothing is shown meanwhile"
            quiet(page, server.address, allowed=["status of 401"])
        assert not any("correct" in path for path in server.asked), server.asked


@check
def light_and_dark_differ_and_a_choice_is_remembered(browser, pages):
    back = "getComputedStyle(document.body).backgroundColor + getComputedStyle(document.body).color"
    with serving(canned.night, pages) as server, browser.page(server.address) as page:
        shown(page)
        light = js(page, back)
        page.scheme("dark")
        dark = js(page, back)
        assert light != dark, light
        js(page, "document.querySelector('#theme').focus()")
        page.type("l")
        until(page, "document.querySelector('#theme').value === 'light'", "the choice")
        assert js(page, back) == light
        page.open("about:blank")
        page.open(server.address)
        shown(page)
        assert js(page, back) == light, "after it was loaded again"
        quiet(page, server.address)


@check
def axe_finds_nothing_in_light_and_in_dark(browser, pages):
    for make in [canned.night, canned.calm, canned.switched_off, canned.empty]:
        for scheme in ["light", "dark"]:
            with serving(make, pages) as server, browser.page(server.address, scheme=scheme) as page:
                shown(page)
                if make is canned.night:
                    click(page, "opener('bastion', '#attention')")
                    for role in ["bastion", "web-server", "reports"]:
                        click(page, "opener(role, '#rows')", role=role)
                    until(page, "all('.detail').length === 4", "the details")
                accessible(page)
    with serving(canned.night, pages) as server:
        server.token = "t"
        with browser.page(server.address) as page:
            until(page, "!document.querySelector('#sign-in').hidden", "the form")
            accessible(page)


@check
def a_narrow_window_needs_no_scrolling_to_the_side(browser, pages):
    with serving(canned.night, pages) as server, browser.page(server.address, width=360, height=740) as page:
        shown(page)
        click(page, "opener('bastion', '#rows')")
        until(page, "all('#rows .detail').length === 1", "the details")
        assert js(page, "document.documentElement.scrollWidth") <= 360
        lines = js(page, "all('#accounts .name').map((one) => one.getClientRects().length)")
        assert lines == [1] * 5, "an account's digits stand on one line"
        assert js(page, "document.querySelector('#attention article').getBoundingClientRect().top") < 740


@check
def five_thousand_roles_and_five_thousand_faults_stay_smooth(browser, pages):
    for make in [canned.fleet, canned.faulty]:
        status = make()
        with serving(status, pages) as server, browser.page("about:blank") as page:
            began = time.monotonic()
            page.open(server.address)
            shown(page)
            until(page, "roles().length === 200", "the first screen")
            first = time.monotonic() - began
            rows = js(page, "all('*').length")
            assert rows < 12_000, f"only a part is drawn at once: {rows} elements"
            # How long the page is busy with a new status, with a search, and with more rows.
            spent = page.js("""(async () => {
                const search = document.querySelector("#search");
                const input = (text) => { search.value = text; search.dispatchEvent(new Event("input")); document.body.offsetHeight; };
                const timed = (work) => { const began = performance.now(); work(); return Math.round(performance.now() - began); };
                const body = await (await fetch("status")).text();
                return { parse: timed(() => JSON.parse(body)), refresh: timed(() => { show(JSON.parse(body)); document.body.offsetHeight; }),
                    search: timed(() => input("role-49")), clear: timed(() => input("")),
                    more: timed(() => { document.querySelector("#more").click(); document.body.offsetHeight; }) };
            })()""")
            until(page, "roles().length === 400", "200 more by the button")
            print(f"   {make.__name__}: first screen after {first:.2f} s; milliseconds: {spent}; {rows} elements")
            assert first < 30, "beyond every patience"
            search(page, "role-4999")
            until(page, "roles().join() === 'role-4999'", "the last of all")
            if make is canned.faulty:
                click(page, "named('Show more', document.querySelector('#faults'))")
                until(page, "all('#faults article').length === 120", "more faults")
            quiet(page, server.address)


def run_canned(pages, only=""):
    with Browser() as browser:
        for one in [one for one in CHECKS if only in one.__name__]:
            began = time.monotonic()
            try:
                one(browser, pages)
            except Exception:
                traceback.print_exc()
                raise SystemExit(f"NOT SO: {one.__name__.replace('_', ' ')} (target/page/failed.png shows the page)")
            print(f"ok {time.monotonic() - began:5.1f} s  {one.__name__.replace('_', ' ')}", flush=True)


# What each check must notice: in which file, what, and what stands there instead.
PLANTED = [
    ("elsewhere", "page.js", "made.append(child instanceof Node ? child : plain(child))",
     "child instanceof Node ? made.append(child) : made.insertAdjacentHTML('beforeend', child)"),
    ("elsewhere", "page.js", "return String(text).replace(", "return String(text); String(text).replace("),
    ("every_canned", "page.html", '<h1>', '<h1><img src="http://127.0.0.2/x.png" alt="">'),
    ("every_canned", "page.html", '<h1>', '<h1 style="color: red">'),
    ("every_canned", "page.js", 'change === "lost" ? "− lost"', 'change === "gained" ? "− lost"'),
    ("every_canned", "page.js", '(role.action === "blocked" || isOutOfSync(role)', '(isOutOfSync(role)'),
    ("comes_first", "page.js", "one.rank - other.rank ||", ""),
    ("by_colour", "page.css", "--lost: light-dark(#9a3206, #ffa877)", "--lost: var(--gained)"),
    ("a_refresh", "page.js", "again?.focus(", "again?.blur("),
    ("a_refresh", "page.js", "if (again) window.scrollBy", "if (!again) window.scrollBy"),
    ("a_refresh", "page.js", "if (signatures.get(container) === signature) return;", ""),
    ("keyboard", "page.css", "outline: 3px solid var(--link)", "outline: none"),
    ("answers_no", "page.js", "timer = setTimeout(ask,", "timer = void (ask,"),
    ("says_nothing", "page.js", ", signal: AbortSignal.timeout(PATIENCE_MS)", ""),
    ("at_odds", "page.js", "return `${key} ${keys.get(key)}`;", "return key;"),
    ("token", "page.js", 'stored("sessionStorage", TOKEN, given)', 'stored("localStorage", TOKEN, given)'),
    ("token", "page.js", '"attention", "faults", ', '"faults", '),
    ("light", "page.js", 'stored("localStorage", THEME, ', '('),
    ("axe", "page.css", "--quiet: light-dark(#57606a,", "--quiet: light-dark(#9aa3ad,"),
    ("narrow", "page.css", ".middling { display: none; }", ""),
    ("smooth", "page.js", "ROLES_AT_ONCE = 200", "ROLES_AT_ONCE = 5000"),
]


def run_planted():
    """Every check notices the fault that it is there for."""
    missed = []
    for word, file, what, instead in PLANTED:
        with tempfile.TemporaryDirectory() as directory:
            pages = shutil.copytree(PAGE, pathlib.Path(directory) / "page")
            text = (pages / file).read_text()
            assert text.count(what) == 1, f"{what!r} stands {text.count(what)} times in {file}: plant it anew"
            (pages / file).write_text(text.replace(what, instead))
            environment = {**os.environ, "PAGE_PATIENCE": "12"}
            ran = subprocess.run([sys.executable, __file__, "canned", pages, word], env=environment, capture_output=True, text=True)
        print(f"{'MISSED' if ran.returncode == 0 else 'ok'}  {word}: {instead}", flush=True)
        if ran.returncode != 0:
            print(f"      {[line for line in ran.stderr.splitlines() if line.startswith('AssertionError')][:1]}"[:200], flush=True)
        missed += [instead] if ran.returncode == 0 else []
    if missed:
        raise SystemExit(f"not noticed: {missed}")


# ---- A daemon that runs ---------------------------------------------------------------------------------------------


def ask(url, **headers):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as answer:
        return answer.code, dict(answer.headers), answer.read()


def run_daemon(url, token_file):
    url = url.rstrip("/")
    for path in ["/", "/page.css", "/page.js"]:
        code, headers, _ = ask(url + path)
        headers = {name.lower(): value for name, value in headers.items()}
        assert code == 200, (path, code)
        assert headers.get("content-security-policy") == POLICY, (path, headers)
    print("ok  the page needs no token, and comes with its Content-Security-Policy")
    token = pathlib.Path(token_file).read_text().strip() if token_file else None
    authorization = {"Authorization": f"Bearer {token}"} if token else {}
    with Browser() as browser, browser.page(url) as page:
        if token:
            until(page, "!document.querySelector('#sign-in').hidden", "the form")
            page.type(token)
            page.press("Enter")
            print("ok  a token is asked for, and taken")
        shown(page)
        page.complaints = [one for one in page.complaints if "status of 401" not in one]
        code, _, body = ask(f"{url}/status", **authorization)
        assert code == 200, (code, body)
        status = json.loads(body)
        examine(page, status, url)
        accessible(page)
        print(f"ok  it shows the {len(flat(status))} roles of {len(status['accounts'])} accounts, and asks nobody else")


def picture(path):
    """In light, and in dark beside it."""
    with Browser() as browser, serving(canned.night) as server:
        for scheme in ["light", "dark"]:
            with browser.page(server.address, 1200, 1000, scheme) as page:
                shown(page)
                click(page, "opener('bastion', '#attention')")
                until(page, "all('.detail').length === 1", "the details")
                page.call("Input.dispatchMouseEvent", type="mouseMoved", x=1, y=1)
                js(page, "document.activeElement.blur(), scrollTo(0, 0)")
                page.screenshot(path.with_stem(path.stem + ("-dark" if scheme == "dark" else "")))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["canned", *pages]:
            run_canned(pathlib.Path(pages[0]) if pages else PAGE, *pages[1:])
        case ["daemon", url, *token_file]:
            run_daemon(url, *(token_file or [None]))
        case ["planted"]:
            run_planted()
        case ["picture", path]:
            picture(pathlib.Path(path))
        case _:
            raise SystemExit(__doc__)
