// The conversation that is open and the answers that are running, in this or in another one.
import { announce, toast } from "./dom.js";
import { defaultSettings } from "./settings.js";
import { getChat, saveChat } from "./store.js";
import { startTurn } from "./turn.js";
import { addNode, newChat, pickVersion, shown, titleFrom } from "./tree.js";

const SAVE_EVERY_MS = 1500;

export class Session {
    // hooks: draw() after a change of what is shown, grown(node) while an answer grows.
    constructor(hooks) {
        this.hooks = hooks;
        this.turns = new Map(); // message id: {chat, node, turn}
        this.removed = new Set(); // ids of conversations that are not to be saved
        this.chat = newChat(defaultSettings());
    }

    turnOf(node) {
        return this.turns.get(node.id)?.turn;
    }

    // The running turn of the open conversation.
    current() {
        return [...this.turns.values()].find((t) => t.chat.id === this.chat.id);
    }

    isRunning(chatId) {
        return [...this.turns.values()].some((t) => t.chat.id === chatId);
    }

    start() {
        this.chat = newChat(defaultSettings());
        this.hooks.draw();
    }

    open(id) {
        const chat = getChat(id);
        if (!chat) return false;
        this.chat = chat;
        for (const node of Object.values(chat.nodes)) this.settle(node);
        this.hooks.draw();
        return true;
    }

    // An answer that was running when the page was left is what had arrived by then.
    settle(node) {
        if (this.turns.has(node.id) || !node.stats || node.stats.phase === "done") return;
        node.stats.phase = "done";
        node.finish = node.finish || "interrupted";
    }

    send(text) {
        const chat = this.chat;
        if (!chat.title) chat.title = titleFrom(text);
        this.ask(chat, shown(chat).at(-1)?.id || null, text);
    }

    // The message again with another text, beside the first one.
    edit(node, text) {
        this.stop();
        this.ask(this.chat, node.parent, text);
    }

    // Another answer beside this one.
    again(node) {
        this.stop();
        this.answer(this.chat, node.parent);
    }

    pick(node, index) {
        pickVersion(this.chat, node, index);
        this.save(this.chat, false);
        this.hooks.draw();
    }

    ask(chat, parentId, text) {
        const question = addNode(chat, parentId, { role: "user", text });
        this.answer(chat, question.id);
    }

    answer(chat, parentId) {
        const node = addNode(chat, parentId, { role: "assistant" });
        const turn = startTurn(chat, node, () => this.grown(chat, node));
        this.turns.set(node.id, { chat, node, turn });
        this.save(chat, true);
        this.hooks.draw();
        turn.done.then(() => {
            this.turns.delete(node.id);
            this.save(chat, true);
            announce(node.error ? "Error: " + node.error : "The answer is complete");
            this.hooks.draw();
        });
    }

    grown(chat, node) {
        const now = performance.now();
        if (!(now - this.savedAt < SAVE_EVERY_MS)) this.save(chat, false);
        this.hooks.grown(node);
    }

    stop() {
        const running = this.current();
        running?.turn.stop();
        return Boolean(running);
    }

    // A conversation is deleted: what still runs for it stops, and saves nothing.
    forget(chatId) {
        this.removed.add(chatId);
        for (const t of this.turns.values()) if (t.chat.id === chatId) t.turn.stop();
        if (this.chat.id === chatId) this.start();
    }

    async save(chat, touched) {
        if (this.removed.has(chat.id)) return;
        this.savedAt = performance.now();
        const error = await saveChat(chat, touched);
        if (error && error !== this.lastError) toast(error);
        this.lastError = error;
    }
}
