// The status page: asks /status every few seconds and shows what it says. It only reads.
//
// What must stay true: whatever comes from IAM, Git or the daemon becomes text nodes and never markup (`element` is the
// only maker of elements), and a refresh takes away neither scroll, focus, what is open, nor the search.
"use strict";

const REFRESH_MS = 5_000;
const HIDDEN_REFRESH_MS = 60_000;
const PATIENCE_MS = 20_000; // for one answer
const SILENT_MS = 120_000; // an answer as old as this tells of a daemon that hangs
const ROLES_AT_ONCE = 200;
const CASES_AT_ONCE = 20;
const ENTRIES_AT_ONCE = 4;

const $ = (id) => document.getElementById(id);

// ---- Text and elements ----------------------------------------------------------------------------------------------

/** Control, invisible and direction-changing characters, spelled out: a name must not look like another one. */
function plain(text) {
  return String(text).replace(/[^\P{C}\n]|[\u2028\u2029\u115f\u1160\u3164\uffa0]/gu, (character) =>
    `\\u{${character.codePointAt(0).toString(16)}}`);
}

/** An element; children that are no elements become text. */
function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined) made.append(child instanceof Node ? child : plain(child));
  }
  return made;
}

function button(label, attributes, act) {
  const made = element("button", { type: "button", ...attributes }, label);
  made.addEventListener("click", act);
  return made;
}

