// The page: what the buttons and keys do, and what is drawn when.
import { getJson, getKey, onUnauthorized, setKey } from "./api.js";
import { Session } from "./chat.js";
import { $, addIcons, h, setIcon, toast } from "./dom.js";
import { count } from "./format.js";
import { MessageList } from "./messages.js";
import { Panel } from "./panel.js";
import { describeModel, firstModel, readProps } from "./props.js";
import { editSettings } from "./settings.js";
import { drawChats } from "./sidebar.js";
import { deleteChat, exportChats, getChat, importChats, openStore, saveChat } from "./store.js";
import { shown } from "./tree.js";

const DRAW_EVERY_MS = 60;
const STARTERS = ["Explain how a transformer writes one token at a time",
    "Write a C function that reverses a string in place", "Three ideas for a rainy Sunday",
    "Compare TCP and UDP in a table"];
const narrow = matchMedia("(max-width: 760px)");
const touch = matchMedia("(pointer: coarse)");

const session = new Session({ draw, grown });
const messages = new MessageList($("messages"), {
    edit: (node, text) => { session.edit(node, text); toEnd(true); },
    again: (node) => { session.again(node); toEnd(true); },
    pick: (node, index) => session.pick(node, index),
}, (node) => session.turnOf(node));
const panel = new Panel((open) => {
    document.body.classList.toggle("panel-open", open);
    $("toggle-panel").setAttribute("aria-expanded", String(open));
    remember("brisk.panel", open ? "1" : "");
});
let props = readProps({});

function remember(name, value) {
    try {
        localStorage.setItem(name, value);
    } catch { /* storage is switched off */ }
}

function remembered(name) {
    try {
        return localStorage.getItem(name) || "";
    } catch {
        return "";
    }
}

// ---- Drawing ------------------------------------------------------------------------------------

function draw() {
    const chat = session.chat;
    const empty = chat.children.length === 0;
    messages.show(chat);
    $("welcome").hidden = !empty;
    document.body.classList.toggle("empty", empty);
    if (document.activeElement !== $("title")) $("title").value = chat.title || "New chat";
    document.title = chat.title ? chat.title + " · brisk" : "brisk";
    drawSidebar();
    drawDock();
    history.replaceState(null, "", empty ? location.pathname : "#" + chat.id);
    follow();
}

function drawSidebar() {
    drawChats(session.chat.id, { open: openChat, remove: removeChat,
        running: (id) => session.isRunning(id) });
}

function drawDock() {
    const running = Boolean(session.current());
    $("send").hidden = running;
    $("stop").hidden = !running;
    $("send").disabled = !$("input").value.trim();
    const last = shown(session.chat).findLast((n) => n.stats?.promptTokens)?.stats;
    const used = last ? last.promptTokens + last.tokens : 0;
    const most = props.nCtx ? " of " + count(props.nCtx) : "";
    $("context").textContent = used ? `${count(used)}${most} tokens of context` : "";
}

// An answer grows: at most one drawing in DRAW_EVERY_MS, and none in a hidden page.
let waiting = false;
let grownNode = null;
function grown(node) {
    grownNode = node;
    if (waiting) return;
    waiting = true;
    setTimeout(() => {
        waiting = false;
        messages.update(grownNode);
        drawDock();
        follow();
    }, DRAW_EVERY_MS);
}

// While nothing arrives, clocks go on.
setInterval(() => {
    const running = session.current();
    if (running && !waiting && !document.hidden) {
        messages.update(running.node);
        follow();
    }
}, 100);

// The end stays in view unless the reader has moved away from it.
let following = true;
function follow() {
    if (following) $("scroll").scrollTop = $("scroll").scrollHeight;
    else $("to-end").hidden = atEnd();
}
const atEnd = () => $("scroll").scrollHeight - $("scroll").scrollTop - $("scroll").clientHeight < 60;
function toEnd(smooth) {
    following = true;
    $("to-end").hidden = true;
    $("scroll").scrollTo({ top: $("scroll").scrollHeight, behavior: smooth &&
        !matchMedia("(prefers-reduced-motion: reduce)").matches ? "smooth" : "instant" });
}
let lastTop = 0;
$("scroll").addEventListener("scroll", () => {
    const top = $("scroll").scrollTop;
    if (top < lastTop - 2 && !atEnd()) following = false;
    else if (atEnd()) following = true;
    lastTop = top;
    $("to-end").hidden = atEnd();
});

// ---- Writing ------------------------------------------------------------------------------------

function fitInput() {
    const input = $("input");
    input.style.height = "auto";
    input.style.height = Math.min(input.scrollHeight, innerHeight * 0.4) + "px";
    $("send").disabled = !input.value.trim();
}

function send(text) {
    if (!text.trim() || session.current()) return;
    $("input").value = "";
    fitInput();
    session.send(text.trim());
    toEnd(true);
}

$("composer").addEventListener("submit", (e) => {
    e.preventDefault();
    send($("input").value);
});
$("input").addEventListener("input", fitInput);
$("input").addEventListener("keydown", (e) => {
    if (e.key === "Enter" && !e.shiftKey && !e.isComposing && !touch.matches) {
        e.preventDefault();
        send($("input").value);
    } else if (e.key === "ArrowUp" && !$("input").value && !session.current()) {
        e.preventDefault();
        messages.editLast();
    }
});
$("stop").addEventListener("click", () => session.stop());
$("to-end").addEventListener("click", () => toEnd(true));

// ---- Conversations ------------------------------------------------------------------------------

function newChat() {
    session.start();
    closeDrawers();
    $("input").focus();
}

