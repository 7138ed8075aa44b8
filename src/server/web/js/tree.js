// A conversation is a tree: every edit and every new attempt is a sibling, and `pick` of the parent
// says which of them is shown. Plain objects, so that they can be stored and exported as they are.

export const newId = () => {
    const bytes = crypto.getRandomValues(new Uint8Array(9));
    return Array.from(bytes, (b) => b.toString(36).padStart(2, "0")).join("").slice(0, 14);
};

export function newChat(settings) {
    const now = Date.now();
    return { id: newId(), title: "", created: now, updated: now, settings: { ...settings },
        children: [], pick: 0, nodes: {} };
}

const parentOf = (chat, node) => (node.parent ? chat.nodes[node.parent] : chat);

// Adds a message below parentId (null: the first of the conversation) and shows it.
export function addNode(chat, parentId, fields) {
    const node = { id: newId(), parent: parentId, children: [], pick: 0, created: Date.now(),
        text: "", ...fields };
    chat.nodes[node.id] = node;
    const parent = parentOf(chat, node);
    parent.children.push(node.id);
    parent.pick = parent.children.length - 1;
    return node;
}

// The messages that are shown, first to last.
export function shown(chat) {
    const list = [];
    for (let at = chat; at.children.length;) {
        at = chat.nodes[at.children[at.pick]];
        list.push(at);
    }
    return list;
}

// The messages before a node, first to last.
export function before(chat, node) {
    const list = [];
    for (let at = node.parent; at; at = chat.nodes[at].parent) list.unshift(chat.nodes[at]);
    return list;
}

// Which of its siblings a message is: {index, count}.
export function version(chat, node) {
    const ids = parentOf(chat, node).children;
    return { index: ids.indexOf(node.id), count: ids.length };
}

export function pickVersion(chat, node, index) {
    const parent = parentOf(chat, node);
    parent.pick = Math.max(0, Math.min(parent.children.length - 1, index));
}

export function titleFrom(text) {
    const line = text.trim().replace(/\s+/g, " ");
    return line.length > 60 ? line.slice(0, 59).trimEnd() + "…" : line;
}