/** `1 role`, `2 roles`, `5,000 roles`. */
function count(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

/** Sets a text if it differs, so that what reads the page aloud does not repeat itself. */
function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const signatures = new WeakMap();

/** Fills a container anew if what it is made from has changed; what had the focus has it again. */
function fill(container, from, make) {
  const signature = JSON.stringify(from);
  if (signatures.get(container) === signature) return;
  signatures.set(container, signature);
  keepingFocus(container, () => container.replaceChildren(...[make()].flat().filter((node) => node !== null)));
}

function keepingFocus(container, change) {
  const focused = container.contains(document.activeElement) ? document.activeElement : null;
  change();
  if (focused === null || focused === document.activeElement) return;
  const again = focused.isConnected ? focused : keyed(focused.dataset.key);
  again?.focus({ preventScroll: true });
}

/** Keeps what has the focus, or else what is uppermost, where it is on the screen; whoever is at the top stays there. */
function keepingPlace(change) {
  const isSeen = ({ top, bottom }) => top >= 0 && bottom <= window.innerHeight;
  const candidates = [document.activeElement, ...document.querySelectorAll("#status [data-key]")];
  const anchor = window.scrollY === 0 ? undefined
    : candidates.find((node) => node?.dataset.key !== undefined && isSeen(node.getBoundingClientRect()));
  const [key, top] = [anchor?.dataset.key, anchor?.getBoundingClientRect().top];
  change();
  const again = anchor?.isConnected ? anchor : keyed(key);
  if (again) window.scrollBy(0, again.getBoundingClientRect().top - top);
}

function keyed(key) {
  return key === undefined ? null : document.querySelector(`[data-key="${CSS.escape(key)}"]`);
}

// ---- Times ----------------------------------------------------------------------------------------------------------

let clockAheadMs = 0; // by how much the daemon's clock is ahead of this one

const now = () => Date.now() + clockAheadMs;

function absolute(when) {
  return new Date(when).toISOString().replace("T", " ").replace(/\.\d+Z$/, " UTC");
}

/** `12 s`, `3 min`, `5 h`, `9 d`: what went by, in its largest unit. */
function span(ms) {
  const seconds = Math.max(0, Math.round(ms / 1_000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 2 * 86_400) return `${Math.floor(seconds / 3_600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

/** A time, relative to now and kept so; absolute in its title, or beside it. */
function time(when, after = "", beside = false) {
  if (when === null || Number.isNaN(Date.parse(when))) return element("span", {}, "never");
  const made = element("time", { datetime: when, title: absolute(when), "data-after": after, "data-beside": beside });
  passTime(made);
  return made;
}

function passTime(made) {
  const when = Date.parse(made.dateTime);
  const relative = span(now() - when) + made.dataset.after;
  say(made, made.dataset.beside === undefined ? relative : `${absolute(when)}, ${relative}`);
}

// ---- What the status means ------------------------------------------------------------------------------------------

const SUSPENDED = ["Suspended", "SuspendTag"]; // somebody asked for it
const condition = (role, type) => role.conditions.find((one) => one.type === type);
const isDrifted = (role) => role.drift !== null && role.drift !== "cosmetic";
const isNotReady = (role) => condition(role, "SessionReady")?.status === "False";
const isOutOfSync = (role) => condition(role, "Synced")?.status === "False";
const isBeingRepaired = (role) => role.action === "put" || role.action === "delete";
const needsPerson = (role) =>
  !SUSPENDED.includes(role.reason) && (role.action === "blocked" || isOutOfSync(role) || isNotReady(role));

const DRIFTS = {
  missing: ["✕ missing", "the policy is not there"],
  narrowed: ["− narrowed", "the policy grants less than its manifest asks for"],
  widened: ["+ widened", "the policy grants more than its manifest asks for"],
  altered: ["± altered", "the policy grants both less and more, or cannot be read"],
  cosmetic: ["✓ in sync", "worded differently, and it means the same"],
};

const ACCOUNT_STATES = {
  Kept: ["good-word", "✓ kept"],
  Entering: ["warn-word", "… being entered"],
  NotEntered: ["bad-word", "✕ not entered"],
  ReadFailed: ["bad-word", "✕ not read"],
  Silent: ["bad-word", "✕ silent"],
};

const FILTERS = {
  all: ["All", () => true],
  person: ["Needs a person", (role) => role.needs],
  drifted: ["Drifted", isDrifted],
  notReady: ["Not ready", isNotReady],
};

/** Every role by itself, with what sorting and searching ask of it. */
function rolesOf(status) {
  const keys = new Map(); // manifests that are at odds want something of the same policy
  const keyOf = (...parts) => {
    const key = JSON.stringify(parts);
    keys.set(key, (keys.get(key) ?? 0) + 1);
    return `${key} ${keys.get(key)}`;
  };
  return status.accounts.flatMap((account) => account.roles.map((role) => {
    const needs = needsPerson(role);
    const words = [role.role, account.account, role.policy, role.manifest, role.drift, role.reason, role.state,
      role.mode, role.action, ...role.conditions.map((one) => one.reason)];
    return {
      ...role,
      account: account.account,
      key: keyOf(account.account, role.role, role.policy, role.manifest),
      needs,
      since: sinceOf(role),
      words: words.filter(Boolean).join("\n").toLowerCase(),
    };
  }));
}

/** Since when the role is as bad as it is, or as good. */
function sinceOf(role) {
  const bad = role.conditions.filter((one) => one.status === "False");
  const times = (bad.length > 0 ? bad : role.conditions.slice(0, 1)).map((one) => one.lastTransitionTime);
  return times.sort()[0] ?? null;
}

/** Why a role needs a person: the word, the sentence, what to do. The policy's trouble comes before the session's. */
function causeOf(role) {
  const [synced, ready] = [condition(role, "Synced"), condition(role, "SessionReady")];
  const ofPolicy = role.action === "blocked" || synced?.status === "False" || ready === undefined;
  const told = ofPolicy ? synced : ready;
  return {
    word: (ofPolicy ? role.reason : null) ?? told?.reason ?? "Unknown",
    why: (ofPolicy ? role.message : null) ?? told?.message ?? role.message ?? "",
    hint: role.hint,
  };
}

/** What needs a person: accounts, plans that are held, and roles, those of one cause together; the worst come first. */
function casesOf(status, roles) {
  const cases = new Map();
  for (const { account, state, message, hint, held } of status.accounts) {
    const isLost = state !== "Kept" && state !== "Entering";
    const own = (word, told) => cases.set(`${account} ${word}`, { account, word, roles: [], ...told });
    // What follows from the account's trouble stands with it.
    if (isLost) own("Unknown", { rank: 0, title: stateWord(state), why: message ?? "", hint });
    if (held !== null) own("GuardHeld", { rank: 1, title: "a plan is held by the guards", why: held.excess, hint: held.hint, digest: held.digest });
  }
  for (const role of roles.filter((one) => one.needs)) {
    const ofAccount = cases.get(`${role.account} ${role.reason}`);
    if (ofAccount !== undefined) {
      ofAccount.roles.push(role);
      continue;
    }
    const cause = causeOf(role);
    const itself = isBeingRepaired(role);
    const rank = itself ? 6 : role.reason === "Unknown" ? 5 : isNotReady(role) ? 2 : isDrifted(role) ? 3 : 4;
    const key = JSON.stringify([rank, cause]);
    if (!cases.has(key)) cases.set(key, { rank, itself, ...cause, roles: [] });
    cases.get(key).roles.push(role);
  }
  return [...cases.values()].sort((one, other) => one.rank - other.rank || compare(one.word, other.word));
}

/** An account's state without its sign. */
function stateWord(state) {
  return ACCOUNT_STATES[state]?.[1].slice(2) ?? state;
}

function compare(one, other) {
  return one < other ? -1 : one > other ? 1 : 0;
}

// ---- What the person has chosen -------------------------------------------------------------------------------------

const chosen = {
  search: "",
  filter: "all",
  sort: "needs",
  descending: false,
  roles: ROLES_AT_ONCE,
  cases: CASES_AT_ONCE,
  faults: CASES_AT_ONCE,
  accounts: CASES_AT_ONCE,
  open: new Set(), // keys of roles in the list
  openAbove: new Set(), // keys of roles under what needs a person
};

/** The search, filter and order stand in the address, so that they can be sent to somebody. */
function intoAddress() {
  const parts = new URLSearchParams();
  if (chosen.search !== "") parts.set("search", chosen.search);
  if (chosen.filter !== "all") parts.set("show", chosen.filter);
  if (chosen.sort !== "needs") parts.set("sort", (chosen.descending ? "-" : "") + chosen.sort);
  const text = parts.toString();
  history.replaceState(null, "", text === "" ? location.pathname : `#${text}`);
}

function fromAddress() {
  const parts = new URLSearchParams(location.hash.slice(1));
  chosen.search = parts.get("search") ?? "";
  chosen.filter = Object.hasOwn(FILTERS, parts.get("show") ?? "") ? parts.get("show") : "all";
  const sort = parts.get("sort") ?? "needs";
  chosen.descending = sort.startsWith("-");
  const column = sort.replace(/^-/, "");
  chosen.sort = COLUMNS.some(({ id }) => id === column) ? column : "needs";
}

/** The list, and it alone, shows these roles from now on. */
function choose(change) {
  Object.assign(chosen, { roles: ROLES_AT_ONCE }, change);
  if ($("search").value !== chosen.search) $("search").value = chosen.search;
  intoAddress();
  showRoles();
}

// ---- One role -------------------------------------------------------------------------------------------------------

function policyWord(role) {
  const status = condition(role, "Synced")?.status;
  if (isDrifted(role) && role.state === "absent") return ["bad-word", "+ still there"];
  if (isDrifted(role)) return ["bad-word", DRIFTS[role.drift]?.[0] ?? role.drift];
  if (status === "True") return ["good-word", role.state === "absent" ? "✓ gone, as wanted" : "✓ in sync"];
  if (status === "False") return ["bad-word", "✕ not in sync"];
  return ["warn-word", "? unknown"];
}

function sessionWord(role) {
  const ready = condition(role, "SessionReady");
  if (ready?.status === "True") return ["good-word", "✓ ready"];
  if (ready?.status === "False") return ["bad-word", "✕ not ready"];
  if (["NotAsked", "NotApplicable"].includes(ready?.reason)) return ["quiet", "not asked for"];
  return ["warn-word", "? unknown"];
}

function actionWord(role) {
  if (role.action === "put") return ["", "to be repaired"];
  if (role.action === "delete") return ["", "to be removed"];
  if (role.action === "blocked") return ["bad-word", `! blocked: ${role.reason ?? "Unknown"}`];
  if (role.reason === "ObserveMode") return ["warn-word", "only told: ObserveMode"];
  if (SUSPENDED.includes(role.reason)) return ["warn-word", `suspended: ${role.reason}`];
  return ["quiet", role.reason ?? "nothing to do"];
}

const word = ([kind, text]) => element("span", { class: kind }, text);

/** A paragraph, in which `backticks` set what is to be typed; none where there is no text. */
function prose(kind, text) {
  if (text === null || text === undefined || text === "") return null;
  return element("p", { class: `prose ${kind}` },
    text.split(/`([^`\n]+)`/).map((part, place) => (place % 2 === 1 ? element("code", {}, part) : part)));
}

/** All that is known of a role; why it is so stands above it already where it is part of a case. */
function detailOf(role, isPartOfCase = false) {
  const row = (term, ...what) => [element("dt", {}, term), element("dd", {}, ...what)];
  const actions = { put: "the policy is to be written", delete: "the policy is to be removed",
    none: "nothing is to be written", blocked: "it must not be written, or cannot be" };
  const wanted = role.state === "absent" ? "the policy is to be gone" : "the policy is to be there";
  return element("div", { class: "detail" },
    isPartOfCase ? null : [prose("", role.message), prose("", role.detail), prose("hint", role.hint)],
    diffOf(role),
    element("dl", {},
      row("Account", element("span", { class: "name" }, role.account)),
      row("Policy", element("span", { class: "name" }, role.policy)),
      row("Manifest", element("span", { class: "name" }, role.manifest), `: ${wanted}`),
      row("Picked by", role.selector === null ? "its name in the manifest" : role.selector),
      row("Mode", role.mode === "observe" ? "observe: drift is told, not repaired" : "enforce: drift is repaired"),
      row("Drift", role.drift === null ? "none that is known" : `${role.drift}: ${DRIFTS[role.drift]?.[1] ?? ""}`),
      row("Action", `${role.action}: ${actions[role.action] ?? ""}`, role.reason === null ? null : ` (${role.reason})`),
      role.conditions.map((one) => row(one.type,
        word(one.status === "True" ? ["good-word", "True"] : one.status === "False" ? ["bad-word", "False"]
          : ["warn-word", one.status]),
        `, ${one.reason}: ${one.message}`, element("br"),
        element("span", { class: "quiet" }, "since ", time(one.lastTransitionTime, " ago", true))))));
}

/** The directional diff, by sign, word and colour. */
function diffOf(role) {
  if (role.diff.length === 0) return null;
  const line = ({ change, text }) => element("li", { class: change === "lost" ? "lost" : "gained" },
    element("span", { class: "direction" }, change === "lost" ? "− lost" : "+ gained"), element("code", {}, text));
  return element("div", {},
    element("p", { class: "quiet" }, "lost: the manifest asks for it and the role does not have it; gained: the role has it and the manifest does not ask for it"),
    element("ul", { class: "diff", "aria-label": "What is different" }, role.diff.map(line)));
}

/** The button that opens a role, wherever it stands. */
function opener(role, open, place, changed) {
  const isOpen = open.has(role.key);
  return button(element("span", { class: "name" }, role.role),
    { class: "plain", "aria-expanded": String(isOpen), "data-key": `${place} ${role.key}` },
    () => {
      if (!open.delete(role.key)) open.add(role.key);
      changed();
    });
}

// ---- The parts of the page ------------------------------------------------------------------------------------------

let latest = null; // the status that is shown
let latestRoles = [];
let latestCases = [];
let latestAt = 0; // when it was taken, by the daemon's clock

function show(status) {
  latestRoles = rolesOf(status);
  latestCases = casesOf(status, latestRoles);
  latest = status;
  latestAt = Date.parse(status.takenAt);
  keepingPlace(() => {
    showHead();
    showAttention();
    showFaults();
    showAccounts();
    showRoles();
    $("status").hidden = false;
  });
}

function showHead() {
  const { controller, manifests, accounts } = latest;
  const total = needing();
  const all = total + manifests.faultCount;
  document.title = `${all > 0 ? `(${all.toLocaleString("en")}) ` : ""}ssm-role-controller`;
  const says = controller.suspended ? "kill switch on" : controller.observeOnly ? "observing only"
    : controller.isLeader ? "writing" : "standby";
  fill($("controller"), controller, () => [
    element("span", {}, `version ${controller.version}, ${says}`,
      controller.shard === null ? null : `, shard ${controller.shard}`, ", up for ", time(controller.startedAt))]);
  const bad = latestRoles.filter(isDrifted).length;
  const unready = latestRoles.filter(isNotReady).length;
  say($("summary"), [
    total === 0 ? "Nothing needs a person" : `${total.toLocaleString("en")} need${total === 1 ? "s" : ""} a person`,
    `${count(manifests.faultCount, "fault")} in ${manifests.inForce === 0 ? "manifests, none in force" : `manifests, ${manifests.inForce} in force`}`,
    `${bad.toLocaleString("en")} drifted`,
    `${unready.toLocaleString("en")} not ready`,
    `${count(latestRoles.length, "role")} in ${count(accounts.length, "account")}`,
  ].join(" · "));
}

/** How many roles, accounts and held plans need a person. */
function needing() {
  return latestCases.reduce((sum, one) => sum + one.roles.length + (one.account === undefined ? 0 : 1), 0);
}

function showAttention() {
  const cases = latestCases;
  say($("attention-title"), `What needs a person (${needing().toLocaleString("en")})`);
  const shown = cases.slice(0, chosen.cases).map((one) => ({ ...one, roles: one.roles.slice(0, ENTRIES_AT_ONCE), size: one.roles.length }));
  const open = shown.flatMap((one) => one.roles).filter((role) => chosen.openAbove.has(role.key));
  fill($("attention"), [shown, cases.length, open.map((role) => role.key), allWell()], () =>
    cases.length === 0 ? element("p", {}, allWell())
      : [...shown.map(caseOf), pager("cases", cases.length, "cases", showAttention)]);
}

function allWell() {
  const roles = latestRoles.length;
  if (latest.manifests.inForce === 0 && roles === 0) return "No manifest is in force, so no role is looked at.";
  if (roles === 0) return "Nothing: the manifests in force name and pick no role.";
  const waiting = latest.accounts.filter((account) => account.state === "Entering").length;
  if (waiting > 0) return `Nothing so far; ${count(waiting, "account is", "accounts are")} being entered.`;
  const good = latestRoles.filter((role) => condition(role, "Synced")?.status === "True").length;
  if (good === roles) {
    return roles === 1 ? "Nothing: the one role is as its manifest wants it."
      : `Nothing: all ${roles.toLocaleString("en")} roles are as their manifests want them.`;
  }
  const isLeft = (role) => SUSPENDED.includes(role.reason);
  const left = latestRoles.filter(isLeft);
  const unknown = latestRoles.filter((role) => !isLeft(role) && condition(role, "Synced")?.status !== "True").length;
  return [
    `Nothing else: ${count(good, "role is", "roles are")} as the manifests want`,
    left.length === 0 ? "" : `; ${count(left.length, "role is", "roles are")} suspended on purpose, ${left.filter(isDrifted).length.toLocaleString("en")} of them drifted`,
    unknown === 0 ? "" : `; ${count(unknown, "role is", "roles are")} not known yet`,
    ".",
  ].join("");
}

function caseOf(one) {
  const isAccount = one.account !== undefined;
  const title = isAccount ? `Account ${one.account}: ${one.title}${one.size > 0 ? `, ${count(one.size, "role")}` : ""}`
    : `${count(one.size, "role")}: ${one.word}`;
  const accounts = new Set(one.roles.map((role) => role.account));
  const search = accounts.size === 1 ? `${one.word} ${one.roles[0].account}` : one.word;
  return element("article", { class: one.itself ? "case itself" : "case" },
    element("h3", {}, title, one.itself ? element("span", { class: "quiet" }, " (to be repaired by itself)") : null),
    prose("", one.why),
    prose("hint", one.hint),
    one.digest === undefined ? null : element("p", {}, "digest: ", element("code", {}, one.digest)),
    one.size === 0 ? null : element("ul", { class: "entries" }, one.roles.map((role) => entryOf(role, one))),
    one.size > one.roles.length ? listButton(search, `Show all ${one.size.toLocaleString("en")} in the list`, "person",
      `case ${one.word} ${one.account ?? one.why}`) : null);
}

/** One role of a case; what it has of its own is told beside it. */
function entryOf(role, { why }) {
  const own = [
    role.detail === why ? null : role.detail,
    isDrifted(role) ? `the policy is ${role.drift}` : null,
    isNotReady(role) ? `no session: ${condition(role, "SessionReady").reason}` : null,
  ].filter(Boolean).join("; ");
  return element("li", {},
    opener(role, chosen.openAbove, "above", showAttention),
    element("span", { class: "quiet" }, ` in ${role.account}, for `, time(role.since), own === "" ? "" : `: ${own}`),
    chosen.openAbove.has(role.key) ? detailOf(role, true) : null);
}

/** A button that leads to the list, searched. */
function listButton(search, label, filter, key) {
  return button(label, { "data-key": key }, () => leadToList(search, filter));
}

function leadToList(search, filter) {
  choose({ search, filter });
  $("roles-title").focus({ preventScroll: true });
  $("roles-title").scrollIntoView();
}

/** Says how much is left out, and shows more of it. */
function pager(what, size, many, changed) {
  const left = size - chosen[what];
  return left <= 0 ? null : button(`Show more (${left.toLocaleString("en")} ${many} left)`, { "data-key": `more ${what}` }, () => {
    chosen[what] += 5 * CASES_AT_ONCE;
    changed();
  });
}

function showFaults() {
  const { faults, faultCount, inForce, changedAt } = latest.manifests;
  say($("faults-title"), `Faults of manifests (${faultCount.toLocaleString("en")})`);
  const shown = faults.slice(0, chosen.faults);
  fill($("faults"), [shown, faultCount, inForce, changedAt], () => [
    element("p", { class: "quiet" }, faults.length === 0 ? "None: every manifest was understood. " : "",
      `${count(inForce, "manifest is", "manifests are")} in force; `, changedAt === null ? "they have not changed yet." : ["they last changed ", time(changedAt, " ago"), "."]),
    ...shown.map((fault) => element("article", { class: "case" },
      element("h3", {}, element("span", { class: "name" }, `${fault.file}:${fault.line}:${fault.column}`),
        fault.path ? ` at ${fault.path}` : ""),
      prose("", fault.message),
      prose("hint", fault.hint),
      element("p", { class: "quiet" }, fault.lastGoodInForce ? "Its last good version stays in force."
        : "No good version of it is known: nothing of it is in force."))),
    pager("faults", faults.length, "faults", showFaults),
    faultCount > faults.length ? element("p", { class: "quiet" }, `${(faultCount - faults.length).toLocaleString("en")} more are not listed here: validate shows all of them.`) : null]);
}

function showAccounts() {
  const rows = latest.accounts.map(({ roles: told, ...rest }) => {
    const roles = told.map((role) => ({ ...role, needs: needsPerson(role) }));
    return { ...rest, size: roles.length, needy: roles.filter((role) => role.needs).length,
      drifted: roles.filter(isDrifted).length, unready: roles.filter(isNotReady).length };
  });
  const trouble = (row) => (row.state !== "Kept" ? 0 : row.held !== null ? 1 : row.needy > 0 ? 2 : 3);
  rows.sort((one, other) => trouble(one) - trouble(other) || compare(one.account, other.account));
  say($("accounts-title"), `Accounts (${rows.length.toLocaleString("en")})`);
  const shown = rows.slice(0, chosen.accounts);
  fill($("accounts"), [shown, rows.length], () => {
    if (rows.length === 0) return element("p", { class: "quiet" }, "No account: the manifests in force name none.");
    const head = (text, kind) => element("th", { scope: "col", class: kind }, text);
    return [
      element("table", { "aria-labelledby": "accounts-title" },
        element("thead", {}, element("tr", {}, head("Account"), head("State"), head("Roles", "number middling"),
          head("Need a person", "number"), head("Drifted", "number middling"), head("Not ready", "number middling"),
          head("Last complete pass", "middling"))),
        element("tbody", {}, shown.map(accountRow))),
      pager("accounts", rows.length, "accounts", showAccounts)];
  });
}

function accountRow(row) {
  const number = (value, kind = "") => element("td", { class: `number ${kind}` },
    value === 0 ? element("span", { class: "quiet" }, "0") : element("span", { class: "bad-word" }, value.toLocaleString("en")));
  return element("tr", {},
    element("th", { scope: "row" }, button(element("span", { class: "name" }, row.account),
      { class: "plain", title: "Show its roles in the list", "data-key": `account ${row.account}` },
      () => leadToList(row.account, "all"))),
    element("td", {}, word(ACCOUNT_STATES[row.state] ?? ["warn-word", row.state]),
      row.suspended ? element("span", { class: "warn-word" }, ", suspended: nothing is written") : null,
      row.held === null ? null : element("span", { class: "warn-word" }, ", a plan is held"),
      row.state === "Entering" && row.message ? element("span", { class: "quiet" }, `: ${row.message}`) : null),
    element("td", { class: "number middling" }, row.size.toLocaleString("en")),
    number(row.needy), number(row.drifted, "middling"), number(row.unready, "middling"),
    element("td", { class: "middling" }, time(row.lastCompletePassAt, " ago")));
}

// ---- The list of roles ----------------------------------------------------------------------------------------------

const COLUMNS = [
  { id: "role", title: "Role", cell: null, by: (role) => role.role.toLowerCase() },
  { id: "account", title: "Account", kind: "middling name whole", cell: (role) => role.account, by: (role) => role.account },
  { id: "policy", title: "Policy is", cell: (role) => word(policyWord(role)), by: (role) => policyWord(role)[1].slice(2) },
  { id: "session", title: "Session", cell: (role) => word(sessionWord(role)), by: (role) => sessionWord(role)[1] },
  { id: "action", title: "Action", kind: "middling", cell: (role) => word(actionWord(role)), by: (role) => actionWord(role)[1] },
  { id: "since", title: "Since", kind: "middling", cell: (role) => time(role.since), by: (role) => role.since ?? "" },
  { id: "manifest", title: "Manifest", kind: "wide name", cell: (role) => role.manifest, by: (role) => role.manifest },
  { id: "mode", title: "Mode", kind: "wide", cell: (role) => role.mode, by: (role) => role.mode },
];

function chosenRoles() {
  const words = chosen.search.toLowerCase().split(/\s+/).filter(Boolean);
  const [, passes] = FILTERS[chosen.filter];
  const found = latestRoles.filter((role) => passes(role) && words.every((one) => role.words.includes(one)));
  const column = COLUMNS.find(({ id }) => id === chosen.sort);
  const first = column === undefined ? (role) => (role.needs ? 0 : 1) : column.by;
  const keyed = found.map((role) => [first(role), role]);
  const way = chosen.descending ? -1 : 1;
  keyed.sort(([one, a], [other, b]) => way * compare(one, other)
    || compare(a.account, b.account) || compare(a.role, b.role) || compare(a.policy, b.policy));
  return keyed.map(([, role]) => role);
}

const rows = new Map(); // by the role's key: its row, its details' row, and what they were made from

function showRoles() {
  if (latest === null) return;
  const found = chosenRoles();
  const shown = found.slice(0, chosen.roles);
  showHeads();
  showFilters();
  const body = $("rows");
  keepingFocus(body, () => {
    const kept = new Set(shown.map((role) => role.key));
    for (const [key, row] of rows) {
      if (!kept.has(key)) {
        row.head.remove();
        row.details?.remove();
        rows.delete(key);
      }
    }
    let next = body.firstChild;
    for (const role of shown) {
      const row = rowOf(role);
      for (const part of [row.head, row.details]) {
        if (part === null) continue;
        if (part === next) next = next.nextSibling;
        else body.insertBefore(part, next);
      }
    }
  });
  const isNarrowed = chosen.search.trim() !== "" || chosen.filter !== "all";
  say($("roles-title"), `Roles (${latestRoles.length.toLocaleString("en")})`);
  say($("shown"), isNarrowed ? `${found.length.toLocaleString("en")} of ${count(latestRoles.length, "role")}` : `All ${count(latestRoles.length, "role")}`);
  say($("no-rows"), found.length > 0 ? "" : latestRoles.length === 0 ? allWell()
    : "No role is like that: the search and the filter together leave none.");
  $("roles").hidden = found.length === 0;
  const left = found.length - shown.length;
  $("more").hidden = left === 0;
  say($("more"), `Show ${Math.min(ROLES_AT_ONCE, left)} more (${left.toLocaleString("en")} left)`);
}

function rowOf(role) {
  const isOpen = chosen.open.has(role.key);
  const signature = JSON.stringify(role);
  const known = rows.get(role.key);
  if (known?.signature === signature && known.isOpen === isOpen) return known;
  const row = known ?? { head: element("tr"), details: null };
  row.head.className = isOpen ? "open" : "";
  if (known?.signature !== signature) {
    row.head.replaceChildren(
      element("th", { scope: "row" }, opener(role, chosen.open, "list", showRoles)),
      ...COLUMNS.slice(1).map(({ kind, cell }) => element("td", { class: kind }, cell(role))));
  } else {
    row.head.querySelector("button").setAttribute("aria-expanded", String(isOpen));
  }
  row.details?.remove();
  row.details = isOpen ? element("tr", { class: "details" }, element("td", { colspan: COLUMNS.length }, detailOf(role))) : null;
  Object.assign(row, { signature, isOpen });
  rows.set(role.key, row);
  return row;
}

function showHeads() {
  fill($("heads"), [chosen.sort, chosen.descending], () => COLUMNS.map(({ id, title, kind }) => {
    const isSorted = chosen.sort === id;
    const order = isSorted ? (chosen.descending ? "descending" : "ascending") : null;
    const sign = isSorted ? (chosen.descending ? " ↓" : " ↑") : "";
    return element("th", { scope: "col", class: (kind ?? "").replace("name", "").trim(), "aria-sort": order },
      button(title + sign, { class: "plain", "data-key": `sort ${id}` }, () =>
        // A third time leads back to those that need a person first.
        choose(!isSorted ? { sort: id, descending: false } : !chosen.descending ? { descending: true }
          : { sort: "needs", descending: false })));
  }));
}

function showFilters() {
  const sizes = Object.fromEntries(Object.entries(FILTERS).map(([id, [, passes]]) => [id, latestRoles.filter(passes).length]));
  fill($("filters"), [sizes, chosen.filter], () => Object.entries(FILTERS).map(([id, [title]]) =>
    button(`${title} ${sizes[id].toLocaleString("en")}`, { "aria-pressed": String(chosen.filter === id), "data-key": `filter ${id}` },
      () => choose({ filter: id }))));
}

// ---- Notices --------------------------------------------------------------------------------------------------------

let failure = null; // why the last request brought nothing, and since when
let firstVersion = null; // of the daemon that this page came from

function noticesOf() {
  const notices = [];
  const add = (kind, title, text) => notices.push({ kind, title, text });
  if (failure !== null) {
    add("bad", failure.title, latest === null ? `${failure.text} Since ${absolute(failure.since)}; it is asked again every few seconds.`
      : `${failure.text} What is shown is of ${absolute(latestAt)}, and may be so no more. It is asked again every few seconds.`);
  } else if (latest !== null && now() - latestAt > SILENT_MS) {
    add("bad", "What the daemon tells is old", `It answers, but what it tells is of ${absolute(latestAt)}. Its log may say why.`);
  }
  if (latest === null) return notices;
  const { controller } = latest;
  const drifted = latestRoles.filter(isDrifted).length;
  const meanwhile = drifted === 0 ? "No role is drifted now." : `${count(drifted, "role is", "roles are")} drifted now.`;
  if (controller.suspended) {
    add("warn", "The kill switch is on: nothing is written in any account",
      `Drift is told and not repaired. ${meanwhile} It ends with suspend: false in the ControllerConfiguration.`);
  }
  if (controller.observeOnly) {
    add("warn", "This process only observes", `It writes nothing, whatever the manifests say. ${meanwhile}`);
  }
  if (!controller.isLeader) {
    add("warn", "This process is a standby", "It watches and reads; another one holds the lease and writes. What was repaired and held is known best to that one.");
  }
  if (firstVersion !== null && controller.version !== firstVersion) {
    add("warn", `The daemon is of version ${controller.version} now`, `This page came from version ${firstVersion}: load it again.`);
  }
  return notices;
}

function showNotices() {
  const notices = noticesOf();
  fill($("notices"), notices, () => notices.map(({ kind, title, text }) =>
    element("div", { class: `notice ${kind}` }, element("strong", {}, title), element("span", { class: "prose" }, text))));
}

function passTimes() {
  if (latest !== null) {
    const age = span(now() - latestAt);
    say($("freshness"), failure === null ? `as of ${age} ago` : `stale: as of ${age} ago`);
    $("freshness").title = absolute(latestAt);
  } else if (failure !== null) {
    say($("freshness"), "no status");
  }
  showNotices();
}

// ---- Asking the daemon ----------------------------------------------------------------------------------------------

const TOKEN = "ssm-role-controller.token";
let timer = null;
let asking = false;

/** The browser's storage, where it may be used. */
function stored(storage, key, value) {
  try {
    const place = window[storage];
    if (value === undefined) return place.getItem(key);
    if (value === null) place.removeItem(key);
    else place.setItem(key, value);
  } catch {
    // Storage is switched off: nothing is kept.
  }
  return value ?? null;
}

let token = stored("sessionStorage", TOKEN);

async function ask() {
  if (asking) return;
  asking = true;
  clearTimeout(timer);
  const began = performance.now();
  const isAsked = await answered();
  asking = false;
  passTimes();
  if (!isAsked) return; // for a token: the form goes on
  const took = performance.now() - began;
  timer = setTimeout(ask, document.hidden ? HIDDEN_REFRESH_MS : Math.max(REFRESH_MS, 10 * took));
}

/** Asks once and shows what came; false where a token is needed first. */
async function answered() {
  const failed = (title, text) => {
    failure = { title, text, since: failure?.since ?? now() };
    return true;
  };
  let response;
  let body;
  try {
    const headers = token === null ? {} : { Authorization: `Bearer ${token}` };
    response = await fetch("status", { headers, cache: "no-store", redirect: "error", signal: AbortSignal.timeout(PATIENCE_MS) });
    body = await response.text();
  } catch (error) {
    const why = error.name === "TimeoutError" ? `It has not answered within ${PATIENCE_MS / 1_000} seconds.` : "It cannot be reached.";
    return failed("The daemon does not answer any more", why);
  }
  if (response.status === 401) {
    signIn();
    return false;
  }
  if (!response.ok) {
    return failed(`The daemon refuses to tell its status (HTTP ${response.status})`, body.slice(0, 300));
  }
  try {
    const status = JSON.parse(body);
    if (status.version !== 1) {
      return failed("The daemon tells its status in another form", `This page knows version 1, and not ${status.version}: load it again.`);
    }
    if (![status.manifests.faults, status.accounts].every(Array.isArray) || !status.controller.version) {
      throw new TypeError("something is missing");
    }
    const date = Date.parse(response.headers.get("Date") ?? status.takenAt);
    if (!Number.isNaN(date)) clockAheadMs = date - Date.now();
    firstVersion ??= status.controller.version;
    show(status);
  } catch (error) {
    return failed("What the daemon tells is not understood", `${error.name}: ${error.message}. Load the page again; if that does not help, report a bug.`);
  }
  failure = null;
  return true;
}

/** Asks for the token; what was shown before is taken away. */
function signIn() {
  say($("refused"), token === null ? "" : "The daemon does not accept this token.");
  token = stored("sessionStorage", TOKEN, null);
  [latest, latestRoles, latestCases, failure] = [null, [], [], null];
  for (const id of ["attention", "faults", "accounts", "controller"]) {
    $(id).replaceChildren();
    signatures.delete($(id));
  }
  rows.clear();
  $("rows").replaceChildren();
  say($("summary"), "");
  say($("freshness"), "a token is needed");
  document.title = "ssm-role-controller";
  $("status").hidden = true;
  $("sign-in").hidden = false;
  $("token").focus();
}

$("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  const given = $("token").value.trim();
  if (!/^[\x21-\x7e]+$/.test(given)) {
    say($("refused"), "A token is one word of letters, digits and signs, without spaces.");
    return;
  }
  $("token").value = "";
  token = given;
  stored("sessionStorage", TOKEN, given);
  $("sign-in").hidden = true;
  ask().then(() => $("sign-in").hidden && $("search").focus({ preventScroll: true }));
});

// ---- The beginning --------------------------------------------------------------------------------------------------

const THEME = "ssm-role-controller.theme";

function useTheme(theme) {
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
}

const theme = stored("localStorage", THEME);
useTheme(theme);
$("theme").value = ["light", "dark"].includes(theme) ? theme : "system";
$("theme").addEventListener("change", () => {
  useTheme($("theme").value);
  stored("localStorage", THEME, $("theme").value);
});

fromAddress();
$("search").value = chosen.search;
$("search").addEventListener("input", () => choose({ search: $("search").value }));
$("search").addEventListener("keydown", (event) => {
  if (event.key === "Escape") choose({ search: "" });
});
$("more").addEventListener("click", () => {
  const last = $("rows").querySelectorAll("th button").length;
  chosen.roles += ROLES_AT_ONCE;
  showRoles();
  $("rows").querySelectorAll("th button")[last]?.focus(); // the first of the new ones
});
document.addEventListener("keydown", (event) => {
  const isTyping = event.target.matches?.("input, select, textarea");
  if (event.key !== "/" || isTyping || event.ctrlKey || event.metaKey || event.altKey || latest === null) return;
  event.preventDefault();
  $("search").focus();
  $("search").select();
});
window.addEventListener("hashchange", () => {
  fromAddress();
  $("search").value = chosen.search;
  showRoles();
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && (latest !== null || failure !== null)) ask();
});
setInterval(passTimes, 1_000);
setInterval(() => document.querySelectorAll("time").forEach(passTime), 10_000);
ask();
