// Settings of one chat, and those that new chats begin with.
import { $, h, toast } from "./dom.js";

const FIELDS = [
    // name, label, least, most, step, hint
    ["temperature", "Temperature", 0, 5, 0.05, "0: always the likeliest token"],
    ["top_p", "Top p", 0, 1, 0.01, "keep the likeliest up to this sum"],
    ["top_k", "Top k", 0, 1000, 1, "keep this many; 0: all"],
    ["min_p", "Min p", 0, 1, 0.01, "drop below this share of the best"],
    ["repeat_penalty", "Repeat penalty", 0.5, 2, 0.01, "1: none"],
    ["presence_penalty", "Presence penalty", -2, 2, 0.05, "0: none"],
    ["frequency_penalty", "Frequency penalty", -2, 2, 0.05, "0: none"],
    ["max_tokens", "Max tokens", 1, 1000000, 1, "of one answer"],
    ["seed", "Seed", 0, 4294967295, 1, "same seed, same answer"],
];
const DEFAULTS = "brisk.defaults";

export function defaultSettings() {
    try {
        const value = JSON.parse(localStorage.getItem(DEFAULTS) || "{}");
        return value && typeof value === "object" ? value : {};
    } catch {
        return {};
    }
}

function build() {
    const inputs = FIELDS.map(([name, label, min, max, step, hint]) =>
        h("label", { title: hint }, label,
            h("input", { type: "number", name, min, max, step, placeholder: "default",
                inputmode: "decimal" })));
    inputs.push(h("label", { title: "For models that can do both" }, "Thinking",
        h("select", { name: "thinking" }, h("option", { value: "" }, "model's choice"),
            h("option", { value: "on" }, "on"), h("option", { value: "off" }, "off"))));
    $("sampling").append(...inputs);
}

function read(form) {
    const settings = {};
    const system = form.elements.system.value;
    if (system.trim()) settings.system = system;
    for (const [name] of FIELDS) {
        const input = form.elements[name];
        if (input.value !== "" && input.validity.valid) settings[name] = input.valueAsNumber;
    }
    if (form.elements.thinking.value) settings.thinking = form.elements.thinking.value;
    return settings;
}

// Shows the dialog for `settings`; save(settings) is called when it closes.
export function editSettings(settings, save) {
    const dialog = $("settings");
    const form = dialog.querySelector("form");
    if (!$("sampling").children.length) build();
    form.reset();
    for (const [name, value] of Object.entries(settings)) {
        const field = form.elements[name];
        if (field && "value" in field) field.value = value;
    }
    $("as-default").onclick = () => {
        try {
            localStorage.setItem(DEFAULTS, JSON.stringify(read(form)));
            toast("New chats begin with these settings");
        } catch {
            toast("The browser keeps no settings");
        }
    };
    dialog.onclose = () => save(read(form));
    dialog.showModal();
}
