// The messages of a conversation on the screen. Views are kept by message, so that a growing answer
// changes only itself.
import { copyText, h, icon, iconButton } from "./dom.js";
import { count, duration, percent } from "./format.js";
import { Gauges } from "./gauges.js";
import { Markdown, splitThinking } from "./markdown.js";
import { shown, version } from "./tree.js";

// "‹ 2 / 3 ›" between the versions of a message.
function versions(chat, node, act) {
    const { index, count: n } = version(chat, node);
    if (n < 2) return null;
    const go = (to) => () => act.pick(node, to);
    return h("span", { class: "versions" },
        iconButton("left", "Previous version", go(index - 1), { disabled: index === 0 }),
        h("span", { class: "which" }, `${index + 1} / ${n}`),
        iconButton("right", "Next version", go(index + 1), { disabled: index === n - 1 }));
}

class UserView {
    constructor(act) {
        this.act = act;
        this.text = h("div", { class: "bubble" });
        this.actions = h("div", { class: "actions" });
        this.el = h("article", { class: "msg user", "aria-label": "Your message" }, this.text,
            this.actions);
    }

    update(chat, node) {
        this.chat = chat;
        this.node = node;
        if (this.editor) return;
        this.text.textContent = node.text;
        const copy = iconButton("copy", "Copy message", () => copyText(node.text, copy));
        this.actions.replaceChildren(...[versions(chat, node, this.act), copy,
            iconButton("edit", "Edit message", () => this.edit())].filter(Boolean));
    }

    edit() {
        if (this.editor) return;
        const area = h("textarea", { "aria-label": "Edit message", rows: "1" });
        area.value = this.node.text;
        const fit = () => {
            area.style.height = "auto";
            area.style.height = area.scrollHeight + 2 + "px";
        };
        const close = () => {
            this.editor.remove();
            this.editor = null;
            this.el.classList.remove("editing");
            this.update(this.chat, this.node);
        };
        const save = () => {
            const text = area.value;
            close();
            if (text.trim()) this.act.edit(this.node, text);
        };
        area.addEventListener("input", fit);
        area.addEventListener("keydown", (e) => {
            if (e.key === "Enter" && !e.shiftKey && !e.isComposing) {
                e.preventDefault();
                save();
            } else if (e.key === "Escape") {
                e.stopPropagation();
                close();
            }
        });
        this.editor = h("div", { class: "editor" }, area, h("div", { class: "buttons" },
            h("button", { type: "button", onclick: close }, "Cancel"),
            h("button", { type: "button", class: "primary", onclick: save }, "Send")));
        this.el.classList.add("editing");
        this.el.append(this.editor);
        fit();
        area.focus();
    }
}

class AnswerView {
    constructor(act) {
        this.act = act;
        this.thoughts = h("div", { class: "think-text" });
        this.thinkTitle = h("span");
        this.think = h("details", { class: "think", hidden: true },
            h("summary", null, icon("right"), this.thinkTitle), this.thoughts);
        this.body = h("div", { class: "markdown" });
        this.markdown = new Markdown(this.body);
        this.tools = h("div", { class: "tools", hidden: true });
        this.wait = h("div", { class: "wait", hidden: true });
        this.waitText = h("span", { class: "wait-text" });
        this.waitBar = h("progress", { max: "1", "aria-label": "Reading the prompt" });
        this.wait.append(this.waitText, this.waitBar);
        this.error = h("div", { class: "error", role: "alert", hidden: true });
        this.actions = h("div", { class: "actions" });
        this.gauges = new Gauges();
        this.el = h("article", { class: "msg assistant", "aria-label": "Answer" }, this.think,
            this.body, this.tools, this.wait, this.error, this.actions, this.gauges.el);
    }

    // turn: what is running for this message, or undefined.
    update(chat, node, turn) {
        const split = splitThinking(node.text);
        const liveMs = turn?.meter.elapsed();
        this.el.classList.toggle("running", Boolean(turn));
        this.el.setAttribute("aria-busy", String(Boolean(turn)));
        this.showThinking(node, split, turn);
        this.markdown.show(split.text, !turn);
        this.showTools(node);
        this.showWait(node, turn, liveMs);
        this.showError(node);
        this.gauges.el.hidden = !node.stats;
        if (node.stats) this.gauges.update(node.stats, liveMs);
        this.showActions(chat, node, turn, split.text);
    }

