// Markdown to elements, with Debian's marked, DOMPurify and highlight.js where they are built in.
// Two walls against what a model may write: HTML outside a short list is shown as text, and the
// result goes through an allow-list of tags and attributes. The page's policy is the third.
import { copyText, h, iconButton } from "./dom.js";

const INLINE_HTML = /^<\/?(br|sub|sup|kbd|b|i|u|s|mark|details|summary)\s*\/?>$/i;

const ALLOWED = {
    ALLOWED_TAGS: ["p", "br", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li",
        "blockquote", "pre", "code", "em", "strong", "del", "a", "table", "thead", "tbody", "tr",
        "th", "td", "sub", "sup", "kbd", "b", "i", "u", "s", "mark", "details", "summary"],
    ALLOWED_ATTR: ["href", "title", "start", "align", "class"],
    ALLOWED_URI_REGEXP: /^(?:https?:|mailto:)/i,
    ADD_URI_SAFE_ATTR: ["align", "start"],
    ALLOW_DATA_ATTR: false,
    RETURN_DOM_FRAGMENT: true,
};

const escapes = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
const escapeHtml = (s) => s.replace(/[&<>"']/g, (c) => escapes[c]);

let ready;

// Whether the sanitiser is there and does its work: text is shown plain rather than unsanitised.
function canClean() {
    if (!globalThis.DOMPurify?.isSupported) return false;
    // sanitize() of Debian 12's DOMPurify 2.4.1 reads a variable that is declared elsewhere only.
    globalThis.shadowNode ??= Object.freeze({});
    try {
        const probe = clean('<p lang="x">a<video></video></p><script>b</script>');
        return probe.textContent === "a" && !probe.querySelector("video, script, [lang]");
    } catch {
        return false;
    }
}

// Once, when the libraries, which load beside the modules, are there.
function prepare() {
    if (ready !== undefined) return ready;
    ready = Boolean(globalThis.marked && canClean());
    if (!ready) return false;
    globalThis.marked.use({
        gfm: true,
        breaks: true,
        renderer: {
            html: (html) => (INLINE_HTML.test(html.trim()) ? html : escapeHtml(html)),
            // A picture would be fetched from elsewhere, and so tell elsewhere.
            image: (href, title, text) =>
                `<a href="${escapeHtml(href || "")}">${escapeHtml(text || href || "")}</a>`,
            checkbox: (on) => (on ? "☑ " : "☐ "),
        },
    });
    return true;
}

function clean(html) {
    const fragment = globalThis.DOMPurify.sanitize(html, ALLOWED);
    for (const el of fragment.querySelectorAll("[class]")) {
        if (el.tagName !== "CODE") el.removeAttribute("class");
    }
    for (const a of fragment.querySelectorAll("a[href]")) {
        a.target = "_blank";
        a.rel = "noopener noreferrer nofollow";
    }
    for (const table of fragment.querySelectorAll("table")) {
        const box = h("div", { class: "table", tabindex: "0" });
        table.replaceWith(box);
        box.append(table);
    }
    return fragment;
}

// A block of code gets its language, a button, and colours once it is complete.
function dressCode(pre, complete) {
    const code = pre.querySelector("code");
    if (!code) return;
    const language = /language-([\w+#.-]+)/.exec(code.className)?.[1] || "";
    const text = code.textContent;
    const hljs = globalThis.hljs;
    if (complete && hljs && text.length < 50000 && hljs.getLanguage(language)) {
        const html = hljs.highlight(language, text, true).value;
        code.replaceChildren(globalThis.DOMPurify.sanitize(html,
            { ALLOWED_TAGS: ["span"], ALLOWED_ATTR: ["class"], RETURN_DOM_FRAGMENT: true }));
    }
    const copy = iconButton("copy", "Copy code", () => copyText(text.replace(/\n$/, ""), copy));
    const box = h("div", { class: "code" },
        h("div", { class: "code-head" }, h("span", null, language || "text"), copy));
    pre.replaceWith(box);
    pre.tabIndex = 0;
    box.append(pre);
}

function block(token, links, complete) {
    const tokens = [token];
    tokens.links = links;
    const fragment = clean(globalThis.marked.parser(tokens));
    for (const pre of fragment.querySelectorAll("pre")) dressCode(pre, complete);
    return [...fragment.childNodes];
}

// Keeps an element equal to a growing text. Only blocks that changed are made anew, so that text
// already there can be selected while more arrives, and long answers stay cheap.
export class Markdown {
    constructor(el) {
        this.el = el;
        this.text = null;
        this.blocks = []; // {raw, complete, nodes}
    }

    show(text, complete) {
        if (text === this.text && complete === this.complete) return;
        this.text = text;
        this.complete = complete;
        if (!prepare()) {
            this.el.classList.add("plain");
            this.el.textContent = text;
            return;
        }
        const tokens = globalThis.marked.lexer(text);
        const list = tokens.filter((t) => t.type !== "space" && t.type !== "def");
        let same = 0;
        const done = (i) => complete || i < list.length - 1;
        while (same < list.length && same < this.blocks.length &&
            this.blocks[same].raw === list[same].raw && this.blocks[same].complete === done(same)) {
            same++;
        }
        for (const old of this.blocks.splice(same)) old.nodes.forEach((n) => n.remove());
        for (let i = same; i < list.length; i++) {
            const nodes = block(list[i], tokens.links, done(i));
            this.el.append(...nodes);
            this.blocks.push({ raw: list[i].raw, complete: done(i), nodes });
        }
    }
}

// A model without a parser of its own thoughts writes them into the text, between tags.
export function splitThinking(text) {
    const m = /^\s*<think(?:ing)?>([\s\S]*?)(?:<\/think(?:ing)?>\s*|$)/.exec(text);
    return m ? { thinking: m[1].trim(), text: text.slice(m[0].length), open: !/<\/think/.test(m[0]) }
        : { thinking: "", text, open: false };
}
