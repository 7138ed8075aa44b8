// One answer: the request, its stream, and what it leaves in the message.
import { events, postJson } from "./api.js";
import { Meter, newStats } from "./meter.js";
import { firstModel } from "./props.js";
import { before } from "./tree.js";

// The name to ask for; servers with one model take any.
async function modelName() {
    const model = await firstModel().catch((e) => {
        if (e.status === 401) throw e;
        return {};
    });
    return model.id || "default";
}

// Settings that go into the request under their own names.
const SAMPLING = ["temperature", "top_p", "top_k", "min_p", "repeat_penalty", "presence_penalty",
    "frequency_penalty", "max_tokens", "seed"];

function messagesOf(chat, node) {
    const list = [];
    if (chat.settings.system?.trim()) {
        list.push({ role: "system", content: chat.settings.system });
    }
    for (const m of before(chat, node)) {
        const message = { role: m.role, content: m.text };
        // Sent back as it came: a template that keeps it then finds the whole turn in the cache.
        if (m.thinking) message.reasoning_content = m.thinking;
        if (m.tools?.length) {
            message.tool_calls = m.tools.map((t) => ({ id: t.id, type: "function",
                function: { name: t.name, arguments: t.args } }));
        }
        list.push(message);
    }
    return list;
}

function bodyOf(chat, node, name) {
    const body = { model: name, messages: messagesOf(chat, node), stream: true,
        stream_options: { include_usage: true }, return_progress: true };
    for (const key of SAMPLING) {
        if (typeof chat.settings[key] === "number") body[key] = chat.settings[key];
    }
    if (chat.settings.thinking) {
        body.chat_template_kwargs = { enable_thinking: chat.settings.thinking === "on" };
    }
    return body;
}

function addToolCalls(node, deltas) {
    node.tools = node.tools || [];
    for (const d of deltas) {
        const i = Number.isInteger(d.index) && d.index >= 0 && d.index < 64 ? d.index : 0;
        while (node.tools.length <= i) node.tools.push({ id: "", name: "", args: "" });
        node.tools[i].id ||= d.id || "";
        node.tools[i].name += d.function?.name || "";
        node.tools[i].args += d.function?.arguments || "";
    }
}

// Takes one chunk into the message; an error in the stream is thrown.
function take(node, meter, chunk) {
    if (chunk.error) {
        throw new Error(chunk.error.message || String(chunk.error));
    }
    if (chunk.prompt_progress) meter.progress(chunk.prompt_progress);
    const choice = chunk.choices?.[0];
    const delta = choice?.delta;
    if (delta) {
        const thought = delta.reasoning_content || delta.reasoning || "";
        const text = delta.content || "";
        if (thought) {
            node.thinking = (node.thinking || "") + thought;
            meter.stats.thoughtMs = meter.elapsed();
        }
        node.text += text;
        if (delta.tool_calls) addToolCalls(node, delta.tool_calls);
        if (thought || text || delta.tool_calls?.length) meter.token();
    }
    if (choice?.finish_reason) node.finish = choice.finish_reason;
    if (chunk.usage) meter.usage(chunk.usage);
    if (chunk.timings) meter.timings(chunk.timings);
    if (chunk.cache) meter.cache(chunk.cache);
}

// Starts the answer that `node` is for. changed() is called after every chunk. The result has
// stop(), the meter, and a promise `done` that never rejects: what went wrong is in node.error.
export function startTurn(chat, node, changed) {
    const abort = new AbortController();
    node.stats = newStats();
    const meter = new Meter(node.stats);
    const run = async () => {
        try {
            const name = await modelName();
            node.model = name;
            meter.begin();
            const response = await postJson("v1/chat/completions", bodyOf(chat, node, name),
                abort.signal);
            for await (const data of events(response)) {
                if (data === "[DONE]") break;
                take(node, meter, JSON.parse(data));
                changed();
            }
            if (!node.finish) node.error = "The stream ended before the answer did.";
        } catch (error) {
            if (error.name === "AbortError") node.finish = "stopped";
            else node.error = error instanceof SyntaxError
                ? "The server sent something that is not JSON." : error.message;
            if (error.retryAfter) node.error += ` Try again in ${error.retryAfter} s.`;
        }
        meter.finish();
        changed();
    };
    return { meter, stop: () => abort.abort(), done: run() };
}