    showThinking(node, split, turn) {
        const text = node.thinking || split.thinking;
        this.think.hidden = !text;
        if (!text) return;
        const still = turn && (node.thinking ? !node.text : split.open);
        const s = node.stats || {};
        this.think.classList.toggle("still", Boolean(still));
        this.thinkTitle.textContent = still ? "Thinking…"
            : s.thoughtMs !== undefined && s.ttftMs !== undefined
                ? `Thought for ${duration(s.thoughtMs - s.ttftMs)}` : "Thoughts";
        if (this.think.open || !turn) this.thoughts.textContent = text;
        this.think.ontoggle = () => { this.thoughts.textContent = text; };
    }

    showTools(node) {
        const calls = node.tools || [];
        this.tools.hidden = !calls.length;
        while (this.tools.children.length > calls.length) this.tools.lastChild.remove();
        calls.forEach((call, i) => {
            const name = h("code", null, call.name || "…");
            const args = h("pre", { tabindex: "0" }, prettyJson(call.args));
            const el = h("div", { class: "tool" },
                h("div", { class: "tool-head" }, icon("tool"), "Calls ", name), args);
            if (this.tools.children[i]) this.tools.children[i].replaceWith(el);
            else this.tools.append(el);
        });
    }

    // Before the first token: in the queue, or how far the prompt has been read.
    showWait(node, turn, liveMs) {
        const s = node.stats || {};
        const waiting = turn && (s.phase === "sent" || s.phase === "prefill");
        this.wait.hidden = !waiting;
        if (!waiting) return;
        const reading = s.phase === "prefill";
        this.waitBar.hidden = !reading;
        if (!reading) {
            this.waitText.textContent = liveMs > 400 ? `Waiting · ${duration(liveMs)}` : "";
            return;
        }
        this.waitBar.value = s.promptTokens ? s.promptDone / s.promptTokens : 0;
        const computed = s.promptDone - s.cachedTokens;
        const left = computed > 0
            ? (s.promptMs * (s.promptTokens - s.promptDone)) / computed : undefined;
        this.waitText.textContent = `Reading the prompt · ${count(s.promptDone)} of ` +
            `${count(s.promptTokens)} tokens · ${percent(s.promptDone, s.promptTokens)}` +
            (left > 500 ? ` · about ${Math.ceil(left / 1000)} s` : "");
    }

    showError(node) {
        this.error.hidden = !node.error;
        if (node.error) this.error.textContent = node.error;
    }

    showActions(chat, node, turn, text) {
        const { index, count: n } = version(chat, node);
        const state = [Boolean(turn), index, n, node.finish].join();
        if (state === this.state && !turn) {
            this.copyable = text;
            return;
        }
        this.copyable = text;
        if (state === this.state) return;
        this.state = state;
        if (turn) {
            this.actions.replaceChildren(...[versions(chat, node, this.act)].filter(Boolean));
            return;
        }
        const copy = iconButton("copy", "Copy answer", () => copyText(this.copyable, copy));
        const note = { stopped: "stopped", length: "cut at the token limit",
            interrupted: "interrupted" }[node.finish];
        this.actions.replaceChildren(...[versions(chat, node, this.act), copy,
            iconButton("again", "Answer again", () => this.act.again(node)),
            node.stats && this.gauges.button,
            note && h("span", { class: "note" }, note)].filter(Boolean));
    }
}

function prettyJson(text) {
    try {
        return JSON.stringify(JSON.parse(text), null, 2);
    } catch {
        return text;
    }
}

export class MessageList {
    // act: {edit(node, text), again(node), pick(node, index)}; turnOf(node): the running turn.
    constructor(root, act, turnOf) {
        this.root = root;
        this.act = act;
        this.turnOf = turnOf;
        this.views = new Map();
    }

    show(chat) {
        if (chat !== this.chat) this.views.clear();
        this.chat = chat;
        const list = shown(chat);
        const last = list.at(-1);
        const elements = list.map((node) => {
            let view = this.views.get(node.id);
            const made = !view;
            if (made) {
                view = node.role === "user" ? new UserView(this.act) : new AnswerView(this.act);
                this.views.set(node.id, view);
            }
            view.el.classList.toggle("last", node === last);
            // In full under the newest answer; a choice made by hand holds until that changes.
            const newest = node === last;
            if (view.gauges && view.newest !== newest) view.gauges.open(newest);
            view.newest = newest;
            view.update(chat, node, this.turnOf(node));
            return view.el;
        });
        const keep = new Set(elements);
        for (const el of [...this.root.children]) if (!keep.has(el)) el.remove();
        elements.forEach((el, i) => {
            if (this.root.children[i] !== el) this.root.insertBefore(el, this.root.children[i] || null);
        });
    }

    update(node) {
        this.views.get(node.id)?.update(this.chat, node, this.turnOf(node));
    }

    editLast() {
        const users = shown(this.chat).filter((n) => n.role === "user");
        if (users.length) this.views.get(users.at(-1).id)?.edit();
    }
}
