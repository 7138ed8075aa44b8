// Requests to the server the page came from. Addresses are relative, so a proxy may put it anywhere.

const KEY = "brisk.key";
let askForKey = null;

// ask(): a promise of whether the visitor gave a key.
export const onUnauthorized = (ask) => { askForKey = ask; };

export const getKey = () => {
    try {
        return localStorage.getItem(KEY) || "";
    } catch {
        return "";
    }
};

export function setKey(key) {
    try {
        if (key) localStorage.setItem(KEY, key);
        else localStorage.removeItem(KEY);
    } catch { /* storage is switched off: asked again next time */ }
}

export class ApiError extends Error {
    constructor(message, status, retryAfter) {
        super(message);
        this.status = status;
        this.retryAfter = retryAfter;
    }
}

// fetch with the key; a refusal becomes an ApiError with the server's own words.
export async function call(path, options = {}) {
    for (let attempt = 0; ; attempt++) {
        const headers = { ...options.headers };
        const key = getKey();
        if (key) headers.Authorization = "Bearer " + key;
        let response;
        try {
            response = await fetch(path, { ...options, headers, cache: "no-store" });
        } catch (error) {
            if (error.name === "AbortError") throw error;
            throw new ApiError("The server does not answer.", 0);
        }
        if (response.ok) return response;
        const refused = await refusal(response);
        const mayAsk = response.status === 401 && attempt < 3 && !options.quiet && askForKey;
        if (!mayAsk || !(await askForKey(refused.message))) throw refused;
    }
}

async function refusal(response) {
    let message = "";
    try {
        const body = await response.json();
        message = body?.error?.message || body?.error || body?.message || "";
    } catch { /* not JSON */ }
    if (typeof message !== "string" || !message) {
        message = `The server answered ${response.status} ${response.statusText}`.trim();
    }
    const retry = Number(response.headers.get("Retry-After"));
    return new ApiError(message, response.status, retry > 0 ? retry : undefined);
}

export const getJson = async (path, options) => (await call(path, options)).json();
export const getText = async (path, options) => (await call(path, options)).text();

export function postJson(path, body, signal) {
    return call(path, { method: "POST", signal, body: JSON.stringify(body),
        headers: { "Content-Type": "application/json" } });
}

// The data of each server-sent event of a response. Lines end in \n, \r\n or \r; comments are
// skipped; several data lines are one event.
export async function* events(response) {
    const reader = response.body.getReader();
    const decoder = new TextDecoder();
    let rest = "";
    let data = [];
    try {
        for (;;) {
            const { done, value } = await reader.read();
            rest += done ? decoder.decode() + "\n\n" : decoder.decode(value, { stream: true });
            const lines = rest.split(/\r\n|\n|\r(?!$)/);
            rest = lines.pop();
            for (const line of lines) {
                if (line === "") {
                    if (data.length) yield data.join("\n");
                    data = [];
                } else if (line.startsWith("data:")) {
                    data.push(line.slice(line[5] === " " ? 6 : 5));
                }
            }
            if (done) return;
        }
    } finally {
        reader.cancel().catch(() => {});
    }
}