function openChat(id) {
    if (session.open(id)) {
        closeDrawers();
        toEnd(false);
        if (!touch.matches) $("input").focus();
    }
}

async function removeChat(id) {
    const chat = getChat(id);
    session.forget(id);
    await deleteChat(id);
    drawSidebar();
    toast(`Deleted “${chat.title || "New chat"}”`, { label: "Undo", run: async () => {
        session.removed.delete(id);
        await saveChat(chat, false);
        openChat(id);
    } });
}

$("new-chat").addEventListener("click", newChat);
$("search").addEventListener("input", drawSidebar);
$("title").addEventListener("change", () => {
    session.chat.title = $("title").value.trim();
    if (session.chat.children.length) session.save(session.chat, false).then(draw);
});
$("title").addEventListener("keydown", (e) => {
    if (e.key === "Enter") $("input").focus();
});
$("export").addEventListener("click", () => {
    const url = URL.createObjectURL(new Blob([exportChats()], { type: "application/json" }));
    h("a", { href: url, download: `brisk-chats-${new Date().toISOString().slice(0, 10)}.json` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
});
$("import").addEventListener("click", () => $("import-file").click());
$("import-file").addEventListener("change", async () => {
    const file = $("import-file").files[0];
    $("import-file").value = "";
    if (!file) return;
    try {
        if (file.size > 64 * 1024 * 1024) throw new Error("That file is too large");
        const n = await importChats(await file.text());
        toast(`Imported ${n} conversation${n === 1 ? "" : "s"}`);
        drawSidebar();
    } catch (error) {
        toast(error.message);
    }
});
$("open-settings").addEventListener("click", () => editSettings(session.chat.settings, (settings) => {
    session.chat.settings = settings;
    if (session.chat.children.length) session.save(session.chat, false);
}));

// ---- Drawers, theme, keys -----------------------------------------------------------------------

function toggleSidebar() {
    const name = narrow.matches ? "drawer-open" : "sidebar-closed";
    document.body.classList.toggle(name);
    if (!narrow.matches) {
        remember("brisk.sidebar", document.body.classList.contains(name) ? "closed" : "");
    }
}

function closeDrawers() {
    document.body.classList.remove("drawer-open");
    if (narrow.matches && !$("panel").hidden) panel.open(false);
}

function drawTheme() {
    setIcon($("theme"), document.documentElement.dataset.theme === "dark" ? "sun" : "moon");
}

$("toggle-sidebar").addEventListener("click", toggleSidebar);
$("close-sidebar").addEventListener("click", closeDrawers);
$("scrim").addEventListener("click", closeDrawers);
$("toggle-panel").addEventListener("click", () => panel.open($("panel").hidden));
$("help").addEventListener("click", () => $("help-dialog").showModal());
$("theme").addEventListener("click", () => {
    remember("brisk.theme", document.documentElement.dataset.theme === "dark" ? "light" : "dark");
    dispatchEvent(new Event("brisk-theme"));
    drawTheme();
});

const CTRL = { k: newChat, b: toggleSidebar, ".": () => panel.open($("panel").hidden),
    "/": () => $("help-dialog").showModal() };
addEventListener("keydown", (e) => {
    if (document.querySelector("dialog[open]")) return;
    const run = (e.ctrlKey || e.metaKey) && !e.altKey && CTRL[e.key.toLowerCase()];
    if (run) {
        e.preventDefault();
        run();
    } else if (e.key === "Escape") {
        if (session.stop()) $("input").focus();
        else closeDrawers();
    }
});

// ---- Start --------------------------------------------------------------------------------------

// One dialog for all requests that wait for a key.
let asking = null;
onUnauthorized((message) => {
    asking ||= new Promise((done) => {
        const dialog = $("key-dialog");
        dialog.querySelector(".hint").title = message;
        $("key").value = getKey();
        dialog.onclose = () => {
            asking = null;
            const given = dialog.returnValue === "save" && $("key").value.trim() !== "";
            if (given) setKey($("key").value.trim());
            dialog.returnValue = "";
            done(given);
        };
        $("no-key").onclick = () => dialog.close();
        dialog.showModal();
    });
    return asking;
});

async function askServer() {
    try {
        props = readProps(await getJson("props"));
    } catch (error) {
        $("welcome-line").textContent = error.message;
        return;
    }
    const context = props.nCtx && `${count(props.nCtx)} tokens of context`;
    $("model").textContent = props.name;
    $("model").title = props.path || props.name;
    $("welcome-line").textContent = [props.name, context].filter(Boolean).join(" · ");
    drawDock();
    // For the first message too, which then need not ask.
    const model = await firstModel().catch(() => ({}));
    $("about").textContent = ["brisk " + props.version, props.name, describeModel(model)]
        .filter(Boolean).join(" · ");
}

async function begin() {
    const question = new URLSearchParams(location.search).get("q");
    addIcons(document);
    drawTheme();
    addEventListener("brisk-theme", drawTheme);
    if (remembered("brisk.sidebar") === "closed") document.body.classList.add("sidebar-closed");
    $("starters").append(...STARTERS.map((text) =>
        h("button", { type: "button", onclick: () => send(text) }, text)));
    const kept = await openStore();
    if (!kept) toast("This browser keeps no data: conversations last as long as the page");
    if (!session.open(location.hash.slice(1))) draw();
    else toEnd(false);
    if (!touch.matches) $("input").focus();
    await askServer();
    if (remembered("brisk.panel") && !narrow.matches) panel.open(true);
    if (question) {
        session.start();
        send(question);
    }
    document.documentElement.dataset.ready = "1";
}

begin();
