// Conversations in the browser's IndexedDB: at most MAX_CHATS and MAX_BYTES, the oldest go first.
// Where the browser has no storage they live as long as the page.
import { newId } from "./tree.js";

export const MAX_CHATS = 500;
export const MAX_BYTES = 64 * 1024 * 1024;

const chats = new Map();
const sizes = new Map();
let db = null;

const request = (r) => new Promise((done, fail) => {
    r.onsuccess = () => done(r.result);
    r.onerror = () => fail(r.error);
});

const table = (mode) => db.transaction("chats", mode).objectStore("chats");

// Opens the store and reads it; false when nothing will be kept.
export async function openStore() {
    try {
        const opening = indexedDB.open("brisk", 1);
        opening.onupgradeneeded = () => opening.result.createObjectStore("chats", { keyPath: "id" });
        db = await request(opening);
        for (const chat of await request(table("readonly").getAll())) remember(chat);
        return true;
    } catch {
        db = null;
        return false;
    }
}

function remember(chat) {
    chats.set(chat.id, chat);
    sizes.set(chat.id, 2 * JSON.stringify(chat).length);
}

// Newest first.
export const listChats = () => [...chats.values()].sort((a, b) => b.updated - a.updated);
export const getChat = (id) => chats.get(id);

// Writes a conversation; `touched` moves it to the front. Returns an error's text or "".
export async function saveChat(chat, touched) {
    if (touched) chat.updated = Date.now();
    remember(chat);
    try {
        await prune(chat.id);
        if (db) await request(table("readwrite").put(chat));
        return "";
    } catch (error) {
        return "This conversation could not be saved in the browser: " + error.message;
    }
}

async function prune(keep) {
    const list = listChats().reverse();
    let bytes = [...sizes.values()].reduce((a, b) => a + b, 0);
    for (const chat of list) {
        if (chats.size <= MAX_CHATS && bytes <= MAX_BYTES) break;
        if (chat.id === keep) continue;
        bytes -= sizes.get(chat.id);
        await deleteChat(chat.id);
    }
}

export async function deleteChat(id) {
    chats.delete(id);
    sizes.delete(id);
    if (db) await request(table("readwrite").delete(id));
}

export function exportChats() {
    return JSON.stringify({ format: "brisk-chats", version: 1,
        exported: new Date().toISOString(), chats: listChats() }, null, 1);
}

// Reads what exportChats wrote, or an array of {role, content} messages. Everything is rebuilt field
// by field; ids are new where a conversation is here already. Returns how many came in, or throws.
export async function importChats(text) {
    let data;
    try {
        data = JSON.parse(text);
    } catch {
        throw new Error("That file is not JSON");
    }
    const list = Array.isArray(data) && data.every((m) => m && typeof m.role === "string")
        ? [fromMessages(data)] : data && data.format === "brisk-chats" ? data.chats : null;
    if (!Array.isArray(list)) throw new Error("That file has no conversations of this page");
    let n = 0;
    for (const raw of list.slice(0, MAX_CHATS)) {
        const chat = checkedChat(raw);
        if (!chat) continue;
        if (chats.has(chat.id)) chat.id = newId();
        const error = await saveChat(chat, false);
        if (error) throw new Error(error);
        n++;
    }
    return n;
}

const isId = (x) => typeof x === "string" && /^[A-Za-z0-9_-]{1,64}$/.test(x);
const string = (x) => (typeof x === "string" ? x : "");
const time = (x) => (typeof x === "number" && x > 0 && x < 8e15 ? x : Date.now());

function fromMessages(messages) {
    const nodes = {};
    const chat = { id: newId(), title: "Imported", settings: {}, children: [], nodes };
    let parent = null;
    for (const m of messages) {
        if (m.role === "system") {
            chat.settings.system = string(m.content);
            continue;
        }
        const id = newId();
        nodes[id] = { id, parent, children: [], role: m.role, text: string(m.content) };
        (parent ? nodes[parent] : chat).children.push(id);
        parent = id;
    }
    return chat;
}

// A conversation made of known fields only, reached from the root, without cycles; null if none.
function checkedChat(raw) {
    if (!raw || typeof raw !== "object" || typeof raw.nodes !== "object" || !raw.nodes) return null;
    const chat = { id: isId(raw.id) ? raw.id : newId(), title: string(raw.title).slice(0, 120),
        created: time(raw.created), updated: time(raw.updated), settings: {}, children: [], pick: 0,
        nodes: {} };
    for (const [name, value] of Object.entries(raw.settings || {})) {
        if (["string", "number", "boolean"].includes(typeof value)) chat.settings[name] = value;
    }
    const queue = [[chat, null, raw]];
    while (queue.length) {
        const [to, parent, from] = queue.pop();
        for (const id of Array.isArray(from.children) ? from.children : []) {
            const source = isId(id) && Object.hasOwn(raw.nodes, id) ? raw.nodes[id] : null;
            if (!source || chat.nodes[id]) continue;
            const node = checkedNode(source, id, parent);
            chat.nodes[id] = node;
            to.children.push(id);
            queue.push([node, id, source]);
        }
        const last = Math.max(0, to.children.length - 1);
        to.pick = Number.isInteger(from.pick) ? Math.max(0, Math.min(last, from.pick)) : last;
    }
    return chat.children.length ? chat : null;
}

function checkedNode(source, id, parent) {
    const node = { id, parent, children: [], pick: 0, created: time(source.created),
        role: source.role === "assistant" ? "assistant" : "user", text: string(source.text) };
    for (const name of ["thinking", "error", "finish", "model"]) {
        if (source[name]) node[name] = string(source[name]);
    }
    if (Array.isArray(source.tools)) {
        node.tools = source.tools.slice(0, 64).map((t) => ({ id: string(t?.id),
            name: string(t?.name), args: string(t?.args) }));
    }
    const stats = source.stats;
    if (stats && typeof stats === "object") {
        node.stats = { gaps: [], per: 1 };
        for (const [name, value] of Object.entries(stats)) {
            if (Number.isFinite(value)) node.stats[name] = value;
        }
        if (Array.isArray(stats.gaps)) node.stats.gaps = stats.gaps.filter(Number.isFinite).slice(0, 512);
        node.stats.source = string(stats.source);
        node.stats.reason = string(stats.reason);
        node.stats.phase = "done";
    }
    return node;
}
