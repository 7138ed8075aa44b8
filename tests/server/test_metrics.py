#!/usr/bin/env python3
"""The text of /metrics: read by prometheus_client's parser and by promtool, values against those that
metrics_dump.c puts in.

usage: test_metrics.py PROGRAM
"""
import math
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

DUMP = sys.argv[1] if len(sys.argv) > 1 else 'build/release/tests/server/metrics_dump'
failures = []


def check(what, found, wanted):
    same = math.isclose(found, wanted, rel_tol=1e-12) if isinstance(found, float) else found == wanted
    if not same:
        failures.append(f'{what}: {found!r}, wanted {wanted!r}')


def dump(*args):
    return subprocess.run([DUMP, *args], check=True, stdout=subprocess.PIPE).stdout.decode()


def promtool():
    """The program, from the PATH or out of Debian's package, which would start a server if it were
    installed."""
    found = shutil.which('promtool')
    if found:
        return found
    folder = Path('build/promtool')
    program = folder / 'usr/bin/promtool'
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as temporary:
            os.chmod(temporary, 0o755)
            subprocess.run(['apt-get', 'download', '-q', 'prometheus'], cwd=temporary, check=True)
            package = next(Path(temporary).glob('prometheus_*.deb'))
            subprocess.run(['dpkg', '-x', package, folder.resolve()], check=True)
    return str(program.resolve())


class Exposition:
    """Samples by name and labels; the model's label is checked and left out."""

    def __init__(self, text, model):
        self.values = {}
        self.types = {}
        for family in text_string_to_metric_families(text):
            check(f'{family.name} appears once', family.name in self.types, False)
            self.types[family.name] = family.type
            check(f'{family.name} has a help text', bool(family.documentation), True)
            for s in family.samples:
                labels = dict(s.labels)
                own = labels.pop('model_name' if s.name.startswith('vllm:') else 'model')
                check(f'model of {s.name}', own, model)
                key = (s.name, tuple(sorted(labels.items())))
                check(f'{key} appears once', key in self.values, False)
                self.values[key] = s.value

    def get(self, name, **labels):
        return self.values.get((name, tuple(sorted(labels.items()))))

    def histogram(self, name, **labels):
        """{bound: count}, sum, count."""
        found = {}
        for (sample, pairs), value in self.values.items():
            pairs = dict(pairs)
            if sample == name + '_bucket':
                bound = pairs.pop('le')
                if pairs == labels:
                    found[float(bound)] = value
        return found, self.get(name + '_sum', **labels), self.get(name + '_count', **labels)


def check_histogram(x, name, values, **labels):
    buckets, total, count = x.histogram(name, **labels)
    check(f'{name} is a histogram', x.types.get(name), 'histogram')
    check(f'count of {name}', count, float(len(values)))
    check(f'sum of {name}', total, float(sum(values)))
    check(f'last bound of {name}', max(buckets, default=None), math.inf)
    check(f'bounds of {name}', len(buckets) > 8, True)
    for bound, n in buckets.items():
        check(f'{name} up to {bound}', n, float(sum(v <= bound for v in values)))


