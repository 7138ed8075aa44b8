// What one answer cost, measured here while it streams and completed by the server's own account.
// The result is a flat object of numbers that is stored with the message; what is unknown is absent.
import { num } from "./format.js";

const MAX_GAPS = 256;

export function newStats() {
    return { phase: "sent", gaps: [], per: 1, tokens: 0 };
}

export class Meter {
    constructor(stats) {
        this.stats = stats;
        this.last = 0;
        this.inEntry = 0;
        this.begin();
    }

    // The request is being sent.
    begin() {
        this.start = performance.now();
    }

    elapsed() {
        return performance.now() - this.start;
    }

    // A `prompt_progress` record: the prompt's turn has come, and how far it is.
    progress(p) {
        const s = this.stats;
        const total = num(p.total);
        const done = num(p.processed);
        if (total === undefined || done === undefined) return;
        const spent = num(p.time_ms) || 0;
        if (s.phase === "sent") s.queueMs = Math.max(0, this.elapsed() - spent);
        s.phase = "prefill";
        s.promptTokens = total;
        s.cachedTokens = num(p.cache) || 0;
        s.promptDone = Math.min(total, done);
        s.promptMs = spent;
    }

    // A chunk with text of any kind has arrived: a token, in most cases.
    token() {
        const s = this.stats;
        const now = this.elapsed();
        if (s.phase !== "decode") {
            s.phase = "decode";
            s.ttftMs = now;
            if (s.queueMs !== undefined) s.prefillMs = Math.max(0, now - s.queueMs);
        } else {
            this.gap(now - this.last);
        }
        this.last = now;
        s.tokens++;
        s.elapsedMs = now;
        if (s.tokens > 1) s.perSecond = (1000 * (s.tokens - 1)) / Math.max(1, now - s.ttftMs);
    }

    // Gaps are kept one by one, then as the worst of every two, four, ...: bounded, and no peak lost.
    gap(ms) {
        const s = this.stats;
        if (s.gapMax === undefined || ms > s.gapMax) {
            s.gapMax = ms;
            s.gapMaxAt = s.tokens;
        }
        const rounded = Math.round(ms * 10) / 10;
        if (this.inEntry === 0) s.gaps.push(rounded);
        else s.gaps[s.gaps.length - 1] = Math.max(s.gaps[s.gaps.length - 1], rounded);
        this.inEntry = (this.inEntry + 1) % s.per;
        if (s.gaps.length >= MAX_GAPS && this.inEntry === 0) {
            s.gaps = s.gaps.filter((_, i) => i % 2 === 0)
                .map((g, i) => Math.max(g, s.gaps[2 * i + 1] ?? 0));
            s.per *= 2;
        }
    }

    usage(u) {
        const s = this.stats;
        s.promptTokens = num(u.prompt_tokens) ?? s.promptTokens;
        s.tokens = num(u.completion_tokens) ?? s.tokens;
        s.cachedTokens = num(u.prompt_tokens_details?.cached_tokens) ?? s.cachedTokens;
        s.thoughtTokens = num(u.completion_tokens_details?.reasoning_tokens) ?? s.thoughtTokens;
    }

    // The server's clock knows better where the time before the first token went.
    timings(t) {
        const s = this.stats;
        s.queueMs = num(t.queue_ms) ?? s.queueMs;
        s.cacheMs = num(t.cache_ms) ?? s.cacheMs;
        s.prefillMs = num(t.prompt_ms) ?? s.prefillMs;
        const known = (s.queueMs || 0) + (s.cacheMs || 0) + (s.prefillMs || 0);
        const first = num(t.first_decode_ms);
        const ttft = num(t.ttft_ms);
        if (first !== undefined) s.firstMs = first;
        else if (ttft !== undefined) s.firstMs = Math.max(0, ttft - known);
        s.serverTtftMs = ttft ?? s.serverTtftMs;
        s.cachedTokens = num(t.cache_n) ?? s.cachedTokens;
        s.tokens = num(t.predicted_n) ?? s.tokens;
        s.perSecond = num(t.predicted_per_second) ?? s.perSecond;
        s.promptPerSecond = num(t.prompt_per_second) ?? s.promptPerSecond;
        s.gapMedian = num(t.itl_p50_ms) ?? s.gapMedian;
        s.gapP99 = num(t.itl_p99_ms) ?? s.gapP99;
        s.serverGapMax = num(t.itl_max_ms) ?? s.serverGapMax;
    }

    cache(c) {
        this.stats.cachedTokens = num(c.matched) ?? this.stats.cachedTokens;
        if (typeof c.source === "string") this.stats.source = c.source;
        if (typeof c.miss_reason === "string") this.stats.reason = c.miss_reason;
    }

    finish() {
        const s = this.stats;
        if (s.gapMedian === undefined && s.per === 1 && s.gaps.length) {
            s.gapMedian = [...s.gaps].sort((a, b) => a - b)[s.gaps.length >> 1];
        }
        s.elapsedMs = s.elapsedMs ?? this.elapsed();
        s.phase = "done";
        for (const name of Object.keys(s)) if (s[name] === undefined) delete s[name];
    }
}

// Parts of the time to the first token, in order; the last is what the server did not see.
export function firstTokenParts(s, liveMs) {
    const total = s.ttftMs ?? liveMs ?? 0;
    const parts = [
        ["queue", "queue", s.queueMs ?? (s.phase === "sent" ? liveMs : undefined)],
        ["cache", "cache", s.cacheMs],
        ["prefill", "prefill", s.prefillMs ??
            (s.phase === "prefill" ? Math.max(0, liveMs - (s.queueMs || 0)) : undefined)],
        ["first", "first decode", s.firstMs],
    ].filter((p) => p[2] !== undefined);
    const rest = total - parts.reduce((sum, p) => sum + p[2], 0);
    if (s.phase === "done" && s.serverTtftMs !== undefined && rest > 2 && rest > total / 50) {
        parts.push(["rest", "network", rest]);
    }
    return { total, parts };
}
