// The list of conversations: by day, with a search over titles and texts.
import { $, h, iconButton } from "./dom.js";
import { listChats } from "./store.js";

const DAY = 86400000;

function dayOf(time) {
    const today = new Date().setHours(0, 0, 0, 0);
    if (time >= today) return "Today";
    if (time >= today - DAY) return "Yesterday";
    if (time >= today - 7 * DAY) return "Last week";
    return new Intl.DateTimeFormat("en", { month: "long", year: "numeric" }).format(time);
}

function matches(chat, words) {
    if (!words.length) return true;
    const text = (chat.title + "\n" +
        Object.values(chat.nodes).map((n) => n.text).join("\n")).toLowerCase();
    return words.every((w) => text.includes(w));
}

// act: {open(id), remove(id), running(id)}; currentId is marked.
export function drawChats(currentId, act) {
    const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const parts = [];
    let group = null;
    let list;
    for (const chat of listChats()) {
        if (!matches(chat, words)) continue;
        const day = dayOf(chat.updated);
        if (day !== group) {
            group = day;
            list = h("ul");
            parts.push(h("h2", null, day), list);
        }
        const title = chat.title || "New chat";
        list.append(h("li", { class: act.running(chat.id) ? "running" : null },
            h("button", { class: "chat", type: "button", title,
                "aria-current": chat.id === currentId ? "page" : null,
                onclick: () => act.open(chat.id) }, title),
            iconButton("trash", "Delete “" + title + "”", () => act.remove(chat.id))));
    }
    if (!parts.length) {
        parts.push(h("p", { class: "hint" },
            words.length ? "Nothing found." : "Conversations appear here."));
    }
    $("chats").replaceChildren(...parts);
}