def check_own(x):
    gaps = [.001, .002, .0025, .04, .099, .7, 20]
    check_histogram(x, 'brisk_inter_token_latency_seconds', gaps)
    check_histogram(x, 'brisk_time_to_first_token_seconds', [.215] * 7)
    check_histogram(x, 'brisk_time_per_output_token_seconds', [.05] * 4)
    check_histogram(x, 'brisk_request_queue_time_seconds', [.005] * 8)
    check_histogram(x, 'brisk_request_prefill_time_seconds', [.2] * 5)
    check_histogram(x, 'brisk_request_decode_time_seconds', [.5] * 5)
    check_histogram(x, 'brisk_e2e_request_latency_seconds', [.72] * 4 + [400])
    check_histogram(x, 'brisk_request_prompt_tokens', [300] * 5)
    check_histogram(x, 'brisk_request_generation_tokens', [11] * 4 + [1])
    for k, (kind, seconds) in enumerate([('decode', 0), ('prefill', 0), ('mixed', .75)]):
        buckets, total, count = x.histogram('brisk_step_duration_seconds', kind=kind)
        check(f'steps of {kind}', count, float(sum(i + k for i in range(16))))
        check(f'seconds of {kind}', total, float(seconds))
        check(f'steps of {kind} in 3 ms', buckets.get(.003), float(3 * k + 3))
    buckets, total, count = x.histogram('brisk_iteration_tokens')
    check('steps by rows', count, float(sum(range(16))))
    check('rows', total, 4711.0)
    check('steps of up to 4 rows', buckets.get(4), 3.0)
    wanted = [
        ('brisk_prompt_tokens_total', {'source': 'computed'}, 1800),
        ('brisk_prompt_tokens_total', {'source': 'memory_cache'}, 1200),
        ('brisk_generation_tokens_total', {}, 12345678901),
        ('brisk_requests_total', {'finish_reason': 'stop'}, 2),
        ('brisk_requests_total', {'finish_reason': 'length'}, 1),
        ('brisk_requests_total', {'finish_reason': 'tool_calls'}, 1),
        ('brisk_requests_total', {'finish_reason': 'cancelled'}, 4),
        ('brisk_requests_total', {'finish_reason': 'error'}, 1),
        ('brisk_requests_cancelled_total', {'phase': 'queue'}, 1),
        ('brisk_requests_cancelled_total', {'phase': 'prefill'}, 1),
        ('brisk_requests_cancelled_total', {'phase': 'decode'}, 2),
        ('brisk_itl_budget_exceeded_total', {}, 4),
        ('brisk_preemptions_total', {}, 1),
        ('brisk_prefix_cache_queries_total', {}, 2900),
        ('brisk_prefix_cache_hits_total', {}, 1200),
        ('brisk_cache_evicted_tokens_total', {'tier': 'memory'}, 77),
        ('brisk_num_requests_running', {}, 3),
        ('brisk_num_requests_waiting', {}, 2),
        ('brisk_kv_cache_usage_ratio', {}, .25),
        ('brisk_cache_bytes', {'tier': 'memory'}, 60 << 20),
        ('brisk_memory_bytes', {'part': 'weights'}, 100 << 20),
        ('brisk_memory_bytes', {'part': 'kv'}, 40 << 20),
        ('brisk_memory_bytes', {'part': 'cache'}, 60 << 20),
        ('brisk_memory_bytes', {'part': 'scratch'}, 20 << 20),
        ('brisk_memory_limit_bytes', {}, 1 << 30),
        ('brisk_prefill_chunk_tokens', {}, 64),
        ('brisk_itl_budget_seconds', {}, .05),
        ('brisk_tokens_per_second', {'phase': 'prefill'}, 812.5),
        ('brisk_tokens_per_second', {'phase': 'decode'}, 93),
        ('brisk_model_info', {'architecture': 'llama', 'quantization': 'Q4_1', 'kv_type': 'q16',
                              'cpu_level': 'avx2'}, 1),
    ]
    for reason in ('context_length', 'invalid', 'unauthorized', 'too_large', 'queue_full',
                   'unavailable', 'other'):
        wanted.append(('brisk_requests_rejected_total', {'reason': reason}, 1))
    for name, labels, value in wanted:
        check(f'{name} {labels}', x.get(name, **labels), float(value))
        base = name.removesuffix('_total')
        kind = 'counter' if name.endswith('_total') else 'gauge'
        check(f'type of {name}', x.types.get(base), kind)


def check_vllm(x):
    check_histogram(x, 'vllm:inter_token_latency_seconds', [.001, .002, .0025, .04, .099, .7, 20])
    check_histogram(x, 'vllm:time_to_first_token_seconds', [.215] * 7)
    for name, labels, value in [
            ('num_requests_running', {}, 3), ('num_requests_waiting', {}, 2),
            ('kv_cache_usage_perc', {}, .25), ('prefix_cache_hits_total', {}, 1200),
            ('prompt_tokens_total', {}, 3000), ('generation_tokens_total', {}, 12345678901),
            ('request_success_total', {'finished_reason': 'abort'}, 4)]:
        check(f'vllm:{name}', x.get(f'vllm:{name}', **labels), float(value))


def check_llamacpp(x):
    for name, value in [('prompt_tokens_total', 1800), ('prompt_seconds_total', 1.),
                        ('tokens_predicted_total', 12345678901), ('requests_processing', 3),
                        ('tokens_predicted_seconds_total', 2.5), ('requests_deferred', 2),
                        ('n_decode_total', 60), ('predicted_tokens_seconds', 93)]:
        check(f'llamacpp:{name}', x.get(f'llamacpp:{name}'), float(value))


def main():
    model = 'a "model"\\ of\nlines, é'
    own = Exposition(dump(model), model)
    check_own(own)
    for compat, look in (('vllm', check_vllm), ('llamacpp', check_llamacpp)):
        x = Exposition(dump(model, compat), model)
        check_own(x)
        look(x)
        check(f'{compat} adds names', len(x.types) > len(own.types), True)
    # promtool takes names with colons for a fault, so it sees brisk's own.
    told = subprocess.run([promtool(), 'check', 'metrics'], input=dump('m').encode(),
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    check('what promtool says', (told.returncode, told.stdout.decode()), (0, ''))
    for line in failures:
        print(line)
    print(f'{len(own.values)} samples, {len(failures)} wrong')
    return bool(failures)


if __name__ == '__main__':
    sys.exit(main())
